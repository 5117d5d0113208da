"""What the program prints: tables that fit the terminal, sizes, a progress bar.

On a terminal, lines are cut to its width. In a pipe or a file, nothing is cut, since
another program reads it.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import sys
import time
from collections.abc import Iterable, Iterator, Sequence

from estimator_ckpt import text_table
from estimator_ckpt.text_table import Column as Column
from estimator_ckpt.text_table import elide as elide
from estimator_ckpt.text_table import printable as printable
from estimator_ckpt.text_table import text_width as text_width

TYPE_CHECKING = False
if TYPE_CHECKING:
  from typing import TextIO

  import tqdm

# On a terminal it leaves no room for the rest.
_KEY_ENDING = "/.ATTRIBUTES/VARIABLE_VALUE"
_LINES_AT_ONCE = 1000
_UNITS = ("B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB")


def width(stream: TextIO | None = None) -> int | None:
  """How many columns a terminal has; None when the stream is not a terminal.

  Args:
    stream: what is written to; standard output by default.
  """
  stream = stream or sys.stdout
  if not stream.isatty():
    return None
  import shutil

  return max(shutil.get_terminal_size((80, 24)).columns, 20)


_STYLES = {"bold": "1", "red": "31", "green": "32", "yellow": "33", "dim": "2"}


def style(text: str, name: str, stream: TextIO | None = None) -> str:
  """Colours a text on a terminal that has colours, unless NO_COLOR is set.

  Args:
    text: a single line.
    name: `bold`, `dim`, `red`, `yellow` or `green`.
    stream: what the text is written to; standard output by default.

  Returns:
    The text, on such a terminal with escape sequences around it.
  """
  stream = stream or sys.stdout
  is_plain = os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb"
  if not text or is_plain or not stream.isatty():
    return text
  return f"\x1b[{_STYLES[name]}m{text}\x1b[0m"


def wrap(line: str, indent: int = 2, stream: TextIO | None = None) -> list[str]:
  """Breaks a line between words where a terminal is too narrow for it.

  Args:
    line: a line, which may begin with spaces.
    indent: how many columns the further lines are indented beyond the first.
    stream: what the line is written to; standard output by default.

  Returns:
    Several lines; one where it fits, or in a pipe. A word that is longer than a line, as a
    path may be, stays whole, so that it can be copied.
  """
  wide = width(stream)
  if wide is None or text_width(line) <= wide:
    return [line]
  import textwrap

  own = len(line) - len(line.lstrip())
  return textwrap.wrap(
    line.lstrip(),
    wide,
    initial_indent=" " * own,
    subsequent_indent=" " * (own + indent),
    break_long_words=False,
    break_on_hyphens=False,
  )


def human_bytes(count: int) -> str:
  """A number of bytes for a person to read.

  Args:
    count: how many bytes.

  Returns:
    At most four digits and the unit.

  >>> human_bytes(80), human_bytes(1536), human_bytes(10 * 2**30)
  ('80 B', '1.5 KiB', '10.0 GiB')
  """
  if count < 1024:
    return f"{count} B"
  value = float(count)
  unit = 0
  # 1023.96 KiB would be printed as 1024.0 KiB.
  while value >= 1023.95 and unit < len(_UNITS) - 1:
    value /= 1024
    unit += 1
  return f"{value:.1f} {_UNITS[unit]}"


def age(seconds: float) -> str:
  """A time span in its two largest units.

  >>> age(42), age(3 * 60 + 5), age(26 * 3600), age(400 * 86400)
  ('42 s', '3 min', '1 d 2 h', '400 d')
  """
  minutes = int(max(seconds, 0)) // 60
  hours, days = minutes // 60, minutes // 1440
  if minutes < 1:
    return f"{int(max(seconds, 0))} s"
  if hours < 1:
    return f"{minutes} min"
  if days < 1:
    return f"{hours} h {minutes % 60} min"
  return f"{days} d {hours % 24} h" if days < 10 else f"{days} d"


def shape_text(shape: Sequence[int]) -> str:
  """A shape as it is printed.

  >>> shape_text((3, 4)), shape_text(())
  ('[3, 4]', '[]')
  """
  return str(list(shape))


def plural(count: int, noun: str) -> str:
  """A number and what it counts.

  >>> plural(1, "tensor"), plural(2000, "tensor"), plural(0, "entry")
  ('1 tensor', '2,000 tensors', '0 entries')
  """
  if count != 1:
    noun = noun[:-1] + "ies" if noun.endswith("ry") else noun + "s"
  return f"{count:,} {noun}"


def format_table(
  columns: Sequence[Column],
  rows: Iterable[Sequence[str]],
  columns_wide: int | None = None,
) -> Iterator[str]:
  """Lays a table out. On a terminal its heading is bold.

  Args:
    columns: headings and alignment, from left to right.
    rows: the texts of each row's cells.
    columns_wide: how wide the terminal is; None in a pipe or a file.

  Returns:
    Lines; see `text_table.format_table`.
  """
  return format_columns(columns, zip(*rows), columns_wide)


def format_columns(
  columns: Sequence[Column],
  cells: Iterable[Sequence[str]],
  columns_wide: int | None = None,
) -> Iterator[str]:
  """As `format_table`, of a table that is there column by column."""
  lines = text_table.format_columns(columns, cells, columns_wide)
  if columns_wide is not None and any(column.title for column in columns):
    yield style(next(lines), "bold")
  yield from lines


def print_lines(lines: Iterable[str]) -> None:
  """Prints lines to standard output, with an end for each."""
  # A write for each of 100,000 lines takes its time.
  rest = iter(lines)
  some = list(itertools.islice(rest, _LINES_AT_ONCE))
  while some:
    sys.stdout.write("\n".join(some) + "\n")
    some = list(itertools.islice(rest, _LINES_AT_ONCE))


def short_key(text: str) -> str:
  """Object keys without what almost all of them end in.

  >>> short_key("net/w/.ATTRIBUTES/VARIABLE_VALUE")
  'net/w'
  """
  return text.replace(_KEY_ENDING, "")


_progress_is_shown = True


@contextlib.contextmanager
def no_progress() -> Iterator[None]:
  """Shows no progress bars in the block."""
  global _progress_is_shown
  before, _progress_is_shown = _progress_is_shown, False
  try:
    yield
  finally:
    _progress_is_shown = before


class ProgressBar:
  """A bar on standard error for work that takes more than a second.

  Nothing is shown in less time, or when standard error is not a terminal. At the end the
  bar is removed, so that only the result stays on the screen. tqdm draws the bar, and is
  imported when there is one to draw.

  Args:
    label: what is being done.
    total: how many bytes there are, if that is known yet.
    stream: what the bar is drawn on; standard error by default.

  Example:
    with ProgressBar("copying", total=size) as bar:
      copies.copy(path, to, progress=bar.advance)
  """

  _DELAY = 1.0

  def __init__(self, label: str, total: int = 0, stream: TextIO | None = None):
    self._label = label
    self._stream = stream or sys.stderr
    self._total = total
    self._done = 0
    self._shown_from = time.monotonic() + self._DELAY
    self._bar: tqdm.tqdm | None = None
    self._visible = (
      _progress_is_shown and self._stream.isatty() and os.environ.get("TERM") != "dumb"
    )

  def __enter__(self) -> ProgressBar:
    """Starts the clock that decides whether anything is shown."""
    return self

  def __exit__(self, *unused: object) -> None:
    """Removes the bar."""
    if self._bar is not None:
      self._bar.close()
      self._bar = None

  def advance(self, count: int) -> None:
    """Says that so many more bytes are done."""
    self.update(self._done + count, self._total)

  def update(self, done: int, total: int) -> None:
    """Says how many bytes are done, of how many."""
    before, self._done, self._total = self._done, done, total
    if self._bar is not None:
      self._bar.total = total
      self._bar.update(done - before)
    elif self._visible and time.monotonic() >= self._shown_from:
      self._bar = self._draw()

  def _draw(self) -> tqdm.tqdm:
    import tqdm

    return tqdm.tqdm(
      desc=self._label,
      initial=self._done,
      total=self._total,
      unit="B",
      unit_scale=True,
      unit_divisor=1024,
      file=self._stream,
      leave=False,
      # A ^C behind a line of the whole width would wrap.
      ncols=(width(self._stream) or 80) - 3,
      miniters=1,
    )


def print_json(value: object) -> None:
  """Prints a value for another program.

  Args:
    value: lists, dicts, texts, numbers that are finite, booleans and None.
  """
  import json

  # Keys that are no valid UTF-8 come out as \udcNN, so everything can be printed.
  print(json.dumps(value, indent=2, allow_nan=False))
