"""Whoever expects a whole checkpoint, beside saves that training does not wait for."""

from __future__ import annotations

import time

import tensorflow as tf

import estimator_ckpt as eckpt
from tests import models
from tests.training import asynchronous_jobs as jobs

v1 = tf.compat.v1


class _Listener(v1.train.CheckpointSaverListener):
  """A listener that checks the checkpoint it is told of."""

  def __init__(self, model_dir):
    self._model_dir = model_dir
    self.heard = []

  def after_save(self, session, global_step_value):
    jobs.assert_whole(self._model_dir, global_step_value)
    self.heard.append(int(global_step_value))


def test_listeners_hear_of_whole_checkpoints_and_training_goes_on(
  tmp_path, monkeypatch
):
  jobs.slow(monkeypatch, 0.2)
  listener = _Listener(tmp_path)
  heard_at = {}

  class Watch(v1.train.SessionRunHook):
    def after_run(self, context, values):
      time.sleep(0.05)
      step = int(context.session.run(v1.train.get_global_step()))
      for saved in listener.heard:
        heard_at.setdefault(saved, step)

  jobs.estimator(tmp_path, save_steps=20).train(
    models.input_fn, max_steps=45, saving_listeners=[listener], hooks=[Watch()]
  )
  assert listener.heard == [0, 20, 40, 45]
  # Stock training would wait at 20.
  assert heard_at[20] > 20


def test_listeners_of_a_users_own_hook_hear_of_whole_checkpoints(
  tmp_path, monkeypatch, caplog
):
  written = jobs.slow(monkeypatch, 0.1)
  listener = _Listener(tmp_path)
  hook = v1.train.CheckpointSaverHook(str(tmp_path), save_steps=3, listeners=[listener])
  jobs.estimator(tmp_path).train(models.input_fn, max_steps=5, hooks=[hook])
  # The user's own hook saves, so no other one does.
  assert listener.heard == [0, 3, 5] and len(written) == 3
  said = [r for r in caplog.records if "has listeners" in r.getMessage()]
  assert len(said) == 1


def test_a_job_that_saves_nothing_saves_nothing(tmp_path):
  decorated = eckpt.dual_checkpointing(asynchronous=True)(models.model_fn)
  config = tf.estimator.RunConfig(
    save_checkpoints_steps=None, save_checkpoints_secs=None
  )
  estimator = tf.estimator.Estimator(decorated, str(tmp_path), config)
  estimator.train(models.input_fn, max_steps=3)
  assert jobs.steps_saved(tmp_path) == []


def test_a_listener_stops_training(tmp_path):
  class Stop(v1.train.CheckpointSaverListener):
    def after_save(self, session, global_step_value):
      return global_step_value == 4

  jobs.estimator(tmp_path).train(
    models.input_fn, max_steps=1000, saving_listeners=[Stop()]
  )
  assert jobs.steps_saved(tmp_path)[-1] < 1000


def test_each_checkpoint_is_evaluated(tmp_path, monkeypatch):
  jobs.slow(monkeypatch, 0.1)
  heard = []

  class Evaluated(v1.train.SessionRunHook):
    def after_create_session(self, session, coord):
      heard.append(int(session.run(v1.train.get_global_step())))

  tf.estimator.train_and_evaluate(
    jobs.estimator(tmp_path),
    tf.estimator.TrainSpec(models.input_fn, max_steps=6),
    tf.estimator.EvalSpec(
      models.eval_input_fn, steps=1, throttle_secs=0, hooks=[Evaluated()]
    ),
  )
  assert heard == [2, 4, 6]
