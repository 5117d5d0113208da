"""Sends SIGTERM to a training job at random times, in each format.

After each signal, the checkpoint that the state file names is whole, every value follows
from its step, and no step that had ended is lost.
"""

from __future__ import annotations

from typing import Any

from tests.nothing_lost import signalling
from tests.stress import figures


def _run(*arguments: Any) -> tuple[object, ...]:
  done = signalling.signal_again_and_again(*arguments)
  slowest = f"{done.slowest:.1f} s"
  return done.signals, done.during_start, done.no_step, done.steps, slowest


def main() -> None:
  """Runs the program."""
  titles = ("signals", "at start", "no step", "steps", "slowest end")
  figures.show_each_format(__doc__, "signals", 100, titles, _run)


if __name__ == "__main__":
  main()
