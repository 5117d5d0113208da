"""`estimator-ckpt merge`: one checkpoint of several."""

from __future__ import annotations

import argparse

from estimator_ckpt.cli import rewriting, terminal

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
  rewriting.add_output(parser)
  parser.add_argument(
    "--to",
    choices=("tf1", "tf2", "dual"),
    help="the format to write; that of the first by default",
  )
  parser.add_argument(
    "--on_clash",
    choices=("error", "first", "last"),
    default="error",
    help="which one is taken where several have different tensors of one name",
  )
  rewriting.add_flags(parser)


def run(args: argparse.Namespace) -> int:
  """Does it.

  Args:
    args: the parsed flags.

  Returns:
    The exit code.
  """
  from estimator_ckpt.files.merge import merge

  sources = list(args.sources)
  args.target = sources.pop() if args.output is None and len(sources) > 1 else None
  with terminal.ProgressBar("merging") as bar:
    report = merge(
      sources,
      rewriting.target_of(args),
      to=args.to,
      on_clash=args.on_clash,
      data=args.data,
      overwrite=args.overwrite,
      dry_run=args.dry_run,
      progress=bar.update,
    )
  return rewriting.show(report, args.json)
