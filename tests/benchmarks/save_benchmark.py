"""Time and bytes of saving and restoring, against the stock Saver.

  python tests/benchmarks/save_benchmark.py [--variables=200] [--megabytes=1024]
  python tests/benchmarks/save_benchmark.py --variables=5000 --megabytes=20 --processor

One graph and one Session hold the same variables with every saver. The savers take
turns, so that other load on the machine affects them alike. The table shows the fastest
save of each, and the spread. With `--processor` it shows processor time, of which a busy
machine changes less. Prints the table and writes JSON.

Under TensorFlow 1.15 the variables are reference variables, as in most jobs there.
"""

from __future__ import annotations

import argparse
import glob
import json
import os
import shutil
import statistics
import tempfile
import time
from typing import Any, Callable

import numpy as np
import tensorflow as tf

from estimator_ckpt.training.saver import CheckpointSaver

v1 = tf.compat.v1


class Both:
  """Saves both formats one after the other, as a user has to without this library."""

  def __init__(self, saver: Any, checkpoint: tf.train.Checkpoint):
    self._saver = saver
    self._checkpoint = checkpoint

  def save(self, session: v1.Session, path: str, step: int) -> None:
    """Saves both checkpoints, and deletes those of the step before."""
    self._saver.save(session, path, global_step=step, write_meta_graph=False)
    with session.as_default():
      self._checkpoint.write(f"{path}-tf2-{step}")
    for name in glob.glob(f"{path}-tf2-{step - 1}.*"):
      os.remove(name)


def build(count: int, megabytes: float) -> v1.Session:
  """A session with `count` float32 variables of `megabytes` in total."""
  size = max(1, int(megabytes * 2**20 / 4 / count))
  v1.train.create_global_step()
  for i in range(count):
    shape = [size] if size < 64 else [size // 64, 64]
    v1.get_variable(
      f"layer_{i}/kernel", shape, initializer=v1.random_uniform_initializer(seed=i)
    )
  session = v1.Session()
  session.run(v1.global_variables_initializer())
  return session


def interleaved(
  work: dict[str, Callable[[int], None]],
  rounds: int,
  clock: Callable[[], float] = time.perf_counter,
) -> dict[str, list[float]]:
  """Seconds of each function by a clock, run `rounds` times in turns."""
  times: dict[str, list[float]] = {name: [] for name in work}
  names = list(work)
  for turn in range(rounds + 1):
    order = names if turn % 2 else names[::-1]
    for name in order:
      start = clock()
      work[name](turn)
      if turn:  # The first turn only warms up.
        times[name].append(clock() - start)
  return times


def bytes_of(path: str) -> int:
  """Total size of the files of a prefix."""
  return sum(os.path.getsize(name) for name in glob.glob(path + "*"))


def run(
  count: int,
  megabytes: float,
  rounds: int,
  directory: str,
  formats: list[str],
  clock: Callable[[], float],
) -> dict[str, Any]:
  """Measures one size; returns rows by name."""
  with tf.Graph().as_default():
    session = build(count, megabytes)
    variables = {v.op.name: v for v in v1.global_variables()}
    stock, second = (
      v1.train.Saver(sharded=True, save_relative_paths=True, max_to_keep=1)
      for _ in range(2)
    )
    # The constructor of TensorFlow 1.15.5 takes no mapping, and an attribute may be one.
    checkpoint = tf.compat.v2.train.Checkpoint()
    checkpoint.var_list = variables
    both = Both(second, checkpoint)
    savers: dict[str, Any] = {"stock": stock}
    for checkpoint_format in [each for each in formats if each != "both"]:
      savers[checkpoint_format] = CheckpointSaver(checkpoint_format, max_to_keep=1)
      savers[checkpoint_format].build()
    paths = {name: os.path.join(directory, name, "model.ckpt") for name in savers}
    if "both" in formats:
      paths["both"] = os.path.join(directory, "both", "model.ckpt")
    for path in paths.values():
      os.makedirs(os.path.dirname(path))

    def save(name: str) -> Callable[[int], None]:
      if name == "both":
        return lambda step: both.save(session, paths[name], step)
      return lambda step: savers[name].save(
        session, paths[name], global_step=step, write_meta_graph=False
      )

    def restore(name: str) -> Callable[[int], None]:
      return lambda _: savers[name].restore(session, f"{paths[name]}-{rounds}")

    saved = interleaved({name: save(name) for name in paths}, rounds, clock)
    sizes = {name: bytes_of(path) for name, path in paths.items()}
    expected = session.run(variables[f"layer_{count - 1}/kernel"])
    restored = interleaved({name: restore(name) for name in savers}, rounds, clock)
    found = session.run(variables[f"layer_{count - 1}/kernel"])
    np.testing.assert_array_equal(expected, found)
  return {
    name: {
      "bytes": sizes[name],
      "bytes_ratio": sizes[name] / sizes["stock"],
      **_summary("save", saved[name], saved["stock"]),
      **(
        _summary("restore", restored[name], restored["stock"])
        if name in restored
        else {}
      ),
    }
    for name in paths
  }


def _summary(what: str, times: list[float], stock: list[float]) -> dict[str, float]:
  return {
    f"{what}_seconds": min(times),
    f"{what}_median": statistics.median(times),
    f"{what}_ratio": min(times) / min(stock),
    f"{what}_median_ratio": statistics.median(times) / statistics.median(stock),
  }


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--variables", type=int, default=200)
  parser.add_argument("--megabytes", type=float, default=1024)
  parser.add_argument("--rounds", type=int, default=12)
  parser.add_argument(
    "--formats",
    default="tf1,tf2,dual,both",
    help="what is measured besides the stock Saver; 'both' saves TF1 and TF2 in turn",
  )
  parser.add_argument("--directory", help="where to write; a temporary one by default")
  parser.add_argument(
    "--processor", action="store_true", help="measure processor time of all threads"
  )
  parser.add_argument("--json", default="save_benchmark.json")
  args = parser.parse_args()
  directory = tempfile.mkdtemp(prefix="save_benchmark_", dir=args.directory)
  try:
    formats = args.formats.split(",")
    clock = time.process_time if args.processor else time.perf_counter
    rows = run(args.variables, args.megabytes, args.rounds, directory, formats, clock)
  finally:
    shutil.rmtree(directory)
  print(
    f"{args.variables} variables, {args.megabytes:g} MB, {args.rounds} interleaved "
    f"rounds, {'processor' if args.processor else 'wall-clock'} time; ratios are to the "
    "stock Saver\n"
  )
  print(
    f"{'':6}{'bytes':>14}{'':>9}{'save, s':>10}{'best':>8}{'median':>8}"
    f"{'restore':>10}{'best':>8}{'median':>8}"
  )
  for name, row in rows.items():
    line = f"{name:6}{row['bytes']:14,}{row['bytes_ratio']:8.4f}x"
    line += f"{row['save_seconds']:10.3f}{row['save_ratio']:7.2f}x"
    line += f"{row['save_median_ratio']:7.2f}x"
    if "restore_seconds" in row:
      line += f"{row['restore_seconds']:10.3f}{row['restore_ratio']:7.2f}x"
      line += f"{row['restore_median_ratio']:7.2f}x"
    print(line)
  with open(args.json, "w", encoding="utf-8") as f:
    json.dump({"arguments": vars(args), "rows": rows}, f, indent=2)
  print(f"\nWritten: {args.json}")


if __name__ == "__main__":
  main()
