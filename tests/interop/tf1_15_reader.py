"""Answers questions about checkpoints with TensorFlow 1.15; see answering.py.

Python 3.7 runs this file, so it may use only the syntax of 3.7.
"""

from __future__ import annotations

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")

import answering
import numpy as np
import tensorflow as tf
import training


def load_checkpoint(path):
  """Every tensor that CheckpointReader can read, by key, and the keys that it can't."""
  reader = tf.train.load_checkpoint(path)
  shapes = reader.get_variable_to_shape_map()
  values, unreadable = {}, {}
  for key in shapes:
    try:
      values[key] = np.asarray(reader.get_tensor(key))
      assert list(values[key].shape) == shapes[key], key
    except (tf.errors.OpError, RuntimeError, ValueError) as e:
      unreadable[key] = str(e)
  dtypes = {k: d.name for k, d in reader.get_variable_to_dtype_map().items()}
  return values, {"dtypes": dtypes, "unreadable": unreadable}


def _create(variables, resource, in_var_list):
  """Zeros of the names, dtypes, shapes and partition counts asked for.

  A variable is {"name", "dtype", "shape"} and, if it is to be in slices, "partitions":
  a count for each axis.
  """
  created = {}
  for i, wanted in enumerate(variables):
    partitioner = None
    if wanted.get("partitions"):
      counts = list(wanted["partitions"])
      partitioner = lambda shape, dtype, counts=counts: counts  # noqa: E731
    created[wanted["name"]] = tf.get_variable(
      f"v{i}" if in_var_list else wanted["name"],
      wanted["shape"],
      tf.as_dtype(wanted["dtype"]),
      _zeros,
      partitioner=partitioner,
      use_resource=resource,
    )
  return created


def _zeros(shape, dtype, partition_info=None):
  return tf.fill(shape, "") if dtype == tf.string else tf.zeros(shape, dtype)


def _whole(session, variable):
  if hasattr(variable, "_get_partitions"):  # TensorFlow 1.15 has no op to join them
    counts = variable._get_partitions()
    values = session.run(list(variable))
    axes = [axis for axis, count in enumerate(counts) if count > 1]
    assert len(axes) <= 1
    return np.concatenate(values, axes[0] if axes else 0)
  return session.run(variable)


def saver(prefix, variables, resource=False, in_var_list=False):
  """The values that tf.train.Saver restores into variables of these names."""
  with tf.Graph().as_default(), tf.Session() as session:
    created = _create(variables, resource, in_var_list)
    # By name where the names allow this, as nearly every user does.
    a_saver = tf.train.Saver(created) if in_var_list else tf.train.Saver()
    a_saver.restore(session, prefix)
    return {name: _whole(session, v) for name, v in created.items()}, {}


def init_from_checkpoint(path, variables, assignment_map):
  """The values of variables after tf.train.init_from_checkpoint."""
  with tf.Graph().as_default(), tf.Session() as session:
    created = _create(variables, False, False)
    tf.train.init_from_checkpoint(path, assignment_map)
    session.run(tf.global_variables_initializer())
    return {name: _whole(session, v) for name, v in created.items()}, {}


def train(model, model_dir, steps, partitions=1, predict_at_start=True):
  """Trains a plain Estimator in a model_dir; returns the values before and after.

  Values are called `start/<name>` and `end/<name>`; `predicted at start` and
  `predicted` are for all rows. The checkpoint that was there is kept.
  """
  estimator = training.make(model, model_dir, partitions)
  found = estimator.latest_checkpoint()
  values = {}
  if found and predict_at_start:
    values["predicted at start"] = training.predict(estimator, model)
  start, end = training.train(estimator, model, steps)
  values.update({"start/" + name: value for name, value in start.items()})
  values.update({"end/" + name: value for name, value in end.items()})
  values["predicted"] = training.predict(estimator, model)
  return values, {"found": found, "latest": estimator.latest_checkpoint()}


def warm_start(model_dir, warm_start_from, variables, partitions=1):
  """The values that an Estimator of `adam` starts from, warm-started."""
  settings = tf.estimator.WarmStartSettings(warm_start_from, variables)
  estimator = training.adam(
    model_dir, partitions, decorate=None, warm_start_from=settings
  )
  start, _ = training.train(estimator, "adam", 1)
  return start, {}


def saved_model(path, inputs):
  """The answers of a SavedModel's serving signature."""
  with tf.Graph().as_default(), tf.Session() as session:
    loaded = tf.saved_model.load(session, ["serve"], path)
    signature = loaded.signature_def["serving_default"]
    feed = {signature.inputs[key].name: value for key, value in inputs.items()}
    fetch = {key: info.name for key, info in signature.outputs.items()}
    return session.run(fetch, feed), {}


if __name__ == "__main__":
  tf.logging.set_verbosity(tf.logging.ERROR)
  answering.main(
    {
      "init_from_checkpoint": init_from_checkpoint,
      "load_checkpoint": load_checkpoint,
      "saved_model": saved_model,
      "saver": saver,
      "train": train,
      "warm_start": warm_start,
    }
  )
