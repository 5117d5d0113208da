"""Kills a training job with SIGKILL at random times, in each format.

After each kill, the checkpoint that the state file names is whole, every value follows
from its step, and no more than one save interval of steps is lost.
"""

from __future__ import annotations

import argparse
import pathlib
import tempfile
import time

from tests.cluster import processes
from tests.nothing_lost import killing
from tests.stress import figures

_FORMATS = ("tf1", "tf2", "dual", "separate", "asynchronous")


def main() -> None:
  """Runs the program."""
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument("--kills", type=int, default=300, help="in all formats together")
  parser.add_argument("--seed", type=int, default=1)
  arguments = parser.parse_args()
  rows = []
  with tempfile.TemporaryDirectory() as scratch:
    directory = pathlib.Path(scratch)
    with processes.Launcher(directory) as launcher:
      for number, checkpoint_format in enumerate(_FORMATS):
        start = time.monotonic()
        done = killing.kill_again_and_again(
          launcher,
          directory,
          checkpoint_format,
          arguments.kills // len(_FORMATS),
          arguments.seed + number,
        )
        rows.append(
          (
            checkpoint_format,
            done.kills,
            done.during_start,
            done.steps,
            done.with_leftovers,
            f"{done.most_lost} of {killing.SAVE_STEPS}",
            f"{time.monotonic() - start:.0f} s",
          )
        )
        print(*rows[-1], flush=True)
  figures.show(
    ("format", "kills", "at start", "steps", "left files", "most lost", "time"), rows
  )


if __name__ == "__main__":
  main()
