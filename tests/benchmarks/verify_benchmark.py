"""Speed and memory of `estimator-ckpt verify` with every checksum, against `cat`.

  python -m tests.benchmarks.verify_benchmark [--megabytes=4096]

Both read a checkpoint that was just written, from the page cache if it fits. Prints
a table and writes JSON.
"""

from __future__ import annotations

import argparse
import os
import shutil
import tempfile
from typing import Any

from estimator_ckpt.bundle.file_names import data_path
from tests.benchmarks import measuring


def run(megabytes: int, rounds: int, directory: str) -> dict[str, dict[str, Any]]:
  """Runs the benchmark; returns rows by name."""
  prefixes = {}
  for name, variables in (("200 variables", 200), ("100,000 variables", 100_000)):
    prefix = os.path.join(directory, str(variables), "model.ckpt-1234")
    measuring.write_checkpoint(prefix, variables, megabytes << 20)
    prefixes[name] = prefix
  commands = {}
  for name, prefix in prefixes.items():
    commands[f"verify, {name}"] = measuring.program("verify", prefix)
    commands[f"verify --fast, {name}"] = measuring.program("verify", prefix, "--fast")
  first = next(iter(prefixes.values()))
  commands["cat"] = ["cat", data_path(first, 0, 1)]
  rows = measuring.measure(commands, rounds)
  for name, row in rows.items():
    if "--fast" not in name:
      row["gigabytes_per_second"] = (megabytes << 20) / 1e9 / row["seconds"]
      row["times_cat"] = row["seconds"] / rows["cat"]["seconds"]
  return rows


def main() -> None:
  """Parses flags, prints a table, writes JSON."""
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--megabytes", type=int, default=4096)
  parser.add_argument("--rounds", type=int, default=10)
  parser.add_argument("--directory", help="where to write; a temporary one by default")
  parser.add_argument("--json", default="verify_benchmark.json")
  args = parser.parse_args()
  directory = tempfile.mkdtemp(prefix="verify_benchmark_", dir=args.directory)
  try:
    rows = run(args.megabytes, args.rounds, directory)
  finally:
    shutil.rmtree(directory)
  print(f"{args.megabytes:,} MB, whole processes, median of {args.rounds}\n")
  print(f"{'':36}{'median, s':>10}{'fastest':>10}{'peak, MB':>10}{'GB/s':>8}{'cat':>7}")
  for name, row in rows.items():
    speed, times = row.get("gigabytes_per_second"), row.get("times_cat")
    print(
      f"{name:36}{row['seconds']:10.3f}{row['fastest']:10.3f}"
      f"{row['peak_megabytes']:10.1f}{f'{speed:.2f}' if speed else '':>8}"
      f"{f'{times:.1f}x' if times else '':>7}"
    )
  measuring.write_json(args.json, rows)


if __name__ == "__main__":
  main()
