"""Golden object-based checkpoints without Keras, written by any TensorFlow 2."""

from __future__ import annotations

import os

import numpy as np
import tensorflow as tf
from golden_writer import TESTDATA, ramp
from tf2_objects import record, save


class _Dense(tf.Module):
  def __init__(self, rows, columns, low):
    super().__init__()
    self.kernel = tf.Variable(ramp((rows, columns), low, low + 1))
    self.bias = tf.Variable(ramp((columns,), low + 2, low + 3))


class _Tree(tf.Module):
  """Modules in modules, a list, a dict, and one variable with two parents."""

  def __init__(self):
    super().__init__()
    self.dense = _Dense(3, 2, 0.0)
    self.layers = [_Dense(2, 2, 10.0), _Dense(2, 1, 20.0)]
    self.heads = {
      "left": _Dense(1, 3, 30.0),
      "right.v2/main": tf.Variable(ramp((4,), 40.0, 41.0)),
    }
    self.tied = self.dense.kernel
    self.words = tf.Variable([b"ape", b"", b"bee\xff"])
    self.half = tf.Variable(ramp((2, 3), 50.0, 55.0, np.float16))
    self.flag = tf.Variable(True)


def module_tree(directory):
  """Nested tf.Modules with list, dict and shared children, by a CheckpointManager."""
  step = tf.Variable(0, dtype=tf.int64)
  checkpoint = tf.train.Checkpoint(tree=_Tree(), step=step)
  manager = tf.train.CheckpointManager(checkpoint, directory, max_to_keep=1)
  for i in (5, 6):
    step.assign(i)
    manager.save()
  return record(checkpoint, directory, "ckpt-2")


def variable_list(directory):
  """tf.train.Checkpoint(vars=[...]): keys vars/0, vars/1, ... and no names."""
  variables = [
    tf.Variable(ramp((3, 2))),
    tf.Variable(ramp((2,), 5.0, 6.0)),
    tf.Variable(np.arange(4, dtype=np.int64)),
    tf.Variable(ramp((2, 2), 7.0, 10.0, np.float64)),
  ]
  return save(tf.train.Checkpoint(vars=variables), directory)


def converted_names(directory):
  """tf1.15/adam_dense as a dict of variables by name: keys vars/net.Sdense_1..."""
  source = os.path.join(TESTDATA, "tf1.15", "adam_dense", "expected.npz")
  with np.load(source) as arrays:
    variables = {name: tf.Variable(arrays[name]) for name in arrays.files}
  return save(tf.train.Checkpoint(vars=variables), directory)


def saved_module(directory):
  """A tf.Module as SavedModel: variables/variables under a graph, no state file."""
  module = _Dense(3, 2, 0.0)
  tf.saved_model.save(module, os.path.join(directory, "export"))
  return record(
    module,
    directory,
    "export/variables/variables",
    keep=["export/saved_model.pb", "export/fingerprint.pb"],
  )


GOLDENS = {
  "module_tree": module_tree,
  "variable_list": variable_list,
  "converted_names": converted_names,
  "saved_module": saved_module,
}
