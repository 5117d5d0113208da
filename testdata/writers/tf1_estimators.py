"""Golden checkpoints written by tf.estimator of TensorFlow 1.15.5."""

from __future__ import annotations

import os

import numpy as np
import tensorflow as tf
from golden_writer import TESTDATA, Written, waves
from tf1_session import listed, logical_values, session_config

WORDS = ["ant", "bee", "cat", "dog", "eel", "fox"]
VOCABULARY = "words.txt"


class _Remember(tf.train.SessionRunHook):
  """Takes the values from the session that the last checkpoint was saved from."""

  def begin(self):
    self.variables = tf.global_variables()

  def end(self, session):
    self.values, self.slices = logical_values(session, self.variables)


def _run_config():
  return tf.estimator.RunConfig(
    tf_random_seed=20,
    session_config=session_config(),
    save_checkpoints_steps=1000,
    keep_checkpoint_max=1,
    save_summary_steps=None,
    log_step_count_steps=None,
  )


def _finish(estimator, remembered, directory, **recorded):
  prefix = os.path.basename(estimator.latest_checkpoint())
  return Written(
    prefix,
    listed(os.path.join(directory, prefix)),
    remembered.values,
    slices=remembered.slices,
    **recorded,
  )


def _write_vocabulary(directory):
  path = os.path.join(directory, VOCABULARY)
  with open(path, "w") as f:
    f.write("\n".join(WORDS) + "\n")
  return path


def _inputs():
  """Twelve rows: two numbers, a word each, one of three classes."""
  numbers = waves((12, 2))
  words = np.array([WORDS[i % len(WORDS)] for i in range(11)] + ["unknown"])
  labels = (np.arange(12) * 5 % 7) % 3
  return numbers, words, labels.astype(np.int64)


def _train_canned(make, directory, steps=7):
  """Trains the canned estimator `make(config)` gives, and says what it predicts."""
  numbers, words, labels = _inputs()

  def input_fn():
    features = {"numbers": numbers, "word": words}
    return tf.data.Dataset.from_tensors((features, labels)).repeat()

  estimator = make(_run_config())
  remembered = _Remember()
  estimator.train(input_fn, hooks=[remembered], steps=steps)
  predictions = estimator.predict(
    lambda: tf.data.Dataset.from_tensors({"numbers": numbers, "word": words})
  )
  logits = np.stack([p["logits"] for p in predictions])
  return _finish(
    estimator,
    remembered,
    directory,
    data={"numbers": numbers, "word": words, "labels": labels, "logits": logits},
    details={"vocabulary": VOCABULARY, "oov_buckets": 1, "classes": 3},
    keep=[VOCABULARY],
  )


def _columns(directory):
  word = tf.feature_column.categorical_column_with_vocabulary_file(
    "word", _write_vocabulary(directory), num_oov_buckets=1
  )
  return tf.feature_column.numeric_column("numbers", (2,)), word


def canned_dnn(directory):
  """DNNClassifier (Adagrad) over numbers and an embedding of a vocabulary file."""
  numbers, word = _columns(directory)
  columns = [numbers, tf.feature_column.embedding_column(word, 3)]
  return _train_canned(
    lambda config: tf.estimator.DNNClassifier(
      [5, 4], columns, directory, 3, activation_fn=tf.tanh, config=config
    ),
    directory,
  )


def canned_linear(directory):
  """LinearClassifier (Ftrl) over numbers and a vocabulary file."""
  columns = list(_columns(directory))
  return _train_canned(
    lambda config: tf.estimator.LinearClassifier(columns, directory, 3, config=config),
    directory,
  )


def canned_dnn_linear(directory):
  """DNNLinearCombinedClassifier: Ftrl on the linear part, Adagrad on the deep one."""
  numbers, word = _columns(directory)
  return _train_canned(
    lambda config: tf.estimator.DNNLinearCombinedClassifier(
      directory,
      linear_feature_columns=[word],
      dnn_feature_columns=[numbers, tf.feature_column.embedding_column(word, 3)],
      dnn_hidden_units=[4],
      dnn_activation_fn=tf.tanh,
      n_classes=3,
      config=config,
    ),
    directory,
  )


def _digits_model_fn(features, labels, mode):
  """64 pixels -> dense 64 -> dense 32 -> 10, batch normalization after each dense."""
  training = mode == tf.estimator.ModeKeys.TRAIN
  net = features["pixels"]
  with tf.variable_scope("old/classifier"):
    for block, units in (("block1", 64), ("block2", 32)):
      with tf.variable_scope(block):
        net = tf.layers.dense(net, units, name="dense")
        net = tf.layers.batch_normalization(
          net, momentum=0.9, training=training, name="batch_norm"
        )
        net = tf.nn.relu(net)
    logits = tf.layers.dense(net, 10, name="logits")
  if mode == tf.estimator.ModeKeys.PREDICT:
    return tf.estimator.EstimatorSpec(mode, {"logits": logits})
  loss = tf.losses.sparse_softmax_cross_entropy(labels, logits)
  with tf.control_dependencies(tf.get_collection(tf.GraphKeys.UPDATE_OPS)):
    train = tf.train.AdamOptimizer(0.002).minimize(loss, tf.train.get_global_step())
  accuracy = tf.metrics.accuracy(labels, tf.argmax(logits, 1))
  return tf.estimator.EstimatorSpec(
    mode, loss=loss, train_op=train, eval_metric_ops={"accuracy": accuracy}
  )


def digits_old_names(directory):
  """A digits classifier with scope names old/..., trained to over 90 % accuracy."""
  with np.load(os.path.join(TESTDATA, "digits", "digits.npz")) as digits:
    pixels = digits["images"].reshape(-1, 64).astype(np.float32) / 16
    labels = digits["labels"].astype(np.int64)
  test = np.arange(len(labels)) % 5 == 0

  def input_fn(rows):
    return tf.data.Dataset.from_tensor_slices(({"pixels": pixels[rows]}, labels[rows]))

  estimator = tf.estimator.Estimator(_digits_model_fn, directory, _run_config())
  remembered = _Remember()
  estimator.train(
    lambda: input_fn(~test).shuffle(2000, seed=3).repeat().batch(32),
    hooks=[remembered],
    steps=300,
  )
  scores = estimator.evaluate(lambda: input_fn(test).batch(360))
  if scores["accuracy"] < 0.9:
    raise AssertionError(f"accuracy is only {scores['accuracy']}")
  shown = estimator.predict(lambda: input_fn(test).take(20).batch(20))
  return _finish(
    estimator,
    remembered,
    directory,
    data={
      "test_rows": np.flatnonzero(test)[:20],
      "logits": np.stack([p["logits"] for p in shown]),
    },
    details={
      "test_accuracy": round(float(scores["accuracy"]), 6),
      "batch_norm": {"momentum": 0.9, "epsilon": 0.001},
      "pixels": "divided by 16",
      "optimizer": "AdamOptimizer(0.002)",
    },
  )


GOLDENS = {
  "canned_dnn": canned_dnn,
  "canned_linear": canned_linear,
  "canned_dnn_linear": canned_dnn_linear,
  "digits_old_names": digits_old_names,
}
