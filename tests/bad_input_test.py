"""Errors in a model_dir or a model_fn are raised before anything is written."""

from __future__ import annotations

import os
import shutil

import numpy as np
import pytest
import tensorflow as tf

import estimator_ckpt as eckpt
from estimator_ckpt import errors
from estimator_ckpt.bundle.index import Index
from tests import models, stored

v1 = tf.compat.v1


@pytest.fixture(scope="module")
def trained_dir(tmp_path_factory):
  """A model_dir with dual checkpoints of steps 0 and 5."""
  path = tmp_path_factory.mktemp("trained")
  _estimator(path).train(models.input_fn, steps=5)
  return path


@pytest.fixture
def model_dir(trained_dir, tmp_path):
  """A copy of `trained_dir`."""
  return shutil.copytree(trained_dir, tmp_path / "model")


def _estimator(model_dir, model_fn=models.model_fn):
  return models.estimator(eckpt.dual_checkpointing(model_fn), model_dir)


def _train(estimator):
  estimator.train(models.input_fn, steps=1)


def _evaluate(estimator):
  estimator.evaluate(models.eval_input_fn, steps=1)


def _predict(estimator):
  next(estimator.predict(models.eval_input_fn))


def _checkpoints(model_dir):
  """The checkpoint files on disk. Summaries do not count: an evaluation writes one."""
  found = stored.snapshot(model_dir)
  return {name: data for name, data in found.items() if "tfevents" not in name}


def _raises(error, model_dir, run):
  """Returns the message of the error; fails if a checkpoint file has changed."""
  before = _checkpoints(model_dir)
  with pytest.raises(error) as raised:
    run()
  assert isinstance(raised.value, eckpt.CheckpointError)
  assert _checkpoints(model_dir) == before
  return str(raised.value)


