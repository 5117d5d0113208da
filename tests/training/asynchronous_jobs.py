"""Jobs that save with asynchronous=True, and what must be true of what they leave."""

from __future__ import annotations

import os
import re
import threading
import time

import numpy as np
import tensorflow as tf

import estimator_ckpt as eckpt
from estimator_ckpt.training.snapshot import Snapshot
from tests import models, tensorflows

v1 = tf.compat.v1
_ROWS = 50


class HeldBack:
  """Delays each write until training has made two more steps."""

  def __init__(self, monkeypatch):
    self._condition = threading.Condition()
    self._step = 0
    self.held = []
    write = Snapshot.write

    def held_back(snapshot, session, prefix):
      until = int(prefix.rpartition("-")[2]) + 2
      with self._condition:
        # The last writes time out here, because training is over.
        self.held.append(self._condition.wait_for(lambda: self._step >= until, 5))
      write(snapshot, session, prefix)

    monkeypatch.setattr(Snapshot, "write", held_back)

  def step(self, step):
    """Notes that a step is done."""
    with self._condition:
      self._step = step
      self._condition.notify_all()


def model(use_resource):
  """Variables of many kinds, and an op that changes all of them."""
  step = v1.train.get_or_create_global_step()
  numbers = np.random.default_rng(0)

  def variable(name, shape, dtype=tf.float32, **options):
    value = numbers.normal(size=shape)
    return v1.get_variable(
      name,
      dtype=dtype,
      initializer=tf.constant(value, dtype) if not options else None,
      shape=shape if options else None,
      use_resource=use_resource,
      **options,
    )

  kernel = variable("dense/kernel", [40, 30])
  half = variable("dense/half", [7, 3], tf.float16)
  table = variable("embedding", [_ROWS, 8])
  parts = variable("parts", [_ROWS, 4], partitioner=v1.fixed_size_partitioner(3))
  count = v1.get_variable(
    "count",
    [3],
    tf.int64,
    v1.zeros_initializer(),
    use_resource=use_resource,
    trainable=False,
  )
  text = v1.get_variable(
    "text",
    [2],
    tf.string,
    v1.constant_initializer(b"a"),
    use_resource=use_resource,
    trainable=False,
  )
  ids = tf.cast(tf.stack([step % _ROWS, (3 * step + 1) % _ROWS]), tf.int32)
  loss = (
    tf.reduce_sum(kernel**2)
    + tf.reduce_sum(tf.cast(half, tf.float32) ** 2)
    + tf.reduce_sum(v1.nn.embedding_lookup(table, ids) ** 2)
    + tf.reduce_sum(v1.nn.embedding_lookup(parts, ids, partition_strategy="div") ** 2)
  )
  optimizer = v1.train.AdamOptimizer(0.01)
  mutable = tensorflows.MutableHashTable(tf.int64, tf.float32, -1.0)
  dense = tf.lookup.experimental.DenseHashTable(
    tf.int64, tf.float32, -1.0, empty_key=-1, deleted_key=-2, initial_num_buckets=64
  )
  iterator = v1.data.make_one_shot_iterator(tf.data.Dataset.range(1000))
  v1.add_to_collection(
    v1.GraphKeys.SAVEABLE_OBJECTS,
    tf.data.experimental.make_saveable_from_iterator(iterator),
  )
  value = iterator.get_next()
  train = optimizer.minimize(loss, step)
  with tf.control_dependencies([train]):
    updates = [
      v1.assign_add(count, [1, 2, 3]),
      v1.assign(text, [tf.strings.as_string(value), b"b"]),
      mutable.insert(value, tf.cast(value, tf.float32)),
      dense.insert(value % 20, tf.cast(value, tf.float32)),
    ]
  return tf.group(*updates), mutable, dense


