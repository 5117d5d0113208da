"""Golden checkpoints of what is no float variable: every dtype, tables, iterators."""

from __future__ import annotations

import os

import numpy as np
import tensorflow as tf
from golden_writer import Written, ramp
from tf1_session import PREFIX, constant, listed, save, session_config

STEPS = 7


def samples():
  """Dtype name -> six distinct values that show sign, range and byte order."""
  samples = {
    "float16": np.array([-2.5, -0.1, 0.0, 1 / 3, 65504.0, 6e-8], np.float16),
    "float32": np.array([-2.5, -0.1, 0.0, 1 / 3, 3.4e38, 1e-45], np.float32),
    "float64": np.array([-2.5, -0.1, 0.0, 1 / 3, 1.7e308, 5e-324], np.float64),
    "bfloat16": np.array([-2.5, -0.5, 0.0, 1.5, 2.0**100, 2.0**-100], np.float32),
    "bool": np.array([True, False, False, True, True, False]),
    "complex64": ramp((6,)) + 1j * ramp((6,), 5.0, 2.0),
    "complex128": ramp((6,), dtype=np.float64) - 1j * ramp((6,), 1, 3, np.float64),
    "string": np.array(
      [b"", b"word", b"nul\x00inside", b"\xff\xfe", b"n" * 200, "\u00e4".encode()],
      object,
    ),
  }
  for bits in (8, 16, 32, 64):
    top = 2 ** (bits - 1)
    signed = [-top, -1, 0, 1, top // 3, top - 1]
    unsigned = [0, 1, 2, top, 2 * top // 3, 2 * top - 1]
    samples[f"int{bits}"] = np.array(signed, f"int{bits}")
    samples[f"uint{bits}"] = np.array(unsigned, f"uint{bits}")
  for name in ("qint8", "quint8", "qint16", "quint16", "qint32"):
    samples[name] = samples[name[1:]]
  return samples


def many_dtypes(directory):
  """Every dtype a variable can be saved in; scalars, matrices and zero rows of each."""
  with tf.Graph().as_default():
    expected, variables = {}, {}
    for name, values in sorted(samples().items()):
      dtype = tf.as_dtype(name)
      for shape_name, take in (
        ("scalar", lambda a: a[3:4].reshape(())),
        ("vector", lambda a: a),
        ("matrix", lambda a: a[::-1].reshape(2, 3)),
        ("no_rows", lambda a: a[:0].reshape(0, 4)),
      ):
        key = f"{name}/{shape_name}"
        expected[key] = take(values)
        value = tf.constant(expected[key])
        if dtype.is_quantized:
          value = tf.bitcast(value, dtype)
        elif name == "bfloat16":
          value = tf.cast(value, dtype)
        variables[key] = tf.Variable(value, use_resource=True, name=key)
    saver = tf.train.Saver(variables, save_relative_paths=True)
    with tf.Session(config=session_config()) as session:
      session.run(tf.global_variables_initializer())
      return save(session, directory, STEPS, saver, expected=expected)


def tables(directory):
  """Hash tables: string to int64, int64 to vectors, and a dense one."""
  with tf.Graph().as_default():
    words = tf.contrib.lookup.MutableHashTable(tf.string, tf.int64, -1, name="words")
    vectors = tf.contrib.lookup.MutableHashTable(
      tf.int64, tf.float32, [-1.0, -2.0], name="lookup/vectors"
    )
    dense = tf.contrib.lookup.MutableDenseHashTable(
      tf.int64,
      tf.int64,
      -7,
      empty_key=-1,
      deleted_key=-2,
      initial_num_buckets=8,
      name="dense",
    )
    tf.train.get_or_create_global_step()
    fill = [
      words.insert(tf.constant(["ape", "bee", "cat", "dog"]), [11, 22, 33, 44]),
      vectors.insert(tf.constant([3, 5, 8], tf.int64), ramp((3, 2), low=1.0, high=6.0)),
      dense.insert(
        tf.constant([10, 20, 30], tf.int64), tf.constant([100, 200, 300], tf.int64)
      ),
    ]
    exports = {
      "words": words.export(),
      "lookup/vectors": vectors.export(),
      "dense": dense.export(),
    }
    with tf.Session(config=session_config()) as session:
      session.run(tf.global_variables_initializer())
      session.run(tf.assign(tf.train.get_global_step(), STEPS))
      session.run(fill)
      expected = {"global_step": np.int64(STEPS)}
      for name, (keys, values) in session.run(exports).items():
        expected[name + "-keys"], expected[name + "-values"] = keys, values
      details = {"dense": {"empty_key": -1, "deleted_key": -2, "default": -7}}
      return save(session, directory, STEPS, expected=expected, details=details)


def iterator(directory):
  """A Dataset iterator, saved after it gave 3 of the elements 0, 10, 20, ..."""
  with tf.Graph().as_default():
    dataset = tf.data.Dataset.range(0, 100, 10)
    source = tf.data.make_one_shot_iterator(dataset)
    saveable = tf.data.experimental.make_saveable_from_iterator(source)
    tf.add_to_collection(tf.GraphKeys.SAVEABLE_OBJECTS, saveable)
    element = source.get_next()
    weight = tf.get_variable("weight", initializer=ramp((2, 3)))
    step = tf.train.get_or_create_global_step()
    with tf.Session(config=session_config()) as session:
      session.run(tf.global_variables_initializer())
      session.run(tf.assign(step, 3))
      given = [int(session.run(element)) for _ in range(3)]
      expected = {"global_step": np.int64(3), "weight": session.run(weight)}
      details = {
        "key": saveable.specs[0].name,
        "given": given,
        "next": 10 * len(given),
      }
      return save(session, directory, 3, expected=expected, details=details)


def saved_model(directory):
  """A SavedModel: variables/variables under a graph, no state file."""
  with tf.Graph().as_default():
    x = tf.placeholder(tf.float32, (None, 3), "x")
    with tf.variable_scope("net"):
      kernel = tf.get_variable(
        "dense/kernel", (3, 2), initializer=constant(ramp((3, 2)))
      )
      bias = tf.get_variable("dense/bias", (2,), initializer=constant(ramp((2,), 4, 5)))
      table = tf.get_variable(
        "embedding",
        (5, 2),
        initializer=constant(ramp((5, 2), 7.0, 16.0)),
        partitioner=tf.fixed_size_partitioner(2),
      )
    output = tf.matmul(x, kernel) + bias + tf.reduce_sum(table)
    with tf.Session(config=session_config()) as session:
      session.run(tf.global_variables_initializer())
      tf.saved_model.simple_save(
        session, os.path.join(directory, "export"), {"x": x}, {"output": output}
      )
      # Saved once more beside it, only to learn what the session holds.
      beside = save(session, directory, STEPS)
  prefix = "export/variables/variables"
  for name in os.listdir(directory):
    if name == "checkpoint" or name.startswith(PREFIX):
      os.remove(os.path.join(directory, name))
  return Written(
    prefix,
    listed(os.path.join(directory, prefix)),
    beside.expected,
    slices=beside.slices,
    keep=["export/saved_model.pb"],
  )


GOLDENS = {
  "many_dtypes": many_dtypes,
  "tables": tables,
  "iterator": iterator,
  "saved_model": saved_model,
}
