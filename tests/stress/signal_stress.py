"""Sends SIGTERM to a training job at random times, in each format.

After each signal, the checkpoint that the state file names is whole, every value follows
from its step, and no step that had ended is lost.
"""

from __future__ import annotations

import argparse
import pathlib
import tempfile
import time

from tests.cluster import processes
from tests.nothing_lost import signalling
from tests.stress import figures

_FORMATS = ("tf1", "tf2", "dual", "separate", "asynchronous")


def main() -> None:
  """Runs the program."""
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument(
    "--signals", type=int, default=100, help="in all formats together"
  )
  parser.add_argument("--seed", type=int, default=1)
  arguments = parser.parse_args()
  rows = []
  with tempfile.TemporaryDirectory() as scratch:
    directory = pathlib.Path(scratch)
    with processes.Launcher(directory) as launcher:
      for number, checkpoint_format in enumerate(_FORMATS):
        start = time.monotonic()
        done = signalling.signal_again_and_again(
          launcher,
          directory,
          checkpoint_format,
          arguments.signals // len(_FORMATS),
          arguments.seed + number,
        )
        rows.append(
          (
            checkpoint_format,
            done.signals,
            done.during_start,
            done.no_step,
            done.steps,
            f"{done.slowest:.1f} s",
            f"{time.monotonic() - start:.0f} s",
          )
        )
        print(*rows[-1], flush=True)
  figures.show(
    ("format", "signals", "at start", "no step", "steps", "slowest end", "time"), rows
  )


if __name__ == "__main__":
  main()
