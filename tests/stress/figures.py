"""The tables that the stress programs print."""

from __future__ import annotations

import argparse
import pathlib
import sys
import tempfile
import time
from collections.abc import Sequence
from typing import Callable

from tests.cluster import processes

# Those of tests/nothing_lost/jobs.py.
FORMATS = ("tf1", "tf2", "dual", "separate", "asynchronous")


def show(titles: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
  """Prints a table in Markdown, and the command that made the table."""
  lines = [list(map(str, row)) for row in (titles, *rows)]
  widths = [max(map(len, column)) for column in zip(*lines)]
  lines.insert(1, ["-" * width for width in widths])
  print(f"\n{' '.join(sys.argv)}\n")
  for line in lines:
    cells = (cell.ljust(width) for cell, width in zip(line, widths))
    print(f"| {' | '.join(cells)} |")


def show_each_format(
  description: str | None,
  counted: str,
  default: int,
  titles: Sequence[str],
  run: Callable[[processes.Launcher, pathlib.Path, str, int, int], Sequence[object]],
) -> None:
  """Runs the main loop of a program in each format, and prints a row for each.

  Args:
    description: for --help.
    counted: what the loop does again and again; the name of the flag.
    default: how often, in all formats together.
    titles: of what `run` returns.
    run: is given a launcher, an empty directory, the format, how often, and a seed.
  """
  parser = argparse.ArgumentParser(description=description)
  parser.add_argument(
    f"--{counted}", type=int, default=default, help="in all formats together"
  )
  parser.add_argument("--seed", type=int, default=1)
  arguments = parser.parse_args()
  count = getattr(arguments, counted) // len(FORMATS)
  rows = []
  with tempfile.TemporaryDirectory() as scratch:
    directory = pathlib.Path(scratch)
    with processes.Launcher(directory) as launcher:
      for number, checkpoint_format in enumerate(FORMATS):
        start = time.monotonic()
        cells = run(
          launcher, directory, checkpoint_format, count, arguments.seed + number
        )
        seconds = f"{time.monotonic() - start:.0f} s"
        rows.append((checkpoint_format, *cells, seconds))
        print(*rows[-1], flush=True)
  show(("format", *titles, "time"), rows)
