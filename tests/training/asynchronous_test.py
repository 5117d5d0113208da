"""Saves that training does not wait for: their values, and when they are complete."""

from __future__ import annotations

import errno
import functools
import logging
import os
import re
import shutil
import threading
import time

import numpy as np
import pytest
import tensorflow as tf

import estimator_ckpt as eckpt
from estimator_ckpt import errors
from estimator_ckpt.training.snapshot import Snapshot
from tests import models

v1 = tf.compat.v1
_ROWS = 50


class _HeldBack:
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


def _model(use_resource):
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
  mutable = tf.lookup.experimental.MutableHashTable(tf.int64, tf.float32, -1.0)
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


class _Recorder(v1.train.SessionRunHook):
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


def _train(model_dir, steps, held_back=None, use_resource=True, **options):
  """Trains with a MonitoredTrainingSession; returns the values after each step."""
  with tf.Graph().as_default():
    op, *tables = _model(use_resource)
    recorder = _Recorder(tables, held_back)
    scaffold = eckpt.dual_scaffold(asynchronous=True, max_to_keep=0, **options)
    with v1.train.MonitoredTrainingSession(
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


def _assert_is_of_step(prefix, values, tables):
  reader = eckpt.open_checkpoint(prefix)
  expected = _whole(values)
  assert {"parts", "parts/Adam", "embedding/Adam_1", "dense/half"} <= set(expected)
  for name, value in expected.items():
    np.testing.assert_array_equal(reader[name], value, err_msg=name)
  for name, (keys, stored) in tables.items():
    saved = zip(np.ravel(reader[f"{name}-keys"]), np.ravel(reader[f"{name}-values"]))
    assert sorted(saved) == sorted(zip(keys, stored)), name


def _steps_saved(model_dir):
  names = [re.fullmatch(r"model.ckpt-(\d+).index", n) for n in os.listdir(model_dir)]
  return sorted(int(name[1]) for name in names if name)


@pytest.mark.parametrize("use_resource", [True, False])
def test_a_checkpoint_holds_the_step_whose_number_it_bears(
  tmp_path, monkeypatch, use_resource
):
  held_back = _HeldBack(monkeypatch)
  recorded = _train(tmp_path / "a", 14, held_back, use_resource)
  assert held_back.held[:5] == [True] * 5
  assert eckpt.verify(str(tmp_path / "a")).ok
  assert _steps_saved(tmp_path / "a") == [0, 3, 6, 9, 12, 14]
  for step in _steps_saved(tmp_path / "a"):
    _assert_is_of_step(f"{tmp_path}/a/model.ckpt-{step}", *recorded[step])
  # A job that resumes from the middle computes the same values, also of the iterator.
  os.mkdir(tmp_path / "b")
  for path in (tmp_path / "a").glob("model.ckpt-6.*"):
    shutil.copy(path, tmp_path / "b")
  v1.train.update_checkpoint_state(str(tmp_path / "b"), "model.ckpt-6")
  again = _train(tmp_path / "b", 3, use_resource=use_resource)
  for step in (6, 9):
    for name, value in recorded[step][0].items():
      np.testing.assert_array_equal(again[step][0][name], value, err_msg=name)


def _slow(monkeypatch, seconds=0.4):
  """Makes writes slow, and keeps a list of them."""
  written = []
  write = Snapshot.write

  def slowly(snapshot, session, prefix):
    time.sleep(seconds)
    write(snapshot, session, prefix)
    written.append(prefix)

  monkeypatch.setattr(Snapshot, "write", slowly)
  return written


class _AtStep(v1.train.SessionRunHook):
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


def _estimator(model_dir, save_steps=2, checkpoint_format="dual", **options):
  options.setdefault("asynchronous", True)
  decorated = eckpt.checkpointing(checkpoint_format, **options)(models.model_fn)
  return models.estimator(decorated, model_dir, save_steps=save_steps)


def _assert_whole(model_dir, step):
  """Asserts that the state file names the checkpoint of a step, and that it is whole."""
  latest = tf.train.latest_checkpoint(str(model_dir))
  assert latest.endswith(f"model.ckpt-{step}")
  assert eckpt.open_checkpoint(latest)["global_step"] == step
  report = eckpt.verify(str(model_dir))
  assert report.ok, report
  assert not [name for name in os.listdir(model_dir) if "tmp-eckpt" in name]


@pytest.mark.parametrize("checkpoint_format", ["tf1", "tf2", "dual"])
def test_the_last_save_is_whole_when_train_returns(
  tmp_path, monkeypatch, checkpoint_format
):
  written = _slow(monkeypatch)
  estimator = _estimator(tmp_path, checkpoint_format=checkpoint_format)
  estimator.train(models.input_fn, max_steps=4)
  assert len(written) == 3
  _assert_whole(tmp_path, 4)
  assert eckpt.detect_format(str(tmp_path)).value == checkpoint_format
  # The plain decorator, too, resumes the job.
  _estimator(tmp_path, checkpoint_format=checkpoint_format, asynchronous=False).train(
    models.input_fn, max_steps=5
  )
  _assert_whole(tmp_path, 5)


@pytest.mark.parametrize("way", ["exception", "stop", "end of input", "interrupt"])
def test_the_last_save_is_whole_however_training_ends(tmp_path, monkeypatch, way):
  _slow(monkeypatch)

  def fail(context):
    raise {"exception": ZeroDivisionError, "interrupt": KeyboardInterrupt}[way]

  def stop(context):
    context.request_stop()

  actions = {"exception": fail, "interrupt": fail, "stop": stop}
  # The saving hook runs last, so step 4 is not saved if the hook before it fails.
  hook = _AtStep(5 if way != "end of input" else -1, actions.get(way))

  def input_fn():
    return models.input_fn().take(5)

  train = functools.partial(_estimator(tmp_path).train, input_fn, hooks=[hook])
  if way in ("exception", "interrupt"):
    with pytest.raises((ZeroDivisionError, KeyboardInterrupt)):
      train()
    _assert_whole(tmp_path, 4)
  else:
    train()
    _assert_whole(tmp_path, 5)


@pytest.mark.parametrize("fails", [False, True])
def test_a_scaffold_alone_is_enough(tmp_path, monkeypatch, fails):
  _slow(monkeypatch)
  with tf.Graph().as_default():
    w = v1.get_variable("w", [3])
    step = v1.train.get_or_create_global_step()
    op = v1.train.GradientDescentOptimizer(0.1).minimize(tf.reduce_sum(w**2), step)
    try:
      with v1.train.MonitoredTrainingSession(
        checkpoint_dir=str(tmp_path),
        scaffold=eckpt.dual_scaffold(asynchronous=True),
        save_checkpoint_steps=2,
        save_checkpoint_secs=None,
      ) as session:
        for _ in range(4):
          session.run(op)
        if fails:
          raise ZeroDivisionError
    except ZeroDivisionError:
      assert fails
  _assert_whole(tmp_path, 4)


def _plain(tmp_path, **options):
  """A session with one variable, and the saver of a Scaffold."""
  w = v1.get_variable("w", initializer=[1.0, 2.0])
  v1.train.get_or_create_global_step()
  scaffold = eckpt.dual_scaffold(asynchronous=True, **options)
  scaffold.finalize()
  return w, scaffold


def test_a_session_without_hooks_waits_when_it_is_closed(tmp_path, monkeypatch):
  written = _slow(monkeypatch)
  prefix = str(tmp_path / "model.ckpt")
  with tf.Graph().as_default():
    _, scaffold = _plain(tmp_path)
    with v1.Session() as session:
      session.run(scaffold.init_op)
      scaffold.saver.save(session, prefix, global_step=0)
      assert not written
      scaffold.saver.wait_until_finished()
      assert len(written) == 1
      _assert_whole(tmp_path, 0)
      scaffold.saver.save(session, prefix, global_step=0)
      assert len(written) == 1
  assert len(written) == 2
  _assert_whole(tmp_path, 0)


def test_a_write_that_fails_raises_at_the_next_step(tmp_path, monkeypatch):
  estimator = _estimator(tmp_path, save_steps=10)
  estimator.train(models.input_fn, max_steps=1)
  write = Snapshot.write

  def full(snapshot, session, prefix):
    if prefix.endswith("-11"):
      raise OSError(errno.ENOSPC, "No space left on device", prefix)
    write(snapshot, session, prefix)

  def wait(context):
    time.sleep(0.3)

  monkeypatch.setattr(Snapshot, "write", full)
  hook = _AtStep(12, wait)
  with pytest.raises(OSError, match="No space left on device"):
    estimator.train(models.input_fn, max_steps=1000, hooks=[hook])
  assert hook.done[-1] <= 13
  _assert_whole(tmp_path, 1)
  monkeypatch.undo()
  estimator.train(models.input_fn, max_steps=14)
  _assert_whole(tmp_path, 14)


def test_the_last_write_that_fails_raises_from_train(tmp_path, monkeypatch):
  estimator = _estimator(tmp_path, save_steps=10)
  write = Snapshot.write

  def full(snapshot, session, prefix):
    if prefix.endswith("-4"):
      time.sleep(0.2)
      raise OSError(errno.ENOSPC, "No space left on device", prefix)
    write(snapshot, session, prefix)

  monkeypatch.setattr(Snapshot, "write", full)
  with pytest.raises(OSError, match="No space left on device"):
    estimator.train(models.input_fn, max_steps=4)
  _assert_whole(tmp_path, 0)


def test_what_training_raises_comes_before_what_writing_raises(
  tmp_path, monkeypatch, caplog
):
  estimator = _estimator(tmp_path, save_steps=2)

  failed = threading.Event()

  def full(snapshot, session, prefix):
    failed.wait(10)
    time.sleep(0.2)
    raise OSError(errno.ENOSPC, "No space left on device", prefix)

  def fail(context):
    failed.set()
    raise ZeroDivisionError

  monkeypatch.setattr(Snapshot, "write", full)
  with pytest.raises(ZeroDivisionError):
    estimator.train(models.input_fn, max_steps=4, hooks=[_AtStep(1, fail)])
  assert "No space left on device" in caplog.text


def test_a_lost_session_drops_what_it_was_writing(tmp_path, monkeypatch, caplog):
  write = Snapshot.write

  def lost(snapshot, session, prefix):
    if prefix.endswith("-2") and len(failed) == 0:
      failed.append(prefix)
      raise tf.errors.AbortedError(None, None, "the server is gone")
    write(snapshot, session, prefix)

  def aborted(context):
    if len(failed) == 1:
      failed.append("")
      raise tf.errors.AbortedError(None, None, "the server is gone")

  failed = []
  monkeypatch.setattr(Snapshot, "write", lost)
  _estimator(tmp_path).train(models.input_fn, max_steps=6, hooks=[_AtStep(3, aborted)])
  assert len(failed) == 2
  assert "was not written, since its session ended" in caplog.text
  _assert_whole(tmp_path, 6)


def test_a_save_that_comes_too_early_waits_and_says_so_once(
  tmp_path, monkeypatch, caplog
):
  written = _slow(monkeypatch)
  _estimator(tmp_path, save_steps=1).train(models.input_fn, max_steps=5)
  assert [prefix.rpartition("-")[2] for prefix in written] == list("012345")
  said = [r for r in caplog.records if "Save less often" in r.getMessage()]
  assert len(said) == 1
  assert re.search(r"writing one takes 0\.\d s", said[0].getMessage())


class _Listener(v1.train.CheckpointSaverListener):
  """A listener that checks the checkpoint it is told of."""

  def __init__(self, model_dir):
    self._model_dir = model_dir
    self.heard = []

  def after_save(self, session, global_step_value):
    _assert_whole(self._model_dir, global_step_value)
    self.heard.append(int(global_step_value))


def test_listeners_hear_of_whole_checkpoints_and_training_goes_on(
  tmp_path, monkeypatch
):
  _slow(monkeypatch, 0.2)
  listener = _Listener(tmp_path)
  heard_at = {}

  class Watch(v1.train.SessionRunHook):
    def after_run(self, context, values):
      time.sleep(0.05)
      step = int(context.session.run(v1.train.get_global_step()))
      for saved in listener.heard:
        heard_at.setdefault(saved, step)

  _estimator(tmp_path, save_steps=20).train(
    models.input_fn, max_steps=45, saving_listeners=[listener], hooks=[Watch()]
  )
  assert listener.heard == [0, 20, 40, 45]
  # Stock training would wait at 20.
  assert 20 < heard_at[20] < 40


def test_listeners_of_a_users_own_hook_hear_of_whole_checkpoints(
  tmp_path, monkeypatch, caplog
):
  written = _slow(monkeypatch, 0.1)
  listener = _Listener(tmp_path)
  hook = v1.train.CheckpointSaverHook(str(tmp_path), save_steps=3, listeners=[listener])
  _estimator(tmp_path).train(models.input_fn, max_steps=5, hooks=[hook])
  # The user's own hook saves, so no other one does.
  assert listener.heard == [0, 3, 5] and len(written) == 3
  said = [r for r in caplog.records if "has listeners" in r.getMessage()]
  assert len(said) == 1


def test_a_job_that_saves_nothing_saves_nothing(tmp_path):
  decorated = eckpt.dual_checkpointing(asynchronous=True)(models.model_fn)
  config = tf.estimator.RunConfig(
    save_checkpoints_steps=None, save_checkpoints_secs=None
  )
  estimator = tf.estimator.Estimator(decorated, str(tmp_path), config)
  estimator.train(models.input_fn, max_steps=3)
  assert _steps_saved(tmp_path) == []


def test_a_listener_stops_training(tmp_path):
  class Stop(v1.train.CheckpointSaverListener):
    def after_save(self, session, global_step_value):
      return global_step_value == 4

  _estimator(tmp_path).train(models.input_fn, max_steps=1000, saving_listeners=[Stop()])
  assert _steps_saved(tmp_path)[-1] < 1000


def test_each_checkpoint_is_evaluated(tmp_path, monkeypatch):
  _slow(monkeypatch, 0.1)
  heard = []

  class Evaluated(v1.train.SessionRunHook):
    def after_create_session(self, session, coord):
      heard.append(int(session.run(v1.train.get_global_step())))

  tf.estimator.train_and_evaluate(
    _estimator(tmp_path),
    tf.estimator.TrainSpec(models.input_fn, max_steps=6),
    tf.estimator.EvalSpec(
      models.eval_input_fn, steps=1, throttle_secs=0, hooks=[Evaluated()]
    ),
  )
  assert heard == [2, 4, 6]


def test_what_is_on_another_machine_is_refused():
  with tf.Graph().as_default():
    with tf.device("/job:ps/task:0"):
      v1.get_variable("w", [3])
    with pytest.raises(errors.OptionError, match="'w' is on /job:ps/task:0"):
      eckpt.tf1_scaffold(asynchronous=True).finalize()


def test_a_session_of_a_server_is_refused(tmp_path):
  server = v1.train.Server.create_local_server()
  with tf.Graph().as_default():
    _, scaffold = _plain(tmp_path)
    with v1.Session(server.target) as session:
      session.run(scaffold.init_op)
      with pytest.raises(errors.OptionError, match="this session is one of grpc://"):
        scaffold.saver.save(session, str(tmp_path / "model.ckpt"))


def test_state_that_python_keeps_is_that_of_the_step(tmp_path, monkeypatch):
  class Counter(tf.train.experimental.PythonState):
    value = b""

    def serialize(self):
      return self.value

    def deserialize(self, state):
      self.value = state

  _slow(monkeypatch, 0.1)
  counter = Counter()
  with tf.Graph().as_default():
    w, scaffold = _plain(tmp_path, checkpoint={"counter": counter})
    with v1.Session() as session:
      session.run(scaffold.init_op)
      for step in range(3):
        counter.value = b"%d" % step
        scaffold.saver.save(session, str(tmp_path / "model.ckpt"), global_step=step)
        counter.value = b"later"
  for step in range(3):
    reader = eckpt.open_checkpoint(f"{tmp_path}/model.ckpt-{step}")
    [key] = [key for key in reader if key.startswith("counter/")]
    assert reader[key] == b"%d" % step


@pytest.mark.parametrize("options", [{"separate": True}, {"durable": True}])
def test_beside_other_options(tmp_path, monkeypatch, options):
  _slow(monkeypatch, 0.1)
  _estimator(tmp_path, **options).train(models.input_fn, max_steps=5)
  _assert_whole(tmp_path, 5)
  if "separate" in options:
    _assert_whole(tmp_path / "tf2", 5)


def test_evaluation_prediction_and_export_are_as_without(tmp_path):
  estimator = _estimator(tmp_path)
  estimator.train(models.input_fn, max_steps=3)
  assert estimator.evaluate(models.eval_input_fn)["global_step"] == 3
  path = estimator.export_saved_model(str(tmp_path / "export"), models.serving_input_fn)
  assert eckpt.detect_format(path).value == "tf1"
  imported = v1.saved_model.load(
    v1.Session(graph=tf.Graph()), ["serve"], os.fsdecode(path)
  )
  assert not [n for n in imported.graph_def.node if "Stage" in n.op]


def test_a_meta_graph_of_such_a_job_saves_as_any_other(tmp_path):
  _estimator(tmp_path).train(models.input_fn, max_steps=2)
  latest = tf.train.latest_checkpoint(str(tmp_path))
  with tf.Graph().as_default(), v1.Session() as session:
    saver = v1.train.import_meta_graph(latest + ".meta")
    saver.restore(session, latest)
    saver.save(session, str(tmp_path / "other"))
  named = models.named_values(tmp_path / "other")
  models.assert_same_values(named, models.named_values(latest))


@pytest.mark.parametrize("asynchronous", [False, True])
def test_what_a_save_has_cost_is_logged_and_summarized(tmp_path, caplog, asynchronous):
  caplog.set_level(logging.INFO, "estimator_ckpt")
  _estimator(tmp_path, asynchronous=asynchronous).train(models.input_fn, max_steps=2)
  said = [r.getMessage() for r in caplog.records if r.getMessage().startswith("Saved ")]
  assert len(said) == 2
  assert ("while training went on" in said[0]) == asynchronous
  values = {}
  for path in tmp_path.glob("events.*"):
    for event in v1.train.summary_iterator(str(path)):
      for value in event.summary.value:
        values[value.tag, event.step] = value.simple_value
  prefix = f"{tmp_path}/model.ckpt-2"
  assert values["checkpoint/bytes", 2] == os.path.getsize(
    prefix + ".data-00000-of-00001"
  )
  assert values["checkpoint/write_seconds", 2] > 0
  assert (values["checkpoint/snapshot_seconds", 2] > 0) == asynchronous
