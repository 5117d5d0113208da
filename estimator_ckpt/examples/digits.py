"""The handwritten digits, and the model that the examples train on them."""

from __future__ import annotations

import os
from typing import Any, Callable, Tuple

import numpy as np
import tensorflow as tf

_DATA = os.path.join("testdata", "digits", "digits.npz")
_TRAIN = tf.estimator.ModeKeys.TRAIN
_PREDICT = tf.estimator.ModeKeys.PREDICT

Arrays = Tuple[np.ndarray, np.ndarray]


def load() -> tuple[Arrays, Arrays]:
  """The 1,797 digits: training images and labels, test images and labels.

  Every fifth image is a test image.

  Returns:
    Two pairs of images, float32 [n, 64] from 0 to 1, and labels, int32 [n].
  """
  root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
  with np.load(os.path.join(root, _DATA)) as data:
    images = data["images"].reshape(-1, 64).astype(np.float32) / 16.0
    labels = data["labels"].astype(np.int32)
  is_test = np.arange(len(labels)) % 5 == 0
  return (images[~is_test], labels[~is_test]), (images[is_test], labels[is_test])


def input_fn(
  data: Arrays, batch_size: int, training: bool
) -> Callable[[], tf.data.Dataset]:
  """An input_fn over images and labels.

  Args:
    data: images, float32 [n, 64], and labels, int32 [n].
    batch_size: examples in a batch.
    training: whether to shuffle and repeat without end.

  Returns:
    A function without arguments that returns a dataset.
  """

  def dataset() -> tf.data.Dataset:
    images, labels = data
    rows = tf.data.Dataset.from_tensor_slices(({"image": images}, labels))
    if training:
      rows = rows.shuffle(len(labels), seed=1).repeat()
    return rows.batch(batch_size)

  return dataset


def logits(images: tf.Tensor, training: bool) -> tf.Tensor:
  """The classifier: two dense blocks with batch normalization, and a linear layer.

  Args:
    images: float32 [batch, 64].
    training: whether batch normalization uses the batch's own statistics.

  Returns:
    float32 [batch, 10].
  """
  layers = tf.compat.v1.layers
  net = images
  with tf.compat.v1.variable_scope("classifier"):
    for block, units in (("block1", 64), ("block2", 32)):
      with tf.compat.v1.variable_scope(block):
        net = layers.dense(net, units, name="dense")
        net = layers.batch_normalization(
          net, momentum=0.9, training=training, name="batch_norm"
        )
        net = tf.nn.relu(net)
    return layers.dense(net, 10, name="logits")


def model_fn(
  features: dict[str, tf.Tensor], labels: tf.Tensor, mode: str, params: Any
) -> tf.estimator.EstimatorSpec:
  """A TF1 model_fn as it stood before anyone thought of TF2 checkpoints."""
  scores = logits(features["image"], training=mode == _TRAIN)
  predictions = {"digit": tf.argmax(scores, axis=1), "logits": scores}
  if mode == _PREDICT:
    export = tf.estimator.export.PredictOutput(predictions)
    return tf.estimator.EstimatorSpec(
      mode, predictions=predictions, export_outputs={"serving_default": export}
    )
  loss = tf.compat.v1.losses.sparse_softmax_cross_entropy(labels, scores)
  accuracy = tf.compat.v1.metrics.accuracy(labels, predictions["digit"])
  train_op = None
  if mode == _TRAIN:
    optimizer = tf.compat.v1.train.AdamOptimizer(params["learning_rate"])
    updates = tf.compat.v1.get_collection(tf.compat.v1.GraphKeys.UPDATE_OPS)
    with tf.control_dependencies(updates):
      train_op = optimizer.minimize(loss, tf.compat.v1.train.get_global_step())
  return tf.estimator.EstimatorSpec(
    mode, loss=loss, train_op=train_op, eval_metric_ops={"accuracy": accuracy}
  )


class Dense(tf.Module):
  """The same layer for TF2: its attributes are the last part of the names above."""

  def __init__(self, inputs: int, outputs: int):
    super().__init__()
    self.kernel = tf.Variable(tf.zeros([inputs, outputs]))
    self.bias = tf.Variable(tf.zeros([outputs]))

  def __call__(self, x: tf.Tensor) -> tf.Tensor:
    """Applies it to a batch."""
    return x @ self.kernel + self.bias


class BatchNorm(tf.Module):
  """Batch normalization with the moving statistics."""

  def __init__(self, size: int):
    super().__init__()
    self.gamma = tf.Variable(tf.ones([size]))
    self.beta = tf.Variable(tf.zeros([size]))
    self.moving_mean = tf.Variable(tf.zeros([size]))
    self.moving_variance = tf.Variable(tf.ones([size]))

  def __call__(self, x: tf.Tensor) -> tf.Tensor:
    """Applies it to a batch."""
    return tf.nn.batch_normalization(
      x, self.moving_mean, self.moving_variance, self.beta, self.gamma, 1e-3
    )


class DenseBlock(tf.Module):
  """A dense layer, batch normalization and a rectifier."""

  def __init__(self, inputs: int, outputs: int):
    super().__init__()
    self.dense = Dense(inputs, outputs)
    self.batch_norm = BatchNorm(outputs)

  def __call__(self, x: tf.Tensor) -> tf.Tensor:
    """Applies it to a batch."""
    return tf.nn.relu(self.batch_norm(self.dense(x)))


class Classifier(tf.Module):
  """The classifier as TF2 code writes it: no names, only attributes."""

  def __init__(self) -> None:
    super().__init__()
    self.block1 = DenseBlock(64, 64)
    self.block2 = DenseBlock(64, 32)
    self.logits = Dense(32, 10)

  def __call__(self, images: tf.Tensor) -> tf.Tensor:
    """Applies it to a batch."""
    return self.logits(self.block2(self.block1(images)))
