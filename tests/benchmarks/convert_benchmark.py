r"""Whole processes that convert a checkpoint: `estimator-ckpt` and TensorFlow's guide.

  python tests/benchmarks/convert_benchmark.py
  python tests/benchmarks/convert_benchmark.py --megabytes 1024 --rounds=3

Checkpoints of each size are converted in four directions, to another format and back;
the guide's converter goes from TF1 to TF2 and back. The processes take turns. Data
files are sparse, so that ten gigabytes fit. The guide's converter reads and writes all
bytes, so it is left out where it would need more than `--guide_megabytes`.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from typing import Any

from estimator_ckpt.bundle import checksum, dtypes
from estimator_ckpt.bundle.file_names import data_path
from estimator_ckpt.bundle.index import Index
from estimator_ckpt.bundle.messages import BundleEntry
from tests.benchmarks import measuring

_GUIDE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "guide_converter.py")
_MEGABYTE = 1 << 20


def write_sparse(prefix: str, variables: int, size: int) -> None:
  """Writes a TF1 checkpoint of float32 zeros that takes no space on the disk.

  Args:
    prefix: where.
    variables: how many variables, besides the step.
    size: bytes of all variables together.
  """
  os.makedirs(os.path.dirname(prefix), exist_ok=True)
  count = max(1, size // 4 // variables)
  index = Index()
  step = (1234).to_bytes(8, "little")
  crc = checksum.mask(checksum.crc32c(step))
  index.put("global_step", BundleEntry(dtypes.INT64, (), 0, 0, 8, crc))
  crc = checksum.mask(checksum.crc32c(bytes(4 * count)))
  for number in range(variables):
    entry = BundleEntry(
      measuring.FLOAT32, (count,), 0, 8 + number * 4 * count, 4 * count, crc
    )
    index.put(f"model/block_{number % 100}/layer_{number}/kernel", entry)
  with open(data_path(prefix, 0, 1), "wb") as file:
    file.write(step)
    file.truncate(8 + variables * 4 * count)
  index.write(prefix)


def run(
  directory: str, variables: int, megabytes: int, rounds: int, guide: bool
) -> dict[str, dict[str, Any]]:
  """Measures one size.

  Args:
    directory: where to write.
    variables: how many variables.
    megabytes: size of all variables together.
    rounds: number of measured runs of each process.
    guide: whether to measure the guide's converter too.

  Returns:
    For each direction, the result of `measuring.measure`.
  """

  def path(name: str) -> str:
    return os.path.join(directory, name, "model.ckpt-1234")

  def convert(source: str, target: str, to: str) -> list[str]:
    return measuring.program(
      "convert", path(source), path(target), f"--to={to}", "--overwrite"
    )

  write_sparse(path("tf1"), variables, megabytes * _MEGABYTE)
  commands = {
    "tf1 to dual": convert("tf1", "dual", "dual"),
    "tf1 to tf2": convert("tf1", "tf2", "tf2"),
    "dual to tf1": convert("dual", "tf1_from_dual", "tf1"),
    "tf2 to tf1": convert("tf2", "tf1_from_tf2", "tf1"),
  }
  if guide:
    python = [sys.executable, _GUIDE]
    commands["guide, tf1 to tf2"] = [*python, "tf2", path("tf1"), path("guide_tf2")]
    commands["guide, tf2 to tf1"] = [*python, "tf1", path("tf2"), path("guide_tf1")]
    for name in ("guide_tf1", "guide_tf2"):
      os.makedirs(os.path.dirname(path(name)))
  return measuring.measure(commands, rounds)


def show(rows: dict[str, dict[str, Any]]) -> None:
  """Prints the table of one size."""
  print(f"{'':18}{'median, s':>11}{'fastest, s':>12}{'peak, MB':>10}{'':>10}")
  for name, row in rows.items():
    faster = ""
    guide = rows.get(
      "guide, tf2 to tf1" if name.endswith("to tf1") else "guide, tf1 to tf2"
    )
    if guide is not None and not name.startswith("guide"):
      faster = f"{guide['seconds'] / row['seconds']:9.0f}x"
    print(
      f"{name:18}{row['seconds']:11.3f}{row['fastest']:12.3f}"
      f"{row['peak_megabytes']:10.1f}{faster}"
    )


def growth(sizes: list[dict[str, Any]], counts: list[dict[str, Any]]) -> dict[str, str]:
  """Says how time grows with the bytes (it should not) and with the variables.

  Args:
    sizes: measurements of checkpoints of different sizes in bytes.
    counts: measurements of checkpoints with different numbers of variables.

  Returns:
    A sentence on each, if there are two or more measurements to compare.
  """
  said = {}
  if len(sizes) > 1:
    spreads = []
    for name in sizes[0]["rows"]:
      seconds = [s["rows"][name]["seconds"] for s in sizes if name in s["rows"]]
      if not name.startswith("guide"):
        spreads.append(f"{name} {max(seconds) / min(seconds) - 1:.0%}")
    said["bytes"] = "slowest size over fastest: " + ", ".join(spreads)
  if len(counts) > 1:
    first, last = counts[0], counts[-1]
    times = last["variables"] / first["variables"]
    ratios = [
      f"{name} {row['seconds'] / first['rows'][name]['seconds']:.1f}x"
      for name, row in last["rows"].items()
    ]
    said["variables"] = f"{times:.1f}x the variables take: " + ", ".join(ratios)
  return said


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--variables", type=int, default=200)
  parser.add_argument("--megabytes", type=int, nargs="*", default=[1, 100, 1024, 10240])
  parser.add_argument(
    "--many",
    type=int,
    nargs="*",
    default=[25_000, 50_000, 100_000],
    help="variables of further, small checkpoints",
  )
  parser.add_argument("--rounds", type=int, default=10)
  parser.add_argument("--guide_megabytes", type=int, default=1024)
  parser.add_argument("--directory", help="where to write; a temporary one by default")
  parser.add_argument("--json", default="convert_benchmark.json")
  args = parser.parse_args()
  results = []
  sizes = [(args.variables, megabytes) for megabytes in args.megabytes]
  sizes += [(many, 1) for many in args.many]
  for variables, megabytes in sizes:
    guide = megabytes <= args.guide_megabytes and variables <= 10_000
    with tempfile.TemporaryDirectory(dir=args.directory) as directory:
      rows = run(directory, variables, megabytes, args.rounds, guide)
    print(f"\n{variables:,} variables, {megabytes:,} MB, {args.rounds} rounds")
    show(rows)
    results.append({"variables": variables, "megabytes": megabytes, "rows": rows})
  summary = growth(results[: len(args.megabytes)], results[len(args.megabytes) :])
  for line in summary.values():
    print(f"\n{line}")
  measuring.write_json(args.json, {"sizes": results, "summary": summary})


if __name__ == "__main__":
  main()
