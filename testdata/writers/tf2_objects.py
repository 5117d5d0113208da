"""Saving an object graph with tf.train.Checkpoint for a golden checkpoint."""

from __future__ import annotations

import os

import numpy as np
import tensorflow as tf
from golden_writer import OBJECT_GRAPH_KEY, Written

PREFIX = "ckpt"


def listed(prefix):
  """Key -> (dtype name, shape) as TensorFlow's reader sees the bundle."""
  reader = tf.train.load_checkpoint(prefix)
  shapes = reader.get_variable_to_shape_map()
  return {
    key: (dtype.name, tuple(shapes[key]))
    for key, dtype in reader.get_variable_to_dtype_map().items()
  }


def value_at(root, key):
  """The live value that an object-based key stands for, found by walking objects.

  A slot variable has no edge of its own: its key names the variable's path, the
  optimizer's path and the slot.
  """
  path, attribute = key.split("/.ATTRIBUTES/")
  if attribute != "VARIABLE_VALUE":
    raise AssertionError(f"unknown attribute in {key}")
  if "/.OPTIMIZER_SLOT/" in path:
    variable, rest = path.split("/.OPTIMIZER_SLOT/")
    optimizer, slot = rest.rsplit("/", 1)
    found = _walk(root, optimizer).get_slot(_walk(root, variable), slot)
  else:
    found = _walk(root, path)
  return np.asarray(found.numpy() if hasattr(found, "numpy") else found.value)


def _walk(root, path):
  for name in path.split("/"):
    root = root._trackable_children()[name.replace(".S", "/").replace("..", ".")]
  return root


def save(checkpoint, directory, **recorded):
  """Saves `checkpoint` as ckpt-1 and returns what to record of it."""
  checkpoint.save(os.path.join(directory, PREFIX))
  return record(checkpoint, directory, PREFIX + "-1", **recorded)


def record(root, directory, prefix, **recorded):
  """What to record of a bundle just written from the object graph under `root`.

  Args:
    root: the tf.train.Checkpoint or trackable that was saved.
    directory: the golden's folder.
    prefix: the bundle's prefix in it.
    **recorded: `data`, `details`, `keep` of `Written`.

  Returns:
    The `Written` of the bundle.
  """
  tensors = listed(os.path.join(directory, prefix))
  expected = {key: value_at(root, key) for key in tensors if key != OBJECT_GRAPH_KEY}
  return Written(prefix, tensors, expected, **recorded)
