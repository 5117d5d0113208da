"""Building, running and saving a TensorFlow 1 graph for a golden checkpoint."""

from __future__ import annotations

import os

import numpy as np
import tensorflow.compat.v1 as tf
from golden_writer import Written

PREFIX = "model.ckpt"


def session_config(cpus=1):
  """One thread and fixed seeds: the same values on every run."""
  return tf.ConfigProto(
    device_count={"CPU": cpus},
    intra_op_parallelism_threads=1,
    inter_op_parallelism_threads=1,
  )


def constant(value):
  """An initializer that hands out exactly `value`, partition by partition.

  A partitioner calls the initializer once for each slice with `partition_info`,
  which says where in the whole variable that slice lies.
  """
  value = np.asarray(value)

  def initializer(shape, dtype=None, partition_info=None):
    offset = partition_info.var_offset if partition_info else [0] * value.ndim
    where = tuple(slice(o, o + n) for o, n in zip(offset, shape))
    return tf.constant(value[where], dtype or value.dtype)

  return initializer


def logical_values(session, variables):
  """Name -> value as the checkpoint names it: slices put together again.

  Returns:
    (values, slices): arrays by logical name, and slice specs by logical name for
    the variables that are saved as slices.
  """
  values, slices = {}, {}
  for variable in variables:
    value = session.run(variable)
    info = variable._get_save_slice_info()
    if info is None:
      values[variable.op.name] = value
      continue
    whole = values.setdefault(info.full_name, np.zeros(info.full_shape, value.dtype))
    where = tuple(slice(o, o + n) for o, n in zip(info.var_offset, info.var_shape))
    whole[where] = value
    slices.setdefault(info.full_name, []).append(info.spec)
  return values, {name: sorted(specs) for name, specs in slices.items()}


def listed(prefix):
  """Key -> (dtype name, shape) as TensorFlow's reader sees the bundle."""
  reader = tf.train.NewCheckpointReader(prefix)
  shapes = reader.get_variable_to_shape_map()
  return {
    key: (dtype.name, tuple(shapes[key]))
    for key, dtype in reader.get_variable_to_dtype_map().items()
  }


def save(session, directory, step, saver=None, expected=None, **recorded):
  """Saves, and returns what to record of it.

  The state file holds relative paths, as Estimator's does.

  Args:
    session: holds the values.
    directory: the golden's folder.
    step: number in the prefix.
    saver: the Saver; default all variables.
    expected: key -> array; default every global variable by its saved name.
    **recorded: `data`, `details`, `keep` of `Written`.

  Returns:
    The `Written` of the new bundle.
  """
  saver = saver or tf.train.Saver(save_relative_paths=True)
  saver.save(
    session, os.path.join(directory, PREFIX), global_step=step, write_meta_graph=False
  )
  values, slices = logical_values(session, tf.global_variables())
  prefix = f"{PREFIX}-{step}"
  if saver.as_saver_def().version == tf.train.SaverDef.V1 and (
    saver.as_saver_def().sharded
  ):
    files = [name for name in os.listdir(directory) if name.startswith(prefix)]
    prefix += f"-?????-of-{len(files):05d}"
  return Written(
    prefix,
    listed(os.path.join(directory, prefix)),
    values if expected is None else expected,
    slices=slices,
    **recorded,
  )
