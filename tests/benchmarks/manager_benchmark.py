"""The cost of a save by estimator_ckpt.keras.CheckpointManager, against TensorFlow's.

  python tests/benchmarks/manager_benchmark.py [--variables=200] [--megabytes=1024]

One Keras model is saved by both managers in turns, so that other load on the machine
affects them alike. Its optimizer is SGD, where nothing needs converting, and with
--optimizer=adam, where the powers of the betas go into one more data file. The ratio is
that of the fastest saves, of the medians, and of the medians of processor time. "Names
alone" is the part of a dual save after TensorFlow's write. Other load on the machine
disturbs these two less. Prints a table and writes JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import tempfile
import time
from typing import Any

import tensorflow as tf

import estimator_ckpt.keras

v1 = tf.compat.v1
_SLOTS = {"sgd": 0, "adam": 2}


class _Layer(tf.keras.layers.Layer):
  """A layer of one kernel."""

  def __init__(self, size: int, **options: Any):
    super().__init__(**options)
    self._size = size

  def build(self, input_shape: Any) -> None:
    self.kernel = self.add_weight(
      shape=(self._size,), initializer="random_normal", name="kernel"
    )

  def call(self, x: Any) -> Any:
    return x + self.kernel[0]


def _write_like(path: str, variables: int, size: int, optimizer: str) -> str:
  """Writes a checkpoint of TF1 code with variables of the same shapes."""
  with tf.Graph().as_default(), v1.Session() as session:
    kernels = [
      v1.get_variable(f"net/layer_{i}/kernel", [size]) for i in range(variables)
    ]
    step = v1.train.create_global_step()
    make = {"sgd": v1.train.GradientDescentOptimizer, "adam": v1.train.AdamOptimizer}
    make[optimizer](0.1).minimize(tf.add_n([k[0] for k in kernels]), step)
    session.run(v1.global_variables_initializer())
    return v1.train.Saver().save(session, path, write_meta_graph=False)


def run(
  variables: int, megabytes: float, rounds: int, directory: str, optimizer: str
) -> dict[str, Any]:
  """Measures one size.

  Args:
    variables: how many weights the model has, float32 and of equal size.
    megabytes: size of a checkpoint, the optimizer's slots included.
    rounds: number of saves by each manager; one more each warms up.
    directory: where to write.
    optimizer: `"sgd"` or `"adam"`.

  Returns:
    Seconds and ratios.
  """
  size = max(1, int(megabytes * 2**20 / 4 / variables / (1 + _SLOTS[optimizer])))
  model = tf.keras.Sequential(
    [tf.keras.Input((1,)), *(_Layer(size, name=f"layer_{i}") for i in range(variables))]
  )
  made: Any = {"sgd": tf.keras.optimizers.SGD, "adam": tf.keras.optimizers.Adam}
  keras_optimizer = made[optimizer](0.1)
  keras_optimizer.build(model.trainable_variables)
  checkpoint = tf.train.Checkpoint(model=model, optimizer=keras_optimizer)
  like = _write_like(os.path.join(directory, "like", "m"), variables, size, optimizer)
  managers = {
    "TensorFlow": tf.train.CheckpointManager(checkpoint, f"{directory}/stock", 1),
    "dual": estimator_ckpt.keras.CheckpointManager(
      checkpoint, f"{directory}/dual", 1, like=like
    ),
  }
  names: list[float] = []
  add_names = managers["dual"]._add_names

  def timed(prefix: str) -> None:
    start = time.perf_counter()
    add_names(prefix)
    names.append(time.perf_counter() - start)

  managers["dual"]._add_names = timed
  seconds: dict[str, list[float]] = {name: [] for name in managers}
  processor: dict[str, list[float]] = {name: [] for name in managers}
  for turn in range(rounds + 1):
    # Each goes first in every other round.
    for name in list(managers)[:: 1 if turn % 2 else -1]:
      start, used = time.perf_counter(), time.process_time()
      managers[name].save()
      if turn:
        seconds[name].append(time.perf_counter() - start)
        processor[name].append(time.process_time() - used)
  stock, dual = seconds["TensorFlow"], seconds["dual"]
  return {
    "bytes": {name: _bytes(manager.directory) for name, manager in managers.items()},
    "seconds": {name: min(times) for name, times in seconds.items()},
    "medians": {name: statistics.median(times) for name, times in seconds.items()},
    # The first save of a manager finds the names too.
    "names_seconds": statistics.median(names[1:]),
    "first_names_seconds": names[0],
    "ratio": min(dual) / min(stock),
    "median_ratio": statistics.median(dual) / statistics.median(stock),
    "processor_ratio": statistics.median(processor["dual"])
    / statistics.median(processor["TensorFlow"]),
  }


def _bytes(directory: str) -> int:
  return sum(entry.stat().st_size for entry in os.scandir(directory))


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--variables", type=int, default=200)
  parser.add_argument("--megabytes", type=float, default=1024)
  parser.add_argument("--rounds", type=int, default=12)
  parser.add_argument("--optimizer", choices=list(_SLOTS), default="sgd")
  parser.add_argument("--directory", help="where to write; a temporary one by default")
  parser.add_argument("--json", default="manager_benchmark.json")
  args = parser.parse_args()
  directory = tempfile.mkdtemp(prefix="manager_benchmark_", dir=args.directory)
  try:
    result = run(args.variables, args.megabytes, args.rounds, directory, args.optimizer)
  finally:
    shutil.rmtree(directory)
  print(
    f"TensorFlow {tf.__version__}, {args.variables} variables, {args.megabytes:g} MB, "
    f"{args.optimizer}, {args.rounds} interleaved rounds\n"
  )
  for name in result["seconds"]:
    print(
      f"{name:10}{result['bytes'][name]:15,} bytes{result['seconds'][name]:9.3f} s "
      f"fastest{result['medians'][name]:9.3f} s median"
    )
  print(
    f"names alone: {result['names_seconds'] * 1e3:.1f} ms median, "
    f"{result['first_names_seconds'] * 1e3:.0f} ms in the first save"
  )
  print(
    f"ratios: {result['ratio']:.3f} of the fastest, {result['median_ratio']:.3f} of the "
    f"medians, {result['processor_ratio']:.3f} of processor time"
  )
  with open(args.json, "w", encoding="utf-8") as file:
    json.dump({"arguments": vars(args), "result": result}, file, indent=2)
  print(f"\nWritten: {args.json}")


if __name__ == "__main__":
  main()
