"""Saves thousands of times in one process, in each format, and measures resources.

Memory, open files, threads, nodes of the graph and Python objects may not grow.
"""

from __future__ import annotations

import argparse
import pathlib
import tempfile
import time

from tests.cluster import processes
from tests.nothing_lost import killing
from tests.stress import figures

# None is stock TensorFlow, for comparison.
_FORMATS = (None, "tf1", "tf2", "dual", "separate", "asynchronous")


def main() -> None:
  """Runs the program."""
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument("--saves", type=int, default=10000, help="in each format")
  arguments = parser.parse_args()
  rows = []
  with tempfile.TemporaryDirectory() as scratch:
    directory = pathlib.Path(scratch)
    with processes.Launcher(directory) as launcher:
      for checkpoint_format in _FORMATS:
        start = time.monotonic()
        name = checkpoint_format or "stock"
        seen = launcher.start(
          name,
          "tests.nothing_lost.saving:save_many_times",
          model_dir=str(directory / name),
          checkpoint_format=checkpoint_format,
          saves=arguments.saves,
          looks=10,
        ).wait(36000)
        step = killing.check_directory(directory / name)
        assert step == arguments.saves
        for each in seen:
          print(name, each, flush=True)
        middle, last = seen[len(seen) // 2 - 1], seen[-1]
        rows.append(
          (
            name,
            last.saves,
            f"{middle.kilobytes / 1024:.1f} -> {last.kilobytes / 1024:.1f}",
            f"{middle.files} -> {last.files}",
            f"{middle.nodes} -> {last.nodes}",
            f"{middle.objects} -> {last.objects}",
            f"{time.monotonic() - start:.0f} s",
          )
        )
  figures.show(("format", "saves", "MB", "files", "nodes", "objects", "time"), rows)
  print(f"(after {middle.saves} saves -> after {last.saves})")


if __name__ == "__main__":
  main()
