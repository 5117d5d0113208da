"""Readers of every kind, for thousands of saves of a job that keeps two checkpoints.

Each reader compares every value with the step. A checkpoint may be deleted during a
read; such reads are counted, and have to end with one clear error.
"""

from __future__ import annotations

import argparse
import pathlib
import subprocess
import sys
import tempfile
import time

from tests.cluster import processes
from tests.nothing_lost import killing
from tests.stress import figures

_READING = "tests.nothing_lost.reading"
_READERS = ("open_checkpoints", "inspect", "convert", "iterate", "load_checkpoints")
_ROOT = pathlib.Path(__file__).resolve().parent.parent.parent


def main() -> None:
  """Runs the program."""
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument("--saves", type=int, default=5000)
  parser.add_argument("--pause", type=float, default=0.02, help="seconds after each")
  parser.add_argument("--format", default="dual", choices=figures.FORMATS)
  arguments = parser.parse_args()
  start = time.monotonic()
  with tempfile.TemporaryDirectory() as scratch:
    directory = pathlib.Path(scratch)
    paths = {"model_dir": str(directory / "model"), "stop": str(directory / "stop")}
    seconds = 36000
    with processes.Launcher(directory) as launcher:
      readers = {
        name: launcher.start(name, f"{_READING}:{name}", seconds=seconds, **paths)
        for name in _READERS
      }
      readers["evaluate"] = launcher.start(
        "evaluate",
        f"{_READING}:evaluate",
        checkpoint_format=arguments.format,
        seconds=seconds,
        **paths,
      )
      environment = _ROOT / "third_party" / "python" / "environment.py"
      python = subprocess.run(
        [sys.executable, str(environment), "tf115"], capture_output=True, text=True
      ).stdout.strip()
      follower = None
      if python:
        program = str(_ROOT / "tests/nothing_lost/tf1_15_follower.py")
        follower = subprocess.Popen(
          [python, program, paths["model_dir"], paths["stop"], str(seconds)],
          stdout=subprocess.PIPE,
          text=True,
        )
      launcher.start(
        "job",
        f"{_READING}:save_many",
        checkpoint_format=arguments.format,
        saves=arguments.saves,
        pause=arguments.pause,
        **paths,
      ).wait(seconds)
      rows = []
      for name, reader in readers.items():
        seen = reader.wait(600)
        rows.append((name, seen.read, seen.deleted))
      if follower is not None:
        output = follower.communicate()[0]
        assert follower.returncode == 0
        rows.append(("TensorFlow 1.15's Saver", *output.split()))
    assert killing.check_directory(paths["model_dir"]) == arguments.saves
  figures.show(("reader", "read whole", "deleted under it"), rows)
  print(f"({arguments.saves} saves in {time.monotonic() - start:.0f} s)")


if __name__ == "__main__":
  main()
