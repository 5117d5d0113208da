"""Savers without a Scaffold in a Supervisor and in slim.

`tests/interop/tf1_15_suites_test.py` runs this file under TensorFlow 1.15.5 too, which has
the real `tf.contrib.slim`.
"""

from __future__ import annotations

import os

import numpy as np
import pytest
import tensorflow as tf

import estimator_ckpt as eckpt
from tests import models
from tests.training import saver_jobs

v1 = tf.compat.v1
_FORMATS = sorted(saver_jobs.SAVERS)


def _supervise(directory, saver, train_op, steps, **options):
  """Trains like code with a Supervisor; returns the values before and after."""
  supervisor = v1.train.Supervisor(
    logdir=str(directory),
    saver=saver,
    # Its threads do without summaries under an eager TensorFlow 2.
    summary_writer=None,
    **options,
  )
  with supervisor.managed_session() as session:
    start = models.whole_values(session)
    for _ in range(steps):
      session.run(train_op)
    last = models.whole_values(session)
    supervisor.saver.save(session, supervisor.save_path, supervisor.global_step)
  return start, last


@pytest.mark.parametrize("when", saver_jobs.WHEN)
@pytest.mark.parametrize("checkpoint_format", _FORMATS)
def test_a_supervisor(tmp_path, checkpoint_format, when):
  last = None
  for _ in range(2):
    with tf.Graph().as_default():
      saver, train_op = saver_jobs.built(when, saver_jobs.SAVERS[checkpoint_format])
      start, after = _supervise(tmp_path, saver, train_op, steps=3)
    if last is not None:
      models.assert_same_values(last, start)
    last = after
  assert eckpt.detect_format(tmp_path).value == checkpoint_format
  models.assert_same_values(last, models.named_values(tmp_path))


def test_a_supervisor_whose_graph_is_not_the_default_one(tmp_path):
  graph = tf.Graph()
  with graph.as_default():
    saver, train_op = saver_jobs.built("before", eckpt.dual_saver)
  with tf.Graph().as_default():
    v1.get_variable("other", [])
    _supervise(tmp_path, saver, train_op, steps=1, graph=graph)
  assert models.named_values(tmp_path)["global_step"] == 1


def test_a_supervisor_in_a_cluster(tmp_path):
  server = v1.train.Server({"local": ["localhost:0"]})
  graphs = []
  for is_chief in (True, False):
    with tf.Graph().as_default() as graph, tf.device("/job:local/task:0"):
      saver, train_op = saver_jobs.built("before", eckpt.dual_saver)
      supervisor = v1.train.Supervisor(
        is_chief=is_chief,
        logdir=str(tmp_path),
        saver=saver,
        summary_writer=None,
        save_model_secs=0,
        recovery_wait_secs=1,
      )
    graphs.append((graph, supervisor, train_op))
  sessions = []
  for graph, supervisor, train_op in graphs:
    with graph.as_default():
      session = supervisor.prepare_or_wait_for_session(server.target)
    session.run(train_op)
    sessions.append(session)
  chief = graphs[0][1]
  chief.saver.save(sessions[0], chief.save_path, chief.global_step)
  for (_, supervisor, _), session in zip(graphs, sessions):
    supervisor.stop()
    session.close()
  assert models.named_values(tmp_path)["global_step"] == 2


def test_a_saver_of_the_graph_to_come(tmp_path):
  """Made in the default graph, used in another one."""
  with tf.Graph().as_default():
    saver = eckpt.dual_saver()
  with tf.Graph().as_default():
    train_op = saver_jobs.model()
    _supervise(tmp_path, saver, train_op, steps=1)
  assert models.named_values(tmp_path)["global_step"] == 1


@pytest.mark.parametrize("when", saver_jobs.WHEN)
def test_slim_learning_train(tmp_path, when):
  slim = pytest.importorskip(
    "tensorflow.contrib.slim", reason=f"TensorFlow {tf.__version__} has no `tf.contrib`"
  )

  def train(steps):
    with tf.Graph().as_default():
      v1.set_random_seed(1)
      saver = eckpt.dual_saver() if when == "before" else None
      images = tf.random.uniform([4, 8, 8, 3])
      net = slim.conv2d(images, 4, [3, 3], normalizer_fn=slim.batch_norm)
      logits = slim.fully_connected(slim.flatten(net), 2)
      loss = slim.losses.softmax_cross_entropy(logits, tf.one_hot([0, 1] * 2, 2))
      train_op = slim.learning.create_train_op(loss, v1.train.AdamOptimizer(0.01))
      slim.learning.train(
        train_op,
        str(tmp_path),
        number_of_steps=steps,
        saver=saver or eckpt.dual_saver(),
        save_summaries_secs=0,
      )
      return {v.op.name for v in v1.global_variables()}

  names = train(2)
  assert "Conv/BatchNorm/moving_mean" in names
  assert set(models.named_values(tmp_path)) == names
  assert eckpt.detect_format(tmp_path).value == "dual" and eckpt.verify(tmp_path).ok
  train(5)
  assert models.named_values(tmp_path)["global_step"] == 5


def test_a_warm_start_with_a_supervisor(tmp_path):
  with tf.Graph().as_default():
    saver, train_op = saver_jobs.built("after", eckpt.tf2_saver)
    _supervise(tmp_path / "old", saver, train_op, steps=3)
  old = str(tmp_path / "old")

  def make():
    return eckpt.dual_saver(warm_start=eckpt.WarmStart(old, variables="net/.*"))

  with tf.Graph().as_default():
    saver, train_op = saver_jobs.built("before", make)
    start, _ = _supervise(
      tmp_path / "new", saver, train_op, steps=1, init_fn=saver.warm_start
    )
  np.testing.assert_array_equal(start["net/w"], models.named_values(old)["net/w"])
  assert start["global_step"] == 0
  assert (tmp_path / "new" / "warm_start.json").exists()
  with tf.Graph().as_default():
    saver, train_op = saver_jobs.built("before", make)
    start, _ = _supervise(
      tmp_path / "new", saver, train_op, steps=1, init_fn=saver.warm_start
    )
  assert start["global_step"] == 1


def test_asynchronous(tmp_path):
  with tf.Graph().as_default():
    saver, train_op = saver_jobs.built(
      "before", lambda: eckpt.dual_saver(asynchronous=True)
    )
    _supervise(tmp_path, saver, train_op, steps=1)
  assert models.named_values(tmp_path)["global_step"] == 1
  assert eckpt.detect_format(tmp_path).value == "dual"


def test_a_background_write_that_fails_is_logged(tmp_path, caplog, monkeypatch):
  # A Supervisor drops the errors of `session.close()`, which raises this one.
  def refuse(*arguments):
    raise OSError("No space left on device")

  with tf.Graph().as_default():
    saver, train_op = saver_jobs.built(
      "after", lambda: eckpt.dual_saver(asynchronous=True)
    )
    monkeypatch.setattr(os, "replace", refuse)
    _supervise(tmp_path, saver, train_op, steps=1, save_model_secs=0)
  assert "No space left" in caplog.text and "model.ckpt-1" in caplog.text
  assert tf.train.latest_checkpoint(str(tmp_path)) is None