@pytest.mark.parametrize("damage", ["empty", "truncated", "foreign", "one bit"])
def test_a_damaged_data_file(model_dir, damage):
  data = model_dir / "model.ckpt-5.data-00000-of-00001"
  at = Index.read(f"{model_dir}/model.ckpt-5").entry("net/hidden/kernel").offset
  sound = data.read_bytes()
  data.write_bytes(
    {
      "empty": b"",
      "truncated": sound[:at],
      "foreign": b"PK\x03\x04" * (len(sound) // 4 + 1),
      "one bit": sound[:at] + bytes((sound[at] ^ 1,)) + sound[at + 1 :],
    }[damage]
  )
  message = _raises(
    errors.CorruptCheckpointError, model_dir, lambda: _train(_estimator(model_dir))
  )
  assert message.startswith(f"{model_dir}/model.ckpt-5: the checkpoint is damaged")
  assert f"{data}: " in message
  if damage == "one bit":
    assert f"{data}: 'net/hidden/kernel': its bytes do not match" in message
  assert f"restore an earlier one: {model_dir}/model.ckpt-0." in message


def test_a_truncated_object_graph_is_written_again(model_dir):
  # No variable's value is damaged, so the job goes on and writes the checkpoint again.
  data = model_dir / "model.ckpt-5.data-00000-of-00001"
  os.truncate(data, data.stat().st_size - 9)
  assert not eckpt.verify(model_dir / "model.ckpt-5").ok
  _train(_estimator(model_dir))
  assert eckpt.verify(model_dir / "model.ckpt-5").ok


_STATES = {
  "empty": "",
  "truncated": 'model_checkpoint_path: "model.ck',
  "foreign": "PK\x03\x04",
}


@pytest.mark.parametrize(
  ("damage", "run"),
  [
    ("empty", _train),  # With an empty file, _evaluate and _predict fail in TensorFlow.
    *[(d, r) for d in ("truncated", "foreign") for r in (_train, _evaluate, _predict)],
  ],
)
def test_a_damaged_state_file_does_not_begin_anew(model_dir, damage, run):
  (model_dir / "checkpoint").write_text(_STATES[damage])
  message = _raises(
    errors.CorruptCheckpointError, model_dir, lambda: run(_estimator(model_dir))
  )
  assert message.startswith(f"{model_dir}/checkpoint: not a checkpoint state file")
  assert "model.ckpt-0, model.ckpt-5" in message
  assert '`model_checkpoint_path: "model.ckpt-5"`' in message


def test_stock_tensorflow_begins_anew_there(model_dir):
  (model_dir / "checkpoint").write_text(_STATES["foreign"])
  _train(models.estimator(models.model_fn, model_dir))
  assert tf.train.latest_checkpoint(str(model_dir)).endswith("model.ckpt-1")


def test_a_session_does_not_begin_anew_either(model_dir):
  (model_dir / "checkpoint").write_text(_STATES["foreign"])

  def run():
    with tf.Graph().as_default():
      op = v1.assign_add(v1.train.get_or_create_global_step(), 1)
      with v1.train.MonitoredTrainingSession(
        checkpoint_dir=str(model_dir), scaffold=eckpt.dual_scaffold()
      ) as session:
        session.run(op)

  before = _checkpoints(model_dir)
  with pytest.raises(errors.CorruptCheckpointError, match="begin anew"):
    run()
  # CheckpointSaverHook writes the graph before it saves.
  assert _checkpoints(model_dir) == {**before, **_graph(model_dir)}


def _graph(model_dir):
  return {"graph.pbtxt": (model_dir / "graph.pbtxt").read_bytes()}


@pytest.mark.parametrize("run", [_train, _evaluate, _predict])
def test_a_state_file_that_names_what_is_not_there(model_dir, run):
  (model_dir / "checkpoint").write_text('model_checkpoint_path: "model.ckpt-7"')
  message = _raises(
    errors.CheckpointNotFoundError, model_dir, lambda: run(_estimator(model_dir))
  )
  assert f"{model_dir}/model.ckpt-7.index" in message
  assert "model.ckpt-5" in message


def test_an_earlier_checkpoint_is_read_by_its_path(model_dir):
  (model_dir / "checkpoint").write_text(_STATES["foreign"])
  evaluated = _estimator(model_dir).evaluate(
    models.eval_input_fn, checkpoint_path=str(model_dir / "model.ckpt-0")
  )
  assert evaluated["global_step"] == 0


@pytest.mark.parametrize("damage", list(_STATES))
def test_a_damaged_state_file_without_checkpoints_is_replaced(tmp_path, damage):
  with tf.Graph().as_default(), v1.Session() as session:
    v1.get_variable("w", initializer=np.float32(3))
    session.run(v1.global_variables_initializer())
    saver = eckpt.dual_scaffold().saver
    saver.build()
    (tmp_path / "checkpoint").write_text(_STATES[damage])
    saver.save(session, str(tmp_path / "model.ckpt"))
  assert tf.train.latest_checkpoint(str(tmp_path)) == str(tmp_path / "model.ckpt")


@pytest.mark.parametrize(
  "path", ["", "checkpoint", "model.ckpt-5.index", "model.ckpt-5.meta"]
)
def test_a_saver_takes_a_path_for_what_it_is(model_dir, path):
  assert _restored(os.path.join(model_dir, path)) == 5


def _restored(path):
  with tf.Graph().as_default(), v1.Session() as session:
    step = v1.train.get_or_create_global_step()
    eckpt.tf2_scaffold().saver.restore(session, path)
    return session.run(step)


def test_a_saver_names_the_nearest_checkpoint(model_dir):
  wrong = f"{model_dir}/model.ckpt-55"
  message = _raises(errors.CheckpointNotFoundError, model_dir, lambda: _restored(wrong))
  assert f"did you mean {model_dir}/model.ckpt-5?" in message


@pytest.mark.parametrize(
  ("missing", "run", "mode"),
  [
    ("train_op", _train, "train"),
    ("loss", _train, "train"),
    ("loss", _evaluate, "eval"),
    ("predictions", _predict, "infer"),
  ],
)
def test_a_spec_without_what_its_mode_needs(model_dir, missing, run, mode):
  def unfinished_fn(features, labels, mode):
    return models.model_fn(features, labels, mode)._replace(**{missing: None})

  message = _raises(
    errors.OptionError, model_dir, lambda: run(_estimator(model_dir, unfinished_fn))
  )
  assert message.startswith(
    f"Missing {missing}. 'unfinished_fn' made an EstimatorSpec without it in mode '{mode}'"
  )


def test_a_spec_of_another_mode(model_dir):
  def predicting_fn(features, labels, mode):
    return models.model_fn(features, labels, "infer")

  message = _raises(
    errors.OptionError, model_dir, lambda: _train(_estimator(model_dir, predicting_fn))
  )
  assert "in mode 'train' and returned an EstimatorSpec of mode 'infer'" in message


def test_errors_of_a_model_fn_are_its_own(model_dir):
  def failing_fn(features, labels, mode):
    raise ValueError("Missing a semicolon.")

  with pytest.raises(ValueError, match="^Missing a semicolon.$"):
    _train(_estimator(model_dir, failing_fn))


@pytest.mark.parametrize("run", [_train, _evaluate, _predict])
def test_another_dtype(model_dir, run):
  def double_fn(features, labels, mode):
    with v1.variable_scope("net"):
      kernel = v1.get_variable("hidden/kernel", [2, 4], tf.float64)
    y = tf.reduce_sum(tf.cast(kernel, tf.float32)) + features["x"][:, :1]
    return models.spec(mode, y, labels, v1.train.GradientDescentOptimizer(0.1))

  message = _raises(
    errors.VariableMismatchError,
    model_dir,
    lambda: run(_estimator(model_dir, double_fn)),
  )
  assert f"{model_dir}/model.ckpt-5" in message
  assert (
    "'net/hidden/kernel' is float64 [2, 4] in the graph, float32 [2, 4] in" in message
  )
  assert "warm_start=" in message
