"""What convert, rename, strip and merge have in common: flags and the result."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from estimator_ckpt.cli import terminal
from estimator_ckpt.errors import OptionError

if TYPE_CHECKING:  # what a run needs is loaded when it runs
  from estimator_ckpt.files.rewrite import RewriteReport


def add_source_and_target(parser: argparse.ArgumentParser) -> None:
  """Adds the two paths of a command that rewrites checkpoints."""
  parser.add_argument(
    "source",
    metavar="SOURCE",
    help="a checkpoint; or a model_dir, for all checkpoints in it and its state file",
  )
  parser.add_argument(
    "target", metavar="DEST", nargs="?", help="the prefix to write, or a directory"
  )
  add_output(parser)


def add_output(parser: argparse.ArgumentParser) -> None:
  """Adds -o, which says the destination by a flag."""
  parser.add_argument(
    "-o", "--output", metavar="DEST", help="the destination, in place of the last path"
  )


def target_of(args: argparse.Namespace) -> str:
  """The destination, which is the last path or -o.

  Raises:
    OptionError: there is none, or there are both.
  """
  if (args.target is None) == (args.output is None):
    found = "two destinations" if args.target else "no destination"
    raise OptionError(f"{found}; give it as the last path, or with -o")
  return args.target if args.output is None else args.output


def add_flags(parser: argparse.ArgumentParser) -> None:
  """Adds the flags of every command that writes a checkpoint."""
  from estimator_ckpt.bundle.shards import PLACEMENTS

  parser.add_argument(
    "--data",
    choices=PLACEMENTS,
    default="auto",
    help="how data files get there; auto: link, else reflink, else copy",
  )
  parser.add_argument(
    "--overwrite", action="store_true", help="replace checkpoints that are there"
  )
  parser.add_argument(
    "--dry_run",
    action="store_true",
    help="write nothing; say what would be, and how many bytes would be linked, copied"
    " and written",
  )
  parser.add_argument("--json", action="store_true", help="print JSON")


def add_name_map(parser: argparse.ArgumentParser, required: bool) -> None:
  """Adds --name_map."""
  parser.add_argument(
    "--name_map",
    metavar="OLD:NEW|FILE",
    action="append",
    default=[],
    required=required,
    help="give variables other names: a name, a scope ending in '/', or a regular"
    " expression for the whole name, whose groups NEW may use as \\1; or a file with"
    " one such rule a line. May be repeated; the first rule that matches counts",
  )


def show(report: RewriteReport, as_json: bool) -> int:
  """Prints what was done.

  Args:
    report: what was done.
    as_json: whether for another program.

  Returns:
    The exit code, 0.
  """
  if as_json:
    terminal.print_json(report.as_dict())
  else:
    for line in str(report).splitlines():
      print("\n".join(terminal.wrap(terminal.printable(line))))
  return 0
