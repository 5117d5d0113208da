"""`estimator-ckpt rename`: other names for variables."""

from __future__ import annotations

import argparse

from estimator_ckpt.cli import rewriting, terminal

HELP = "Gives variables other names; slots and averages go with them."
EXAMPLES = """\
estimator-ckpt rename model_dir renamed --name_map=old_net/:net/
estimator-ckpt rename a/model.ckpt-9 b/model.ckpt-9 --name_map='(.*)/weights:\\1/kernel'
estimator-ckpt rename model_dir renamed --name_map=names.txt
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
  """Adds this command's flags to its parser."""
  rewriting.add_source_and_target(parser)
  rewriting.add_name_map(parser, required=True)
  rewriting.add_flags(parser)


def run(args: argparse.Namespace) -> int:
  """Does it.

  Args:
    args: the parsed flags.

  Returns:
    The exit code.
  """
  from estimator_ckpt.files.rename import rename

  with terminal.ProgressBar("renaming") as bar:
    report = rename(
      args.source,
      rewriting.target_of(args),
      args.name_map,
      data=args.data,
      overwrite=args.overwrite,
      dry_run=args.dry_run,
      progress=bar.update,
    )
  return rewriting.show(report, args.json)
