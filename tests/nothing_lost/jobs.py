"""Training jobs whose every value follows from the step, for tests that interrupt them.

The step of a checkpoint therefore determines every bit of its values. A format here is
`tf1`, `tf2`, `dual`, `separate` (dual in separate bundles), or `asynchronous` (dual and
durable, written while training goes on). `durable` and `durable_separate` are durable
saves of `dual` and `separate`.
"""

from __future__ import annotations

import os
import signal
import struct
import time
from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf

import estimator_ckpt as eckpt
from tests import tensorflows
from tests.nothing_lost import values

v1 = tf.compat.v1


def options_of(checkpoint_format: str) -> dict[str, Any]:
  """The arguments of a decorator or a CheckpointSaver."""
  return {
    "separate": {"separate": True},
    "asynchronous": {"asynchronous": True, "durable": True},
    "durable": {"durable": True},
    "durable_separate": {"durable": True, "separate": True},
  }.get(checkpoint_format, {})


def _format_of(checkpoint_format: str) -> str:
  """The format as the library knows it."""
  return "dual" if options_of(checkpoint_format) else checkpoint_format


def decorator_of(checkpoint_format: str) -> Any:
  """The decorator of a format."""
  return eckpt.checkpointing(
    _format_of(checkpoint_format), **options_of(checkpoint_format)
  )


def scaffold_of(checkpoint_format: str, **options: Any) -> Any:
  """The Scaffold of a format."""
  factory = getattr(eckpt, f"{_format_of(checkpoint_format)}_scaffold")
  return factory(**options_of(checkpoint_format), **options)


def build() -> tuple[Any, dict[str, Any]]:
  """Makes the variables of `values.at`; returns the train op and all of them by name."""
  step = v1.train.get_or_create_global_step()
  start, each = values.at(0), values.EACH_STEP
  made: dict[str, Any] = {"global_step": step}
  ops = [v1.assign_add(step, 1)]
  for name, value in start.items():
    if name == "global_step":
      continue
    parts = v1.get_variable(
      name,
      value.shape,
      value.dtype,
      _slices(value),
      partitioner=v1.fixed_size_partitioner(2) if name in values.PARTITIONED else None,
    )
    made[name] = parts
    if name in values.PARTITIONED:
      half = (len(value) + 1) // 2
      for part, rows in zip(parts, (slice(0, half), slice(half, None))):
        ops.append(v1.assign_add(part, each[name][rows]))
    else:
      ops.append(v1.assign_add(parts, each[name]))
  return tf.group(*ops), made


def _slices(value: np.ndarray) -> Any:
  def initializer(shape: Any, dtype: Any, partition_info: Any = None) -> Any:
    begin = partition_info.var_offset if partition_info else [0] * value.ndim
    return tf.constant(value[tuple(slice(b, b + n) for b, n in zip(begin, shape))])

  return initializer


def read(session: Any, made: Mapping[str, Any]) -> dict[str, np.ndarray]:
  """Reads the values of `build`'s variables."""
  listed = {
    name: list(variable) if name in values.PARTITIONED else variable
    for name, variable in made.items()
  }
  return {
    name: np.concatenate(value) if name in values.PARTITIONED else value
    for name, value in session.run(listed).items()
  }


def model_fn(features: Any, labels: Any, mode: str) -> Any:
  """A model_fn over `build`; evaluation gives each variable back as a metric."""
  del features, labels
  train_op, made = build()
  whole = {
    name: tf.concat(list(v), 0) if name in values.PARTITIONED else tf.identity(v)
    for name, v in made.items()
  }
  if mode == tf.estimator.ModeKeys.PREDICT:
    rows = {name: tf.expand_dims(value, 0) for name, value in whole.items()}
    return tf.estimator.EstimatorSpec(mode, predictions=rows)
  metrics = {
    f"of_{name}": (tf.identity(value), tf.no_op())
    for name, value in whole.items()
    if name != "global_step"
  }
  return tf.estimator.EstimatorSpec(
    mode, loss=tf.constant(0.0), train_op=train_op, eval_metric_ops=metrics
  )


def input_fn() -> tf.data.Dataset:
  """One row after the other, without end."""
  return tf.data.Dataset.from_tensors(({"x": [0.0]}, [0.0])).repeat()


class Progress(tf.estimator.SessionRunHook):
  """Checks restored values, and writes each step into a file for the killing process.

  Args:
    path: the file; it gets two int64, the step that training began at and the last
      step that is done.
    seconds_a_step: seconds to sleep after each step.
  """

  def __init__(self, path: str, seconds_a_step: float = 0):
    self._path = path
    self._seconds = seconds_a_step

  def begin(self) -> None:
    """Opens the file."""
    self._file = os.open(self._path, os.O_CREAT | os.O_WRONLY, 0o666)
    self._step = v1.train.get_global_step()

  def after_create_session(self, session: Any, coord: Any) -> None:
    """Compares every variable with the value that follows from the step."""
    made: dict[str, list[Any]] = {}
    for variable in v1.global_variables():
      info = variable._save_slice_info
      made.setdefault(info.full_name if info else variable.op.name, []).append(variable)
    read = {name: session.run(parts) for name, parts in made.items()}
    found = {n: np.concatenate(v) if len(v) > 1 else v[0] for n, v in read.items()}
    self._start = int(found["global_step"])
    values.check(found)
    self._write(self._start)

  def before_run(self, run_context: Any) -> Any:
    """Asks for the step."""
    return tf.estimator.SessionRunArgs(self._step)

  def after_run(self, run_context: Any, run_values: Any) -> None:
    """Writes the previous step, which has certainly ended."""
    self._write(max(self._start, int(run_values.results)))
    time.sleep(self._seconds)

  def _write(self, step: int) -> None:
    os.pwrite(self._file, struct.pack("<qq", self._start, step), 0)


