"""The tables that the stress programs print."""

from __future__ import annotations

import sys
from collections.abc import Sequence


def show(titles: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
  """Prints a table in Markdown, and the command that made the table."""
  lines = [list(map(str, row)) for row in (titles, *rows)]
  widths = [max(map(len, column)) for column in zip(*lines)]
  lines.insert(1, ["-" * width for width in widths])
  print(f"\n{' '.join(sys.argv)}\n")
  for line in lines:
    cells = (cell.ljust(width) for cell, width in zip(line, widths))
    print(f"| {' | '.join(cells)} |")
