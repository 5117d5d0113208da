"""Saves that training does not wait for: when they are complete, and how they fail."""

from __future__ import annotations

import errno
import functools
import os
import re
import sys
import threading
import time

import pytest
import tensorflow as tf

import estimator_ckpt as eckpt
from estimator_ckpt.training.snapshot import Snapshot
from tests import models
from tests.training import asynchronous_jobs as jobs

v1 = tf.compat.v1


@pytest.mark.parametrize("checkpoint_format", ["tf1", "tf2", "dual"])
def test_the_last_save_is_whole_when_train_returns(
  tmp_path, monkeypatch, checkpoint_format
):
  written = jobs.slow(monkeypatch)
  estimator = jobs.estimator(tmp_path, checkpoint_format=checkpoint_format)
  estimator.train(models.input_fn, max_steps=4)
  assert len(written) == 3
  jobs.assert_whole(tmp_path, 4)
  assert eckpt.detect_format(str(tmp_path)).value == checkpoint_format
  # The plain decorator, too, resumes the job.
  jobs.estimator(
    tmp_path, checkpoint_format=checkpoint_format, asynchronous=False
  ).train(models.input_fn, max_steps=5)
  jobs.assert_whole(tmp_path, 5)


@pytest.mark.parametrize("way", ["exception", "stop", "end of input", "interrupt"])
def test_the_last_save_is_whole_however_training_ends(tmp_path, monkeypatch, way):
  jobs.slow(monkeypatch)

  def fail(context):
    raise {"exception": ZeroDivisionError, "interrupt": KeyboardInterrupt}[way]

  def stop(context):
    context.request_stop()

  actions = {"exception": fail, "interrupt": fail, "stop": stop}
  # The saving hook runs last, so step 4 is not saved if the hook before it fails.
  hook = jobs.AtStep(5 if way != "end of input" else -1, actions.get(way))

  def input_fn():
    return models.input_fn().take(5)

  train = functools.partial(jobs.estimator(tmp_path).train, input_fn, hooks=[hook])
  if way in ("exception", "interrupt"):
    with pytest.raises((ZeroDivisionError, KeyboardInterrupt)):
      train()
    jobs.assert_whole(tmp_path, 4)
  else:
    train()
    jobs.assert_whole(tmp_path, 5)


@pytest.mark.skipif(
  sys.platform != "linux", reason="only Linux has one for each thread"
)
def test_a_write_has_a_low_priority_unless_somebody_waits_for_it(tmp_path, monkeypatch):
  own = os.getpriority(os.PRIO_PROCESS, 0)
  lower = {}
  write = Snapshot.write

  def noted(snapshot, session, prefix):
    step = int(prefix.rpartition("-")[2])
    lower[step] = os.getpriority(os.PRIO_PROCESS, 0) > own
    write(snapshot, session, prefix)

  monkeypatch.setattr(Snapshot, "write", noted)
  # At the end of training, nothing is left to give way to.
  jobs.estimator(tmp_path / "end").train(models.input_fn, max_steps=5)
  assert lower == {0: True, 2: True, 4: True, 5: False}
  lower.clear()
  # Listeners of a stock hook expect a whole checkpoint.
  listeners = [v1.train.CheckpointSaverListener()]
  directory = str(tmp_path / "listener")
  hook = v1.train.CheckpointSaverHook(directory, save_steps=2, listeners=listeners)
  jobs.estimator(directory).train(models.input_fn, max_steps=2, hooks=[hook])
  assert lower == {0: False, 2: False}
  # The priority of training itself stays.
  assert os.getpriority(os.PRIO_PROCESS, 0) == own


@pytest.mark.parametrize("fails", [False, True])
def test_a_scaffold_alone_is_enough(tmp_path, monkeypatch, fails):
  jobs.slow(monkeypatch)
  with tf.Graph().as_default():
    w = v1.get_variable("w", [3])
    step = v1.train.get_or_create_global_step()
    op = v1.train.GradientDescentOptimizer(0.1).minimize(tf.reduce_sum(w**2), step)
    try:
      with v1.train.MonitoredTrainingSession(
        checkpoint_dir=str(tmp_path),
        scaffold=eckpt.dual_scaffold(asynchronous=True),
        save_checkpoint_steps=2,
        save_checkpoint_secs=None,
      ) as session:
        for _ in range(4):
          session.run(op)
        if fails:
          raise ZeroDivisionError
    except ZeroDivisionError:
      assert fails
  jobs.assert_whole(tmp_path, 4)


def test_a_session_without_hooks_waits_when_it_is_closed(tmp_path, monkeypatch):
  written = jobs.slow(monkeypatch)
  prefix = str(tmp_path / "model.ckpt")
  with tf.Graph().as_default():
    _, scaffold = jobs.plain(tmp_path)
    with v1.Session() as session:
      session.run(scaffold.init_op)
      scaffold.saver.save(session, prefix, global_step=0)
      assert not written
      scaffold.saver.wait_until_finished()
      assert len(written) == 1
      jobs.assert_whole(tmp_path, 0)
      scaffold.saver.save(session, prefix, global_step=0)
      assert len(written) == 1
  assert len(written) == 2
  jobs.assert_whole(tmp_path, 0)


