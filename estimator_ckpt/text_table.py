"""Tables of text, with aligned columns that can be cut to a width.

Every table of the package is laid out here: those of the command line, of a warm start,
and of loading into Keras.
"""

from __future__ import annotations

import itertools
import operator
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence

from estimator_ckpt.value_classes import NamedTuple

_GAP = "  "
_NARROWEST = 12
_WIDEST = 100


class Column(NamedTuple):
  """A column of a table.

  Attributes:
    title: its heading.
    right: whether cells are aligned to the right, as numbers are.
    elastic: whether cells are cut in the middle where a line is too long.
  """

  title: str
  right: bool = False
  elastic: bool = False


def printable(text: str) -> str:
  r"""Escapes what is not printable. A name in a file could move the cursor.

  Args:
    text: any characters.

  Returns:
    The same, with escapes such as `\x1b`.

  >>> printable("a\x1b[2Jb")
  'a\\x1b[2Jb'
  """
  if text.isprintable():
    return text
  return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def text_width(text: str) -> int:
  """How many columns of a terminal a text takes."""
  if text.isascii():
    return len(text)
  import unicodedata

  return sum(
    0
    if unicodedata.combining(c)
    else 2
    if unicodedata.east_asian_width(c) in "WF"
    else 1
    for c in text
  )


def elide(text: str, columns: int) -> str:
  """Cuts a text in the middle. More stays of its end, which tells most.

  Args:
    text: what is too long.
    columns: how many columns the result may take.

  Returns:
    The text where it fits; else its beginning, an ellipsis and its end.

  >>> elide("encoder/layer_11/attention/kernel", 20)[-12:]
  'ntion/kernel'
  """
  if text_width(text) <= columns:
    return text
  mark = _ellipsis()
  keep = max(columns - len(mark), 0)
  head = _cut(text, keep * 2 // 5)
  tail = _cut(text[::-1], keep - text_width(head))[::-1]
  return (head + mark + tail)[: max(columns, 1)]


def _cut(text: str, columns: int) -> str:
  if text.isascii():
    return text[: max(columns, 0)]
  taken = 0
  for position, character in enumerate(text):
    taken += text_width(character)
    if taken > columns:
      return text[:position]
  return text


def _ellipsis() -> str:
  try:
    "…".encode(sys.stdout.encoding or "utf-8")
  except UnicodeEncodeError:
    return "..."
  return "…"


def format_table(
  columns: Sequence[Column],
  rows: Iterable[Sequence[str]],
  columns_wide: int | None = None,
) -> Iterator[str]:
  """Lays a table out.

  Args:
    columns: headings and alignment, from left to right.
    rows: the texts of each row's cells.
    columns_wide: how many columns of a terminal a line may take; None for any number.

  Returns:
    The heading, unless no column has a title, and a line for each row, without trailing
    spaces.

  >>> for line in format_table([Column("name"), Column("size", True)], [["w", "8 B"]]):
  ...   print(line)
  name  size
  w      8 B
  """
  return format_columns(columns, zip(*rows), columns_wide)


def format_columns(
  columns: Sequence[Column],
  cells: Iterable[Sequence[str]],
  columns_wide: int | None = None,
) -> Iterator[str]:
  """Lays a table out that is there column by column; see `format_table`.

  Args:
    columns: headings and alignment, from left to right.
    cells: the texts of each column, from the top; nothing where there are no rows.
    columns_wide: see `format_table`.

  Yields:
    The lines.
  """
  cells = list(cells) or [()] * len(columns)
  # Most columns of 100,000 rows are plain text throughout.
  table = [_printable([column.title, *own]) for column, own in zip(columns, cells)]
  measures = [_measure(own) for own in table]
  widths = [max(map(measure, own)) for measure, own in zip(measures, table)]
  if columns_wide is None:
    # One very long name must not move the other columns of all rows to the right.
    widths = [
      wide if wide <= _WIDEST else _widest_below(own, _WIDEST)
      for own, wide in zip(table, widths)
    ]
  else:
    widths = _fit(columns, widths, columns_wide)
    table = [[elide(cell, wide) for cell in own] for own, wide in zip(table, widths)]
    measures = [_measure(own) for own in table]
  padded = [
    _padded(own, wide, column.right, measure)
    for own, wide, column, measure in zip(table, widths, columns, measures)
  ]
  lines = map(str.rstrip, map(_GAP.join, zip(*padded)))
  if not any(column.title for column in columns):
    next(lines)
  yield from lines


def _widest_below(cells: Sequence[str], limit: int) -> int:
  measure = _measure(cells)
  return max(wide for wide in map(measure, cells) if wide <= limit)


def _printable(cells: Sequence[str]) -> Sequence[str]:
  return cells if "".join(cells).isprintable() else [printable(cell) for cell in cells]


def _measure(cells: Sequence[str]) -> Callable[[str], int]:
  """The function that measures these texts: `text_width`, or `len` for plain ones."""
  return len if "".join(cells).isascii() else text_width


def _padded(
  cells: Sequence[str], wide: int, right: bool, measure: Callable[[str], int]
) -> Iterator[str]:
  if measure is len:
    return map(str.rjust if right else str.ljust, cells, itertools.repeat(wide))
  pads = [" " * (wide - measure(cell)) for cell in cells]
  return map(operator.add, *((pads, cells) if right else (cells, pads)))


def _fit(
  columns: Sequence[Column], widths: Sequence[int], columns_wide: int
) -> list[int]:
  """Narrows elastic columns, the widest first, until the line fits."""
  fitted = list(widths)
  elastic = [i for i, column in enumerate(columns) if column.elastic]
  excess = sum(fitted) + len(_GAP) * (len(fitted) - 1) - columns_wide
  while excess > 0 and elastic:
    widest = max(fitted[i] for i in elastic)
    if widest <= _NARROWEST:
      break
    tied = [i for i in elastic if fitted[i] == widest]
    below = max((fitted[i] for i in elastic if fitted[i] < widest), default=0)
    step = min(widest - max(below, _NARROWEST), -(-excess // len(tied)))
    for i in tied:
      fitted[i] -= step
    excess -= step * len(tied)
  # A step that was shared unevenly cuts some columns by one too many.
  for i in elastic:
    if excess < 0 and fitted[i] < widths[i]:
      given = min(-excess, widths[i] - fitted[i])
      fitted[i] += given
      excess += given
  return fitted
