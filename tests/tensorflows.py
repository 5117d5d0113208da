"""What tests use and TensorFlow moved, by one name for every version with Estimator.

What a version does not have at all is None here; `needs` skips a test for it. Each reason
is a row of docs/versions.md.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.python.distribute import collective_all_reduce_strategy
from tensorflow.python.eager import context
from tensorflow.python.ops import lookup_ops

# Public as tf.contrib.lookup.MutableHashTable in 1.15.5, which takes seconds to import,
# and as tf.lookup.experimental.MutableHashTable in 2.4.4 to 2.15.1.
MutableHashTable = lookup_ops.MutableHashTable

# Keras' optimizers that train in graphs: `legacy` from 2.11 on.
keras_optimizers = getattr(tf.keras.optimizers, "legacy", tf.keras.optimizers)

# Whether canned Estimators of version 2 train with optimizers of Keras. In 1.15.5 they
# train with those of TF1, which name the slots of partitioned variables in another way.
CANNED_HAVE_KERAS_OPTIMIZERS = not hasattr(tf, "contrib")

# 1.15.5 takes minutes to build a graph of thousands of variables and to initialize them.
BUILDS_LARGE_GRAPHS = not hasattr(tf, "contrib")

_MultiWorkerExtended = collective_all_reduce_strategy.CollectiveAllReduceExtended

# `with eager():` is eager code in every version. 1.15.5 is not eager by default, and
# enable_eager_execution would be for the whole process.
eager = context.eager_mode


def multi_worker_mirrored_strategy() -> Any:
  """A MultiWorkerMirroredStrategy for an Estimator.

  1.15.5 has it in `distribute.experimental` only. From 2.4.4 to 2.8.4 it has a thread, for
  the health of its cluster, with which an Estimator cannot copy it. 2.8.4 leaves the thread
  out where the code is not eager, and says so. 2.4.4 always has it.
  """
  if not hasattr(_MultiWorkerExtended, "__deepcopy__"):
    _MultiWorkerExtended._enable_check_health = False
  elif hasattr(collective_all_reduce_strategy, "remote_utils"):
    tf.compat.v1.disable_eager_execution()
  if hasattr(tf.distribute, "MultiWorkerMirroredStrategy"):
    return tf.distribute.MultiWorkerMirroredStrategy()
  return tf.distribute.experimental.MultiWorkerMirroredStrategy()


def checkpoint(**objects: Any) -> Any:
  """A tf.train.Checkpoint of TensorFlow 2, which 1.15.5 has in `compat.v2` only.

  There, its constructor takes no lists and mappings, and an attribute may be one.
  """
  made = tf.compat.v2.train.Checkpoint()
  for name, value in objects.items():
    setattr(made, name, value)
  return made


def assert_consumed(status: Any) -> None:
  """Asserts that a restore used every value of the checkpoint.

  `assert_consumed` of 1.15.5 also wants an object for each node without values, such as
  `scope` in the path of a table `scope/name`. Those of 2.4.4 to 2.15.1 pass over them.
  """
  if hasattr(tf, "contrib"):
    status.assert_existing_objects_matched()
  else:
    status.assert_consumed()


def served(
  path: Any,
  *args: Any,
  signature: str = "serving_default",
  tags: Any = ("serve",),
  **named: Any,
) -> dict[str, np.ndarray]:
  """What a SavedModel answers: loaded as the version's users do, eagerly or into a session.

  Args:
    path: its directory, as text or bytes.
    *args: the value of the only argument of the signature.
    signature: one of the SavedModel's.
    tags: of the MetaGraph.
    **named: named arguments of the signature, in place of `args`.

  Returns:
    Outputs by name.
  """
  path = tf.compat.as_text(path)
  if tf.executing_eagerly():
    called = tf.saved_model.load(path, tags).signatures[signature]
    named = {name: tf.constant(value) for name, value in named.items()}
    outputs = called(*map(tf.constant, args), **named)
    return {name: value.numpy() for name, value in outputs.items()}
  with tf.Graph().as_default(), tf.compat.v1.Session() as session:
    meta = tf.compat.v1.saved_model.load(session, list(tags), path)
    info = meta.signature_def[signature]
    named = named or dict(zip(info.inputs, args))
    feed = {info.inputs[name].name: value for name, value in named.items()}
    return session.run({n: o.name for n, o in info.outputs.items()}, feed)


def has(path: str) -> bool:
  """Whether `tf` has something, such as "dtypes.experimental"."""
  found: Any = tf
  for part in path.split("."):
    found = getattr(found, part, None)
  return found is not None


def has_file_system(path: str) -> bool:
  """Whether this TensorFlow can make and remove a directory at a URL, below `path`."""
  directory = f"{path.rstrip('/')}/made_to_be_removed"
  try:
    tf.io.gfile.makedirs(directory)
    tf.io.gfile.rmtree(directory)
  except (tf.errors.UnimplementedError, tf.errors.NotFoundError):
    return False
  return True


def has_variables_of(dtype: str) -> bool:
  """Whether resource variables of a dtype can be assigned to, on a CPU."""
  # Without a device, 1.15.5 finds a kernel of XLA, which eager code does not.
  graph = tf.Graph()
  with graph.as_default(), tf.device("CPU:0"), tf.compat.v1.Session() as session:
    zero = np.zeros([], tf.as_dtype(dtype).as_numpy_dtype)
    variable = tf.compat.v1.Variable(tf.constant(zero), use_resource=True)
    try:
      session.run(variable.initializer)
    except (tf.errors.NotFoundError, tf.errors.InvalidArgumentError):
      return False
  return True


def needs(path: str) -> Any:
  """Marks a test that needs something which `tf` does not have in every version."""
  return pytest.mark.skipif(
    not has(path), reason=f"TensorFlow {tf.__version__} has no `tf.{path}`"
  )


def two_cpus() -> bool:
  """Gives this process two logical CPUs, if it has not used TensorFlow before.

  Returns:
    Whether it has them.
  """
  # Called set_logical_device_configuration later; this name is in 1.15.5 and in 2.15.1.
  config = tf.config.experimental
  try:
    config.set_virtual_device_configuration(
      config.list_physical_devices("CPU")[0], [config.VirtualDeviceConfiguration()] * 2
    )
  except RuntimeError:
    pass  # TensorFlow was used before.
  return len(config.list_logical_devices("CPU")) > 1
