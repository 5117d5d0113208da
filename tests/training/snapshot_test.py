"""What a snapshot holds, and the checkpoints that are written from it."""

from __future__ import annotations

import os
import shutil

import numpy as np
import pytest
import tensorflow as tf

import estimator_ckpt as eckpt
from estimator_ckpt.training.snapshot import Snapshot, WrittenShard, WrittenTensor
from tests import models
from tests.training import asynchronous_jobs as jobs

v1 = tf.compat.v1


@pytest.mark.parametrize("use_resource", [True, False])
def test_a_checkpoint_holds_the_step_whose_number_it_bears(
  tmp_path, monkeypatch, use_resource
):
  held_back = jobs.HeldBack(monkeypatch)
  recorded = jobs.train(tmp_path / "a", 14, held_back, use_resource)
  assert held_back.held[:5] == [True] * 5
  assert eckpt.verify(str(tmp_path / "a")).ok
  assert jobs.steps_saved(tmp_path / "a") == [0, 3, 6, 9, 12, 14]
  for step in jobs.steps_saved(tmp_path / "a"):
    jobs.assert_is_of_step(f"{tmp_path}/a/model.ckpt-{step}", *recorded[step])
  # A job that resumes from the middle computes the same values, also of the iterator.
  os.mkdir(tmp_path / "b")
  for path in (tmp_path / "a").glob("model.ckpt-6.*"):
    shutil.copy(path, tmp_path / "b")
  v1.train.update_checkpoint_state(str(tmp_path / "b"), "model.ckpt-6")
  again = jobs.train(tmp_path / "b", 3, use_resource=use_resource)
  for step in (6, 9):
    for name, value in recorded[step][0].items():
      np.testing.assert_array_equal(again[step][0][name], value, err_msg=name)


def test_state_that_python_keeps_is_that_of_the_step(tmp_path, monkeypatch):
  class Counter(tf.train.experimental.PythonState):
    value = b""

    def serialize(self):
      return self.value

    def deserialize(self, state):
      self.value = state

  jobs.slow(monkeypatch, 0.1)
  counter = Counter()
  with tf.Graph().as_default():
    w, scaffold = jobs.plain(tmp_path, checkpoint={"counter": counter})
    with v1.Session() as session:
      session.run(scaffold.init_op)
      for step in range(3):
        counter.value = b"%d" % step
        scaffold.saver.save(session, str(tmp_path / "model.ckpt"), global_step=step)
        counter.value = b"later"
  for step in range(3):
    reader = eckpt.open_checkpoint(f"{tmp_path}/model.ckpt-{step}")
    [key] = [key for key in reader if key.startswith("counter/")]
    assert reader[key] == b"%d" % step


def test_evaluation_prediction_and_export_are_as_without(tmp_path):
  estimator = jobs.estimator(tmp_path)
  estimator.train(models.input_fn, max_steps=3)
  assert estimator.evaluate(models.eval_input_fn)["global_step"] == 3
  path = estimator.export_saved_model(str(tmp_path / "export"), models.serving_input_fn)
  assert eckpt.detect_format(path).value == "tf1"
  imported = v1.saved_model.load(
    v1.Session(graph=tf.Graph()), ["serve"], os.fsdecode(path)
  )
  assert not [n for n in imported.graph_def.node if "Stage" in n.op]


def test_a_meta_graph_of_such_a_job_saves_as_any_other(tmp_path):
  jobs.estimator(tmp_path).train(models.input_fn, max_steps=2)
  latest = tf.train.latest_checkpoint(str(tmp_path))
  with tf.Graph().as_default(), v1.Session() as session:
    saver = v1.train.import_meta_graph(latest + ".meta")
    saver.restore(session, latest)
    saver.save(session, str(tmp_path / "other"))
  named = models.named_values(tmp_path / "other")
  models.assert_same_values(named, models.named_values(latest))


@pytest.mark.parametrize("options", [{"separate": True}, {"durable": True}])
def test_beside_other_options(tmp_path, monkeypatch, options):
  jobs.slow(monkeypatch, 0.1)
  jobs.estimator(tmp_path, **options).train(models.input_fn, max_steps=5)
  jobs.assert_whole(tmp_path, 5)
  if "separate" in options:
    jobs.assert_whole(tmp_path / "tf2", 5)


def test_a_snapshot_that_a_server_lost_is_an_error(tmp_path):
  with tf.Graph().as_default(), v1.Session() as session:
    x = v1.get_variable("x", initializer=[1.0])
    shard = WrittenShard("", [WrittenTensor("x", "", x.read_value())])
    taken = Snapshot([shard])
    session.run(x.initializer)
    taken.take(session, {})
    taken.drop(session)
    # Nothing else shows that a server was started again; it must not wait for good.
    with pytest.raises(tf.errors.AbortedError, match="was started again"):
      taken.write(session, str(tmp_path / "model.ckpt"))
    taken.take(session, {})
    taken.write(session, str(tmp_path / "model.ckpt"))
  assert eckpt.open_checkpoint(tmp_path / "model.ckpt")["x"] == [1.0]