def test_a_write_that_fails_raises_at_the_next_step(tmp_path, monkeypatch):
  estimator = jobs.estimator(tmp_path, save_steps=10)
  estimator.train(models.input_fn, max_steps=1)
  write = Snapshot.write
  refused = threading.Event()

  def full(snapshot, session, prefix):
    if prefix.endswith("-11"):
      refused.set()
      raise OSError(errno.ENOSPC, "No space left on device", prefix)
    write(snapshot, session, prefix)

  def wait(context):
    assert refused.wait(60)
    time.sleep(0.3)

  monkeypatch.setattr(Snapshot, "write", full)
  hook = jobs.AtStep(12, wait)
  with pytest.raises(OSError, match="No space left on device"):
    estimator.train(models.input_fn, max_steps=1000, hooks=[hook])
  assert hook.done[-1] <= 13
  jobs.assert_whole(tmp_path, 1)
  monkeypatch.undo()
  estimator.train(models.input_fn, max_steps=14)
  jobs.assert_whole(tmp_path, 14)


def test_the_last_write_that_fails_raises_from_train(tmp_path, monkeypatch):
  estimator = jobs.estimator(tmp_path, save_steps=10)
  write = Snapshot.write

  def full(snapshot, session, prefix):
    if prefix.endswith("-4"):
      time.sleep(0.2)
      raise OSError(errno.ENOSPC, "No space left on device", prefix)
    write(snapshot, session, prefix)

  monkeypatch.setattr(Snapshot, "write", full)
  with pytest.raises(OSError, match="No space left on device"):
    estimator.train(models.input_fn, max_steps=4)
  jobs.assert_whole(tmp_path, 0)


def test_what_training_raises_comes_before_what_writing_raises(
  tmp_path, monkeypatch, caplog
):
  estimator = jobs.estimator(tmp_path, save_steps=2)

  failed = threading.Event()

  def full(snapshot, session, prefix):
    failed.wait(10)
    time.sleep(0.2)
    raise OSError(errno.ENOSPC, "No space left on device", prefix)

  def fail(context):
    failed.set()
    raise ZeroDivisionError

  monkeypatch.setattr(Snapshot, "write", full)
  with pytest.raises(ZeroDivisionError):
    estimator.train(models.input_fn, max_steps=4, hooks=[jobs.AtStep(1, fail)])
  assert "No space left on device" in caplog.text


def test_a_lost_session_drops_what_it_was_writing(tmp_path, monkeypatch, caplog):
  write = Snapshot.write

  gone = threading.Event()
  aborts = []

  def lost(snapshot, session, prefix):
    if prefix.endswith("-2") and not gone.is_set():
      gone.set()
      raise tf.errors.AbortedError(None, None, "the server is gone")
    write(snapshot, session, prefix)

  def aborted(context):
    if not aborts:
      assert gone.wait(60)
      aborts.append(context)
      raise tf.errors.AbortedError(None, None, "the server is gone")

  monkeypatch.setattr(Snapshot, "write", lost)
  jobs.estimator(tmp_path).train(
    models.input_fn, max_steps=6, hooks=[jobs.AtStep(3, aborted)]
  )
  assert len(aborts) == 1
  assert "was not written, since its session was lost" in caplog.text
  jobs.assert_whole(tmp_path, 6)


def test_a_lost_session_fails_a_training_that_is_over(tmp_path, monkeypatch):
  def lost(snapshot, session, prefix):
    time.sleep(0.2)
    raise tf.errors.UnavailableError(None, None, "the server is gone")

  with tf.Graph().as_default():
    op = v1.assign_add(v1.train.get_or_create_global_step(), 1)
    scaffold = eckpt.dual_scaffold(asynchronous=True)
    with pytest.raises(eckpt.CheckpointError, match="the server is gone"):
      with v1.train.MonitoredTrainingSession(
        checkpoint_dir=str(tmp_path),
        scaffold=scaffold,
        save_checkpoint_steps=9,
        save_checkpoint_secs=None,
      ) as session:
        session.run(op)
        session.run(op)
        # On a busy machine, the first checkpoint may still have to be written.
        scaffold.saver.wait_until_finished()
        monkeypatch.setattr(Snapshot, "write", lost)
  jobs.assert_whole(tmp_path, 0)


def test_a_save_that_comes_too_early_waits_and_says_so_once(
  tmp_path, monkeypatch, caplog
):
  written = jobs.slow(monkeypatch)
  jobs.estimator(tmp_path, save_steps=1).train(models.input_fn, max_steps=5)
  assert [prefix.rpartition("-")[2] for prefix in written] == list("012345")
  said = [r for r in caplog.records if "Save less often" in r.getMessage()]
  assert len(said) == 1
  assert re.search(r"writing one takes \d+\.\d s", said[0].getMessage())
