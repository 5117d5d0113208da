"""The parser of a subcommand's command line, and its help."""

from __future__ import annotations

import argparse
import functools
from types import ModuleType

from estimator_ckpt import errors
from estimator_ckpt.cli import exit_statuses

PROGRAM = "estimator-ckpt"

PATHS = """\
A path may be a checkpoint's prefix (model_dir/model.ckpt-300), its model_dir,
any of its files, or a SavedModel."""

TYPE_CHECKING = False
if TYPE_CHECKING:
  from typing import NoReturn


class UsageError(errors.CheckpointError):
  """A wrong command line. The text says what to type instead."""


class _Parser(argparse.ArgumentParser):
  """A subcommand's parser. Its errors are one line each."""

  def __init__(self, command: ModuleType):
    super().__init__(
      prog=f"{PROGRAM} {typed(command)}",
      # argparse makes one for each flag, to check the flag; a width is not asked for then.
      formatter_class=functools.partial(argparse.HelpFormatter, width=80),
      allow_abbrev=False,
    )
    self._command = command

  def format_help(self) -> str:
    """The help, which few runs print: its texts are made here."""
    examples = "\n".join(map(_example, self._command.EXAMPLES.strip().splitlines()))
    self.epilog = f"{PATHS}\n\nexamples:\n{examples}\n\n{exit_statuses.EXPLAINED}"
    self.formatter_class = argparse.RawDescriptionHelpFormatter
    more = self.description
    self.description = wrapped(self._command.HELP) + (f"\n{more}" if more else "")
    try:
      return super().format_help()
    finally:
      self.description = more

  def error(self, message: str) -> NoReturn:
    raise UsageError(f"{message}; see {self.prog} --help")

  def flags(self) -> list[str]:
    """Every flag there is, as it is typed."""
    return sorted(self._option_string_actions)


def command_parser(command: ModuleType) -> argparse.ArgumentParser:
  """The parser of a subcommand.

  Args:
    command: the subcommand's module.

  Returns:
    The parser, with the subcommand's flags; parsing sets `run`.
  """
  # For a translation of its own few texts, argparse imports `locale` and looks for files,
  # which takes a tenth of the time of `python -c pass`. All other texts are English.
  translate, argparse._ = argparse._, str  # type: ignore[attr-defined]
  try:
    parser = _Parser(command)
    command.add_arguments(parser)
    parser.add_argument(
      "-q",
      "--quiet",
      action="store_true",
      help="print errors only; the exit status says",
    )
  finally:
    argparse._ = translate  # type: ignore[attr-defined]
  parser.set_defaults(run=command.run)
  return parser


def typed(command: ModuleType) -> str:
  """How a subcommand is typed, of its module."""
  return command.__name__.rpartition(".")[2].replace("_", "-")


def parse(
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


def with_flags(message: str, parser: argparse.ArgumentParser) -> str:
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


def wrapped(text: str, label: str = "") -> str:
  """Text of at most 79 columns.

  Args:
    text: one paragraph.
    label: what stands before it; further lines are indented as much.
  """
  import textwrap

  indent = " " * len(label)
  return textwrap.fill(text, 79, initial_indent=label, subsequent_indent=indent)


def _example(line: str) -> str:
  """A command line as a shell takes it; a long one goes on in the next line."""
  import textwrap

  lines = textwrap.wrap(line, 74, break_long_words=False, break_on_hyphens=False)
  return "  " + " \\\n      ".join(lines)
