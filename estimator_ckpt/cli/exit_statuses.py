"""What the program's exit status means, for every subcommand."""

from __future__ import annotations

FINE = 0
NO = 1
FAILED = 2
INTERRUPTED = 130
BROKEN_PIPE = 141

EXPLAINED = """\
exit status:
  0  done; diff: nothing differs; verify: no errors
  1  the answer is no: diff found differences, verify errors, make-map a
     variable without a partner, plan-warm-start a problem
  2  it could not be done: a wrong command line, no checkpoint there, one there
     already, a damaged one, or what the library refuses
130, 141: interrupted; the reader of the output has gone"""
