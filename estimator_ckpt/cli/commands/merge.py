"""`estimator-ckpt merge`: one checkpoint of several."""

from __future__ import annotations

import argparse
import functools

from estimator_ckpt.cli import arguments

HELP = "Makes one checkpoint of several."
EXAMPLES = """\
estimator-ckpt merge encoder/model.ckpt-9 decoder/model.ckpt-5 both/model.ckpt-9
estimator-ckpt merge base_dir head_dir out/ckpt-0 --on_clash=first --to=dual
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
  """Adds this command's flags to its parser."""
  parser.add_argument(
    "sources",
    metavar="SOURCE",
    nargs="+",
    help="a checkpoint, two or more; behind them DEST, the prefix to write or a directory",
  )
  arguments.add_output(parser)
  arguments.add_format(
    parser,
    required=False,
    help_text="the format to write; that of the first by default",
  )
  parser.add_argument(
    "--on_clash",
    choices=("error", "first", "last"),
    default="error",
    help="which one is taken where several have different tensors of one name",
  )
  arguments.add_flags(parser)


def run(args: argparse.Namespace) -> int:
  """Makes one checkpoint of several, and prints what was done.

  Args:
    args: the parsed flags.

  Returns:
    The exit status.
  """
  from estimator_ckpt.files.merge import merge

  sources = list(args.sources)
  args.target = sources.pop() if args.output is None and len(sources) > 1 else None
  writer = functools.partial(
    merge, sources, arguments.target_of(args), to=args.to, on_clash=args.on_clash
  )
  return arguments.write(args, "merging", writer)
