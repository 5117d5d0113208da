"""TensorFlow's canned Estimators, and what each of them has to save and resume."""

from __future__ import annotations

import functools
import os
import pathlib

import numpy as np
import tensorflow as tf

import estimator_ckpt as eckpt
from tests import models

v1 = tf.compat.v1


def _columns():
  return [tf.feature_column.numeric_column("x", shape=[2])]


def _binary_input_fn():
  return models.input_fn().map(lambda x, y: (x, tf.cast(y > 0.5, tf.int32)))


def _sequence_input_fn():
  def sequences(x, y):
    return {"x": tf.sparse.from_dense(x["x"])}, tf.cast(y > 0.5, tf.int32)

  return models.input_fn().map(sequences)


def _sequence_columns():
  return [tf.feature_column.sequence_numeric_column("x")]


def _with_ids_input_fn():
  ids = tf.as_string(tf.range(8))
  return models.input_fn().map(lambda x, y: ({**x, "id": ids}, y))


CANNED = {
  "DNNClassifier": lambda e, **k: e.DNNClassifier([4], _columns(), **k),
  "DNNRegressor": lambda e, **k: e.DNNRegressor([4], _columns(), **k),
  "DNNEstimator": lambda e, **k: e.DNNEstimator(
    head=tf.estimator.RegressionHead(),
    hidden_units=[4],
    feature_columns=_columns(),
    **k,
  ),
  "LinearEstimator": lambda e, **k: e.LinearEstimator(
    tf.estimator.RegressionHead(), _columns(), **k
  ),
  "LinearSDCA": lambda e, **k: e.LinearRegressor(
    _columns(), optimizer=tf.estimator.experimental.LinearSDCA("id"), **k
  ),
  "LinearClassifier": lambda e, **k: e.LinearClassifier(_columns(), **k),
  "LinearRegressor": lambda e, **k: e.LinearRegressor(_columns(), **k),
  "DNNLinearCombinedClassifier": lambda e, **k: e.DNNLinearCombinedClassifier(
    linear_feature_columns=_columns(),
    dnn_feature_columns=_columns(),
    dnn_hidden_units=[4],
    **k,
  ),
  "DNNLinearCombinedRegressor": lambda e, **k: e.DNNLinearCombinedRegressor(
    linear_feature_columns=_columns(),
    dnn_feature_columns=_columns(),
    dnn_hidden_units=[4],
    **k,
  ),
  "DNNLinearCombinedEstimator": lambda e, **k: e.DNNLinearCombinedEstimator(
    tf.estimator.RegressionHead(),
    linear_feature_columns=_columns(),
    dnn_feature_columns=_columns(),
    dnn_hidden_units=[4],
    **k,
  ),
  "BaselineClassifier": lambda e, **k: e.BaselineClassifier(**k),
  "BaselineEstimator": lambda e, **k: e.BaselineEstimator(
    tf.estimator.RegressionHead(), **k
  ),
  "BaselineRegressor": lambda e, **k: e.BaselineRegressor(**k),
  "RNNClassifier": lambda e, **k: e.experimental.RNNClassifier(
    _sequence_columns(), units=[3], **k
  ),
  "RNNEstimator": lambda e, **k: e.experimental.RNNEstimator(
    tf.estimator.BinaryClassHead(), _sequence_columns(), units=[3], **k
  ),
  "KMeans": lambda e, **k: e.experimental.KMeans(3, **k),
}
_OF_VERSION_1 = ("KMeans",)
# The optimizers or heads of these are of version 2.
_OF_VERSION_2 = tuple(n for n in CANNED if n.endswith("Estimator") or "RNN" in n)


def _canned_data(name):
  if name == "KMeans":
    return lambda: models.input_fn().map(lambda x, y: x)
  if name == "LinearSDCA":
    return _with_ids_input_fn
  if "RNN" in name:
    return _sequence_input_fn
  return _binary_input_fn if "Classifier" in name else models.input_fn


def _all_predicted(estimator, data):
  rows = list(estimator.predict(lambda: data().take(5)))
  found = {key: np.array([row[key] for row in rows]) for key in rows[0]}
  return {key: value for key, value in found.items() if value.dtype.kind == "f"}


def _canned_receiver(name):
  if name.startswith("Baseline") or name == "KMeans":
    return models.serving_input_fn
  columns = _sequence_columns() if "RNN" in name else _columns()
  return tf.estimator.export.build_parsing_serving_input_receiver_fn(
    tf.feature_column.make_parse_example_spec(columns)
  )


CASES = [(name, "v2") for name in CANNED if name not in _OF_VERSION_1] + [
  (name, "v1") for name in CANNED if name not in _OF_VERSION_2
]


def check(name: str, version: str, model_dir: pathlib.Path) -> None:
  """Trains one Estimator, resumes it in every format, and compares all values.

  Args:
    name: one of `CANNED`.
    version: version of its class, `v1` or `v2`.
    model_dir: an empty directory.
  """
  module = tf.estimator if version == "v2" else v1.estimator
  make = functools.partial(CANNED[name], module, model_dir=str(model_dir))
  data = _canned_data(name)
  last = models.Values()
  make().train(data, steps=2, hooks=[last])
  for steps, checkpoint_format in enumerate(["tf2", "dual", "tf1", "tf2"], 3):
    before = last.last
    estimator = eckpt.with_checkpointing(make(), checkpoint_format)
    last = models.Values()
    estimator.train(data, max_steps=steps, hooks=[last])
    models.assert_same_values(before, last.start)
    assert eckpt.detect_format(str(model_dir)).value == checkpoint_format
    if checkpoint_format == "dual":
      # The undecorated Estimator, by name, and the decorated one, by object.
      predicted = _all_predicted(make(), data)
      assert predicted
      models.assert_same_values(predicted, _all_predicted(estimator, data))
  assert estimator.evaluate(data, steps=1)["global_step"] == steps
  other = eckpt.with_checkpointing(make(), "tf1")
  predicted = _all_predicted(estimator, data)
  models.assert_same_values(predicted, _all_predicted(other, data))
  path = estimator.export_saved_model(
    str(model_dir / "export"), _canned_receiver(name)
  ).decode()
  exported = eckpt.open_checkpoint(os.path.join(path, "variables", "variables"))
  assert len(exported)
  for key in exported:
    np.testing.assert_array_equal(exported[key], last.last[key], err_msg=key)
