"""An embedding that a graph looked up with "mod" gives the same outputs in Keras."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

import estimator_ckpt as eckpt
import estimator_ckpt.keras
from estimator_ckpt import errors

v1 = tf.compat.v1
_VOCABULARY, _UNITS, _PARTS = 11, 3, 4
_IDS = np.arange(_VOCABULARY, dtype=np.int32)[:, None]


@pytest.fixture
def job(tmp_path):
  """Trains a partitioned embedding; returns the prefix, and the outputs for all ids."""
  with tf.Graph().as_default(), v1.Session() as session:
    v1.set_random_seed(3)
    ids = v1.placeholder(tf.int32, (None, 1))
    table = v1.get_variable(
      "net/embedding/embeddings",
      (_VOCABULARY, _UNITS),
      partitioner=v1.fixed_size_partitioner(_PARTS),
    )
    found = v1.nn.embedding_lookup(table, ids)  # Its default strategy is "mod".
    flat = tf.reshape(found, (-1, _UNITS))
    kernel = v1.get_variable("net/dense/kernel", (_UNITS, 2))
    logits = flat @ kernel + v1.get_variable("net/dense/bias", (2,))
    loss = tf.reduce_mean(tf.square(logits - 1.0))
    step = v1.train.get_or_create_global_step()
    train = v1.train.AdamOptimizer(0.1).minimize(loss, step)
    session.run(v1.global_variables_initializer())
    for _ in range(5):
      session.run(train, {ids: _IDS})
    prefix = v1.train.Saver().save(session, str(tmp_path / "m"), step)
    rows = session.run(flat, {ids: _IDS})
    outputs = session.run(logits, {ids: _IDS})
  return prefix, rows, outputs


def _model():
  layers = tf.keras.layers
  inputs = tf.keras.Input((1,), dtype="int32")
  net = layers.Embedding(_VOCABULARY, _UNITS, name="embedding")(inputs)
  net = layers.Reshape((_UNITS,))(net)
  return tf.keras.Model(inputs, layers.Dense(2, name="dense")(net))


def _optimizer():
  return estimator_ckpt.keras.sum_sparse_gradients(tf.keras.optimizers.Adam(0.1))


@pytest.mark.parametrize("scope", ["net/embedding", "net/embedding/", "net"])
def test_outputs_are_the_same_once_it_is_told(scope, job):
  prefix, rows, outputs = job
  model, optimizer = _model(), _optimizer()
  report = estimator_ckpt.keras.load(
    model, prefix, optimizer, partition_strategy={scope: "mod"}
  )
  assert "4 parts put together as 'mod'" in str(report) and not report.notes
  np.testing.assert_allclose(model(_IDS), outputs, rtol=1e-6, atol=1e-6)
  with eckpt.open_checkpoint(prefix, partition_strategy={scope: "mod"}) as reader:
    np.testing.assert_array_equal(reader["net/embedding/embeddings"], rows)
    expected = reader["net/embedding/embeddings/Adam"]
  slots = (
    optimizer.variables() if callable(optimizer.variables) else optimizer.variables
  )
  assert any(
    tuple(v.shape) == expected.shape and np.array_equal(v.numpy(), expected)
    for v in slots
  )


def test_without_a_word_the_outputs_differ_and_the_report_says_so(job):
  prefix, _, outputs = job
  model = _model()
  report = estimator_ckpt.keras.load(model, prefix)
  assert np.abs(model(_IDS) - outputs).max() > 0.01
  [note] = report.notes
  assert note.startswith("net/embedding/embeddings was saved in several parts")
  assert str(report).count("\nnote: ") == 1
  report = estimator_ckpt.keras.load(
    _model(), prefix, partition_strategy={"net/embedding": "div"}
  )
  assert not report.notes


def test_a_scope_that_matches_nothing_leaves_the_model_alone(job):
  prefix, _, _ = job
  model = _model()
  before = model.get_weights()
  with pytest.raises(errors.OptionError, match="Did you mean 'net/embedding'"):
    estimator_ckpt.keras.load(model, prefix, partition_strategy={"net/embeddin": "mod"})
  for ours, old in zip(model.get_weights(), before):
    np.testing.assert_array_equal(ours, old)


def test_there_and_back_by_the_command_line_is_the_same_graph(job, tmp_path):
  prefix, _, outputs = job
  model, optimizer = _model(), _optimizer()
  optimizer.build(model.trainable_variables)
  checkpoint = tf.train.Checkpoint(model=model, optimizer=optimizer)
  like = checkpoint.write(str(tmp_path / "like"))
  there, back = str(tmp_path / "there"), str(tmp_path / "back")
  options = {"partition_strategy": {"net": "mod"}}
  report = eckpt.convert(prefix, there, "tf2", like=like, **options)
  assert "several parts" not in str(report)
  assert "several parts" in str(eckpt.convert(prefix, there + "2", "tf2", like=like))
  checkpoint.restore(there).assert_consumed()
  np.testing.assert_allclose(model(_IDS), outputs, rtol=1e-6, atol=1e-6)
  eckpt.convert(there, back, "tf1", like=prefix, **options)
  with eckpt.open_checkpoint(prefix) as was, eckpt.open_checkpoint(back) as now:
    assert set(was) == set(now)
    for key, value in was.items():
      np.testing.assert_allclose(now[key], value, rtol=1e-6, err_msg=key)
