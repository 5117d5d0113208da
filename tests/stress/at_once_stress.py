"""Runs two offline commands that write to one place at the same time, again and again.

Each place ends with one command's whole result; the other reports what it found.
"""

from __future__ import annotations

import argparse
import pathlib
import tempfile
import time

from tests.nothing_lost import at_once
from tests.stress import figures


def main() -> None:
  """The program."""
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument("--runs", type=int, default=100, help="of each pair")
  parser.add_argument("--seed", type=int, default=1)
  arguments = parser.parse_args()
  rows = []
  with tempfile.TemporaryDirectory() as scratch:
    for pair in at_once.PAIRS:
      for overwrite in (False, True):
        start = time.monotonic()
        directory = pathlib.Path(scratch) / str(len(rows))
        directory.mkdir()
        place = at_once.Place(directory, pair, overwrite)
        both = 0
        for run in range(arguments.runs):
          one, other = place.fresh(f"run{run}")
          outcomes = at_once.together(one, other, arguments.seed * 1_000_000 + run)
          place.check(outcomes, run)
          both += all(outcome.done for outcome in outcomes)
        seconds = f"{time.monotonic() - start:.0f} s"
        what = "overwrite" if overwrite else "new"
        rows.append((pair.name, what, arguments.runs, both, 0, seconds))
        print(*rows[-1], flush=True)
  figures.show(
    ("commands", "place", "runs", "one after the other", "lost", "time"), rows
  )


if __name__ == "__main__":
  main()
