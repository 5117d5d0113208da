"""The program `estimator-ckpt`: finds the subcommand and runs it.

A subcommand is a module of `commands`, called as it is typed, with

    HELP                   one line
    EXAMPLES               lines of the form "estimator-ckpt NAME ..."
    add_arguments(parser)  adds its flags to an argparse parser; --json is one of them
    run(args)              runs the command and returns the exit status

Flags are spelled with underscores, as absl's are. Hyphens are understood too.
`exit_statuses` says what the exit status means, for every subcommand.

Plain argparse, not absl.app: importing absl.app takes 85 to 95 ms (absl.flags alone
55 to 65), argparse 5 to 9, and a whole `convert` is to be done within 120.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import importlib
import os
import sys
from collections.abc import Sequence
from types import ModuleType
from typing import NoReturn

from estimator_ckpt import errors
from estimator_ckpt.cli import exit_statuses

PROGRAM = "estimator-ckpt"
# By name: some of its modules, which a run does not load, import this one.
_COMMANDS = "estimator_ckpt.cli.commands"

_DESCRIPTION = """\
Reads, converts and checks TensorFlow checkpoints: name-based (TF1),
object-based (TF2) and dual ones. It does not need TensorFlow."""
_PATHS = """\
A path may be a checkpoint's prefix (model_dir/model.ckpt-300), its model_dir,
any of its files, or a SavedModel."""


class _UsageError(Exception):
  """A wrong command line. The text says what to type instead."""


class _Parser(argparse.ArgumentParser):
  """A parser whose errors are one line each."""

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
    The exit status; see `exit_statuses`.
  """
  if sys.stdout is None:  # as the shell's `>&-` leaves it
    _print_error("standard output is closed, so nothing can be shown")
    return exit_statuses.FAILED
  # Names in a checkpoint may be no valid text; printing them must not fail.
  for stream in (sys.stdout, sys.stderr):
    if hasattr(stream, "reconfigure"):
      stream.reconfigure(errors="backslashreplace")
  collects = gc.isenabled()
  # There is no garbage in cycles. Looking for it takes a quarter of the time of a large
  # checkpoint.
  gc.disable()
  try:
    code = _run(list(sys.argv[1:] if argv is None else argv))
    sys.stdout.flush()
    return code
  except (_UsageError, errors.CheckpointError) as error:
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
    if collects:
      gc.enable()


def _run(argv: list[str]) -> int:
  if not argv or argv in (["-h"], ["--help"], ["help"]):
    _print_help()
    return exit_statuses.FINE if argv else exit_statuses.FAILED
  if argv in (["-V"], ["--version"]):
    from estimator_ckpt import __version__

    print(f"{PROGRAM} {__version__}")
    return exit_statuses.FINE
  if argv[0] == "help":
    argv = [*argv[1:], "--help"]
  command = load_command(argv[0])
  if command is None:
    raise _UsageError(_unknown_command(argv[0]))
  parser = command_parser(command)
  args = _parse(parser, argv[1:])
  if args is None:
    return exit_statuses.FINE
  try:
    if not args.quiet:
      return args.run(args)
    if args.json:
      raise _UsageError("--json prints, and --quiet does not; choose one of them")
    return _run_quietly(args)
  except errors.OptionError as error:
    raise _UsageError(_with_flags(str(error), parser)) from error


def _run_quietly(args: argparse.Namespace) -> int:
  from estimator_ckpt.cli import terminal

  with open(os.devnull, "w", encoding="utf-8") as nowhere, terminal.no_progress():
    with contextlib.redirect_stdout(nowhere):
      return args.run(args)


def _with_flags(message: str, parser: argparse.ArgumentParser) -> str:
  """A message of the library, with flags in place of a function's arguments."""
  import re

  assert isinstance(parser, _Parser)
  names = [flag[2:] for flag in parser.flags() if flag.startswith("--")]
  # With an underscore it is a flag's name. Without one it may be a usual word.
  clear = "|".join(name for name in names if "_" in name)
  if clear:
    message = re.sub(rf"(?<![-\w/'\"])({clear})(=True)?\b(?!/)", r"--\1", message)
  plain = "|".join(name for name in names if "_" not in name)
  message = re.sub(rf"(?<![-\w])({plain})(?==)", r"--\1", message)
  # "keep= is for ..." speaks of the argument, without a value.
  return re.sub(r"(--\w+)=(?=[\s,.;)]|$)", r"\1", message)


def command_names() -> list[str]:
  """Every subcommand there is, as it is typed."""
  import pkgutil

  modules = pkgutil.iter_modules(importlib.import_module(_COMMANDS).__path__)
  return sorted(module.name.replace("_", "-") for module in modules)


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


def command_parser(command: ModuleType) -> argparse.ArgumentParser:
  """The parser of a subcommand.

  Args:
    command: the subcommand's module.

  Returns:
    The parser, with the subcommand's flags; parsing sets `run`.
  """
  examples = "\n".join(map(_example, command.EXAMPLES.strip().splitlines()))
  parser = _Parser(
    prog=f"{PROGRAM} {_typed(command)}",
    description=_wrapped(command.HELP),
    epilog=f"{_PATHS}\n\nexamples:\n{examples}\n\n{exit_statuses.EXPLAINED}",
    formatter_class=argparse.RawDescriptionHelpFormatter,
    allow_abbrev=False,
  )
  command.add_arguments(parser)
  parser.add_argument(
    "-q", "--quiet", action="store_true", help="print errors only; the exit status says"
  )
  parser.set_defaults(run=command.run)
  return parser


def _typed(command: ModuleType) -> str:
  return command.__name__.rpartition(".")[2].replace("_", "-")


def _parse(
  parser: argparse.ArgumentParser, argv: list[str]
) -> argparse.Namespace | None:
  """The parsed flags; None where help was asked for, and has been printed."""
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
  names = command_names()
  near = errors.nearest(typed, names)
  hint = f"did you mean {near!r}? " if near else ""
  return f"no command {typed!r}; {hint}There are: {', '.join(names)}"


def _print_help() -> None:
  print(f"usage: {PROGRAM} COMMAND PATH... [--flag=value ...]\n\n{_DESCRIPTION}\n")
  print("commands:")
  names = command_names()
  wide = max(map(len, names))
  for name in names:
    command = load_command(name)
    assert command is not None
    print(_wrapped(command.HELP, f"  {name.ljust(wide)}  "))
  print(f"\n{_PATHS}\n\n{exit_statuses.EXPLAINED}\n")
  print(f"See {PROGRAM} COMMAND --help for flags and examples, -V for the version.")


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
  start = f"{PROGRAM}: error:"
  for line in (f"{start} {first}", *(f"  {line}" for line in rest)):
    text = "\n".join(terminal.wrap(line, stream=sys.stderr))
    if text.startswith(start):
      word = terminal.style("error:", "red", sys.stderr)
      text = f"{PROGRAM}: {word}{text[len(start) :]}"
    print(text, file=sys.stderr)
