"""Golden checkpoints of models written by hand: dense, partitioned, batch norm."""

from __future__ import annotations

import numpy as np
import tensorflow as tf
from golden_writer import ramp, waves
from tf1_session import constant, save, session_config

STEPS = 7


def adam_dense(directory):
  """Two dense layers, two scopes deep, after 7 steps of AdamOptimizer."""
  with tf.Graph().as_default():
    x = waves((8, 5))
    y = waves((8, 3), step=1.3)
    with tf.variable_scope("net"):
      hidden = tf.layers.dense(
        tf.constant(x),
        4,
        tf.tanh,
        kernel_initializer=constant(ramp((5, 4))),
        bias_initializer=constant(ramp((4,), 0.1, 0.4)),
        name="dense_1",
      )
      output = tf.layers.dense(
        hidden,
        3,
        kernel_initializer=constant(ramp((4, 3), 0.9, -0.7)),
        bias_initializer=constant(ramp((3,), -0.2, 0.2)),
        name="dense_2",
      )
    loss = tf.losses.mean_squared_error(tf.constant(y), output)
    step = tf.train.get_or_create_global_step()
    train = tf.train.AdamOptimizer(0.01).minimize(loss, step)
    with tf.Session(config=session_config()) as session:
      session.run(tf.global_variables_initializer())
      for _ in range(STEPS):
        session.run(train)
      data = {"x": x, "y": y, "output": session.run(output)}
      return save(session, directory, STEPS, data=data)


def momentum_partitioned(directory):
  """Variables in slices (rows, columns, one slice) with Momentum slots in slices."""
  with tf.Graph().as_default():
    ids = np.array([0, 3, 6, 2, 5, 1, 4, 3], np.int64)
    y = waves((8, 2), step=1.3)
    with tf.variable_scope("net"):
      embedding = tf.get_variable(
        "embedding",
        (7, 4),
        initializer=constant(ramp((7, 4))),
        partitioner=tf.fixed_size_partitioner(3),
      )
      wide = tf.get_variable(
        "wide",
        (4, 5),
        initializer=constant(ramp((4, 5), 1.0, -0.9)),
        partitioner=tf.fixed_size_partitioner(2, axis=1),
      )
      single = tf.get_variable(
        "single",
        (5, 3),
        initializer=constant(ramp((5, 3), -0.5, 0.6)),
        partitioner=tf.fixed_size_partitioner(1),
      )
      found = tf.nn.embedding_lookup(embedding, tf.constant(ids), "div")
      hidden = tf.tanh(tf.matmul(found, tf.convert_to_tensor(wide)))
      hidden = tf.tanh(tf.matmul(hidden, tf.convert_to_tensor(single)))
      output = tf.layers.dense(
        hidden, 2, kernel_initializer=constant(ramp((3, 2))), name="dense"
      )
    loss = tf.losses.mean_squared_error(tf.constant(y), output)
    step = tf.train.get_or_create_global_step()
    train = tf.train.MomentumOptimizer(0.05, 0.9).minimize(loss, step)
    with tf.Session(config=session_config()) as session:
      session.run(tf.global_variables_initializer())
      for _ in range(STEPS):
        session.run(train)
      data = {"ids": ids, "y": y, "output": session.run(output)}
      return save(session, directory, STEPS, data=data)


def partitioned_half(directory):
  """float16 and bfloat16 in slices; TensorFlow cannot stitch the float16 ones."""
  with tf.Graph().as_default():
    ids = np.array([0, 3, 6, 2, 5, 1, 4, 3], np.int64)
    with tf.variable_scope("net", partitioner=tf.fixed_size_partitioner(3)):
      embedding = tf.get_variable(
        "embedding", (7, 4), tf.float16, constant(ramp((7, 4), dtype=np.float16))
      )
      tf.get_variable(
        "embedding_bfloat16",
        (8, 3),
        tf.bfloat16,
        constant(np.arange(1, 25, dtype=np.float32).reshape(8, 3)),
        trainable=False,
      )
    found = tf.nn.embedding_lookup(embedding, tf.constant(ids), "div")
    target = tf.constant(waves((8, 4), dtype=np.float16))
    loss = tf.reduce_sum(tf.square(found - target))
    step = tf.train.get_or_create_global_step()
    train = tf.train.MomentumOptimizer(0.05, 0.9).minimize(loss, step)
    with tf.Session(config=session_config()) as session:
      session.run(tf.global_variables_initializer())
      for _ in range(STEPS):
        session.run(train)
      return save(session, directory, STEPS)


