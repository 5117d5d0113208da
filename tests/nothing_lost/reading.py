"""Readers that follow a model_dir while a job saves into it and deletes old checkpoints.

Each reader reads for some seconds, checks every value against the step, and returns how
often it read a checkpoint, and how often one was deleted during a read.
"""

from __future__ import annotations

import contextlib
import logging
import os
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

import estimator_ckpt as eckpt
from estimator_ckpt.files.summary import inspect_checkpoint
from tests.nothing_lost import jobs, values

v1 = tf.compat.v1


class Seen(NamedTuple):
  """The results of a reader.

  Attributes:
    read: number of checkpoints that were read as a whole.
    deleted: number of checkpoints that were deleted during a read.
    last: the latest step.
  """

  read: int
  deleted: int
  last: int


def _until(seconds: float, stop_file: str) -> Iterator[None]:
  deadline = time.monotonic() + seconds
  while time.monotonic() < deadline and not os.path.exists(stop_file):
    yield


def _latest(model_dir: str) -> str | None:
  return tf.train.latest_checkpoint(model_dir)


def _is_gone(prefix: str) -> bool:
  return not os.path.exists(f"{prefix}.index")


def _follow(model_dir: str, seconds: float, stop: str, read: Any, errors: Any) -> Seen:
  """Reads the latest checkpoint again and again; only a deleted one may fail."""
  count = deleted = last = 0
  for _ in _until(seconds, stop):
    prefix = _latest(model_dir)
    if prefix is None:
      time.sleep(0.01)
      continue
    try:
      last = read(prefix)
      count += 1
    except errors as error:
      # One clear error that names the file, and only for a deleted checkpoint.
      assert _is_gone(prefix), f"{prefix} is there: {type(error).__name__}: {error}"
      assert os.path.basename(prefix) in str(error), error
      deleted += 1
  return Seen(count, deleted, last)


def open_checkpoints(model_dir: str, seconds: float, stop: str) -> Seen:
  """Reads with `estimator_ckpt.open_checkpoint`."""
  return _follow(
    model_dir, seconds, stop, values.check_checkpoint, eckpt.CheckpointError
  )


def inspect(model_dir: str, seconds: float, stop: str) -> Seen:
  """Runs `estimator-ckpt inspect` and `verify` on the latest checkpoint."""

  def read(prefix: str) -> int:
    step = int(prefix.rpartition("-")[2])
    summary = inspect_checkpoint(prefix)
    assert summary.step == step
    report = eckpt.verify(prefix)
    assert report.ok or _is_gone(prefix), report.findings
    return step

  return _follow(model_dir, seconds, stop, read, eckpt.CheckpointError)


def convert(model_dir: str, seconds: float, stop: str) -> Seen:
  """Runs `estimator-ckpt convert` with links, and reads the result."""
  target = f"{stop}.converted"

  def read(prefix: str) -> int:
    to = f"{target}/{os.path.basename(prefix)}"
    eckpt.convert(prefix, to, "tf1", overwrite=True)
    step = values.check_checkpoint(to)
    assert step == int(prefix.rpartition("-")[2])
    return step

  seen = _follow(model_dir, seconds, stop, read, eckpt.CheckpointError)
  for name in os.listdir(target):
    assert ".tmp-" not in name, name
  return seen


def load_checkpoints(model_dir: str, seconds: float, stop: str) -> Seen:
  """Reads with TensorFlow's own reader."""

  def read(prefix: str) -> int:
    reader = tf.train.load_checkpoint(prefix)
    named = {name: reader.get_tensor(name) for name in values.at(0)}
    return values.check(named)

  return _follow(model_dir, seconds, stop, read, (tf.errors.OpError, ValueError))


def iterate(model_dir: str, seconds: float, stop: str) -> Seen:
  """Follows with `tf.train.checkpoints_iterator`."""
  count = deleted = last = 0
  ends = lambda: os.path.exists(stop)  # noqa: E731
  for prefix in tf.train.checkpoints_iterator(
    model_dir, min_interval_secs=0, timeout=2, timeout_fn=ends
  ):
    try:
      last = values.check_checkpoint(prefix)
      count += 1
    except eckpt.CheckpointError as error:
      assert _is_gone(prefix), error
      deleted += 1
    if ends():
      break
  return Seen(count, deleted, last)


def evaluate(model_dir: str, checkpoint_format: str, seconds: float, stop: str) -> Seen:
  """Runs `Estimator.evaluate`, each time in a new session."""
  logging.getLogger("tensorflow").setLevel(logging.ERROR)
  estimator = jobs.estimator(model_dir, checkpoint_format, save_steps=1)

  def read(prefix: str) -> int:
    found = estimator.evaluate(jobs.input_fn, steps=1, checkpoint_path=prefix)
    step = int(found["global_step"])
    for name, value in values.at(step).items():
      if name != "global_step":
        np.testing.assert_array_equal(found[f"of_{name}"], value, err_msg=name)
    return step

  gone = (eckpt.CheckpointError, tf.errors.OpError, ValueError)
  return _follow(model_dir, seconds, stop, read, gone)


def save_many(
  model_dir: str, checkpoint_format: str, saves: int, stop: str, pause: float = 0
) -> int:
  """Runs the job: saves after each step, keeps two checkpoints, and tells its end."""
  try:
    jobs.train(
      model_dir, checkpoint_format, saves, 1, f"{stop}.progress", seconds_a_step=pause
    )
  finally:
    with contextlib.suppress(FileExistsError):
      os.close(os.open(stop, os.O_CREAT | os.O_EXCL))
  return saves
