"""Two networks for texts as TensorFlow 1 code: an LSTM that classifies, and a BERT.

TensorFlow 1.15 imports this file in Python 3.7. No training here uses this library.
"""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from estimator_ckpt.examples import bert, bert_tf1

v1 = tf.compat.v1

ROWS, LENGTH, WORDS, CLASSES = 10, 6, 23, 3
HIDDEN = 8
IDS = ((np.arange(ROWS * LENGTH).reshape(ROWS, LENGTH) * 7) % WORDS).astype(np.int32)
LABELS = (np.arange(ROWS) % CLASSES).astype(np.int32)
LEARNING_RATE, EPSILON = 0.02, 1e-8
# BERT's optimizer: its arguments in `bert_tf1.train_op` and `bert_keras.adamw`. With this
# beta_2, the correction of Adam is below 1e-5 from step 1,077 on.
BERT = {"rate": 1e-3, "steps": 20000, "clip_norm": 0.1, "beta_2": 0.99}
# One thread does not wait for others, which many small operations do on busy machines.
_THREADS = v1.ConfigProto(
  intra_op_parallelism_threads=1,
  inter_op_parallelism_threads=1,
  use_per_session_threads=True,
)


def lstm(ids):
  """Embeds words, runs a BasicLSTMCell over them, and classifies its last output."""
  with v1.variable_scope("text"):
    table = v1.get_variable(
      "word_embeddings",
      [WORDS, HIDDEN],
      initializer=v1.truncated_normal_initializer(stddev=0.5),
    )
    x = v1.nn.embedding_lookup(table, ids)
    cell = v1.nn.rnn_cell.BasicLSTMCell(5)
    outputs, _ = v1.nn.dynamic_rnn(cell, x, dtype=tf.float32)
    return v1.layers.dense(outputs[:, -1], CLASSES, name="logits")


def batches(net, first, steps):
  """What a network is trained with.

  Args:
    net: `"lstm"` or `"bert"`.
    first: how many steps were made before.
    steps: how many are made.

  Returns:
    Arrays by name, with an axis of steps before their own.
  """
  if net == "bert":
    rows = [bert.batch(step)._asdict() for step in range(first, first + steps)]
  else:
    rows = [{"ids": IDS, "labels": LABELS}] * steps
  return {name: np.stack([row[name] for row in rows]) for name in rows[0]}


def _logits_and_loss(net, features):
  if net == "bert":
    config = bert.Config()
    hidden, follows = bert_tf1.heads(features, config)
    logits = tf.concat([tf.reshape(hidden, [-1]), tf.reshape(follows, [-1])], 0)
    return logits, bert_tf1.loss(hidden, follows, features)
  logits = lstm(features["ids"])
  return logits, v1.losses.sparse_softmax_cross_entropy(features["labels"], logits)


def _train_op(net, loss):
  if net == "bert":
    return bert_tf1.train_op(loss, **BERT)
  optimizer = v1.train.AdamOptimizer(LEARNING_RATE, epsilon=EPSILON)
  return optimizer.minimize(loss, v1.train.get_or_create_global_step())


def _model_fn(features, mode, params):
  _, loss = _logits_and_loss(params["net"], features)
  return tf.estimator.EstimatorSpec(
    mode, loss=loss, train_op=_train_op(params["net"], loss)
  )


def train(net, model_dir, steps):
  """Trains a plain Estimator, from the latest checkpoint on if there is one.

  Returns:
    The values of its variables, by name.
  """
  config = tf.estimator.RunConfig(
    tf_random_seed=3, save_summary_steps=None, session_config=_THREADS
  )
  estimator = tf.estimator.Estimator(_model_fn, model_dir, config, {"net": net})
  latest = estimator.latest_checkpoint()
  first = int(estimator.get_variable_value("global_step")) if latest else 0
  data = batches(net, first, steps)
  estimator.train(lambda: tf.data.Dataset.from_tensor_slices(data), steps=steps)
  return {
    name: estimator.get_variable_value(name) for name in estimator.get_variable_names()
  }


def restore(net, directory, steps=0):
  """Builds the graph, and has its Saver restore the latest checkpoint of a directory.

  Args:
    net: `"lstm"` or `"bert"`.
    directory: where the state file is.
    steps: how many steps to train on; nothing is saved.

  Returns:
    The logits of the first batch, losses of the steps, the values of all variables by
    name, and the checkpoint.
  """
  with tf.Graph().as_default(), v1.Session(config=_THREADS) as session:
    features = {
      name: v1.placeholder(array.dtype, array.shape[1:])
      for name, array in batches(net, 0, 1).items()
    }
    logits, loss = _logits_and_loss(net, features)
    train_op = _train_op(net, loss)
    latest = v1.train.latest_checkpoint(directory)
    v1.train.Saver().restore(session, latest)

    def fed(first, steps=1):
      data = batches(net, first, steps)
      for i in range(steps):
        yield {features[name]: array[i] for name, array in data.items()}

    first = int(session.run(v1.train.get_global_step()))
    losses = [
      session.run([loss, train_op], feed)[0]
      for feed in (fed(first, steps) if steps else ())
    ]
    found = session.run(logits, next(fed(0)))
    variables = session.run({v.op.name: v for v in v1.global_variables()})
    return found, np.array(losses, np.float32), variables, latest
