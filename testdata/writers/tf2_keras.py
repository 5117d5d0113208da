"""Golden checkpoints of Keras models and optimizers, Keras 2 or 3 as TensorFlow has."""

from __future__ import annotations

import numpy as np
import tensorflow as tf
from golden_writer import ramp, waves
from tf2_objects import save

STEPS = 5


def _assign_distinct(model):
  """Weights no two of which are alike."""
  for i, weight in enumerate(model.weights):
    weight.assign(0.8 * waves(tuple(weight.shape), step=0.7 + 0.05 * i))


def dense_model():
  """Dense, batch normalization, dense: functional, with named layers."""
  layers = tf.keras.layers
  x = tf.keras.Input((5,), name="x")
  net = layers.Dense(4, "tanh", name="dense_1")(x)
  net = layers.BatchNormalization(momentum=0.9, name="batch_norm")(net)
  output = layers.Dense(2, name="dense_2")(net)
  model = tf.keras.Model(x, output)
  model.get_layer("dense_1").set_weights([ramp((5, 4)), ramp((4,), 0.1, 0.4)])
  model.get_layer("dense_2").set_weights(
    [ramp((4, 2), 0.9, -0.7), ramp((2,), -0.2, 0.2)]
  )
  return model


def trained(directory, optimizer):
  """Trains the dense model with `optimizer`, and saves both and the step."""
  x, y = waves((8, 5)), waves((8, 2), step=1.3)
  model = dense_model()
  step = tf.Variable(0, dtype=tf.int64)
  losses = []
  for _ in range(STEPS):
    with tf.GradientTape() as tape:
      loss = tf.reduce_mean(tf.square(model(x, training=True) - y))
    variables = model.trainable_variables
    optimizer.apply_gradients(zip(tape.gradient(loss, variables), variables))
    step.assign_add(1)
    losses.append(loss.numpy())
  return save(
    tf.train.Checkpoint(model=model, optimizer=optimizer, step=step),
    directory,
    data={"x": x, "y": y, "loss": np.array(losses), "output": model(x).numpy()},
    details={"optimizer": type(optimizer).__name__, "learning_rate": 0.01},
  )


def recurrent(directory):
  """Embedding, LSTM, GRU and dense of Keras, with input and output; no optimizer."""
  layers = tf.keras.layers
  model = tf.keras.Sequential(
    [
      tf.keras.Input((4,), dtype="int32"),
      layers.Embedding(7, 5, name="embedding"),
      layers.LSTM(3, return_sequences=True, name="lstm"),
      layers.GRU(3, name="gru"),
      layers.Dense(2, name="logits"),
    ]
  )
  _assign_distinct(model)
  ids = np.array([[0, 3, 6, 2], [5, 1, 4, 3]], np.int32)
  data = {"ids": ids, "output": model(ids).numpy()}
  return save(tf.train.Checkpoint(model=model), directory, data=data)
