"""Time and bytes of a save with parameter servers: the stock sharded Saver against dual.

  ./bazelw run //tests/benchmarks:cluster_benchmark
  ./bazelw run //tests/benchmarks:cluster_benchmark -- --variables=10000 --megabytes=40

Starts servers as processes on loopback; variables are spread over them in turns, as
`tf.compat.v1.train.replica_device_setter` does. This process is the chief. The savers
take turns, so that other load on the machine affects them alike. Prints a table and
writes JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import pathlib
import shutil
import statistics
import tempfile
import time
from typing import Any

import tensorflow as tf

from estimator_ckpt.bundle.index import Index
from estimator_ckpt.training import dual_index
from estimator_ckpt.training.saver import CheckpointSaver
from tests.benchmarks import save_benchmark
from tests.cluster import clusters

v1 = tf.compat.v1


def run(
  num_ps: int,
  count: int,
  megabytes: float,
  rounds: int,
  directory: str,
) -> dict[str, Any]:
  """Measures one number of variables.

  Args:
    num_ps: number of servers.
    count: number of variables, float32 and of equal size.
    megabytes: size of all variables together.
    rounds: number of saves by each saver.
    directory: where to write.

  Returns:
    Seconds and bytes of `stock` and `dual`; `bytes_ratio`; `ratio` of the fastest
    saves; `median_ratio`; and `index_step`, the least and the median seconds of the
    step that dual adds.
  """
  with clusters.served_chief(directory, num_ps) as chief:
    with tf.Graph().as_default() as graph:
      with graph.device(chief.device):
        session = _build(count, megabytes, chief.target)
      savers = {"stock": v1.train.Saver(sharded=True, max_to_keep=1)}
      savers["dual"] = CheckpointSaver("dual", max_to_keep=1)
      savers["dual"].build()
      paths = {name: os.path.join(directory, name, "model.ckpt") for name in savers}
      for path in paths.values():
        os.makedirs(os.path.dirname(path))

      def save(name: str) -> Any:
        return lambda step: savers[name].save(
          session, paths[name], global_step=step, write_meta_graph=False
        )

      times = save_benchmark.interleaved({name: save(name) for name in savers}, rounds)
      sizes = {name: save_benchmark.bytes_of(path) for name, path in paths.items()}
      last = f"{paths['dual']}-{rounds}"
      assert Index.read(last).header.num_shards == num_ps
      steps = _index_step(last, savers["dual"].plan, rounds)
      session.close()
  fastest = {name: min(each) for name, each in times.items()}
  medians = {name: statistics.median(each) for name, each in times.items()}
  return {
    "variables": count,
    "megabytes": megabytes,
    **{
      name: {"bytes": sizes[name], "seconds": fastest[name], "median": medians[name]}
      for name in savers
    },
    "bytes_ratio": sizes["dual"] / sizes["stock"],
    "ratio": fastest["dual"] / fastest["stock"],
    "median_ratio": medians["dual"] / medians["stock"],
    "index_step": {"seconds": min(steps), "median": statistics.median(steps)},
  }


def _build(count: int, megabytes: float, target: str) -> v1.Session:
  size = max(1, int(megabytes * 2**20 / 4 / count))
  v1.train.create_global_step()
  for i in range(count):
    initializer = v1.random_uniform_initializer(seed=i)
    v1.get_variable(f"layer_{i}/kernel", [size], initializer=initializer)
  session = v1.Session(target)
  session.run(v1.global_variables_initializer())
  return session


def _index_step(prefix: str, plan: Any, rounds: int) -> list[float]:
  """Seconds for adding the names to an index that has no names yet."""
  index = Index.read(prefix)
  for name in plan.aliases:
    index.remove(name)
  bare = index.serialize()
  times = []
  for _ in range(rounds):
    pathlib.Path(prefix + ".index").write_bytes(bare)
    start = time.perf_counter()
    dual_index.add_aliases(prefix, plan)
    times.append(time.perf_counter() - start)
  return times


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument(
    "--variables", default="100,1000,10000", help="one row of the table for each"
  )
  parser.add_argument("--megabytes", type=float, default=1024)
  parser.add_argument("--servers", type=int, default=2)
  parser.add_argument("--rounds", type=int, default=12)
  parser.add_argument("--directory", help="where to write; a temporary one by default")
  parser.add_argument("--json", default="cluster_benchmark.json")
  args = parser.parse_args()
  tf.get_logger().setLevel("ERROR")
  rows = []
  print(
    f"{args.servers} servers, {args.megabytes:g} MB, {args.rounds} interleaved rounds\n"
    "\n"
    f"{'':9}{'stock Saver':>28}{'dual':>28}\n"
    f"{'variables':>9}{'bytes':>16}{'save, s':>12}{'bytes':>12}{'best':>8}"
    f"{'median':>8}{'index step':>12}"
  )
  for count in map(int, args.variables.split(",")):
    directory = tempfile.mkdtemp(prefix="cluster_benchmark_", dir=args.directory)
    try:
      row = run(args.servers, count, args.megabytes, args.rounds, directory)
    finally:
      shutil.rmtree(directory)
    rows.append(row)
    print(
      f"{count:9,}{row['stock']['bytes']:16,}{row['stock']['seconds']:12.3f}"
      f"{row['bytes_ratio']:11.5f}x{row['ratio']:7.2f}x{row['median_ratio']:7.2f}x"
      f"{1000 * row['index_step']['median']:9.1f} ms",
      flush=True,
    )
  with open(args.json, "w", encoding="utf-8") as f:
    json.dump({"arguments": vars(args), "rows": rows}, f, indent=2)
  print(f"\nWritten: {args.json}")


if __name__ == "__main__":
  main()
