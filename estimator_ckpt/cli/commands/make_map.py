"""`estimator-ckpt make-map`: a first name map between two checkpoints."""

from __future__ import annotations

import argparse

from estimator_ckpt.cli import terminal
from estimator_ckpt.cli.exit_statuses import FINE, NO

HELP = "Makes a first name map between two checkpoints, by names, shapes and order."
EXAMPLES = """\
estimator-ckpt make-map keras/ckpt-7 old_model_dir > names.txt
estimator-ckpt make-map model_dir keras/ckpt-7 > names.txt
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
  """Adds this command's flags to its parser."""
  parser.add_argument(
    "source", metavar="A", help="the checkpoint whose names are to be mapped"
  )
  parser.add_argument("target", metavar="B", help="one that has the names wanted")
  parser.add_argument("--json", action="store_true", help="print JSON")


def run(args: argparse.Namespace) -> int:
  """Makes a name map, and prints it.

  Args:
    args: the parsed flags.

  Returns:
    The exit status: `NO` if a variable has no partner.
  """
  from estimator_ckpt.files.keras.starter_map import make_map

  found = make_map(args.source, args.target)
  if args.json:
    terminal.print_json(found.as_dict())
  else:
    for line in str(found).splitlines():
      print(terminal.printable(line))
  return NO if found.source_only or found.target_only else FINE
