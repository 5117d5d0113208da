"""`estimator-ckpt strip`: without optimizer state, averages, or chosen variables."""

from __future__ import annotations

import argparse
import functools

from estimator_ckpt.cli import arguments

HELP = "Leaves out optimizer state, moving averages, or variables of your choice."
EXAMPLES = """\
estimator-ckpt strip model_dir serving --optimizer_state --moving_averages --compact
estimator-ckpt strip a/model.ckpt-9 b/model.ckpt-9 --variables='head/.*'
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
  """Adds this command's flags to its parser."""
  arguments.add_source_and_target(parser)
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
  arguments.add_flags(parser)


def run(args: argparse.Namespace) -> int:
  """Leaves variables out, and prints what was done.

  Args:
    args: the parsed flags.

  Returns:
    The exit status.
  """
  from estimator_ckpt.files.strip import strip

  writer = functools.partial(
    strip,
    args.source,
    arguments.target_of(args),
    optimizer_state=args.optimizer_state,
    moving_averages=args.moving_averages,
    variables=args.variables,
    compact=args.compact,
  )
  return arguments.write(args, "stripping", writer)
