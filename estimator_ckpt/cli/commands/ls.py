"""`estimator-ckpt ls`: the checkpoints of a directory."""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator

from estimator_ckpt.cli import terminal
from estimator_ckpt.cli.exit_statuses import FINE

TYPE_CHECKING = False
if TYPE_CHECKING:
  from estimator_ckpt.files.best_directories import BestDirectory
  from estimator_ckpt.files.checkpoints import CheckpointList, FoundCheckpoint

HELP = "Lists the checkpoints of a directory: step, format, age, size, latest and best."
EXAMPLES = """\
estimator-ckpt ls model_dir
estimator-ckpt ls model_dir --json | jq '.checkpoints[].step'
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
  """Adds this command's flags to its parser."""
  parser.add_argument("path", metavar="DIRECTORY", help="a model_dir")
  parser.add_argument("--json", action="store_true", help="print JSON")


def run(args: argparse.Namespace) -> int:
  """Prints the checkpoints of a directory.

  Args:
    args: the parsed flags.

  Returns:
    The exit status.
  """
  from estimator_ckpt.files.checkpoints import list_checkpoints

  found = list_checkpoints(args.path)
  if args.json:
    terminal.print_json(found.as_dict())
  else:
    terminal.print_lines(_lines(found, time.time()))
  return FINE


def _lines(found: CheckpointList, now: float) -> Iterator[str]:
  columns = [
    terminal.Column("checkpoint", elastic=True),
    terminal.Column("step", right=True),
    terminal.Column("format"),
    terminal.Column("age", right=True),
    terminal.Column("bytes", right=True),
    terminal.Column("state file"),
  ]
  rows = [_row(checkpoint, now) for checkpoint in found.checkpoints]
  best = [_best_text(found, checkpoint) for checkpoint in found.checkpoints]
  if any(best):
    columns.append(terminal.Column("best", elastic=True))
    rows = [[*row, text] for row, text in zip(rows, best)]
  if rows:
    yield from terminal.format_table(columns, rows, terminal.width())
  size = terminal.human_bytes(sum(c.size for c in found.checkpoints))
  count = terminal.plural(len(found.checkpoints), "checkpoint")
  yield from ["", f"{count}, {size}, in {terminal.printable(found.directory)}"]
  notes = [_best_note(place) for place in found.best]
  notes += [f"listed and not there: {prefix}" for prefix in found.gone]
  notes += [f"left over, or being written: {name}" for name in found.leftovers]
  for checkpoint in found.checkpoints:
    notes += [f"problem: {problem}" for problem in checkpoint.problems]
  notes += [f"problem: {problem}" for problem in found.problems]
  for note in notes:
    yield from terminal.wrap(terminal.printable(note))


def _best_text(found: CheckpointList, checkpoint: FoundCheckpoint) -> str:
  """Which of the best a checkpoint is, where it is one, and what was measured."""
  texts = []
  for place, rank in found.ranks(checkpoint):
    # In the job's own directory, a column is for the rank; the note has all metrics.
    is_below = place.path != found.directory
    where = f"{place.name}/ " if is_below else ""
    texts.append(f"{where}{rank}: {place.metrics_text(rank, only_compared=is_below)}")
  return "; ".join(texts)


def _best_note(place: BestDirectory) -> str:
  best = place.best
  kept = ", ".join(
    f"{each.name} (step {each.step}, {place.metrics_text(rank)})"
    for rank, each in enumerate(best.checkpoints, 1)
  )
  return (
    f"the best {best.keep} by {best.metric} ({best.mode}), in {place.path}:"
    f" {kept or 'none yet'}"
  )


def _row(checkpoint: FoundCheckpoint, now: float) -> list[str]:
  entered = (
    "latest" if checkpoint.is_latest else "listed" if checkpoint.is_listed else ""
  )
  return [
    checkpoint.prefix.rpartition("/")[2],
    "-" if checkpoint.step is None else f"{checkpoint.step}",
    checkpoint.format or "damaged",
    terminal.age(now - checkpoint.saved) if checkpoint.saved else "-",
    terminal.human_bytes(checkpoint.size),
    entered,
  ]
