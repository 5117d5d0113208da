"""Partitioned variables of feature columns and canned Estimators."""

from __future__ import annotations

import re

import numpy as np
import pytest
import tensorflow as tf

import estimator_ckpt as eckpt
from estimator_ckpt.checkpoint import layout
from tests import models, tensorflows

v1 = tf.compat.v1
_FORMATS = ["tf1", "tf2", "dual"]
_WORDS = [f"word{i}" for i in range(12)]


def _word_input_fn():
  features = {"word": np.array(_WORDS)}
  labels = np.arange(12, dtype=np.float32).reshape(12, 1)
  return tf.data.Dataset.from_tensor_slices((features, labels)).repeat(5).batch(6)


def _embedding_columns():
  word = tf.feature_column.categorical_column_with_vocabulary_list("word", _WORDS)
  return [tf.feature_column.embedding_column(word, 4)]


def _canned(kind, parts, model_dir):
  partitioner = v1.fixed_size_partitioner(parts) if parts else None
  config = tf.estimator.RunConfig(tf_random_seed=7)
  if kind == "DNNRegressor":
    return v1.estimator.DNNRegressor(
      [3],
      _embedding_columns(),
      str(model_dir),
      input_layer_partitioner=partitioner,
      config=config,
    )

  def model_fn(features, labels, mode):
    with v1.variable_scope("net", partitioner=partitioner):
      x = v1.feature_column.input_layer(features, _embedding_columns())
      return models.spec(mode, v1.layers.dense(x, 1, name="out"), labels)

  return tf.estimator.Estimator(model_fn, str(model_dir), config)


@pytest.mark.parametrize("kind", ["DNNRegressor", "input_layer"])
@pytest.mark.parametrize("checkpoint_format", _FORMATS)
def test_feature_columns(kind, checkpoint_format, tmp_path):
  """Stock trains with three parts, then this library with two, then with none."""
  stock, ours, last = models.Values(), models.Values(), models.Values()
  _canned(kind, 3, tmp_path).train(_word_input_fn, steps=3, hooks=[stock])
  decorate = lambda e: eckpt.with_checkpointing(e, checkpoint_format)  # noqa: E731
  two = decorate(_canned(kind, 2, tmp_path))
  key = "predictions" if kind == "DNNRegressor" else "y"

  def predicted(estimator):
    rows = estimator.predict(lambda: _word_input_fn().take(2))
    return np.array([row[key] for row in rows])

  plain = predicted(_canned(kind, 3, tmp_path))
  assert len(np.unique(plain)) > 6  # Words with no active unit are alike.
  np.testing.assert_array_equal(predicted(two), plain)
  two.train(_word_input_fn, max_steps=6, hooks=[ours])
  slots = [name for name in ours.start if re.search("embedding_weights/Ada", name)]
  assert slots and all(np.any(ours.start[name]) for name in slots)
  models.assert_same_values(stock.last, ours.start)
  assert eckpt.detect_format(str(tmp_path)).value == checkpoint_format
  assert two.evaluate(_word_input_fn)["global_step"] == 6
  none = decorate(_canned(kind, 0, tmp_path))
  np.testing.assert_array_equal(predicted(none), predicted(two))
  serving = tf.estimator.export.build_parsing_serving_input_receiver_fn(
    tf.feature_column.make_parse_example_spec(_embedding_columns())
  )
  for estimator in (two, none):
    path = estimator.export_saved_model(str(tmp_path / "export"), serving).decode()
    examples = [
      tf.train.Example(
        features=tf.train.Features(
          feature={
            "word": tf.train.Feature(
              bytes_list=tf.train.BytesList(value=[word.encode()])
            )
          }
        )
      ).SerializeToString()
      for word in _WORDS
    ]
    signature = "predict" if kind == "DNNRegressor" else "serving_default"
    [served] = tensorflows.served(path, examples, signature=signature).values()
    np.testing.assert_allclose(served, predicted(two), atol=1e-6)
  another = _FORMATS[(_FORMATS.index(checkpoint_format) + 1) % 3]
  other = eckpt.with_checkpointing(_canned(kind, 0, tmp_path), another)
  other.train(_word_input_fn, steps=1, hooks=[last])
  models.assert_same_values(ours.last, last.start)


def test_a_canned_estimator_in_a_pair_of_bundles(tmp_path):
  """Slots of parts that TensorFlow misnames: with the wrong names, or without names."""
  _canned("DNNRegressor", 2, tmp_path / "plain").train(_word_input_fn, steps=1)
  names = {name for name, _ in tf.train.list_variables(str(tmp_path / "plain"))}
  assert any("t_1/Adagrad" in name for name in names)
  pair = eckpt.with_checkpointing(
    _canned("DNNRegressor", 2, tmp_path / "pair"), "dual", separate=True
  )
  pair.train(_word_input_fn, steps=1)
  assert names == {name for name, _ in tf.train.list_variables(str(tmp_path / "pair"))}
  keys = {key for key, _ in tf.train.list_variables(str(tmp_path / "pair" / "tf2"))}
  assert {key for key in keys if layout.parse_object_key(key) is None} == {
    "global_step",
    layout.OBJECT_GRAPH_KEY,
  }
