"""Processor time from `train()` to the first step, against a stock Estimator.

  python -m tests.benchmarks.training_start_benchmark [--variables=2000] [--rounds=5]

An Estimator with the stock Saver and one with a dual saver train one step in turns, each
in a new `model_dir` and then once more in the same, where it resumes. The time has all
that happens until the end of the first step: the model_fn, the saver, the session, the
values of the variables and, in a new `model_dir`, the first checkpoint.
"""

from __future__ import annotations

import argparse
import gc
import statistics
import tempfile
import time
from typing import Any

import tensorflow as tf

import estimator_ckpt as eckpt
from tests.benchmarks import measuring

v1 = tf.compat.v1

SAVERS = ("stock", "dual")
STARTS = ("begins", "resumes")
_WARMS_UP = 20  # variables of the round that is not measured


class FirstStep(v1.train.SessionRunHook):
  """Notes the processor time at the end of the first step."""

  time: float

  def after_run(self, run_context: Any, run_values: Any) -> None:
    self.time = time.process_time()


def make_model_fn(variables: int, saver: str) -> Any:
  """A model_fn with variables of 4 kB, which training does not change."""

  def model_fn(features: Any, labels: Any, mode: str) -> Any:
    for number in range(variables):
      v1.get_variable(
        f"model/block_{number % 100}/layer_{number}/kernel",
        [16, 64],
        initializer=v1.zeros_initializer(),
        use_resource=True,
      )
    train_op = v1.train.get_global_step().assign_add(1)
    return tf.estimator.EstimatorSpec(
      mode, loss=tf.reduce_sum(features), train_op=train_op
    )

  return model_fn if saver == "stock" else eckpt.checkpointing(saver)(model_fn)


def start(saver: str, variables: int, model_dir: str) -> float:
  """Processor seconds from the call of `train()` to the end of the first step."""
  config = tf.estimator.RunConfig(save_summary_steps=None, log_step_count_steps=None)
  estimator = tf.estimator.Estimator(make_model_fn(variables, saver), model_dir, config)
  hook = FirstStep()
  gc.collect()  # Drops the previous graph.
  begin = time.process_time()
  estimator.train(
    lambda: tf.data.Dataset.from_tensors(tf.ones([1])), hooks=[hook], steps=1
  )
  return hook.time - begin


def measure(variables: int, rounds: int) -> dict[tuple[str, str], list[float]]:
  """Seconds by start and saver, after a small round that warms up."""
  seconds: dict[tuple[str, str], list[float]] = {
    (how, saver): [] for how in STARTS for saver in SAVERS
  }
  for turn in range(rounds + 1):
    for saver in SAVERS if turn % 2 else SAVERS[::-1]:
      with tempfile.TemporaryDirectory() as model_dir:
        for how in STARTS:
          taken = start(saver, variables if turn else _WARMS_UP, model_dir)
          if turn:
            seconds[how, saver].append(taken)
  return seconds


def main() -> None:
  """Prints a line for each start."""
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--variables", type=int, default=2000)
  parser.add_argument("--rounds", type=int, default=5)
  parser.add_argument("--json", help="a file to write what was measured to")
  args = parser.parse_args()
  v1.logging.set_verbosity(v1.logging.ERROR)
  seconds = measure(args.variables, args.rounds)
  print(f"TensorFlow {tf.__version__}, {args.variables} variables, processor seconds")
  for how in STARTS:
    stock, dual = (seconds[how, saver] for saver in SAVERS)
    print(
      f"{how:8} stock {min(stock):6.2f} s, dual {min(dual):6.2f} s: "
      f"{min(dual) / min(stock):.3f}x, medians "
      f"{statistics.median(dual) / statistics.median(stock):.3f}x",
      flush=True,
    )
  if args.json:
    measuring.write_json(args.json, {" ".join(k): v for k, v in seconds.items()})


if __name__ == "__main__":
  main()
