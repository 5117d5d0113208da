"""Training code without a Scaffold, for tests of savers on their own."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

import estimator_ckpt as eckpt

v1 = tf.compat.v1
SAVERS = {"tf1": eckpt.tf1_saver, "tf2": eckpt.tf2_saver, "dual": eckpt.dual_saver}
# The saver is made before or after the graph.
WHEN = ["before", "after"]


def model():
  """A variable with an Adam slot, and the op that trains it."""
  step = v1.train.get_or_create_global_step()
  w = v1.get_variable("net/w", initializer=np.arange(3, dtype=np.float32))
  loss = tf.reduce_sum(tf.square(w - 7))
  return v1.train.AdamOptimizer(0.1).minimize(loss, step)


def built(when, make):
  """A saver that is made before or after the graph, and the op that trains."""
  if when == "before":
    saver = make()
    return saver, model()
  train_op = model()
  return make(), train_op
