"""`estimator-ckpt rename`: other names for variables."""

from __future__ import annotations

import argparse
import functools

from estimator_ckpt.cli import arguments

HELP = "Gives variables other names; slots and averages go with them."
EXAMPLES = """\
estimator-ckpt rename model_dir renamed --name_map=old_net/:net/
estimator-ckpt rename a/model.ckpt-9 b/model.ckpt-9 --name_map='(.*)/weights:\\1/kernel'
estimator-ckpt rename model_dir renamed --name_map=names.txt
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
  """Adds this command's flags to its parser."""
  arguments.add_source_and_target(parser)
  arguments.add_name_map(parser, required=True)
  arguments.add_flags(parser)


def run(args: argparse.Namespace) -> int:
  """Gives variables other names, and prints what was done.

  Args:
    args: the parsed flags.

  Returns:
    The exit status.
  """
  from estimator_ckpt.files.rename import rename

  writer = functools.partial(
    rename, args.source, arguments.target_of(args), args.name_map
  )
  return arguments.write(args, "renaming", writer)
