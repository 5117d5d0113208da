"""Variables of a graph, and their values after a warm start."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

import estimator_ckpt as eckpt
from tests import tensorflows

v1 = tf.compat.v1


def variable(
  name, shape, dtype=tf.float32, parts=None, axis=0, use_resource=True, **options
):
  """A variable of nines, so that a variable that was not started shows."""
  partitioner = v1.fixed_size_partitioner(parts, axis) if parts else None
  return v1.get_variable(
    name,
    shape,
    dtype,
    initializer=v1.constant_initializer(9),
    partitioner=partitioner,
    use_resource=use_resource,
    **options,
  )


def values(warm_start):
  """Starts the default graph's variables as a session does; returns values by name."""
  scaffold = eckpt.dual_scaffold(warm_start=warm_start)
  wholes = {}
  for v in v1.global_variables():
    info = v._get_save_slice_info()
    wholes.setdefault(info.full_name if info else v.op.name, []).append(v)
  with v1.train.MonitoredTrainingSession(scaffold=scaffold) as session:
    run = session.run(wholes)
  found = {}
  for name, parts in wholes.items():
    info = parts[0]._get_save_slice_info()
    axes = (
      [i for i, n in enumerate(info.var_shape) if n != info.full_shape[i]]
      if info
      else []
    )
    found[name] = np.concatenate(run[name], axes[0]) if axes else run[name][0]
  return found


def save_objects(path, arrays, parts=None):
  """Saves `tf.train.Checkpoint(vars={name: variable})`; returns the prefix."""
  with tf.Graph().as_default(), v1.Session() as session:
    saved = {}
    for i, (name, value) in enumerate(arrays.items()):
      partitioner = v1.fixed_size_partitioner(parts) if parts else None
      made = v1.get_variable(
        f"v{i}",
        initializer=tf.constant(value),
        partitioner=partitioner,
        use_resource=True,
      )
      for j, part in enumerate(made if parts else [made]):
        saved[f"{name}/part_{j}" if parts else name] = part
    checkpoint = tensorflows.checkpoint(vars=saved)
    session.run(v1.global_variables_initializer())
    return checkpoint.write(str(path / "ckpt"))
