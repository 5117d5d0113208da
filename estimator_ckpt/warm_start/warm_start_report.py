"""Reports of a warm start: a table, a few lines, JSON, or Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from estimator_ckpt import errors
from estimator_ckpt.bundle import dtypes
from estimator_ckpt.bundle.dtypes import describe
from estimator_ckpt.html_table import html_table
from estimator_ckpt.text_table import Column, format_table
from estimator_ckpt.warm_start.matches import LeftOut, Matches, Started

_SHORT = 5
_MARKDOWN_ROWS = 1000
_TITLES = ("variable", "from", "dtype and shape", "matched by")


def headline(plan: Matches, done: bool = False) -> str:
  """How many variables are started, in one line.

  Args:
    plan: what is started and what is not.
    done: whether the plan has been carried out.

  Returns:
    A sentence without an end of line.
  """
  total = len(plan.started) + len(plan.left_in_graph)
  verb = "started" if done else "starts"
  count = len(plan.left_in_checkpoint)
  unused = "1 tensor" if count == 1 else f"{count} tensors"
  return (
    f"Warm start from {plan.prefix}: {verb} {len(plan.started)} of {total} variables; "
    f"{unused} of the checkpoint not used."
  )


class ReportSection(NamedTuple):
  """Lines of a report under one heading.

  Attributes:
    heading: a sentence.
    titles: the columns' headings; empty where the sentence is enough.
    rows: the cells of each line.
  """

  heading: str
  titles: tuple[str, ...]
  rows: Sequence[tuple[str, ...]]


def sections(plan: Matches) -> list[ReportSection]:
  """The whole plan: what is started and from what, what is left out on both sides, why.

  Args:
    plan: what is started and what is not.

  Returns:
    The sections. What is left out has one for each reason.
  """
  found = [
    ReportSection(headline(plan), _TITLES, [_row(item) for item in plan.started])
  ]
  for title, left in _sides(plan):
    for reason, items in _by_reason(left).items():
      heading = f"{title}, {len(items)}: {reason}"
      found.append(
        ReportSection(heading, (), [(item.name, _kind(item)) for item in items])
      )
  if plan.notes:
    notes = [(note,) for note in plan.notes]
    found.append(ReportSection(f"Notes, {len(notes)}:", (), notes))
  if plan.problems:
    rows = [(str(problem),) for problem in plan.problems]
    found.append(ReportSection(f"Problems, {len(rows)}:", (), rows))
  return found


def table(plan: Matches) -> list[str]:
  """The whole plan as lines of text.

  Args:
    plan: what is started and what is not.

  Returns:
    The lines of its sections, with an empty one behind each.
  """
  lines = []
  for section in sections(plan):
    lines.append(section.heading)
    if section.titles and section.rows:
      columns = [Column(title) for title in section.titles]
      lines += ["", *format_table(columns, section.rows)]
    elif section.rows:
      columns = [Column("")] * len(section.rows[0])
      lines += [f"  {line}" for line in format_table(columns, section.rows)]
    lines.append("")
  return lines


def html_tables(plan: Matches) -> str:
  """The whole plan as a notebook shows it.

  Args:
    plan: what is started and what is not.

  Returns:
    HTML: a table for each of its sections.
  """
  tables = []
  for section in sections(plan):
    titles = section.titles or ("",) * max(map(len, section.rows), default=1)
    columns = [Column(title) for title in titles]
    tables.append(html_table(section.heading, columns, section.rows))
  return "".join(tables)


def summary(plan: Matches) -> str:
  """A plan that was carried out, in a few lines: counts, and the first of each kind.

  Args:
    plan: what is started and what is not.

  Returns:
    The lines as one text.
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
  lines += [f"Note: {note}" for note in plan.notes]
  if plan.problems:
    lines.append(f"Passed over, as strict=False ({len(plan.problems)}):")
    lines += _first(map(str, plan.problems))
  return "\n".join(lines)


def as_json(
  plan: Matches, rows_kept: Mapping[str, int] | None = None
) -> dict[str, Any]:
  """A plan for another program, in values that JSON has.

  Args:
    plan: what is started and what is not.
    rows_kept: by the names of variables with a changed vocabulary, how many of their
      rows are old ones.

  Returns:
    A dict with `checkpoint`, `started`, `left_in_graph`, `left_in_checkpoint`,
    `problems` and `notes`.
  """
  return {
    "checkpoint": plan.prefix,
    "started": [_started_json(item, rows_kept or {}) for item in plan.started],
    "left_in_graph": [_left_json(item) for item in plan.left_in_graph],
    "left_in_checkpoint": [_left_json(item) for item in plan.left_in_checkpoint],
    "problems": [str(problem) for problem in plan.problems],
    "notes": list(plan.notes),
  }


def markdown(plan: Matches) -> str:
  """A plan that was carried out, as tables in Markdown, which TensorBoard renders.

  Args:
    plan: what is started and what is not.

  Returns:
    The headline and the tables.
  """
  texts = [headline(plan, done=True)]
  rows = []
  for name, key, kind, how in map(_row, plan.started):
    # Markdown takes characters of an expression for emphasis.
    how = _code(how) if "*" in how or "_" in how else how
    rows.append((_code(name), _code(key), kind, how))
  texts.append(_grid(_TITLES, rows))
  texts += [f"Note: {note}" for note in plan.notes]
  for title, left in _sides(plan):
    if left:
      texts.append(f"{title}:")
      why = [(_code(item.name), _kind(item), item.reason) for item in left]
      texts.append(_grid(("name", "dtype and shape", "why"), why))
  return "\n\n".join(texts)


def _sides(plan: Matches) -> list[tuple[str, tuple[LeftOut, ...]]]:
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
