"""A Keras model that stands alike in the object graphs of Keras 2 and Keras 3."""

from __future__ import annotations

import tensorflow as tf


class Net(tf.keras.Model):
  """Three layers as attributes, which every Keras finds at the same places."""

  def __init__(self):
    super().__init__()
    self.hidden = tf.keras.layers.Dense(4, "tanh")
    self.more = tf.keras.layers.Dense(4, "tanh")
    self.out = tf.keras.layers.Dense(1)

  def call(self, x):
    """Applies it to a batch."""
    return self.out(self.more(self.hidden(x)))
