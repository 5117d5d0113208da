"""`estimator-ckpt plan-warm-start`: what a warm start would do, between checkpoints."""

from __future__ import annotations

import argparse

from estimator_ckpt.cli import terminal

NAME = "plan-warm-start"
HELP = "Shows what a warm start would start, from what, and what it would leave."
EXAMPLES = """\
estimator-ckpt plan-warm-start old_model_dir --to=model_dir
estimator-ckpt plan-warm-start old --to=new --assignment_map=old_net/:net/
estimator-ckpt plan-warm-start old --to=new --variables=net/ --optimizer_state
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
  """Adds this command's flags to its parser."""
  parser.add_argument("source", help="the checkpoint to start from")
  parser.add_argument(
    "--to",
    required=True,
    metavar="OTHER",
    help="a checkpoint of the model that is to be started; it stands for its graph",
  )
  parser.add_argument(
    "--assignment_map",
    action="append",
    metavar="OLD:NEW",
    help="a name, scope/, regular expression or object path of the source, and what the"
    " model calls it; or a file of such lines; again for more",
  )
  parser.add_argument(
    "--variables",
    action="append",
    metavar="REGEX",
    help="only variables whose names begin with it; again for more",
  )
  parser.add_argument(
    "--only_mapped", action="store_true", help="match nothing but by the assignment map"
  )
  parser.add_argument(
    "--optimizer_state", action="store_true", help="start slots and beta powers too"
  )
  parser.add_argument(
    "--global_step", action="store_true", help="start the global step too"
  )
  parser.add_argument(
    "--moving_averages",
    choices=("match", "use", "skip"),
    default="match",
    help="use: start variables from their moving averages; skip: leave these alone",
  )
  parser.add_argument("--json", action="store_true", help="print JSON")


def run(args: argparse.Namespace) -> int:
  """Does it.

  Args:
    args: the parsed flags.

  Returns:
    The exit code: 1 if a strict warm start would be an error.
  """
  from estimator_ckpt.warm_start import report as warm_start_report
  from estimator_ckpt.warm_start.request import WarmStart

  plan = WarmStart(
    args.source,
    args.variables,
    args.assignment_map,
    only_mapped=args.only_mapped,
    optimizer_state=args.optimizer_state,
    global_step=args.global_step,
    moving_averages=args.moving_averages,
  ).plan(args.to)
  if args.json:
    terminal.print_json(warm_start_report.as_json(plan))
  else:
    for line in str(plan).split("\n"):
      print(terminal.printable(line))
  return 1 if plan.problems else 0
