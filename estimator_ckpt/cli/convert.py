"""`estimator-ckpt convert`: name-based, object-based or dual."""

from __future__ import annotations

import argparse

from estimator_ckpt.cli import rewriting, terminal

NAME = "convert"
HELP = "Converts checkpoints between TF1 (names), TF2 (objects) and dual (both)."
EXAMPLES = """\
estimator-ckpt convert model_dir model_dir_dual --to=dual
estimator-ckpt convert model_dir/model.ckpt-300 out/model.ckpt-300 --to=tf2
estimator-ckpt convert keras/ckpt-7 tf1/ckpt-7 --to=tf1 --name_map=step:global_step
estimator-ckpt convert old new --to=dual --name_map=old_net/:net/ --data=copy
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
  """Adds this command's flags to its parser."""
  rewriting.add_source_and_target(parser)
  parser.add_argument(
    "--to", choices=("tf1", "tf2", "dual"), required=True, help="the format to write"
  )
  parser.add_argument(
    "--layout",
    choices=("default", "flat", "nested"),
    default="default",
    help="where names of a TF1 checkpoint stand in its object graph: flat is"
    " var_list/<name>, nested follows the scopes, default is both",
  )
  rewriting.add_name_map(parser, required=False)
  rewriting.add_flags(parser)


def run(args: argparse.Namespace) -> int:
  """Does it.

  Args:
    args: the parsed flags.

  Returns:
    The exit code.
  """
  from estimator_ckpt.convert import convert

  with rewriting.collector_paused(), terminal.ProgressBar("converting") as bar:
    report = convert(
      args.source,
      args.target,
      args.to,
      layout=args.layout,
      name_map=args.name_map,
      data=args.data,
      overwrite=args.overwrite,
      progress=bar.update,
    )
  return rewriting.show(report, args.json)
