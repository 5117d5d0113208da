"""Converts a checkpoint as TensorFlow's guide 'Migrating model checkpoints' does it.

  python tests/benchmarks/guide_converter.py tf2 SOURCE DEST
  python tests/benchmarks/guide_converter.py tf1 SOURCE DEST

Follows the guide exactly, neither faster nor slower: loads each tensor, makes a
variable of it, and saves the variables.
"""

from __future__ import annotations

import sys

import tensorflow as tf


def to_tf2(source: str, target: str) -> None:
  """Converts names to object paths: one dict of all variables."""
  reader = tf.train.load_checkpoint(source)
  variables = {
    name: tf.Variable(reader.get_tensor(name))
    for name in reader.get_variable_to_shape_map()
  }
  tf.train.Checkpoint(vars=variables).save(target)


def to_tf1(source: str, target: str) -> None:
  """Converts object paths to names: the part of the path below `var_list/`."""
  reader = tf.train.load_checkpoint(source)
  variables = {}
  for key in reader.get_variable_to_shape_map():
    if key.startswith("var_list/"):
      name = key.split("/")[1].replace(".S", "/")
      variables[name] = tf.Variable(reader.get_tensor(key))
  tf.compat.v1.train.Saver(var_list=variables).save(sess=None, save_path=target)


if __name__ == "__main__":
  {"tf1": to_tf1, "tf2": to_tf2}[sys.argv[1]](*sys.argv[2:])
