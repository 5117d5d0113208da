"""`estimator-ckpt completion`: a script for shells, to complete commands, flags and paths.

The package shtab writes the script from the commands' own parsers. The shell then needs
no Python to complete.
"""

from __future__ import annotations

import argparse

from estimator_ckpt.cli import terminal
from estimator_ckpt.cli.exit_statuses import FINE
from estimator_ckpt.errors import MissingDependencyError

HELP = "Prints a script that makes bash, zsh or fish complete this program's commands."
EXAMPLES = """\
estimator-ckpt completion bash > ~/.local/share/bash-completion/completions/estimator-ckpt
estimator-ckpt completion zsh > ~/.zfunc/_estimator-ckpt
estimator-ckpt completion fish > ~/.config/fish/completions/estimator-ckpt.fish
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
  """Adds this command's flags to its parser."""
  parser.add_argument("shell", choices=("bash", "zsh", "fish"), help="for which shell")
  parser.add_argument("--json", action="store_true", help="print the script as JSON")


def run(args: argparse.Namespace) -> int:
  """Prints the script.

  Args:
    args: the parsed flags.

  Returns:
    The exit status.

  Raises:
    MissingDependencyError: shtab is not installed, or too old for this shell.
  """
  try:
    import shtab
  except ImportError as error:
    raise MissingDependencyError(
      "completion scripts are written by the package shtab, which is not installed: pip"
      " install 'estimator-ckpt[completion]'"
    ) from error
  from estimator_ckpt.cli.parsers import PROGRAM

  try:
    script = shtab.complete(_whole_parser(PROGRAM), args.shell)
  except NotImplementedError as error:
    raise MissingDependencyError(
      f"shtab {shtab.__version__} writes no script for {args.shell}; version 1.9.3 does, "
      "which needs Python 3.9 or newer"
    ) from error
  if args.json:
    terminal.print_json({"shell": args.shell, "script": script})
  else:
    print(script)
  return FINE


def _whole_parser(program: str) -> argparse.ArgumentParser:
  """One parser of all commands. Their arguments without a flag are paths."""
  import shtab

  from estimator_ckpt.cli import main

  parser = argparse.ArgumentParser(prog=program)
  parser.add_argument("-V", "--version", action="store_true", help="print the version")
  commands = parser.add_subparsers(dest="command")
  for name in main.command_names():
    command = main.load_command(name)
    assert command is not None
    of_command = commands.add_parser(name, help=command.HELP, description=command.HELP)
    command.add_arguments(of_command)
    of_command.add_argument("-q", "--quiet", action="store_true", help="errors only")
    for action in of_command._actions:
      if not action.option_strings and not action.choices:
        action.complete = shtab.FILE  # type: ignore[attr-defined]
  return parser