def read_progress(path: str) -> tuple[int, int] | None:
  """What `Progress` wrote, or None if it has not written yet."""
  try:
    with open(path, "rb") as file:
      data = file.read(16)
  except FileNotFoundError:
    return None
  return struct.unpack("<qq", data) if len(data) == 16 else None  # type: ignore[return-value]


def estimator(
  model_dir: str, checkpoint_format: str | None, save_steps: int, keep: int = 2
) -> Any:
  """An Estimator of such a job; plain TensorFlow's if the format is None."""
  fn = (
    model_fn if checkpoint_format is None else decorator_of(checkpoint_format)(model_fn)
  )
  return tf.estimator.Estimator(
    fn,
    model_dir,
    tf.estimator.RunConfig(
      save_checkpoints_steps=save_steps,
      keep_checkpoint_max=keep,
      save_summary_steps=None,
      log_step_count_steps=None,
    ),
  )


def train(
  model_dir: str,
  checkpoint_format: str | None,
  max_steps: int,
  save_steps: int,
  progress: str,
  seconds_a_step: float = 0,
  keep: int = 2,
) -> None:
  """Trains with an Estimator, from the latest checkpoint; see `Progress`."""
  estimator(model_dir, checkpoint_format, save_steps, keep).train(
    input_fn, hooks=[Progress(progress, seconds_a_step)], max_steps=max_steps
  )


def train_until_signal(
  model_dir: str,
  checkpoint_format: str,
  progress: str,
  seconds_a_step: float = 0,
  seconds_at_end: float = 0,
) -> int | None:
  """Trains without end, and saves when SIGTERM comes; returns what signal came."""

  class Lasts(tf.estimator.SessionRunHook):
    def end(self, session: Any) -> None:
      print("The end begins.", flush=True)
      time.sleep(seconds_at_end)

  decorate = eckpt.checkpointing(
    _format_of(checkpoint_format),
    save_on_signals=("SIGTERM",),
    **options_of(checkpoint_format),
  )
  config = tf.estimator.RunConfig(save_checkpoints_steps=1000, save_summary_steps=None)
  tf.estimator.Estimator(decorate(model_fn), model_dir, config).train(
    input_fn, hooks=[Progress(progress, seconds_a_step), Lasts()]
  )
  return eckpt.stopped_by_signal()


class _Signals(tf.estimator.SessionRunHook):
  """Sends this process SIGTERM after three steps."""

  def begin(self) -> None:
    """Counts from 0."""
    self._steps = 0

  def after_run(self, run_context: Any, run_values: Any) -> None:
    """Counts, and sends it."""
    self._steps += 1
    if self._steps == 3:
      os.kill(os.getpid(), signal.SIGTERM)


def train_on_input_that_stands_still(
  model_dir: str, progress: str, has_signal: bool = False
) -> None:
  """Trains three steps, and then waits for input in vain; handles SIGTERM.

  Args:
    model_dir: the model_dir.
    progress: the file of `Progress`.
    has_signal: whether SIGTERM comes right after the third step.
  """

  def rows() -> Any:
    for _ in range(3):
      yield [0.0]
    while True:
      time.sleep(60)

  def standing_input_fn() -> tf.data.Dataset:
    x = tf.data.Dataset.from_generator(rows, tf.float32, [1])
    return x.map(lambda row: ({"x": row}, row)).prefetch(1)

  def reading_fn(features: Any, labels: Any, mode: str) -> Any:
    return model_fn(features, labels, mode)._replace(loss=tf.reduce_sum(features["x"]))

  decorate = eckpt.checkpointing("dual", save_on_signals=("SIGTERM",))
  config = tf.estimator.RunConfig(save_checkpoints_steps=1)
  tf.estimator.Estimator(decorate(reading_fn), model_dir, config).train(
    standing_input_fn, hooks=[Progress(progress), *([_Signals()] * has_signal)]
  )


def train_mirrored(model_dir: str, progress: str) -> int | None:
  """Trains with two replicas without end, and saves when SIGTERM comes."""
  assert tensorflows.two_cpus()
  strategy = tf.distribute.MirroredStrategy(["/cpu:0", "/cpu:1"])

  def mirrored_fn(features: Any, labels: Any, mode: str) -> Any:
    del labels
    w = v1.get_variable("w", [])
    loss = tf.reduce_mean(w * features["x"])
    train_op = v1.train.GradientDescentOptimizer(0.1).minimize(
      loss, v1.train.get_or_create_global_step()
    )
    return tf.estimator.EstimatorSpec(mode, loss=loss, train_op=train_op)

  class Notes(tf.estimator.SessionRunHook):
    def after_run(self, run_context: Any, run_values: Any) -> None:
      step = run_context.session.run(v1.train.get_global_step())
      with open(progress, "w") as file:
        file.write(str(step))

  decorate = eckpt.checkpointing("dual", save_on_signals=("SIGTERM",))
  config = tf.estimator.RunConfig(
    train_distribute=strategy, session_config=v1.ConfigProto(device_count={"CPU": 2})
  )
  tf.estimator.Estimator(decorate(mirrored_fn), model_dir, config).train(
    input_fn, hooks=[Notes()]
  )
  return eckpt.stopped_by_signal()
