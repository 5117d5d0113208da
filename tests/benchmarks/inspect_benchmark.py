"""Time and memory of `estimator-ckpt inspect`, against `tf.train.list_variables`.

  python -m tests.benchmarks.inspect_benchmark [--megabytes=1024]

Measures whole processes, including the start of Python and all imports. The comparison
needs TensorFlow. Prints a table and writes JSON.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import shutil
import sys
import tempfile
from typing import Any

from tests.benchmarks import measuring

_LIST_VARIABLES = "import sys, tensorflow as tf; tf.train.list_variables(sys.argv[1])"


def run(megabytes: int, rounds: int, directory: str) -> dict[str, dict[str, Any]]:
  """Runs the benchmark; returns rows by name."""
  prefixes = {}
  for name, variables, size, dual in (
    (f"{megabytes:,} MB, 200 variables", 200, megabytes << 20, False),
    (f"{megabytes:,} MB, 200 variables, dual", 200, megabytes << 20, True),
    *(
      (f"{many:,} variables{', dual' * dual}", many, many * 400, dual)
      for dual in (False, True)
      for many in (25_000, 50_000, 100_000)
    ),
  ):
    prefix = os.path.join(directory, name.replace(" ", "_"), "model.ckpt-1234")
    measuring.write_checkpoint(prefix, variables, size, dual=dual)
    prefixes[name] = prefix
  commands = {
    name: measuring.program("inspect", prefix) for name, prefix in prefixes.items()
  }
  first = next(iter(prefixes))
  commands["python -c pass"] = [sys.executable, "-c", "pass"]
  has_tensorflow = importlib.util.find_spec("tensorflow") is not None
  if has_tensorflow:
    stock = [sys.executable, "-c", _LIST_VARIABLES, prefixes[first]]
    commands[f"tf.train.list_variables, {first}"] = stock
  rows = measuring.measure(commands, rounds)
  if has_tensorflow:
    stock_seconds = rows[f"tf.train.list_variables, {first}"]["seconds"]
    rows[first]["times_faster"] = stock_seconds / rows[first]["seconds"]
  for kind in ("", ", dual"):
    few, many = (rows[f"{n:,} variables{kind}"] for n in (25_000, 100_000))
    many["times_that_of_a_quarter"] = many["seconds"] / few["seconds"]
  return rows


def main() -> None:
  """Parses flags, prints a table, writes JSON."""
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--megabytes", type=int, default=1024)
  parser.add_argument("--rounds", type=int, default=10)
  parser.add_argument("--directory", help="where to write; a temporary one by default")
  parser.add_argument("--json", default="inspect_benchmark.json")
  args = parser.parse_args()
  directory = tempfile.mkdtemp(prefix="inspect_benchmark_", dir=args.directory)
  try:
    rows = run(args.megabytes, args.rounds, directory)
  finally:
    shutil.rmtree(directory)
  print(f"Whole processes, median of {args.rounds}\n")
  print(f"{'':58}{'median, s':>10}{'fastest':>10}{'peak, MB':>10}{'faster':>9}")
  for name, row in rows.items():
    faster = f"{row['times_faster']:8.1f}x" if "times_faster" in row else ""
    print(
      f"{name:58}{row['seconds']:10.3f}{row['fastest']:10.3f}"
      f"{row['peak_megabytes']:10.1f}{faster:>9}"
    )
  for name, row in rows.items():
    if "times_that_of_a_quarter" in row:
      print(
        f"\n{name}: {row['times_that_of_a_quarter']:.1f}x what a quarter of them takes"
      )
  measuring.write_json(args.json, rows)


if __name__ == "__main__":
  main()
