"""`estimator-ckpt plan-warm-start`: what a warm start would do, between checkpoints."""

from __future__ import annotations

import argparse
from collections.abc import Iterator

from estimator_ckpt.cli import arguments, terminal
from estimator_ckpt.cli.exit_statuses import FINE, NO

TYPE_CHECKING = False
if TYPE_CHECKING:  # what a run needs is loaded when it runs
  from estimator_ckpt.warm_start.warm_start_plan import WarmStartPlan

HELP = "Shows what a warm start would start, from what, and what it would leave."
EXAMPLES = """\
estimator-ckpt plan-warm-start old_model_dir --to=model_dir
estimator-ckpt plan-warm-start old --to=new --assignment_map=old_net/:net/
estimator-ckpt plan-warm-start old --to=new --variables=net/ --optimizer_state
"""
_INDENT = "  "
_KEPT = ("dtype and shape",)
# Arguments of Python in a plan's sentences, which are flags here.
_OPTION = r"\b(optimizer_state|global_step|only_mapped)=True"
_CHOICE = r"\b(moving_averages=)\"(\w+)\""


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
  arguments.add_partition_strategy(parser)
  parser.add_argument("--json", action="store_true", help="print JSON")


def run(args: argparse.Namespace) -> int:
  """Plans a warm start, and prints the plan.

  Args:
    args: the parsed flags.

  Returns:
    The exit status: `NO` if a strict warm start would be an error.
  """
  from estimator_ckpt.warm_start import warm_start_report
  from estimator_ckpt.warm_start.request import WarmStart

  plan = WarmStart(
    args.source,
    args.variables,
    args.assignment_map,
    only_mapped=args.only_mapped,
    optimizer_state=args.optimizer_state,
    global_step=args.global_step,
    moving_averages=args.moving_averages,
    partition_strategy=arguments.partition_strategy_of(args),
  ).plan(args.to)
  if args.json:
    terminal.print_json(warm_start_report.as_json(plan))
  else:
    terminal.print_lines(_lines(plan))
  return NO if plan.problems else FINE


def _lines(plan: WarmStartPlan) -> Iterator[str]:
  from estimator_ckpt.warm_start import assignment_map, warm_start_report

  wide = terminal.width()
  for number, section in enumerate(warm_start_report.sections(plan)):
    if number:
      yield ""
    yield from _wrapped(section.heading, wide)
    if section.titles and section.rows:
      yield ""
      columns = [terminal.Column(t, elastic=t not in _KEPT) for t in section.titles]
      rows = [
        [terminal.short_key(cell) if wide else cell for cell in row]
        for row in section.rows
      ]
      yield from terminal.format_table(columns, rows, wide)
    elif section.rows and len(section.rows[0]) == 1:
      for [text] in section.rows:
        yield from _wrapped(text, wide, "  ")
    elif section.rows:
      columns = [terminal.Column("", elastic=True), terminal.Column("")]
      inside = wide - len(_INDENT) if wide else None
      for line in terminal.format_table(columns, section.rows, inside):
        yield _INDENT + line
  if plan.suggested_map:
    flags = assignment_map.as_flags(plan.suggested_map)
    yield ""
    yield "A map that would start more:"
    yield _INDENT + terminal.printable(flags)
    if plan.stays_new:
      yield from _wrapped(plan.leaves_new(), wide)


def _wrapped(text: str, wide: int | None, indent: str = "") -> list[str]:
  """A text with flags in place of Python's arguments, in lines that fit the terminal."""
  import re
  import textwrap

  text = re.sub(_OPTION, r"--\1", re.sub(_CHOICE, r"--\1\2", text))
  text = terminal.printable(text)
  if wide is None:
    return [indent + text]
  return textwrap.wrap(
    text,
    wide,
    initial_indent=indent,
    subsequent_indent=indent + _INDENT,
    break_on_hyphens=False,
  )
