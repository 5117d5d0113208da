r"""Time to the first training step: this library's warm start against TensorFlow's own.

  python tests/benchmarks/warm_start_benchmark.py
  python tests/benchmarks/warm_start_benchmark.py --variables=2000 --megabytes=1

An Estimator begins in three ways, in turns: without a warm start, with TensorFlow's
`warm_start_from=`, and with `warm_start=`. The time runs from the call of `train()` to
the end of the first step. Nothing is saved, and initializers are the cheapest (zeros),
so that only the beginning is measured.

Two things are needed with any warm start, and limit what a faster one can gain: the
model_fn, which makes the variables, and a session that initializes them. Both are
measured without an Estimator. So is the time that a warm start adds: from the complete
graph to values in its variables, minus the time to initialize the variables.
"""

from __future__ import annotations

import argparse
import gc
import os
import statistics
import tempfile
import time
from typing import Any, Callable, NamedTuple

import tensorflow as tf

import estimator_ckpt as eckpt
from tests.benchmarks import measuring

v1 = tf.compat.v1

SIZES = ((2000, 1), (2000, 1024), (200, 1024))
NONE, STOCK, OURS = WAYS = ("no warm start", "warm_start_from=", "warm_start=")


class FirstStep(v1.train.SessionRunHook):
  """Notes when the first step ended, and an element of the last variable."""

  def begin(self) -> None:
    self._element = v1.trainable_variables()[-1].value()[-1]

  def after_run(self, run_context: Any, run_values: Any) -> None:
    self.time = time.perf_counter()

  def end(self, session: v1.Session) -> None:
    self.element = session.run(self._element)


def make_model_fn(variables: int, elements: int) -> Callable[..., Any]:
  """A model_fn with these variables, which training does not change."""

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
  """Seconds to the first step, and an element of the last variable."""
  options = {}
  if way == OURS:
    model_fn = eckpt.checkpointing("tf1", warm_start=prefix)(model_fn)
  elif way == STOCK:
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
    gc.collect()  # Drops the previous graph.
    start = time.perf_counter()
    estimator.train(
      lambda: tf.data.Dataset.from_tensors(tf.ones([1])), hooks=[hook], steps=1
    )
  return hook.time - start, hook.element


def start_alone(
  way: str, prefix: str, model_fn: Callable[..., Any]
) -> tuple[float, float]:
  """Seconds of the model_fn, and from there to values in the variables."""
  with tf.Graph().as_default():
    v1.train.get_or_create_global_step()
    start = time.perf_counter()
    model_fn(tf.ones([1]), None, "train")
    in_model_fn = time.perf_counter() - start
    gc.collect()
    start = time.perf_counter()
    if way == OURS:
      v1.train.warm_start(*eckpt.warm_start_settings(prefix))
    elif way == STOCK:
      v1.train.warm_start(prefix)
    with v1.Session() as session:
      session.run(v1.global_variables_initializer())
      return in_model_fn, time.perf_counter() - start


class Seconds(NamedTuple):
  """The measured seconds, after a round that warmed up; the first two fields by way.

  Attributes:
    to_first_step: from the call of `train()` to the end of the first step.
    alone: from the complete graph to values in its variables.
    model_fn: the call of the model_fn.
  """

  to_first_step: dict[str, list[float]]
  alone: dict[str, list[float]]
  model_fn: list[float]


def measure(variables: int, megabytes: int, rounds: int) -> Seconds:
  """Begins in every way, in turns, and checks the value of the last variable."""
  with tempfile.TemporaryDirectory() as directory:
    prefix = os.path.join(directory, "model.ckpt-1")
    measuring.write_checkpoint(prefix, variables, megabytes * 2**20)
    last = f"model/block_{(variables - 1) % 100}/layer_{variables - 1}/kernel"
    with eckpt.open_checkpoint(prefix) as reader:
      elements = reader.shapes[last][0]
      expected = reader[last][-1].tobytes()
    model_fn = make_model_fn(variables, elements)
    measured = Seconds({way: [] for way in WAYS}, {way: [] for way in WAYS}, [])
    for turn in range(rounds + 1):
      for way in WAYS:
        seconds, element = begin(way, prefix, model_fn)
        if (element.tobytes() == expected) != (way != NONE):
          raise AssertionError(f"{way} leaves the last variable at {element}")
        in_model_fn, alone = start_alone(way, prefix, model_fn)
        if turn:
          measured.to_first_step[way].append(seconds)
          measured.alone[way].append(alone)
          measured.model_fn.append(in_model_fn)
  return measured


def main() -> None:
  """Prints a table with a line for each size and way."""
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--variables", type=int)
  parser.add_argument("--megabytes", type=int, default=1)
  parser.add_argument("--rounds", type=int, default=5)
  parser.add_argument("--json", help="a file to write what was measured to")
  args = parser.parse_args()
  v1.logging.set_verbosity(v1.logging.ERROR)
  sizes = [(args.variables, args.megabytes)] if args.variables else SIZES
  print(f"TensorFlow {tf.__version__}, medians of {args.rounds}")
  print(
    f"{'variables':>9} {'MiB':>5}  {'way':17}{'to first step':>13}{'adds, alone':>13}"
  )
  results = []
  for variables, megabytes in sizes:
    measured = measure(variables, megabytes, args.rounds)
    whole = {way: statistics.median(s) for way, s in measured.to_first_step.items()}
    alone = {way: statistics.median(s) for way, s in measured.alone.items()}
    added = {way: alone[way] - alone[NONE] for way in WAYS}
    least = statistics.median(measured.model_fn) + alone[NONE]
    for way in WAYS:
      adds = "" if way == NONE else f"{added[way]:11.2f} s"
      print(f"{variables:9} {megabytes:5}  {way:17}{whole[way]:11.2f} s{adds:>13}")
      results.append(
        {
          "variables": variables,
          "mebibytes": megabytes,
          "way": way,
          "seconds": measured.to_first_step[way],
          "seconds_alone": measured.alone[way],
          "seconds_in_model_fn": measured.model_fn,
        }
      )
    print(
      f"  To the first step: {whole[STOCK] / whole[OURS]:.2f} times as fast as {STOCK}; no "
      f"warm start at all: {whole[STOCK] / whole[NONE]:.2f} times;\n"
      f"  the model_fn and an initialization alone, {least:.2f} s: "
      f"{whole[STOCK] / least:.2f} times.",
      flush=True,
    )
  if args.json:
    measuring.write_json(args.json, results)


if __name__ == "__main__":
  main()
