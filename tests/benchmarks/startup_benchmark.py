"""How long commands on a small checkpoint take, in starts of Python.

  python -m tests.benchmarks.startup_benchmark [--rounds=30]

Runs each command as a process, in turns with `python -c pass`, with compiled modules as
an installation has them. Prints a table and writes JSON.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
from typing import Any

from tests.benchmarks import measuring

_PASS = "python -c pass"
# What `pip install` writes into the file `estimator-ckpt`.
_SCRIPT = "import sys; from estimator_ckpt.cli.main import run; sys.exit(run())"


def run(rounds: int, directory: str) -> dict[str, dict[str, Any]]:
  """Runs the benchmark; returns rows by name."""
  prefix = os.path.join(directory, "model.ckpt-1234")
  measuring.write_checkpoint(prefix, 20, 100_000, dual=True)
  target = os.path.join(directory, "converted", "model.ckpt-1234")
  new_target = os.path.join(directory, "converted_{turn}", "model.ckpt-1234")
  convert = ("convert", prefix, new_target, "--to=tf2")
  replace = ("convert", prefix, target, "--to=tf2", "--overwrite")
  commands = {
    _PASS: [sys.executable, "-c", "pass"],
    "inspect": [sys.executable, "-c", _SCRIPT, "inspect", prefix],
    "convert": [sys.executable, "-c", _SCRIPT, *convert],
    "convert --overwrite": [sys.executable, "-c", _SCRIPT, *replace],
    "--help": [sys.executable, "-c", _SCRIPT, "--help"],
    "python -m estimator_ckpt inspect": measuring.program("inspect", prefix),
    "python -c 'import argparse'": [sys.executable, "-c", "import argparse"],
    "python -c 'import dataclasses'": [sys.executable, "-c", "import dataclasses"],
    "python -c 'import numpy'": [sys.executable, "-c", "import numpy"],
  }
  rows = measuring.measure(commands, rounds)
  for row in rows.values():
    row["starts"] = row["seconds"] / rows[_PASS]["seconds"]
    row["starts_fastest"] = row["fastest"] / rows[_PASS]["fastest"]
  return rows


def main() -> None:
  """Parses flags, prints a table, writes JSON."""
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--rounds", type=int, default=30)
  parser.add_argument("--directory", help="where to write; a temporary one by default")
  parser.add_argument("--json", default="startup_benchmark.json")
  args = parser.parse_args()
  directory = tempfile.mkdtemp(prefix="startup_benchmark_", dir=args.directory)
  try:
    rows = run(args.rounds, directory)
  finally:
    shutil.rmtree(directory)
  print(f"Whole processes, median of {args.rounds}\n")
  print(f"{'':36}{'ms':>8}{'fastest':>9}{'starts':>8}{'fastest':>9}")
  for name, row in rows.items():
    print(
      f"{name:36}{row['seconds'] * 1e3:8.1f}{row['fastest'] * 1e3:9.1f}"
      f"{row['starts']:8.2f}{row['starts_fastest']:9.2f}"
    )
  measuring.write_json(args.json, rows)


if __name__ == "__main__":
  main()
