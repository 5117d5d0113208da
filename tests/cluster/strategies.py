"""Training under distribution strategies; each function runs in a process of its own."""

from __future__ import annotations

import os
import time
from typing import Any

import numpy as np
import tensorflow as tf

import estimator_ckpt as eckpt
from estimator_ckpt.training.snapshot import Snapshot
from tests import models, tensorflows

v1 = tf.compat.v1
# Kinds that run in one process, and kinds that run in several with a TF_CONFIG each.
ALONE = ("none", "one_device", "mirrored", "central_storage")
CLUSTERS = ("parameter_servers", "multi_worker")
KINDS = (*ALONE, *CLUSTERS)


_BATCH = 10


def _rows_once() -> tf.data.Dataset:
  # If two replicas share five batches, TensorFlow may skip the last batch.
  return models.eval_input_fn().unbatch().batch(_BATCH)


def _evaluated(estimator: Any, replicas: int) -> dict[str, Any]:
  """The metrics over all rows, each once.

  Where two replicas share a dataset that ends, TensorFlow 1.15.5 may wait forever at its
  end. So the dataset has no end, and the steps are counted.
  """
  steps = len(models.X) // (_BATCH * replicas)
  return dict(estimator.evaluate(lambda: _rows_once().repeat(), steps=steps))


class _Start(tf.estimator.SessionRunHook):
  """Remembers the value of every variable as the first replica found it."""

  def after_create_session(self, session: Any, coord: Any) -> None:
    """Reads all variables."""
    firsts = {}
    for variable in v1.global_variables():
      copies = getattr(variable, "values", None)
      first = variable if copies is None or callable(copies) else copies[0]
      if "/replica_" not in first.op.name:
        firsts[first.op.name] = first
    self.values = session.run(firsts)


def _strategy(kind: str) -> Any:
  if kind == "one_device":
    return tf.distribute.OneDeviceStrategy("/cpu:0")
  if kind == "mirrored":
    assert tensorflows.two_cpus()
    strategy = tf.distribute.MirroredStrategy(["/cpu:0", "/cpu:1"])
    assert strategy.num_replicas_in_sync == 2
    return strategy
  if kind == "central_storage":
    return tf.distribute.experimental.CentralStorageStrategy(["/cpu:0", "/cpu:1"])
  if kind == "parameter_servers":
    return v1.distribute.experimental.ParameterServerStrategy()
  if kind == "multi_worker":
    return tensorflows.multi_worker_mirrored_strategy()
  return None


def _estimator(
  model_dir: str, checkpoint_format: str, asynchronous: bool = False, **config: Any
) -> Any:
  decorate = eckpt.checkpointing(checkpoint_format, asynchronous=asynchronous)
  return models.estimator(decorate(models.model_fn), model_dir, 2, **config)


def _write_late() -> None:
  """Has each snapshot written when training has made further steps."""
  write = Snapshot.write

  def write_late(taken: Snapshot, session: Any, prefix: str) -> None:
    time.sleep(0.3)
    write(taken, session, prefix)

  Snapshot.write = write_late  # type: ignore[method-assign]


def run(
  kind: str, jobs: list[tuple[str, str, int]], uses: bool, asynchronous: bool
) -> list[dict[str, Any]]:
  """Trains under a strategy.

  Args:
    kind: one of KINDS.
    jobs: model_dir, format and last step of each; one job only where a TF_CONFIG is
      set.
    uses: whether to evaluate, predict and export as well.
    asynchronous: whether training goes on while a checkpoint is written, late.

  Returns:
    For each job `started`, the variables as training found them; if `uses`, also
    `metrics`, `predicted`, and `served`, the predictions of the exported model. An
    empty list for a task that is not the chief.
  """
  strategy = _strategy(kind)
  if asynchronous:
    _write_late()
  done = []
  for model_dir, checkpoint_format, steps in jobs:
    start = _Start()
    if kind in ALONE:
      estimator = _estimator(
        model_dir,
        checkpoint_format,
        asynchronous,
        train_distribute=strategy,
        eval_distribute=strategy,
        session_config=v1.ConfigProto(device_count={"CPU": 2}),
      )
      estimator.train(models.input_fn, max_steps=steps, hooks=[start])
    else:
      estimator = _estimator(
        model_dir, checkpoint_format, asynchronous, train_distribute=strategy
      )
      tf.estimator.train_and_evaluate(
        estimator,
        tf.estimator.TrainSpec(models.input_fn, max_steps=steps, hooks=[start]),
        tf.estimator.EvalSpec(
          models.eval_input_fn, start_delay_secs=0, throttle_secs=1
        ),
      )
      if '"type": "chief"' not in os.environ.pop("TF_CONFIG"):
        return []
      # The cluster has ended; any process may read what it left.
      estimator = _estimator(model_dir, checkpoint_format)
    done.append({"started": start.values})
    if uses:
      replicas = strategy.num_replicas_in_sync if strategy and kind in ALONE else 1
      done[-1].update(_used(estimator, model_dir, replicas))
  return done


class _Ends(tf.estimator.SessionRunHook):
  """Says when training has begun, and at which step it ends."""

  def after_run(self, run_context: Any, run_values: Any) -> None:
    """Says it after a step."""
    self.step = run_context.session.run(v1.train.get_global_step())
    print(f"step {self.step}", flush=True)


def run_until_signal(model_dir: str, steps: int) -> tuple[int | None, int]:
  """Trains with a worker beside the chief, until SIGTERM comes to one of them.

  Args:
    model_dir: the model_dir.
    steps: the last step, if no signal comes.

  Returns:
    The signal's number, and the last step of this task.
  """
  decorate = eckpt.dual_checkpointing(save_on_signals=["SIGTERM"])
  estimator = models.estimator(
    decorate(models.model_fn),
    model_dir,
    10**6,
    train_distribute=_strategy("multi_worker"),
  )
  ends = _Ends()
  tf.estimator.train_and_evaluate(
    estimator,
    tf.estimator.TrainSpec(models.input_fn, max_steps=steps, hooks=[ends]),
    tf.estimator.EvalSpec(models.eval_input_fn, start_delay_secs=0, throttle_secs=1),
  )
  return eckpt.stopped_by_signal(), int(ends.step)


def _used(estimator: Any, model_dir: str, replicas: int) -> dict[str, Any]:
  path = estimator.export_saved_model(
    os.path.join(model_dir, "export"), models.serving_input_fn
  ).decode()
  predictions = estimator.predict(_rows_once)
  return {
    "metrics": _evaluated(estimator, replicas),
    "predicted": np.array([p["y"] for p in predictions]),
    "served": tensorflows.served(path, x=models.X)["y"],
  }
