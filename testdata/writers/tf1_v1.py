"""Golden checkpoints of the format V1: one file each, as TensorFlow wrote until 0.11."""

from __future__ import annotations

import numpy as np
import tensorflow as tf
from golden_writer import ramp, waves
from tf1_session import PREFIX, constant, save, session_config
from tf1_state import samples

STEPS = 7
# What SaveSlices of TensorFlow 1.15.5 refuses: "Unimplemented".
REFUSED = ("bfloat16", "uint32", "uint64", "qint16", "quint16")


def _saver(variables=None, **options):
  return tf.train.Saver(
    variables,
    save_relative_paths=True,
    write_version=tf.train.SaverDef.V1,
    **options,
  )


def _keep(*names):
  return [f"{PREFIX}-{STEPS}{name}" for name in names]


def adam_partitioned(directory):
  """A partitioned embedding, a layer cut by columns, dense layers and Adam in one file."""
  return _trained(directory, _keep(""), sharded=False)


def sharded(directory):
  """The same model, saved by a sharded Saver from two devices into two files."""
  return _trained(directory, _keep("-00000-of-00002", "-00001-of-00002"), sharded=True)


def _trained(directory, keep, sharded):
  """Trains the model, and saves it."""
  with tf.Graph().as_default():
    ids = np.array([0, 3, 6, 2, 5, 1, 4, 3], np.int64)
    y = waves((8, 2), step=1.3)
    with tf.variable_scope("net"):
      with tf.device("/cpu:0"):
        embedding = tf.get_variable(
          "embedding",
          (7, 4),
          initializer=constant(ramp((7, 4))),
          partitioner=tf.fixed_size_partitioner(3),
        )
      with tf.device("/cpu:1" if sharded else "/cpu:0"):
        wide = tf.get_variable(
          "wide",
          (4, 5),
          initializer=constant(ramp((4, 5), 1.0, -0.9)),
          partitioner=tf.fixed_size_partitioner(2, axis=1),
        )
        found = tf.nn.embedding_lookup(embedding, tf.constant(ids), "div")
        hidden = tf.tanh(tf.matmul(found, tf.convert_to_tensor(wide)))
        output = tf.layers.dense(
          hidden, 2, kernel_initializer=constant(ramp((5, 2))), name="dense"
        )
        # In one file, large enough for a block of its own.
        large = np.arange(8 if sharded else 70000, dtype=np.float32).reshape(-1, 4)
        tf.get_variable("large", large.shape, initializer=constant(large))
    loss = tf.losses.mean_squared_error(tf.constant(y), output)
    with tf.device("/cpu:0"):
      step = tf.train.get_or_create_global_step()
    train = tf.train.AdamOptimizer(0.05).minimize(loss, step)
    with tf.Session(config=session_config(cpus=2)) as session:
      session.run(tf.global_variables_initializer())
      for _ in range(STEPS):
        session.run(train)
      data = {"ids": ids, "y": y, "output": session.run(output)}
      return save(
        session, directory, STEPS, _saver(sharded=sharded), data=data, keep=keep
      )


def many_dtypes(directory):
  """Every dtype that the format has; scalars, matrices and zero rows of each."""
  with tf.Graph().as_default():
    expected, variables = {}, {}
    for name, values in sorted(samples().items()):
      if name in REFUSED:
        continue
      dtype = tf.as_dtype(name)
      for shape_name, value in (
        ("scalar", values[3:4].reshape(())),
        ("vector", values),
        ("matrix", values[::-1].reshape(2, 3)),
        ("no_rows", values[:0].reshape(0, 4)),
      ):
        key = f"{name}/{shape_name}"
        expected[key] = value
        initial = tf.constant(value)
        if dtype.is_quantized:
          initial = tf.bitcast(initial, dtype)
        variables[key] = tf.Variable(initial, use_resource=True, name=key)
    with tf.Session(config=session_config()) as session:
      session.run(tf.global_variables_initializer())
      return save(
        session,
        directory,
        STEPS,
        _saver(variables),
        expected=expected,
        keep=_keep(""),
      )


GOLDENS = {
  "v1/adam_partitioned": adam_partitioned,
  "v1/sharded": sharded,
  "v1/many_dtypes": many_dtypes,
}
