"""Estimators that run on TensorFlow 1.15 as on 2.15, for handing a model_dir over.

TensorFlow 1.15 imports this file in Python 3.7. Nothing here knows of this library.
"""

from __future__ import annotations

import numpy as np
import tensorflow as tf

v1 = tf.compat.v1

_ROWS = 12
_BUCKETS = 11
X = np.sin(np.arange(_ROWS * 3, dtype=np.float32).reshape(_ROWS, 3))
IDS = (np.arange(_ROWS, dtype=np.int64) * 5) % _BUCKETS
Y = (X[:, :1] * 2 + np.cos(IDS[:, None]) - 0.5).astype(np.float32)
CLASSES = (np.arange(_ROWS, dtype=np.int64) * 7 % 5) % 3


def _features():
  return {"x": X, "id": IDS}


def input_fn():
  """All rows as one batch, again and again, for regression."""
  return tf.data.Dataset.from_tensors((_features(), Y)).repeat()


def classes_input_fn():
  """The same rows for classification into three classes."""
  return tf.data.Dataset.from_tensors((_features(), CLASSES)).repeat()


def predict_input_fn():
  """The features, read once."""
  return tf.data.Dataset.from_tensors(_features())


def serving_input_fn():
  """A serving signature over the same features."""
  features = {
    "x": v1.placeholder(tf.float32, [None, 3], name="x"),
    "id": v1.placeholder(tf.int64, [None], name="id"),
  }
  return tf.estimator.export.ServingInputReceiver(features, features)


def _partitioner(count, axis=0):
  return v1.fixed_size_partitioner(count, axis) if count > 1 else None


def network(features, training, partitions):
  """An embedding and a wide layer in slices, two dense ones, batch normalization."""
  with v1.variable_scope("net"):
    embedding = v1.get_variable(
      "embedding", [_BUCKETS, 4], partitioner=_partitioner(partitions)
    )
    looked_up = v1.nn.embedding_lookup(
      embedding, features["id"], partition_strategy="div"
    )
    h = tf.concat([features["x"], looked_up], axis=1)
    h = v1.layers.dense(h, 6, tf.nn.tanh, name="hidden")
    h = v1.layers.batch_normalization(h, momentum=0.9, training=training, name="norm")
    wide = v1.get_variable("wide", [6, 5], partitioner=_partitioner(partitions, axis=1))
    h = tf.nn.tanh(tf.matmul(h, tf.convert_to_tensor(wide)))
    return v1.layers.dense(h, 1, name="out")


def model_fn(features, labels, mode, params):
  """Adam over `network`."""
  modes = tf.estimator.ModeKeys
  y = network(features, mode == modes.TRAIN, params["partitions"])
  if mode == modes.PREDICT:
    output = tf.estimator.export.PredictOutput({"y": y})
    return tf.estimator.EstimatorSpec(
      mode, predictions={"y": y}, export_outputs={"serving_default": output}
    )
  loss = tf.reduce_mean(tf.square(y - labels))
  updates = v1.get_collection(v1.GraphKeys.UPDATE_OPS)
  with tf.control_dependencies(updates):
    optimizer = v1.train.AdamOptimizer(0.02)
    train_op = optimizer.minimize(loss, v1.train.get_or_create_global_step())
  return tf.estimator.EstimatorSpec(mode, loss=loss, train_op=train_op)


def run_config():
  """Fixed seeds, one thread: the same start in every run of one version."""
  return tf.estimator.RunConfig(
    tf_random_seed=11,
    session_config=v1.ConfigProto(
      intra_op_parallelism_threads=1, inter_op_parallelism_threads=1
    ),
    save_checkpoints_steps=100,
    save_summary_steps=None,
    log_step_count_steps=None,
  )


def _columns():
  column = tf.feature_column
  word = column.categorical_column_with_identity("id", _BUCKETS)
  numbers = column.numeric_column("x", (3,))
  return numbers, word, column.embedding_column(word, 3)


def dnn_classifier(model_dir, partitions=1):
  """A canned DNNClassifier with an embedding in slices; Adagrad."""
  numbers, _, embedding = _columns()
  return v1.estimator.DNNClassifier(
    [5, 4],
    [numbers, embedding],
    model_dir,
    n_classes=3,
    config=run_config(),
    input_layer_partitioner=_partitioner(partitions),
  )


def linear_classifier(model_dir, partitions=1):
  """A canned LinearClassifier with Ftrl; its bias cannot be sliced, so nothing is."""
  del partitions
  numbers, word, _ = _columns()
  return v1.estimator.LinearClassifier(
    [numbers, word],
    model_dir,
    n_classes=3,
    config=run_config(),
  )


def combined_classifier(model_dir, partitions=1):
  """A canned DNNLinearCombinedClassifier with Ftrl and Adagrad, without slices."""
  del partitions
  numbers, word, embedding = _columns()
  return v1.estimator.DNNLinearCombinedClassifier(
    model_dir,
    linear_feature_columns=[word],
    dnn_feature_columns=[numbers, embedding],
    dnn_hidden_units=[4],
    n_classes=3,
    config=run_config(),
  )


def adam(model_dir, partitions=1, decorate=None, warm_start_from=None):
  """An Estimator over `model_fn`, decorated if asked to."""
  return tf.estimator.Estimator(
    decorate(model_fn) if decorate else model_fn,
    model_dir,
    run_config(),
    {"partitions": partitions},
    warm_start_from,
  )


CANNED = {
  "dnn": dnn_classifier,
  "linear": linear_classifier,
  "combined": combined_classifier,
}


def make(model, model_dir, partitions=1):
  """The undecorated Estimator for a name: "adam" or one of CANNED."""
  return {"adam": adam, **CANNED}[model](model_dir, partitions)


def inputs(model):
  """The training input of the named Estimator."""
  return input_fn if model == "adam" else classes_input_fn


def logical_values(session):
  """Name -> value of all global variables, with slices joined."""
  values = {}
  variables = v1.global_variables()
  for variable, value in zip(variables, session.run(variables)):
    info = variable._get_save_slice_info()
    if info is None:
      values[variable.op.name] = value
      continue
    whole = values.setdefault(info.full_name, np.zeros(info.full_shape, value.dtype))
    offsets = zip(info.var_offset, info.var_shape)
    whole[tuple(slice(start, start + n) for start, n in offsets)] = value
  return values


class Values(tf.estimator.SessionRunHook):
  """Keeps the values at the start and at the end of training."""

  def after_create_session(self, session, coord):
    self.start = logical_values(session)

  def end(self, session):
    self.end_values = logical_values(session)


def train(estimator, model, steps):
  """Trains, and returns the values before and after."""
  hook = Values()
  estimator.train(inputs(model), hooks=[hook], steps=steps)
  return hook.start, hook.end_values


def predict(estimator, model, checkpoint=None):
  """The Estimator's predictions for all rows: `y`, or a classifier's logits."""
  key = "y" if model == "adam" else "logits"
  predicted = estimator.predict(predict_input_fn, checkpoint_path=checkpoint)
  return np.stack([p[key] for p in predicted])
