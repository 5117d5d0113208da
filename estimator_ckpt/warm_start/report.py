"""What a warm start does or did: as a table, a few lines, JSON, or Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from estimator_ckpt import errors
from estimator_ckpt.bundle import dtypes
from estimator_ckpt.bundle.dtypes import describe
from estimator_ckpt.text_table import Column, format_table

if TYPE_CHECKING:  # which prints itself by this module
  from estimator_ckpt.warm_start.plan import LeftOut, Started, WarmStartPlan

_SHORT = 5
_MARKDOWN_ROWS = 1000
_TITLES = ("variable", "from", "dtype and shape", "matched by")


def headline(plan: WarmStartPlan, done: bool = False) -> str:
  """How many variables are started, in one line.

  Args:
    plan: the plan.
    done: whether it has been carried out.

  Returns:
    The line.
  """
  total = len(plan.started) + len(plan.left_in_graph)
  verb = "started" if done else "starts"
  count = len(plan.left_in_checkpoint)
  unused = "1 tensor" if count == 1 else f"{count} tensors"
  return (
    f"Warm start from {plan.prefix}: {verb} {len(plan.started)} of {total} variables; "
    f"{unused} of the checkpoint not used."
  )


class Block(NamedTuple):
  """Lines of a plan that belong together.

  Attributes:
    heading: what they are.
    titles: those of the columns; empty where the heading says it all.
    rows: the cells.
  """

  heading: str
  titles: tuple[str, ...]
  rows: Sequence[tuple[str, ...]]


def blocks(plan: WarmStartPlan) -> list[Block]:
  """The whole plan: what is started and from what, what is left out on both sides, why.

  Args:
    plan: the plan.

  Returns:
    Blocks; those of what is left out have one reason each.
  """
  found = [Block(headline(plan), _TITLES, [_row(item) for item in plan.started])]
  for title, left in _sides(plan):
    for reason, items in _by_reason(left).items():
      heading = f"{title}, {len(items)}: {reason}"
      found.append(Block(heading, (), [(item.name, _kind(item)) for item in items]))
  if plan.problems:
    rows = [(str(problem),) for problem in plan.problems]
    found.append(Block(f"Problems, {len(rows)}:", (), rows))
  return found


def table(plan: WarmStartPlan) -> str:
  """The whole plan as text.

  Args:
    plan: the plan.

  Returns:
    The lines of its blocks, and a map that would start more.
  """
  lines = []
  for block in blocks(plan):
    lines.append(block.heading)
    if block.titles and block.rows:
      columns = [Column(title) for title in block.titles]
      lines += ["", *format_table(columns, block.rows)]
    elif block.rows:
      columns = [Column("")] * len(block.rows[0])
      lines += [f"  {line}" for line in format_table(columns, block.rows)]
    lines.append("")
  if plan.suggested_map:
    lines += [f"A map that would start more: {plan.suggestion()}", ""]
    if plan.stays_new:
      lines[-1:] = [plan.leaves_new(), ""]
  return "\n".join(lines[:-1])


def summary(plan: WarmStartPlan) -> str:
  """The plan, carried out, in a few lines: counts and the first few of each kind.

  Args:
    plan: the plan.

  Returns:
    The lines.
  """
  lines = [headline(plan, done=True)]
  lines += _first(
    f"{item.target.name} <- {item.source.name} ({item.how})" for item in plan.started
  )
  for title, left in _sides(plan):
    if left:
      lines.append(f"{title} ({len(left)}):")
    lines += _first(
      f"{len(items)}, such as {items[0].name}: {reason}"
      if len(items) > 1
      else f"{items[0].name}: {reason}"
      for reason, items in _by_reason(left).items()
    )
  if plan.problems:
    lines.append(f"Passed over, as strict=False ({len(plan.problems)}):")
    lines += _first(map(str, plan.problems))
  return "\n".join(lines)


def as_json(
  plan: WarmStartPlan, rows_kept: Mapping[str, int] | None = None
) -> dict[str, Any]:
  """The plan for another program; values that JSON has.

  Args:
    plan: the plan.
    rows_kept: for variables with a changed vocabulary, how many entries had an old one.

  Returns:
    A dict with `checkpoint`, `started`, `left_in_graph`, `left_in_checkpoint` and
    `problems`.
  """
  return {
    "checkpoint": plan.prefix,
    "started": [_started_json(item, rows_kept or {}) for item in plan.started],
    "left_in_graph": [_left_json(item) for item in plan.left_in_graph],
    "left_in_checkpoint": [_left_json(item) for item in plan.left_in_checkpoint],
    "problems": [str(problem) for problem in plan.problems],
  }


def markdown(plan: WarmStartPlan) -> str:
  """The plan, carried out, as TensorBoard renders it: tables in Markdown.

  Args:
    plan: the plan.

  Returns:
    The text.
  """
  texts = [headline(plan, done=True)]
  rows = []
  for name, key, kind, how in map(_row, plan.started):
    # A map's expression is full of what Markdown takes for emphasis.
    how = _code(how) if "*" in how or "_" in how else how
    rows.append((_code(name), _code(key), kind, how))
  texts.append(_grid(_TITLES, rows))
  for title, left in _sides(plan):
    if left:
      texts.append(f"{title}:")
      why = [(_code(item.name), _kind(item), item.reason) for item in left]
      texts.append(_grid(("name", "dtype and shape", "why"), why))
  return "\n\n".join(texts)


def _sides(plan: WarmStartPlan) -> list[tuple[str, tuple[LeftOut, ...]]]:
  return [
    ("Not started", plan.left_in_graph),
    ("Not used of the checkpoint", plan.left_in_checkpoint),
  ]


def _by_reason(left: Iterable[LeftOut]) -> dict[str, list[LeftOut]]:
  found: dict[str, list[LeftOut]] = {}
  for item in left:
    found.setdefault(item.reason, []).append(item)
  return found


def _row(item: Started) -> tuple[str, str, str, str]:
  kind = describe(item.target.dtype, item.target.shape)
  return item.target.name, item.source.key, kind, item.how


def _kind(item: LeftOut) -> str:
  return describe(item.dtype, item.shape)


def _first(items: Iterable[str]) -> list[str]:
  return [f"  {line}" for line in errors.shorten(list(items), _SHORT)]


def _started_json(item: Started, rows_kept: Mapping[str, int]) -> dict[str, Any]:
  value: dict[str, Any] = {
    "variable": item.target.name,
    "from": item.source.name,
    "keys": list(item.source.keys),
    "dtype": dtypes.name(item.target.dtype),
    "shape": None if item.target.shape is None else list(item.target.shape),
    "matched_by": item.how,
  }
  change = item.vocabulary
  if change is not None:
    value["vocabulary"] = {
      "old": change.old_vocab,
      "new": change.new_vocab,
      "axis": change.axis,
      "entries": change.new_size,
      "oov_buckets": change.oov_buckets,
    }
    if item.target.name in rows_kept:
      value["vocabulary"]["entries_kept"] = rows_kept[item.target.name]
  return value


def _left_json(item: LeftOut) -> dict[str, Any]:
  return {
    "name": item.name,
    "dtype": dtypes.name(item.dtype),
    "shape": None if item.shape is None else list(item.shape),
    "reason": item.reason,
  }


def _grid(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
  lines = [_line(titles), _line(["---"] * len(titles))]
  lines += [_line(row) for row in rows[:_MARKDOWN_ROWS]]
  if len(rows) > _MARKDOWN_ROWS:
    rest = f"{len(rows) - _MARKDOWN_ROWS} more in warm_start.json"
    lines.append(_line([rest] + [""] * (len(titles) - 1)))
  return "\n".join(lines)


def _line(cells: Sequence[str]) -> str:
  # A bar would end the cell.
  return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _code(text: str) -> str:
  return f"`{text}`"
