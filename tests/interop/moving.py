"""Trains one model in a model_dir with this library, under any TensorFlow with Estimator.

    python moving.py MODEL_DIR FORMAT STEPS VALUES

writes into VALUES, a `.npz`, what the session held when training began (`start/<name>`)
and ended (`end/<name>`), parts of variables joined. Python 3.7 runs it too.
"""

from __future__ import annotations

import sys

import numpy as np
import tensorflow as tf

import estimator_ckpt as eckpt
from tests import models, tensorflows

v1 = tf.compat.v1
# Another count under each version: what moves does not depend on it.
_PARTS = 3 if hasattr(tf, "contrib") else 2


def model_fn(features, labels, mode):
  """Partitioned and whole variables with slots, a moving average, and tables."""
  with v1.variable_scope("net"):
    kernel = v1.get_variable(
      "kernel", [6, 2], partitioner=v1.fixed_size_partitioner(_PARTS)
    )
    bias = v1.get_variable("bias", [1], initializer=v1.zeros_initializer())
  x = tf.concat([features["x"]] * 3, 1)
  h = v1.layers.batch_normalization(tf.matmul(x, tf.convert_to_tensor(kernel)))
  y = tf.reduce_sum(h, 1, keepdims=True) + bias
  average = tf.train.ExponentialMovingAverage(0.5)
  counts = tensorflows.MutableHashTable(tf.int64, tf.int64, -1, name="counts")
  dense = tf.lookup.experimental.DenseHashTable(
    tf.int64, tf.float32, [0.0, 0.0], empty_key=-1, deleted_key=-2, name="dense"
  )
  step = v1.train.get_or_create_global_step()
  keys = tf.range(20, dtype=tf.int64)
  v1.add_to_collection("tables", counts.lookup(keys))
  v1.add_to_collection("tables", dense.lookup(keys))
  spec = models.spec(mode, y, labels, v1.train.AdamOptimizer(0.05))
  if mode != tf.estimator.ModeKeys.TRAIN:
    return spec
  with tf.control_dependencies([spec.train_op]):
    read = tf.identity(step)
    train_op = tf.group(
      average.apply([bias]),
      counts.insert(read, read * 10),
      dense.insert(read, tf.stack([tf.cast(read, tf.float32), 0.5])),
    )
  return spec._replace(train_op=train_op)


class _Values(models.Values):
  """The values of variables and tables."""

  def begin(self):
    self._tables = v1.get_collection("tables")

  def _add(self, session, values):
    found = session.run(self._tables)
    values.update(zip(["table/counts", "table/dense"], found))

  def after_create_session(self, session, coord):
    super().after_create_session(session, coord)
    self._add(session, self.start)

  def end(self, session):
    super().end(session)
    self._add(session, self.last)


def main(model_dir: str, checkpoint_format: str, steps: str, values_file: str) -> None:
  """Trains, and writes the values."""
  values = _Values()
  estimator = models.estimator(
    eckpt.checkpointing(checkpoint_format)(model_fn), model_dir, save_steps=100
  )
  estimator.train(models.input_fn, steps=int(steps), hooks=[values])
  np.savez(
    values_file,
    **{"start/" + name: value for name, value in values.start.items()},
    **{"end/" + name: value for name, value in values.last.items()},
  )


if __name__ == "__main__":
  main(*sys.argv[1:])
