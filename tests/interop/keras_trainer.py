"""Trains on in Keras from TensorFlow 1's values; see answering.py. Any TensorFlow 2.

The model is that of training.py; its layers have other names.
"""

from __future__ import annotations

import os
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.dirname(__file__))))

import answering
import keras_nets
import numpy as np
import tensorflow as tf

import estimator_ckpt.keras


def _model():
  layers = tf.keras.layers
  x = tf.keras.Input((3,), name="x")
  ids = tf.keras.Input((), dtype="int64", name="id")
  table = layers.Embedding(11, 4, name="table")(ids)
  h = layers.Concatenate()([x, table])
  h = layers.Dense(6, "tanh", name="first")(h)
  h = layers.BatchNormalization(momentum=0.9, name="bn")(h)
  h = layers.Dense(5, "tanh", use_bias=False, name="second")(h)
  return tf.keras.Model([x, ids], layers.Dense(1, name="last")(h))


def _checkpoint(keras):
  optimizers = tf.keras.optimizers
  if keras == "2-legacy":
    optimizers = tf.keras.optimizers.legacy
  optimizer = optimizers.Adam(0.02, epsilon=1e-8)
  estimator_ckpt.keras.sum_sparse_gradients(optimizer)
  model = _model()
  build = getattr(optimizer, "build", None) or optimizer._create_all_weights
  build(model.trainable_variables)
  return tf.train.Checkpoint(model=model, optimizer=optimizer)


def untrained(path, keras):
  """Writes a checkpoint that shows the object paths of the model and the optimizer."""
  _checkpoint(keras).write(path)
  return {}, {}


def train(source, target, keras, steps, data):
  """Restores all of a checkpoint, trains on one batch, and saves."""
  x, y = np.float32(data["x"]), np.float32(data["y"])
  ids = np.int64(data["id"])
  checkpoint = _checkpoint(keras)
  checkpoint.restore(source).assert_consumed()
  model, optimizer = checkpoint.model, checkpoint.optimizer
  losses = []
  for _ in range(steps):
    with tf.GradientTape() as tape:
      loss = tf.reduce_mean(tf.square(model([x, ids], training=True) - y))
    variables = model.trainable_variables
    optimizer.apply_gradients(zip(tape.gradient(loss, variables), variables))
    losses.append(loss.numpy())
  checkpoint.write(target)
  predicted = model([x, ids]).numpy()
  return {"losses": np.array(losses), "predicted": predicted}, {
    "iterations": int(optimizer.iterations)
  }


def go_on(source, data, optimizer, arguments):
  """Restores the objects that an Estimator stored, and makes a step with each batch."""
  model = keras_nets.Net()
  optimizer = getattr(tf.keras.optimizers, optimizer)(0.05, **arguments)
  batches = [(np.float32(x), np.float32(y)) for x, y in data]
  model(batches[0][0])
  optimizer.build(model.trainable_variables)
  status = tf.train.Checkpoint(model=model, optimizer=optimizer).restore(source)
  status.assert_existing_objects_matched().expect_partial()
  start = int(optimizer.iterations)
  for x, y in batches:
    with tf.GradientTape() as tape:
      loss = tf.reduce_mean(tf.square(model(x) - y))
    variables = model.trainable_variables
    optimizer.apply_gradients(zip(tape.gradient(loss, variables), variables))
  values = enumerate(model.trainable_variables)
  return {str(i): v.numpy() for i, v in values}, {"start": start}


if __name__ == "__main__":
  answering.main({"go_on": go_on, "train": train, "untrained": untrained})