def batch_norm(directory):
  """Dense and batch normalization, Adam, and moving averages of the weights."""
  with tf.Graph().as_default():
    x = waves((8, 5))
    y = waves((8, 2), step=1.3)
    training = tf.placeholder_with_default(False, (), "training")
    with tf.variable_scope("net"):
      hidden = tf.layers.dense(
        tf.constant(x), 4, kernel_initializer=constant(ramp((5, 4))), name="dense"
      )
      hidden = tf.layers.batch_normalization(
        hidden,
        momentum=0.9,
        training=training,
        gamma_initializer=constant(ramp((4,), 0.5, 1.5)),
        beta_initializer=constant(ramp((4,), -0.3, 0.3)),
        name="batch_normalization",
      )
      output = tf.layers.dense(
        tf.tanh(hidden),
        2,
        kernel_initializer=constant(ramp((4, 2), 0.8, -0.8)),
        name="logits",
      )
    loss = tf.losses.mean_squared_error(tf.constant(y), output)
    step = tf.train.get_or_create_global_step()
    averages = tf.train.ExponentialMovingAverage(0.9, step)
    with tf.control_dependencies(tf.get_collection(tf.GraphKeys.UPDATE_OPS)):
      minimize = tf.train.AdamOptimizer(0.01).minimize(loss, step)
    with tf.control_dependencies([minimize]):
      train = averages.apply(tf.trainable_variables())
    with tf.Session(config=session_config()) as session:
      session.run(tf.global_variables_initializer())
      for _ in range(STEPS):
        session.run(train, {training: True})
      data = {"x": x, "y": y, "output": session.run(output)}
      return save(session, directory, STEPS, data=data)


def multi_shard(directory):
  """One bundle in two data files, a partitioned variable spread over both."""
  with tf.Graph().as_default():
    with tf.device("/cpu:0"):
      tf.get_variable("first/kernel", initializer=ramp((5, 4)))
      tf.get_variable("first/count", initializer=np.arange(3, 9, dtype=np.int64))
      tf.train.get_or_create_global_step()
    with tf.device("/cpu:1"):
      tf.get_variable("second/kernel", initializer=ramp((3, 2), 2.0, 5.0))
    devices = iter(("/cpu:0", "/cpu:1", "/cpu:0"))
    with tf.device(lambda op: next(devices) if op.type == "VariableV2" else op.device):
      tf.get_variable(
        "spread/embedding",
        (7, 2),
        initializer=constant(ramp((7, 2), 10.0, 23.0)),
        partitioner=tf.fixed_size_partitioner(3),
      )
    saver = tf.train.Saver(sharded=True, save_relative_paths=True)
    with tf.Session(config=session_config(cpus=2)) as session:
      session.run(tf.global_variables_initializer())
      session.run(tf.assign(tf.train.get_global_step(), STEPS))
      return save(session, directory, STEPS, saver)


def odd_names(directory):
  """Names that escape, merge or look like object keys when handled carelessly."""
  names = [
    "a/b",
    "a.Sb",
    "a..Sb",
    "a.b/c..d",
    "a/.ATTRIBUTES/VARIABLE_VALUE",
    "plain",
    "plain/Adam",
    "plain/Adam_1",
    "with space/and\ttab",
    "umlaut/\u00e4\u00f6\u00fc \u6f22\u5b57",
    "/leading",
    "trailing/",
    "double//slash",
    "_CHECKPOINTABLE",
    "beta1_power",
    "part_0",
    "v/part_0",
    "v.npy",
    "/".join(f"s{i}" for i in range(20)) + "/deep",
    "long/" + "n" * 300,
  ]
  with tf.Graph().as_default():
    variables = {
      name: tf.Variable(ramp((2, 3), 10.0 * i, 10.0 * i + 5), name=f"v{i}")
      for i, name in enumerate(names)
    }
    saver = tf.train.Saver(variables, save_relative_paths=True)
    with tf.Session(config=session_config()) as session:
      session.run(tf.global_variables_initializer())
      expected = session.run(variables)
      return save(session, directory, STEPS, saver, expected=expected)


GOLDENS = {
  "adam_dense": adam_dense,
  "momentum_partitioned": momentum_partitioned,
  "partitioned_half": partitioned_half,
  "batch_norm": batch_norm,
  "multi_shard": multi_shard,
  "odd_names": odd_names,
}
