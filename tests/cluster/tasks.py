"""What the tasks of a cluster do. Each function runs in a process of its own.

TF_CONFIG says which task of which cluster the process is, as a scheduler would.
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import tensorflow as tf

import estimator_ckpt as eckpt
from tests import models

v1 = tf.compat.v1
ROWS = 7


def model_fn(partitions: int) -> Any:
  """A model_fn with an embedding of 7 rows in some partitions, and Adam."""

  def partitioned(features: Any, labels: Any, mode: str) -> Any:
    table = v1.get_variable(
      "embedding", [ROWS, 3], partitioner=v1.fixed_size_partitioner(partitions)
    )
    ids = tf.cast(tf.abs(features["x"][:, 0]) * (ROWS - 1), tf.int64)
    x = tf.concat([features["x"], tf.nn.embedding_lookup(table, ids)], axis=1)
    y = models.network(x, mode == tf.estimator.ModeKeys.TRAIN)
    return models.spec(mode, y, labels)

  return partitioned


def decorated(checkpoint_format: str | None, partitions: int, **options: Any) -> Any:
  """That model_fn with one line above it, or None without."""
  fn = model_fn(partitions)
  if checkpoint_format is None:
    return fn
  return eckpt.checkpointing(checkpoint_format, **options)(fn)


class Start(tf.estimator.SessionRunHook):
  """Remembers every variable as the session found it, partitions put together."""

  def after_create_session(self, session: Any, coord: Any) -> None:
    """Reads all of them."""
    named: dict[str, list[Any]] = {}
    for variable in v1.global_variables():
      info = variable._save_slice_info
      name = info.full_name if info else variable.op.name
      named.setdefault(name, []).append(variable)
    read = session.run(named)
    self.values = {
      name: np.concatenate(parts) if len(parts) > 1 else parts[0]
      for name, parts in read.items()
    }


class Slow(tf.estimator.SessionRunHook):
  """Sleeps after each step."""

  def __init__(self, seconds: float):
    self._seconds = seconds

  def after_run(self, run_context: Any, run_values: Any) -> None:
    """Sleeps."""
    time.sleep(self._seconds)


def train(
  model_dir: str,
  checkpoint_format: str | None,
  steps: int,
  partitions: int = 2,
  save_steps: int | None = 5,
  seconds_a_step: float = 0,
  config: dict[str, Any] | None = None,
  options: dict[str, Any] | None = None,
  evaluation: dict[str, Any] | None = None,
) -> dict[str, np.ndarray]:
  """Trains up to a step, or serves, or evaluates, as TF_CONFIG says.

  Args:
    model_dir: the model_dir.
    checkpoint_format: what the model_fn is decorated with; None for nothing.
    steps: the last step.
    partitions: of the embedding.
    save_steps: as for RunConfig.
    seconds_a_step: how long to wait after each.
    config: further arguments of RunConfig.
    options: of the decorator.
    evaluation: further arguments of EvalSpec.

  Returns:
    The variables as they were when training began.
  """
  start = Start()
  hooks = [start, Slow(seconds_a_step)]
  estimator = models.estimator(
    decorated(checkpoint_format, partitions, **(options or {})),
    model_dir,
    save_steps,
    # A worker would first wait, 5 s for each before it.
    experimental_max_worker_delay_secs=0,
    **(config or {}),
  )
  tf.estimator.train_and_evaluate(
    estimator,
    tf.estimator.TrainSpec(models.input_fn, max_steps=steps, hooks=hooks),
    tf.estimator.EvalSpec(models.eval_input_fn, **(evaluation or {})),
  )
  return getattr(start, "values", {})
