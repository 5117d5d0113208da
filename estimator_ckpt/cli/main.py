"""The program `estimator-ckpt`: finds the subcommand and runs it.

A subcommand is a module of `commands`, called as it is typed, with

    HELP                   one line
    EXAMPLES               lines of the form "estimator-ckpt NAME ..."
    add_arguments(parser)  adds its flags to an argparse parser; --json is one of them
    run(args)              runs the command and returns the exit status

Flags are spelled with underscores, as absl's are. Hyphens are understood too.
`exit_statuses` says what the exit status means, for every subcommand.

A command on a small checkpoint takes little longer than Python's own start, so modules
are imported where they are needed, and `tests/cli/startup_test.py` lists those that are.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import os
import sys
from collections.abc import Sequence
from types import ModuleType

from estimator_ckpt import errors
from estimator_ckpt.cli import exit_statuses

TYPE_CHECKING = False
if TYPE_CHECKING:
  import argparse

# By name: some of its modules, which a run does not load, import this one.
_COMMANDS = "estimator_ckpt.cli.commands"

_DESCRIPTION = """\
Reads, converts and checks TensorFlow checkpoints: name-based (TF1),
object-based (TF2) and dual ones. It does not need TensorFlow."""


def run(argv: Sequence[str] | None = None) -> int:
  """Runs the program.

  Args:
    argv: the arguments, without the program's name; those of the process by default.

  Returns:
    The exit status; see `exit_statuses`.
  """
  if sys.stdout is None:  # as the shell's `>&-` leaves it
    _print_error("standard output is closed, so nothing can be shown")
    return exit_statuses.FAILED
  # Names in a checkpoint may be no valid text; printing them must not fail.
  for stream in (sys.stdout, sys.stderr):
    if hasattr(stream, "reconfigure"):
      stream.reconfigure(errors="backslashreplace")
  if argv is None:
    # The command is the whole process. NumPy would start a thread for each core, which
    # takes as much processor time as its import, for matrices that nobody multiplies.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
  collects = gc.isenabled()
  # There is no garbage in cycles. Looking for it takes a quarter of the time of a large
  # checkpoint, and at the end a tenth of that of a small one.
  gc.disable()
  try:
    code = _run(list(sys.argv[1:] if argv is None else argv))
    sys.stdout.flush()
    return code
  except errors.CheckpointError as error:
    _print_error(error)
    return exit_statuses.FAILED
  except BrokenPipeError:
    # Python flushes standard output once more at its end; that must not fail too.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return exit_statuses.BROKEN_PIPE
  except OSError as error:
    # A file's errors are CheckpointErrors; this is of standard output.
    if error.filename is not None:
      raise
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    _print_error(f"the output cannot be written: {error.strerror}")
    return exit_statuses.FAILED
  except KeyboardInterrupt:
    _print_error("interrupted")
    return exit_statuses.INTERRUPTED
  finally:
    if argv is None:  # the process ends
      gc.freeze()
    elif collects:
      gc.enable()


def _run(argv: list[str]) -> int:
  if not argv or argv in (["-h"], ["--help"], ["help"]):
    _print_help()
    return exit_statuses.FINE if argv else exit_statuses.FAILED
  if argv in (["-V"], ["--version"]):
    from estimator_ckpt import __version__
    from estimator_ckpt.cli.parsers import PROGRAM

    print(f"{PROGRAM} {__version__}")
    return exit_statuses.FINE
  if argv[0] == "help":
    argv = [*argv[1:], "--help"]
  from estimator_ckpt.cli import parsers

  command = load_command(argv[0])
  if command is None:
    raise parsers.UsageError(_unknown_command(argv[0]))
  parser = parsers.command_parser(command)
  args = parsers.parse(parser, argv[1:])
  if args is None:
    return exit_statuses.FINE
  if sys.version_info < (3, 10):  # Where ml_dtypes is no dependency.
    from estimator_ckpt.bundle import dtypes

    dtypes.tensorflow = _tensorflow
  try:
    if not args.quiet:
      return args.run(args)
    if args.json:
      raise parsers.UsageError(
        "--json prints, and --quiet does not; choose one of them"
      )
    return _run_quietly(args)
  except errors.OptionError as error:
    raise parsers.UsageError(parsers.with_flags(str(error), parser)) from error
  except errors.CheckpointNotFoundError as error:
    if getattr(args, "recursive", True):
      raise
    from estimator_ckpt.cli import arguments

    raise arguments.with_recursive(error, args) from error


def _tensorflow() -> ModuleType | None:
  """Imports TensorFlow, for its bfloat16; None where it is not installed."""
  import warnings

  os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
  with warnings.catch_warnings(), contextlib.suppress(ImportError):
    warnings.simplefilter("ignore")
    return importlib.import_module("tensorflow")
  return None


def _run_quietly(args: argparse.Namespace) -> int:
  from estimator_ckpt.cli import terminal

  with open(os.devnull, "w", encoding="utf-8") as nowhere, terminal.no_progress():
    with contextlib.redirect_stdout(nowhere):
      return args.run(args)


def command_names() -> list[str]:
  """Every subcommand there is, as it is typed."""
  return list(importlib.import_module(_COMMANDS).NAMES)


def load_command(name: str) -> ModuleType | None:
  """The module of a subcommand; None where there is no such subcommand."""
  module = name.replace("-", "_")
  if not module.isidentifier() or module.startswith("_"):
    return None
  dotted = f"{_COMMANDS}.{module}"
  try:
    return importlib.import_module(dotted)
  except ModuleNotFoundError as error:
    if error.name != dotted:
      raise
    return None


def _unknown_command(typed: str) -> str:
  if typed.startswith("-"):
    return f"{typed} stands before the command; a command's flags go behind it"
  names = command_names()
  near = errors.nearest(typed, names)
  hint = f"did you mean {near!r}? " if near else ""
  return f"no command {typed!r}; {hint}There are: {', '.join(names)}"


def _print_help() -> None:
  from estimator_ckpt.cli import parsers

  print(
    f"usage: {parsers.PROGRAM} COMMAND PATH... [--flag=value ...]\n\n{_DESCRIPTION}\n"
  )
  print("commands:")
  names = command_names()
  wide = max(map(len, names))
  for name in names:
    command = load_command(name)
    assert command is not None
    print(parsers.wrapped(command.HELP, f"  {name.ljust(wide)}  "))
  print(f"\n{parsers.PATHS}\n\n{exit_statuses.EXPLAINED}\n")
  print(
    f"See {parsers.PROGRAM} COMMAND --help for flags and examples, -V for the version."
  )


def _print_error(error: object) -> None:
  from estimator_ckpt.cli import terminal
  from estimator_ckpt.cli.parsers import PROGRAM

  first, *rest = [terminal.printable(line) for line in str(error).splitlines()]
  start = f"{PROGRAM}: error:"
  for line in (f"{start} {first}", *(f"  {line}" for line in rest)):
    text = "\n".join(terminal.wrap(line, stream=sys.stderr))
    if text.startswith(start):
      word = terminal.style("error:", "red", sys.stderr)
      text = f"{PROGRAM}: {word}{text[len(start) :]}"
    print(text, file=sys.stderr)
