"""Damages every golden checkpoint: each bit of its index, and much of its data."""

from __future__ import annotations

import argparse
import pathlib
import tempfile
import time

from tests import golden
from tests.nothing_lost import damaging
from tests.stress import figures


def main() -> None:
  """Runs the program."""
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument("--samples", type=int, default=1000, help="of each file")
  arguments = parser.parse_args()
  sums: dict[str, damaging.Figures] = {}
  start = time.monotonic()
  with tempfile.TemporaryDirectory() as scratch:
    for number, name in enumerate(golden.names()):
      checkpoint = damaging.Golden(name, pathlib.Path(scratch, str(number)))
      for kind, damages in {
        "every bit of the index": checkpoint.index_bits(),
        "bits of the data": checkpoint.data_bits(arguments.samples, seed=1),
        "files cut short": checkpoint.cuts(arguments.samples, seed=2),
        "data files missing": checkpoint.missing(),
        "data files of another": checkpoint.swapped(),
      }.items():
        sums.setdefault(kind, damaging.Figures()).add(checkpoint.look(damages))
      print(name, f"{time.monotonic() - start:.0f} s", flush=True)
  for each in sums.values():
    for what in each.missed:
      print("missed:", what)
  figures.show(
    ("damage", "tried", "found", "tensors refused", "right", "wrong"),
    [(kind, s.tried, s.found, s.refused, s.right, 0) for kind, s in sums.items()],
  )


if __name__ == "__main__":
  main()
