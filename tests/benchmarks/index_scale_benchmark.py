"""Size, time and memory of the index step of a dual save, simulated up to its limits.

  ./bazelw run //tests/benchmarks:index_scale_benchmark
  ./bazelw run //tests/benchmarks:index_scale_benchmark -- --sizes=1000000x1000

For each number of variables and of shards, writes an index as the servers would leave
it, without data, and adds the names as the chief does. Each size runs in a process of
its own. Prints a table, the cost of each variable, and the limit that is reached first.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from typing import Any

from estimator_ckpt.bundle.file_names import index_path
from estimator_ckpt.bundle.index import Index
from estimator_ckpt.bundle.messages import BundleEntry, BundleHeader
from estimator_ckpt.bundle.recurring import RecurringIndex
from estimator_ckpt.checkpoint import key_plan
from estimator_ckpt.checkpoint.formats import CheckpointFormat
from estimator_ckpt.training import dual_index
from tests.benchmarks import measuring

# The limit of a protocol buffer: a graph, a string tensor in it, its MetaGraph.
_LARGEST_MESSAGE = 2**31
_SLOTS = ("", "/Adam", "/Adam_1")
# The second save remembers the form of the index, and the third uses it.
_SAVES = 3


def simulate(variables: int, shards: int, directory: str) -> dict[str, Any]:
  """Adds names to an index of the given size.

  Args:
    variables: number of variables; a third are weights, the others their Adam slots.
    shards: number of data files, one for each server.
    directory: where to write the index.

  Returns:
    Bytes of the index before and after, and of the object graph; processor seconds of
    planning (once in a job) and of the step after the first save, the second and the
    third; and the peak memory of the process in megabytes, with one step and with all.
  """
  names = [
    f"model/block_{i // 3 % 100}/layer_{i // 3}/kernel{_SLOTS[i % 3]}"
    for i in range(variables)
  ]
  names.sort()  # as a Saver sorts its variables
  start = time.process_time()
  plan = key_plan.plan_save(
    [key_plan.Saved(name) for name in names], CheckpointFormat.DUAL
  )
  assert plan.object_graph is not None
  object_graph = len(plan.object_graph.serialize())
  planned = time.process_time() - start
  prefix = os.path.join(directory, "model.ckpt-1")
  seconds = []
  peaks = []
  recurring = RecurringIndex()
  for save in range(_SAVES):
    _write_bare(prefix, [plan.keys[name] for name in names], shards, save)
    before = os.path.getsize(index_path(prefix))
    start = time.process_time()
    dual_index.add_aliases(prefix, plan, recurring)
    seconds.append(time.process_time() - start)
    peaks.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
  return {
    "variables": variables,
    "shards": shards,
    "bytes_before": before,
    "bytes": os.path.getsize(index_path(prefix)),
    "object_graph_bytes": object_graph,
    "plan_seconds": planned,
    "seconds": seconds,
    "peak_megabytes": peaks[0],
    "peak_megabytes_of_all": peaks[-1],
  }


def _write_bare(prefix: str, keys: Sequence[str], shards: int, save: int) -> None:
  """Writes an index as the servers leave it; saves differ in the checksums alone."""
  index = Index(BundleHeader(num_shards=shards))
  for i, key in enumerate(keys):
    # A real entry has a checksum, and an offset of some bytes.
    entry = BundleEntry(
      measuring.FLOAT32,
      (1024, 256),
      i % shards,
      2**20 * (i // shards),
      2**20,
      0x9E3779B9 + save,
    )
    index.put(key, entry)
  index.write(prefix, sync=False)


def graph_bytes_a_variable() -> float:
  """A third of the bytes that a weight with Adam and saver ops adds to a MetaGraph."""
  import tensorflow as tf

  from estimator_ckpt import dual_scaffold

  v1 = tf.compat.v1
  sizes = []
  for count in (100, 200):
    with tf.Graph().as_default() as graph:
      step = v1.train.create_global_step()
      loss = 0.0
      for i in range(count):
        weight = v1.get_variable(f"model/block_{i}/layer_{i}/kernel", [8, 8])
        loss += tf.reduce_sum(weight * weight)
      v1.train.AdamOptimizer().minimize(loss, step)
      dual_scaffold().finalize()
      sizes.append(graph.as_graph_def().ByteSize())
  return (sizes[1] - sizes[0]) / 100 / len(_SLOTS)


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument(
    "--sizes",
    default="1000x2,10000x2,100000x2,100000x1000,1000000x1000",
    help="variables x shards",
  )
  parser.add_argument("--json", default="index_scale_benchmark.json")
  parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
  args = parser.parse_args()
  if args.one:
    with tempfile.TemporaryDirectory() as directory:
      print(json.dumps(simulate(*map(int, args.sizes.split("x")), directory)))
    return
  rows = []
  print(
    f"{'variables':>10}{'shards':>8}{'index, MB':>11}{'of them dual':>14}"
    f"{'plan, s':>9}{'1st step':>9}{'2nd':>9}{'3rd':>9}{'peak, MB':>10}{'of all':>9}"
  )
  for size in args.sizes.split(","):
    answer = subprocess.run(
      [sys.executable, os.path.abspath(__file__), "--one", f"--sizes={size}"],
      env={**os.environ, "PYTHONPATH": measuring.ROOT},
      stdout=subprocess.PIPE,
      check=True,
    )
    row = json.loads(answer.stdout)
    rows.append(row)
    print(
      f"{row['variables']:10,}{row['shards']:8,}{row['bytes'] / 1e6:11.1f}"
      f"{(row['bytes'] - row['bytes_before']) / 1e6:14.1f}{row['plan_seconds']:9.2f}"
      + "".join(f"{seconds:9.2f}" for seconds in row["seconds"])
      + f"{row['peak_megabytes']:10,.0f}{row['peak_megabytes_of_all']:9,.0f}",
      flush=True,
    )
  last = rows[-1]
  per = {
    "index": last["bytes"] / last["variables"],
    "object graph": last["object_graph_bytes"] / last["variables"],
    "graph with its ops": graph_bytes_a_variable(),
  }
  print(f"\n{'bytes a variable':20}{'':>8}  {'2 GB are reached at':>20}")
  for what, size in per.items():
    limit = f"{_LARGEST_MESSAGE / size:,.0f} variables"
    if what == "index":
      limit = "no limit"
    print(f"{what:20}{size:8.0f}  {limit:>20}")
  measuring.write_json(args.json, {"rows": rows, "bytes_a_variable": per})
  print(f"\nWritten: {args.json}")


if __name__ == "__main__":
  main()
