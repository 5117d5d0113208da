r"""Time to the first training step: warm start here, and TensorFlow's own.

  python tests/benchmarks/warm_start_benchmark.py
  python tests/benchmarks/warm_start_benchmark.py --variables=2000 --megabytes=1

An Estimator begins in three ways, in turns: without a warm start, with TensorFlow's
`warm_start_from=`, and with `warm_start=`. Nothing is saved, so that only beginning is
measured. Initializers are the cheapest, zeros, so that what "starting" shows, the time
beyond no warm start, is not hidden by what a warm start saves of them.
"""

from __future__ import annotations

import argparse
import gc
import os
import statistics
import tempfile
import time
from typing import Any, Callable

import tensorflow as tf

import estimator_ckpt as eckpt
from tests.benchmarks import measuring

v1 = tf.compat.v1

SIZES = ((2000, 1), (2000, 1024), (200, 1024))
WAYS = ("no warm start", "warm_start_from=", "warm_start=")


class FirstStep(v1.train.SessionRunHook):
  """Notes when the first step was done, and an element of the last variable."""

  def begin(self) -> None:
    self._element = v1.trainable_variables()[-1].value()[-1]

  def after_run(self, run_context: Any, run_values: Any) -> None:
    self.time = time.perf_counter()

  def end(self, session: v1.Session) -> None:
    self.element = session.run(self._element)


def make_model_fn(variables: int, elements: int) -> Callable[..., Any]:
  """A model_fn with these variables, which its training leaves alone."""

  def model_fn(features: Any, labels: Any, mode: str) -> Any:
    for number in range(variables):
      v1.get_variable(
        f"model/block_{number % 100}/layer_{number}/kernel",
        [elements],
        initializer=v1.zeros_initializer(),
        use_resource=True,
      )
    train_op = v1.train.get_global_step().assign_add(1)
    return tf.estimator.EstimatorSpec(
      mode, loss=tf.reduce_sum(features), train_op=train_op
    )

  return model_fn


def begin(way: str, prefix: str, model_fn: Callable[..., Any]) -> tuple[float, Any]:
  """Seconds to the first step, and the element of the last variable."""
  options = {}
  if way == "warm_start=":
    model_fn = eckpt.checkpointing("tf1", warm_start=prefix)(model_fn)
  elif way == "warm_start_from=":
    options["warm_start_from"] = prefix
  config = tf.estimator.RunConfig(
    save_checkpoints_steps=None,
    save_checkpoints_secs=None,
    save_summary_steps=None,
    log_step_count_steps=None,
  )
  hook = FirstStep()
  with tempfile.TemporaryDirectory() as model_dir:
    estimator = tf.estimator.Estimator(model_fn, model_dir, config, **options)
    gc.collect()  # The graph before this one.
    start = time.perf_counter()
    estimator.train(
      lambda: tf.data.Dataset.from_tensors(tf.ones([1])), hooks=[hook], steps=1
    )
  return hook.time - start, hook.element


def measure(variables: int, megabytes: int, rounds: int) -> dict[str, list[float]]:
  """Seconds to the first step, of every round after a first that warms up."""
  with tempfile.TemporaryDirectory() as directory:
    prefix = os.path.join(directory, "model.ckpt-1")
    measuring.write_checkpoint(prefix, variables, megabytes * 2**20)
    last = f"model/block_{(variables - 1) % 100}/layer_{variables - 1}/kernel"
    with eckpt.open_checkpoint(prefix) as reader:
      elements = reader.shapes[last][0]
      expected = reader[last][-1].tobytes()
    model_fn = make_model_fn(variables, elements)
    times: dict[str, list[float]] = {way: [] for way in WAYS}
    for turn in range(rounds + 1):
      for way in WAYS:
        seconds, element = begin(way, prefix, model_fn)
        if (element.tobytes() == expected) != (way != WAYS[0]):
          raise AssertionError(f"{way} leaves the last variable at {element}")
        if turn:
          times[way].append(seconds)
  return times


def main() -> None:
  """Prints a table, a line for each size and way."""
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--variables", type=int)
  parser.add_argument("--megabytes", type=int, default=1)
  parser.add_argument("--rounds", type=int, default=5)
  parser.add_argument("--json", help="a file to write what was measured to")
  args = parser.parse_args()
  v1.logging.set_verbosity(v1.logging.ERROR)
  sizes = [(args.variables, args.megabytes)] if args.variables else SIZES
  print(f"TensorFlow {tf.__version__}, medians of {args.rounds}")
  print(f"{'variables':>9} {'MiB':>5}  {'way':17}{'to first step':>13}{'starting':>11}")
  results = []
  for variables, megabytes in sizes:
    times = measure(variables, megabytes, args.rounds)
    base = statistics.median(times[WAYS[0]])
    for way, seconds in times.items():
      median = statistics.median(seconds)
      starting = "" if way == WAYS[0] else f"{median - base:9.2f} s"
      print(
        f"{variables:9} {megabytes:5}  {way:17}{median:11.2f} s{starting:>11}",
        flush=True,
      )
      results.append(
        {"variables": variables, "mebibytes": megabytes, "way": way, "seconds": seconds}
      )
  if args.json:
    measuring.write_json(args.json, results)


if __name__ == "__main__":
  main()
