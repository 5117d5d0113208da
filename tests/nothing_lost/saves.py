"""Sessions that restore and save as an Estimator does, for tests that interrupt them."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator, Sequence
from typing import Any

import tensorflow as tf

from tests.nothing_lost import faults, jobs, killing, leftovers, values

v1 = tf.compat.v1
KEPT = 2


class Job:
  """A training job with a session.

  Args:
    model_dir: the directory to save in.
    checkpoint_format: a format of `jobs`.
    session: the job's session.
    saver: the job's saver.
    train_op: the op that makes a step.
    made: the job's variables by name.
  """

  def __init__(
    self, model_dir: str, checkpoint_format: str, session: Any, saver: Any, made: Any
  ):
    self.saver = saver
    self.session = session
    self._model_dir = model_dir
    self._train_op, self._made = made
    self.checkpoint_format = checkpoint_format

  def restore(self) -> int:
    """Restores the latest checkpoint, as a SessionManager does; returns its step."""
    found = tf.train.get_checkpoint_state(self._model_dir)
    latest = tf.train.latest_checkpoint(self._model_dir)
    assert latest == found.model_checkpoint_path
    self.saver.restore(self.session, latest)
    self.saver.recover_last_checkpoints(found.all_model_checkpoint_paths)
    return self.check()

  def check(self) -> int:
    """Compares all variables with the step; returns the step."""
    return values.check(jobs.read(self.session, self._made))

  def train(self) -> None:
    """Makes a step."""
    self.session.run(self._train_op)

  def save(self) -> None:
    """Saves as a CheckpointSaverHook does, and waits until all is written."""
    path = os.path.join(self._model_dir, "model.ckpt")
    self.saver.save(self.session, path, global_step=self._made["global_step"])
    self.saver.wait_until_finished()


@contextlib.contextmanager
def started(model_dir: str, checkpoint_format: str) -> Iterator[Job]:
  """A job with initialized variables, in a graph of its own."""
  with tf.Graph().as_default(), v1.Session() as session:
    made = jobs.build()
    scaffold = jobs.scaffold_of(checkpoint_format, max_to_keep=KEPT)
    scaffold.finalize()
    session.run([scaffold.init_op, scaffold.local_init_op])
    yield Job(model_dir, checkpoint_format, session, scaffold.saver, made)


def prepare(model_dir: str, checkpoint_format: str) -> None:
  """Saves the steps 1 and 2 in a new model_dir."""
  os.makedirs(model_dir)
  with started(model_dir, checkpoint_format) as job:
    for _ in range(2):
      job.train()
      job.save()


def _act(job: Job) -> None:
  """Saves the first step again, then the next one; then retention deletes one."""
  job.save()
  job.train()
  job.save()


def count(model_dir: str, checkpoint_format: str) -> list[str]:
  """Resumes and saves undisturbed; returns each change to the file system."""
  with started(model_dir, checkpoint_format) as job:
    job.restore()
    with faults.injected(0, faults.kill) as calls:
      _act(job)
  return list(calls)


def killed(model_dir: str, checkpoint_format: str, at: int) -> None:
  """Resumes, saves, and is killed at a change to the file system."""
  with started(model_dir, checkpoint_format) as job:
    job.restore()
    with faults.injected(at, faults.kill):
      _act(job)


def refused(
  model_dirs: Sequence[str], checkpoint_format: str, code: int, persistent: bool = False
) -> list[str]:
  """Resumes and saves in each directory; in directory i, change number i + 1 fails.

  Then the same job makes one more step, and saves it successfully.

  Args:
    model_dirs: the directories.
    checkpoint_format: a format of `jobs`.
    code: the number of the error.
    persistent: whether all later changes fail too, as on a full disk.

  Returns:
    For each directory the error, or "" if the save succeeded.
  """
  outcomes = []
  for number, model_dir in enumerate(model_dirs):
    with started(model_dir, checkpoint_format) as job:
      start = job.restore()
      outcome = ""
      with faults.injected(number + 1, faults.refuse(code), persistent=persistent):
        try:
          _act(job)
        except (OSError, tf.errors.OpError) as error:
          outcome = f"{type(error).__name__}: {error}"
      outcomes.append(outcome)
      saved = killing.check_directory(model_dir)
      assert start <= saved <= start + 1, (number, saved)
      job.check()
      job.train()
      job.save()
      assert killing.check_directory(model_dir) == job.check()
  return outcomes


def resume(model_dirs: Sequence[str], checkpoint_format: str) -> list[int]:
  """Resumes in each directory, saves a few more steps, and checks the files.

  Returns:
    The step that each job began at.
  """
  starts = []
  for model_dir in model_dirs:
    saved = killing.check_directory(model_dir)
    with started(model_dir, checkpoint_format) as job:
      starts.append(job.restore())
      assert starts[-1] == saved
      job.save()
      while job.check() < 5:
        job.train()
        job.save()
    assert killing.check_directory(model_dir) == 5
    left = leftovers.incomplete(model_dir)
    assert left == [], (model_dir, left)
  return starts


def traced(model_dir: str, checkpoint_format: str, ready: str, go: str) -> None:
  """Resumes, makes a file to say so, waits for another file, and saves; for strace."""
  with started(model_dir, checkpoint_format) as job:
    job.restore()
    with open(ready, "w", encoding="ascii"):
      pass
    while not os.path.exists(go):
      time.sleep(0.01)
    _act(job)
