"""The training job whose checkpoints later releases have to resume."""

from __future__ import annotations

import golden_writer
import numpy as np
import tensorflow as tf

import estimator_ckpt as eckpt

v1 = tf.compat.v1

# A directory for each; what its Scaffold is made with.
JOBS = {
  "tf1": {"scaffold": eckpt.tf1_scaffold},
  "tf2": {"scaffold": eckpt.tf2_scaffold},
  "dual": {"scaffold": eckpt.dual_scaffold},
  "separate": {"scaffold": lambda: eckpt.dual_scaffold(separate=True)},
}


def warm_start(source):
  """The options of a job that begins with a checkpoint."""
  return {"scaffold": lambda: eckpt.dual_scaffold(warm_start=source)}


def _rows(shape, dtype=None, partition_info=None):
  """Rows of a ramp, those of the partition that is made."""
  start = partition_info.var_offset[0]
  return tf.constant(golden_writer.ramp((6, 2))[start : start + shape[0]])


def graph():
  """A partitioned embedding and a kernel, with Adam."""
  with v1.variable_scope("net"):
    embedding = v1.get_variable(
      "embedding",
      [6, 2],
      initializer=_rows,
      partitioner=tf.compat.v1.fixed_size_partitioner(3),
      use_resource=True,
    )
    looked_up = tf.nn.embedding_lookup(embedding, [0, 2, 5])
    kernel = v1.get_variable(
      "out/kernel", initializer=golden_writer.ramp((2, 3)), use_resource=True
    )
    loss = tf.reduce_sum(tf.square(looked_up @ kernel - 1.0))
  step = v1.train.get_or_create_global_step()
  return v1.train.AdamOptimizer(0.1).minimize(loss, step)


def train(directory, steps, scaffold):
  """Resumes, makes some steps, and returns all values by name at the end."""
  with tf.Graph().as_default():
    train_op = graph()
    with v1.train.MonitoredTrainingSession(
      checkpoint_dir=directory,
      scaffold=scaffold(),
      save_summaries_steps=None,
      save_summaries_secs=None,
      log_step_count_steps=None,
    ) as session:
      for _ in range(steps):
        session.run(train_op)
      parts = {}
      for variable in v1.global_variables():
        info = variable._save_slice_info
        name = variable.op.name if info is None else info.full_name
        parts.setdefault(name, []).append(variable)
      values = session.run(parts)
  return {name: np.concatenate(v) if len(v) > 1 else v[0] for name, v in values.items()}