class Recorder(v1.train.SessionRunHook):
  """Keeps the values of all variables and tables after each step."""

  def __init__(self, tables, held_back=None):
    self.values = {}
    self._tables = tables
    self._held_back = held_back

  def begin(self):
    self._exports = {table.name: table.export() for table in self._tables}

  def _record(self, session):
    variables = {v.op.name: v for v in v1.global_variables()}
    read = session.run([variables, self._exports])
    # The arrays share the variables' memory, so they are copied.
    values, tables = tf.nest.map_structure(np.array, read)
    step = int(values["global_step"])
    self.values[step] = values, tables
    if self._held_back is not None:
      self._held_back.step(step)

  def after_create_session(self, session, coord):
    self._record(session)

  def after_run(self, context, values):
    self._record(context.session)


def train(
  model_dir, steps, held_back=None, use_resource=True, master="", device=None, **options
):
  """Trains with a MonitoredTrainingSession; returns the values after each step."""
  with tf.Graph().as_default() as graph, graph.device(device):
    op, *tables = model(use_resource)
    recorder = Recorder(tables, held_back)
    scaffold = eckpt.dual_scaffold(asynchronous=True, max_to_keep=0, **options)
    with v1.train.MonitoredTrainingSession(
      master,
      checkpoint_dir=str(model_dir),
      scaffold=scaffold,
      hooks=[recorder],
      save_checkpoint_steps=3,
      save_checkpoint_secs=None,
      save_summaries_steps=None,
      log_step_count_steps=None,
    ) as session:
      for _ in range(steps):
        session.run(op)
  return recorder.values


def _whole(values):
  """The values with parts joined, by the names of a checkpoint."""
  whole = {}
  for name, value in sorted(values.items()):
    whole.setdefault(re.sub(r"/part_\d+", "", name), []).append(value)
  return {name: np.concatenate(v) if len(v) > 1 else v[0] for name, v in whole.items()}


def assert_is_of_step(prefix, values, tables):
  reader = eckpt.open_checkpoint(prefix)
  expected = _whole(values)
  assert {"parts", "parts/Adam", "embedding/Adam_1", "dense/half"} <= set(expected)
  for name, value in expected.items():
    np.testing.assert_array_equal(reader[name], value, err_msg=name)
  for name, (keys, stored) in tables.items():
    saved = zip(np.ravel(reader[f"{name}-keys"]), np.ravel(reader[f"{name}-values"]))
    assert sorted(saved) == sorted(zip(keys, stored)), name


def steps_saved(model_dir):
  names = [re.fullmatch(r"model.ckpt-(\d+).index", n) for n in os.listdir(model_dir)]
  return sorted(int(name[1]) for name in names if name)


def slow(monkeypatch, seconds=0.4):
  """Makes writes slow, and keeps a list of them."""
  written = []
  write = Snapshot.write

  def slowly(snapshot, session, prefix):
    time.sleep(seconds)
    write(snapshot, session, prefix)
    written.append(prefix)

  monkeypatch.setattr(Snapshot, "write", slowly)
  return written


class AtStep(v1.train.SessionRunHook):
  """Calls a function after a given step."""

  def __init__(self, step, action):
    self._step = step
    self._action = action
    self.done = []

  def after_run(self, context, values):
    step = int(context.session.run(v1.train.get_global_step()))
    self.done.append(step)
    if step == self._step:
      self._action(context)


def estimator(model_dir, save_steps=2, checkpoint_format="dual", **options):
  options.setdefault("asynchronous", True)
  decorated = eckpt.checkpointing(checkpoint_format, **options)(models.model_fn)
  return models.estimator(decorated, model_dir, save_steps=save_steps)


def assert_whole(model_dir, step):
  """Asserts that the state file names the checkpoint of a step, and that it is whole."""
  latest = tf.train.latest_checkpoint(str(model_dir))
  assert latest.endswith(f"model.ckpt-{step}")
  assert eckpt.open_checkpoint(latest)["global_step"] == step
  report = eckpt.verify(str(model_dir))
  assert report.ok, report
  assert not [name for name in os.listdir(model_dir) if "tmp-eckpt" in name]


def plain(tmp_path, **options):
  """A session with one variable, and the saver of a Scaffold."""
  w = v1.get_variable("w", initializer=[1.0, 2.0])
  v1.train.get_or_create_global_step()
  scaffold = eckpt.dual_scaffold(asynchronous=True, **options)
  scaffold.finalize()
  return w, scaffold
