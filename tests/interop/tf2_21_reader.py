"""Answers questions about checkpoints with TensorFlow 2.21; see answering.py."""

from __future__ import annotations

import gc
import logging
import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")

import answering
import numpy as np
import tensorflow as tf


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


def _variable(dtype, shape):
  dtype = tf.as_dtype(dtype)
  zeros = tf.fill(shape, "") if dtype == tf.string else tf.zeros(shape, dtype)
  return tf.Variable(zeros)


def _create(variables):
  return {v["name"]: _variable(v["dtype"], v["shape"]) for v in variables}


def _numpy(variables):
  return {name: np.asarray(v.numpy()) for name, v in variables.items()}


def flat(path, variables, edge="var_list", at_root=()):
  """Restores tf.train.Checkpoint(var_list={name: variable}); all values are consumed.

  Args:
    path: the checkpoint.
    variables: all variables of the checkpoint.
    edge: the name to use in place of `var_list`.
    at_root: names of variables beside that dict -> their names in the object graph.
  """
  created = _create(variables)
  root = {word: created[name] for name, word in dict(at_root).items()}
  others = {name: v for name, v in created.items() if name not in at_root}
  checkpoint = tf.train.Checkpoint(**{edge: others}, **root)
  checkpoint.restore(path).assert_consumed()
  return _numpy(created), {"save_counter": int(checkpoint.save_counter.numpy())}


def _modules(variables):
  """Nested modules, as the scopes in the names spell them."""
  root = tf.Module()
  for name, variable in variables.items():
    *scopes, last = name.split("/")
    module = root
    for scope in scopes:
      if not hasattr(module, scope):
        setattr(module, scope, tf.Module())
      module = getattr(module, scope)
    setattr(module, last, variable)
  return root


def nested(path, variables, others=()):
  """Restores nested tf.Modules: first the model alone, then with all other variables.

  Args:
    path: the checkpoint.
    variables: the variables of the model, whose names spell its modules.
    others: all other variables of the checkpoint, mostly slots.
  """
  alone = _create(variables)
  status = tf.train.Checkpoint(**_children(_modules(alone))).restore(path)
  status.assert_existing_objects_matched()
  created = _create(variables)
  rest = _create(others)
  checkpoint = tf.train.Checkpoint(**_children(_modules(created)), var_list=rest)
  checkpoint.restore(path).assert_consumed()
  for name, variable in created.items():
    np.testing.assert_array_equal(variable.numpy(), alone[name].numpy(), name)
  return {**_numpy(created), **_numpy(rest)}, {}


def _children(module):
  """The variables and modules among a module's attributes."""
  return {
    name: child
    for name, child in vars(module).items()
    if isinstance(child, (tf.Module, tf.Variable))
  }


def go_on(path, model_dir, variables, steps, others=None):
  """Restores, adds one to all floats and `steps` to the step, and saves again.

  Args:
    path: the checkpoint.
    model_dir: where to save.
    variables: the variables to restore, from the flat var_list; or, if there are
      others, from modules that the names spell.
    steps: number to add to the step.
    others: the variables that only the var_list has, not the modules.
  """
  created = _create(variables)
  if others is None:
    checkpoint = tf.train.Checkpoint(var_list=created)
  else:
    rest = _create(others)
    checkpoint = tf.train.Checkpoint(**_children(_modules(created)), var_list=rest)
    created.update(rest)
  manager = tf.train.CheckpointManager(
    checkpoint, model_dir, max_to_keep=None, checkpoint_name="model.ckpt"
  )
  checkpoint.restore(path).assert_consumed()
  for name, variable in created.items():
    if name == "global_step":
      variable.assign_add(steps)
    elif variable.dtype.is_floating:
      variable.assign_add(tf.ones_like(variable))
  return _numpy(created), {"saved": manager.save()}


def warnings(path, variables):
  """The warnings after restoring nothing but modules that the names spell.

  Args:
    path: the checkpoint.
    variables: the variables of the modules.
  """
  lines = []
  handler = logging.Handler()
  handler.emit = lambda record: lines.append(record.getMessage())
  tf.get_logger().addHandler(handler)

  def restored(expect_partial):
    created = _create(variables)
    status = tf.train.Checkpoint(**_children(_modules(created))).restore(path)
    if expect_partial:
      status.expect_partial()
    del status
    return _numpy(created)

  values = restored(True)
  gc.collect()
  silent = list(lines)
  restored(False)
  gc.collect()
  said = lines[len(silent) :]
  tf.get_logger().removeHandler(handler)
  facts = {"version": tf.__version__, "expect_partial": silent, "dropped": said}
  return values, facts


def saved_model(path, inputs):
  """The answers of a SavedModel's serving signature."""
  signature = tf.saved_model.load(path).signatures["serving_default"]
  specs = signature.structured_input_signature[1]
  answer = signature(
    **{key: tf.constant(value, specs[key].dtype) for key, value in inputs.items()}
  )
  return {key: value.numpy() for key, value in answer.items()}, {}


if __name__ == "__main__":
  answering.main(
    {
      "flat": flat,
      "go_on": go_on,
      "load_checkpoint": load_checkpoint,
      "nested": nested,
      "saved_model": saved_model,
      "warnings": warnings,
    }
  )
