"""A Keras model with the same object graph in Keras 2 and Keras 3."""

from __future__ import annotations

import tensorflow as tf


class Net(tf.keras.Model):
  """Three layers as attributes, which every Keras stores at the same paths."""

  def __init__(self):
    super().__init__()
    self.hidden = tf.keras.layers.Dense(4, "tanh")
    self.more = tf.keras.layers.Dense(4, "tanh")
    self.out = tf.keras.layers.Dense(1)

  def call(self, x):
    """Applies the model to a batch."""
    return self.out(self.more(self.hidden(x)))
