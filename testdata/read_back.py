"""Reads every golden checkpoint with the TensorFlow at hand and compares the values.

  python testdata/read_back.py [NAME ...]       # "tf1.15/adam_dense"; default: all

Runs on TensorFlow 1.15 and later. Ends with the number of tensors compared, or
with the first one that differs.
"""

from __future__ import annotations

import json
import os
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")
HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "writers"))

import golden_writer  # noqa: E402
import numpy as np  # noqa: E402
import tensorflow as tf  # noqa: E402


def folders():
  """Names of all goldens: the folders that have a manifest."""
  for root, below, files in sorted(os.walk(HERE)):
    if "manifest.json" in files:
      yield os.path.relpath(root, HERE).replace(os.sep, "/")
      del below[:]


def restored(prefix, key, dtype, specs):
  """The whole tensor, read slice by slice as a partitioned variable reads it."""
  if specs is None:
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
      return session.run(
        tf.raw_ops.RestoreV2(
          prefix=prefix, tensor_names=[key], shape_and_slices=[""], dtypes=[dtype]
        )
      )[0]
  with tf.Graph().as_default(), tf.compat.v1.Session() as session:
    parts = session.run(
      tf.raw_ops.RestoreV2(
        prefix=prefix,
        tensor_names=[key] * len(specs),
        shape_and_slices=specs,
        dtypes=[dtype] * len(specs),
      )
    )
  whole = None
  for spec, part in zip(specs, parts):
    *shape, extents = spec.split(" ")
    where = []
    for extent in extents.split(":"):
      start, length = (int(n) for n in extent.split(","))
      where.append(slice(start, start + length))
    if whole is None:
      whole = np.zeros([int(n) for n in shape], part.dtype)
    whole[tuple(where)] = part
  return whole


def compare(name):
  """Number of tensors compared, and of those TensorFlow can read in slices only."""
  directory = os.path.join(HERE, *name.split("/"))
  with open(os.path.join(directory, "manifest.json")) as f:
    manifest = json.load(f)
  prefix = os.path.join(directory, manifest["prefix"])
  reader = tf.compat.v1.train.NewCheckpointReader(prefix)
  dtypes = reader.get_variable_to_dtype_map()
  shapes = reader.get_variable_to_shape_map()
  if set(dtypes) != set(manifest["tensors"]):
    sys.exit(f"{name}: keys are {sorted(dtypes)}")
  in_slices = 0
  with np.load(os.path.join(directory, "expected.npz")) as expected:
    for key in expected.files:
      facts = manifest["tensors"][key]
      if [dtypes[key].name, shapes[key]] != [facts["dtype"], facts["shape"]]:
        sys.exit(f"{name}: {key} is {dtypes[key]} {shapes[key]}")
      specs = manifest["slices"].get(key)
      try:
        value = reader.get_tensor(key)
      except (tf.errors.OpError, RuntimeError, ValueError):
        # Of the format V1, the reader knows fewer types than the op.
        if specs is None and os.path.exists(prefix + ".index"):
          raise
        in_slices += specs is not None
        value = restored(prefix, key, dtypes[key], specs)
      value = golden_writer.plain(value)
      if value.dtype.kind != expected[key].dtype.kind or not np.array_equal(
        value, expected[key]
      ):
        sys.exit(f"{name}: {key} is {value}, not {expected[key]}")
      if specs and not np.array_equal(
        golden_writer.plain(restored(prefix, key, dtypes[key], specs)), value
      ):
        sys.exit(f"{name}: {key} differs when read in slices")
    return len(expected.files), in_slices


def main():
  print(f"TensorFlow {tf.__version__}")
  total = 0
  for name in sys.argv[1:] or list(folders()):
    count, in_slices = compare(name)
    note = f" ({in_slices} readable in slices only)" if in_slices else ""
    print(f"{name:40} {count:4d} tensors equal{note}")
    total += count
  print(f"{total} tensors equal")


if __name__ == "__main__":
  main()
