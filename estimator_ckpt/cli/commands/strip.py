"""`estimator-ckpt strip`: without optimizer state, averages, or chosen variables."""

from __future__ import annotations

import argparse

from estimator_ckpt.cli import rewriting, terminal

HELP = "Leaves out optimizer state, moving averages, or variables of your choice."
EXAMPLES = """\
estimator-ckpt strip model_dir serving --optimizer_state --moving_averages --compact
estimator-ckpt strip a/model.ckpt-9 b/model.ckpt-9 --variables='head/.*'
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
  """Adds this command's flags to its parser."""
  rewriting.add_source_and_target(parser)
  parser.add_argument(
    "--optimizer_state",
    action="store_true",
    help="leave out slots, beta powers, iterations; the global step stays",
  )
  parser.add_argument(
    "--moving_averages",
    action="store_true",
    help="leave out what tf.train.ExponentialMovingAverage keeps",
  )
  parser.add_argument(
    "--variables",
    metavar="REGEX",
    action="append",
    default=[],
    help="leave out what has a name that the whole expression matches; may be repeated",
  )
  parser.add_argument(
    "--compact",
    action="store_true",
    help="write the data files anew, to give back the bytes of what is left out",
  )
  rewriting.add_flags(parser)


def run(args: argparse.Namespace) -> int:
  """Does it.

  Args:
    args: the parsed flags.

  Returns:
    The exit code.
  """
  from estimator_ckpt.files.strip import strip

  with terminal.ProgressBar("stripping") as bar:
    report = strip(
      args.source,
      rewriting.target_of(args),
      optimizer_state=args.optimizer_state,
      moving_averages=args.moving_averages,
      variables=args.variables,
      compact=args.compact,
      data=args.data,
      overwrite=args.overwrite,
      dry_run=args.dry_run,
      progress=bar.update,
    )
  return rewriting.show(report, args.json)
