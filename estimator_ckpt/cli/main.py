"""The program `estimator-ckpt`: finds the subcommand and runs it.

A subcommand is a module of this package with

    NAME                   as it is typed
    HELP                   one line
    EXAMPLES               lines of the form "estimator-ckpt NAME ..."
    add_arguments(parser)  adds its flags to an argparse parser; --json is one of them
    run(args)              does it and returns the exit code

Flags are spelled with underscores, as absl's are; whoever types hyphens is understood.
Exit codes: 0, 1 for trouble or for what a subcommand found, 2 for a command line that
cannot be meant, 130 for Ctrl-C, 141 for a reader that has gone.

Plain argparse, not absl.app: importing absl.app takes 85 to 95 ms (absl.flags alone
55 to 65), argparse 5 to 9, and a whole `convert` is to be done within 120.
"""

from __future__ import annotations

import argparse
import gc
import importlib
import os
import sys
from collections.abc import Sequence
from types import ModuleType
from typing import NoReturn

from estimator_ckpt import errors

PROGRAM = "estimator-ckpt"
COMMANDS = (
  "inspect",
  "convert",
  "rename",
  "strip",
  "merge",
  "diff",
  "verify",
  "plan-warm-start",
  "make-map",
)

_DESCRIPTION = """\
Reads, converts and checks TensorFlow checkpoints: name-based (TF1),
object-based (TF2) and dual ones. It does not need TensorFlow."""
_PATHS = """\
A path may be a checkpoint's prefix (model_dir/model.ckpt-300), its model_dir,
any of its files, or a SavedModel."""
_INTERRUPTED = 130
_BROKEN_PIPE = 141


class _UsageError(Exception):
  """A command line that cannot be meant; its text says what to type instead."""


class _Parser(argparse.ArgumentParser):
  """A parser whose errors are one line each, with the nearest flag."""

  def error(self, message: str) -> NoReturn:
    raise _UsageError(f"{message}; see {self.prog} --help")

  def flags(self) -> list[str]:
    """Every flag there is, as it is typed."""
    return sorted(self._option_string_actions)


def run(argv: Sequence[str] | None = None) -> int:
  """Runs the program.

  Args:
    argv: the arguments, without the program's name; those of the process by default.

  Returns:
    The exit code.
  """
  # Names in a checkpoint may be no valid text; printing them must not fail.
  for stream in (sys.stdout, sys.stderr):
    if hasattr(stream, "reconfigure"):
      stream.reconfigure(errors="backslashreplace")
  collects = gc.isenabled()
  # Looking for garbage in cycles takes a quarter of the time of a large checkpoint, and
  # there is none.
  gc.disable()
  try:
    code = _run(list(sys.argv[1:] if argv is None else argv))
    sys.stdout.flush()
    return code
  except (_UsageError, errors.OptionError) as error:
    _print_error(error)
    return 2
  except errors.CheckpointError as error:
    _print_error(error)
    return 1
  except BrokenPipeError:
    # Python flushes standard output once more at its end; that must not fail too.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return _BROKEN_PIPE
  except OSError as error:
    # A file's errors are CheckpointErrors; this is of standard output.
    if error.filename is not None:
      raise
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    _print_error(f"the output cannot be written: {error.strerror}")
    return 1
  except KeyboardInterrupt:
    _print_error("interrupted")
    return _INTERRUPTED
  finally:
    if collects:
      gc.enable()


def _run(argv: list[str]) -> int:
  if not argv or argv in (["-h"], ["--help"], ["help"]):
    _print_help()
    return 0 if argv else 2
  if argv == ["--version"]:
    from estimator_ckpt import __version__

    print(f"{PROGRAM} {__version__}")
    return 0
  if argv[0] == "help":
    argv = [*argv[1:], "--help"]
  name = argv[0].replace("_", "-")
  if name not in COMMANDS:
    raise _UsageError(_unknown_command(argv[0]))
  parser = command_parser(load_command(name))
  args = _parse(parser, argv[1:])
  return 0 if args is None else args.run(args)


def load_command(name: str) -> ModuleType:
  """The module of a subcommand."""
  return importlib.import_module(f"estimator_ckpt.cli.{name.replace('-', '_')}")


def command_parser(command: ModuleType) -> argparse.ArgumentParser:
  """The parser of a subcommand.

  Args:
    command: the subcommand's module.

  Returns:
    The parser, with the subcommand's flags; parsing sets `run`.
  """
  examples = "\n".join(map(_example, command.EXAMPLES.strip().splitlines()))
  parser = _Parser(
    prog=f"{PROGRAM} {command.NAME}",
    description=_wrapped(command.HELP),
    epilog=f"{_PATHS}\n\nexamples:\n{examples}",
    formatter_class=argparse.RawDescriptionHelpFormatter,
    allow_abbrev=False,
  )
  command.add_arguments(parser)
  parser.set_defaults(run=command.run)
  return parser


def _parse(
  parser: argparse.ArgumentParser, argv: list[str]
) -> argparse.Namespace | None:
  """The arguments; None when they asked for help, which has been printed."""
  assert isinstance(parser, _Parser)
  try:
    args, rest = parser.parse_known_args(_with_underscores(argv))
  except SystemExit:
    return None
  for argument in rest:
    if not argument.startswith("-"):
      parser.error(f"one argument too many, {argument!r}")
    flag = argument.partition("=")[0]
    near = errors.nearest(flag, parser.flags())
    parser.error(f"no flag {flag}" + (f" (did you mean {near}?)" if near else ""))
  return args


def _with_underscores(argv: list[str]) -> list[str]:
  """Turns the hyphens within flags' names into underscores."""
  end = argv.index("--") if "--" in argv else len(argv)
  spelled = []
  for argument in argv[:end]:
    if argument.startswith("--"):
      flag, equals, value = argument[2:].partition("=")
      argument = "--" + flag.replace("-", "_") + equals + value
    spelled.append(argument)
  return spelled + argv[end:]


def _unknown_command(typed: str) -> str:
  if typed.startswith("-"):
    return f"{typed} stands before the command; a command's flags go behind it"
  near = errors.nearest(typed, COMMANDS)
  hint = f"did you mean {near!r}? " if near else ""
  return f"no command {typed!r}; {hint}There are: {', '.join(COMMANDS)}"


def _print_help() -> None:
  print(f"usage: {PROGRAM} COMMAND PATH... [--flag=value ...]\n\n{_DESCRIPTION}\n")
  print("commands:")
  wide = max(map(len, COMMANDS))
  for name in COMMANDS:
    print(_wrapped(load_command(name).HELP, f"  {name.ljust(wide)}  "))
  print(f"\n{_PATHS}\nSee {PROGRAM} COMMAND --help for its flags and examples.")


def _wrapped(text: str, label: str = "") -> str:
  """Text of at most 79 columns, indented behind a label."""
  import textwrap

  indent = " " * len(label)
  return textwrap.fill(text, 79, initial_indent=label, subsequent_indent=indent)


def _example(line: str) -> str:
  """A command line as a shell takes it; a long one goes on in the next line."""
  import textwrap

  lines = textwrap.wrap(line, 74, break_long_words=False, break_on_hyphens=False)
  return "  " + " \\\n      ".join(lines)


def _print_error(error: object) -> None:
  from estimator_ckpt.cli import terminal

  first, *rest = [terminal.printable(line) for line in str(error).splitlines()]
  for line in (f"{PROGRAM}: error: {first}", *(f"  {line}" for line in rest)):
    print("\n".join(terminal.wrap(line, stream=sys.stderr)), file=sys.stderr)
