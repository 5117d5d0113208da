"""Two text classifiers as TensorFlow 1 code: an LSTM, and an encoder as BERT's.

TensorFlow 1.15 imports this file in Python 3.7. Nothing here knows of this library.
"""

from __future__ import annotations

import numpy as np
import tensorflow as tf

v1 = tf.compat.v1

ROWS, LENGTH, WORDS, CLASSES = 10, 6, 23, 3
HIDDEN, HEADS, BLOCKS, INNER = 8, 2, 2, 12
IDS = ((np.arange(ROWS * LENGTH).reshape(ROWS, LENGTH) * 7) % WORDS).astype(np.int32)
LABELS = (np.arange(ROWS) % CLASSES).astype(np.int32)
LEARNING_RATE, EPSILON, NORM_EPSILON = 0.02, 1e-8, 1e-6


def _embedding(name, rows):
  return v1.get_variable(
    name, [rows, HIDDEN], initializer=v1.truncated_normal_initializer(stddev=0.5)
  )


def lstm(ids):
  """Embeds words, runs a BasicLSTMCell over them, and classifies its last output."""
  with v1.variable_scope("text"):
    x = v1.nn.embedding_lookup(_embedding("word_embeddings", WORDS), ids)
    cell = v1.nn.rnn_cell.BasicLSTMCell(5)
    outputs, _ = v1.nn.dynamic_rnn(cell, x, dtype=tf.float32)
    return v1.layers.dense(outputs[:, -1], CLASSES, name="logits")


def _normalize(x, scope="LayerNorm"):
  with v1.variable_scope(scope):
    size = [int(x.shape[-1])]
    beta = v1.get_variable("beta", size, initializer=v1.zeros_initializer())
    gamma = v1.get_variable("gamma", size, initializer=v1.ones_initializer())
  mean, variance = v1.nn.moments(x, [-1], keep_dims=True)
  return (x - mean) * v1.rsqrt(variance + NORM_EPSILON) * gamma + beta


def _heads(x):
  split = tf.reshape(x, [-1, LENGTH, HEADS, HIDDEN // HEADS])
  return tf.transpose(split, [0, 2, 1, 3])


def _block(x):
  dense = v1.layers.dense
  with v1.variable_scope("attention"):
    with v1.variable_scope("self"):
      query = _heads(dense(x, HIDDEN, name="query"))
      key = _heads(dense(x, HIDDEN, name="key"))
      value = _heads(dense(x, HIDDEN, name="value"))
    scores = tf.matmul(query, key, transpose_b=True) / (HIDDEN / HEADS) ** 0.5
    mixed = tf.transpose(tf.matmul(tf.nn.softmax(scores), value), [0, 2, 1, 3])
    with v1.variable_scope("output"):
      mixed = dense(tf.reshape(mixed, [-1, LENGTH, HIDDEN]), HIDDEN, name="dense")
      x = _normalize(x + mixed)
  with v1.variable_scope("intermediate"):
    inner = dense(x, INNER, tf.tanh, name="dense")
  with v1.variable_scope("output"):
    return _normalize(x + dense(inner, HIDDEN, name="dense"))


def encoder(ids):
  """BERT's encoder, with the names of the published one, and a classifier on top."""
  with v1.variable_scope("bert"):
    with v1.variable_scope("embeddings"):
      x = v1.nn.embedding_lookup(_embedding("word_embeddings", WORDS), ids)
      x = _normalize(x + _embedding("position_embeddings", LENGTH))
    with v1.variable_scope("encoder"):
      for i in range(BLOCKS):
        with v1.variable_scope(f"layer_{i}"):
          x = _block(x)
    with v1.variable_scope("pooler"):
      pooled = v1.layers.dense(x[:, 0], HIDDEN, tf.tanh, name="dense")
  return v1.layers.dense(pooled, CLASSES, name="classifier")


NETS = {"lstm": lstm, "encoder": encoder}


def _model_fn(features, labels, mode, params):
  logits = NETS[params["net"]](features)
  if mode == tf.estimator.ModeKeys.PREDICT:
    return tf.estimator.EstimatorSpec(mode, predictions={"logits": logits})
  loss = v1.losses.sparse_softmax_cross_entropy(labels, logits)
  optimizer = v1.train.AdamOptimizer(LEARNING_RATE, epsilon=EPSILON)
  train_op = optimizer.minimize(loss, v1.train.get_or_create_global_step())
  return tf.estimator.EstimatorSpec(mode, loss=loss, train_op=train_op)


def train(net, model_dir, steps):
  """Trains a plain Estimator on all rows.

  Returns:
    The values of its variables, by name.
  """
  config = tf.estimator.RunConfig(tf_random_seed=3, save_summary_steps=None)
  estimator = tf.estimator.Estimator(_model_fn, model_dir, config, {"net": net})
  estimator.train(
    lambda: tf.data.Dataset.from_tensors((IDS, LABELS)).repeat(), steps=steps
  )
  return {name: estimator.get_variable_value(name) for name in _variables(estimator)}


def _variables(estimator):
  return estimator.get_variable_names()


def restore(net, directory):
  """Builds the graph, and has its Saver restore the latest checkpoint of a directory.

  Returns:
    The logits of all rows, the values of all variables by name, and the checkpoint.
  """
  with tf.Graph().as_default(), v1.Session() as session:
    logits = NETS[net](tf.constant(IDS))
    loss = v1.losses.sparse_softmax_cross_entropy(LABELS, logits)
    optimizer = v1.train.AdamOptimizer(LEARNING_RATE, epsilon=EPSILON)
    optimizer.minimize(loss, v1.train.get_or_create_global_step())
    latest = v1.train.latest_checkpoint(directory)
    v1.train.Saver().restore(session, latest)
    variables = {v.op.name: v for v in v1.global_variables()}
    return session.run(logits), session.run(variables), latest
