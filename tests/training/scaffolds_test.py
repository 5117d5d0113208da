"""The Scaffold factories and the saver, in sessions of the test's own."""

from __future__ import annotations

import errno
import logging
import os
import shutil

import numpy as np
import pytest
import tensorflow as tf

import estimator_ckpt as eckpt
from estimator_ckpt import errors
from estimator_ckpt.training import retention
from estimator_ckpt.training.saver import CheckpointSaver
from tests import models

v1 = tf.compat.v1
_FACTORIES = [eckpt.tf1_scaffold, eckpt.tf2_scaffold, eckpt.dual_scaffold]


def _session(scaffold, checkpoint_dir, **options):
  return v1.train.MonitoredTrainingSession(
    checkpoint_dir=str(checkpoint_dir),
    scaffold=scaffold,
    save_checkpoint_steps=1,
    **options,
  )


def _write(checkpoint_dir, variables, make=eckpt.dual_scaffold, **options):
  """Writes a checkpoint of variables with these values, by name."""
  with tf.Graph().as_default():
    step = v1.train.get_or_create_global_step()
    for name, value in variables.items():
      v1.get_variable(name, initializer=np.asarray(value))
    train_op = v1.assign_add(step, 1)
    with _session(make(**options), checkpoint_dir) as session:
      session.run(train_op)
  return tf.train.latest_checkpoint(str(checkpoint_dir))


def _read(checkpoint_dir, variables, make=eckpt.dual_scaffold, **options):
  """Restores these variables, zero at first, and returns their values."""
  with tf.Graph().as_default():
    v1.train.get_or_create_global_step()
    read = {
      name: v1.get_variable(
        name,
        shape=np.shape(value),
        dtype=np.asarray(value).dtype,
        initializer=v1.zeros_initializer(),
      )
      for name, value in variables.items()
    }
    creator = v1.train.ChiefSessionCreator(
      make(**options), checkpoint_dir=str(checkpoint_dir)
    )
    with v1.train.MonitoredSession(creator) as session:
      return session.run(read)


_VALUES = {
  "a": np.arange(3, dtype=np.float32),
  "scope/b": np.array(7, np.int64),
  "scope/deep/c": np.arange(6, dtype=np.float64).reshape(2, 3),
}


@pytest.mark.parametrize("make", _FACTORIES)
@pytest.mark.parametrize("read_with", _FACTORIES)
def test_every_format_is_read_by_every_scaffold(make, read_with, tmp_path):
  _write(tmp_path, _VALUES, make)
  models.assert_same_values(_read(tmp_path, _VALUES, read_with), _VALUES)


@pytest.mark.parametrize("make", _FACTORIES)
def test_arguments_of_a_scaffold_are_passed_on(make, tmp_path):
  seen = []
  _write(
    tmp_path, _VALUES, make, init_fn=lambda scaffold, session: seen.append(scaffold)
  )
  assert isinstance(seen[0], v1.train.Scaffold)


def test_a_scaffold_can_be_taken_over(tmp_path):
  def make(**options):
    scaffold = v1.train.Scaffold(saver=v1.train.Saver(max_to_keep=1, defer_build=True))
    return eckpt.dual_scaffold(scaffold=scaffold, **options)

  with tf.Graph().as_default():
    step = v1.train.get_or_create_global_step()
    train_op = v1.assign_add(step, 1)
    with _session(make(), tmp_path) as session:
      for _ in range(3):
        session.run(train_op)
  assert models.steps_on_disk(tmp_path) == [3]


def test_unknown_options_are_named_with_the_nearest():
  with pytest.raises(errors.OptionError, match="'init_fm'. Did you mean 'init_fn'"):
    eckpt.dual_scaffold(init_fm=None)
  with pytest.raises(errors.OptionError, match="'none' is unknown"):
    eckpt.dual_scaffold(layout="none")


def test_tf1_stores_no_objects():
  with pytest.raises(errors.OptionError, match="choose 'tf2' or 'dual'"):
    eckpt.tf1_scaffold(checkpoint={"module": tf.Module()})


_ODD_NAMES = ["a.b", "a.Sb", "a/b", "dots..", "x-y", ".S"]


@pytest.mark.parametrize("make", _FACTORIES)
def test_odd_names_have_keys_of_their_own(make, tmp_path):
  values = {
    name: np.float32(i) for i, name in enumerate([*_ODD_NAMES, "with space", "naïve/é"])
  }

  def scaffold(**options):
    # TensorFlow allows such names only in a Saver's var_list.
    var_list = {"global_step": v1.train.get_global_step()}
    for i, name in enumerate(values):
      var_list[name] = v1.get_variable(f"v{i}", initializer=values[name])
    return make(var_list=var_list, **options)

  _write(tmp_path, {}, scaffold)
  found = models.named_values(tmp_path)
  for name, value in values.items():
    assert found[name] == value


def test_two_variables_under_one_key(tmp_path):
  def scaffold():
    x = v1.get_variable("x", initializer=1.0)
    y = v1.get_variable("y", initializer=2.0)
    return eckpt.dual_scaffold(
      var_list={"x": x, "var_list/x/.ATTRIBUTES/VARIABLE_VALUE": y}
    )

  with pytest.raises(errors.OptionError, match="one of them would be lost"):
    _write(tmp_path, {}, scaffold)
  assert not tf.train.latest_checkpoint(str(tmp_path))


@pytest.mark.parametrize("make", _FACTORIES)
def test_strict_false_initializes_what_is_missing_and_says_so_once(
  make, tmp_path, caplog
):
  _write(tmp_path, {"kept": np.float32(5), "shape": np.zeros(2, np.float32)}, make)
  caplog.set_level(logging.WARNING, "estimator_ckpt")
  with tf.Graph().as_default():
    v1.train.get_or_create_global_step()
    kept = v1.get_variable("kept", [], initializer=v1.zeros_initializer())
    shape = v1.get_variable("shape", initializer=np.full(3, 2, np.float32))
    new = v1.get_variable("new", initializer=np.float32(9))
    creator = v1.train.ChiefSessionCreator(
      make(strict=False), checkpoint_dir=str(tmp_path)
    )
    with v1.train.MonitoredSession(creator) as session:
      values = session.run([kept, shape, new])
  assert values[0] == 5 and values[2] == 9
  np.testing.assert_array_equal(values[1], [2, 2, 2])
  ours = [r for r in caplog.records if r.name.startswith("estimator_ckpt")]
  [record] = [r for r in ours if "keeps names" not in r.getMessage()]
  assert "'new' (float32 []) is not in the checkpoint" in record.getMessage()
  assert "'shape' is float32 [3] in the graph, float32 [2] in" in record.getMessage()


@pytest.mark.parametrize("make", _FACTORIES)
def test_strict_false_begins_an_average_with_what_was_restored(make, tmp_path):
  _write(tmp_path, {"w": np.float32(5)}, make)
  with tf.Graph().as_default():
    v1.train.get_or_create_global_step()
    w = v1.get_variable("w", initializer=np.float32(1))
    averages = tf.train.ExponentialMovingAverage(0.999)
    averages.apply([w])
    copied = v1.Variable(w, name="copied")
    creator = v1.train.ChiefSessionCreator(
      make(strict=False), checkpoint_dir=str(tmp_path)
    )
    with v1.train.MonitoredSession(creator) as session:
      assert session.run([w, averages.average(w), copied]) == [5, 5, 5]


@pytest.mark.parametrize(
  ("damage", "error"),
  [
    ("remove", "there are data files, but no .*index"),
    ("empty", "short|empty"),
    ("truncate", "footer|magic|truncated|short"),
    ("foreign", "magic"),
  ],
)
def test_a_file_that_is_no_checkpoint(damage, error, tmp_path):
  prefix = _write(tmp_path, _VALUES)
  index = prefix + ".index"
  data = open(index, "rb").read()
  if damage == "remove":
    os.remove(index)
  else:
    bad = {"empty": b"", "truncate": data[:-9], "foreign": b"PK\x03\x04" * 99}[damage]
    with open(index, "wb") as f:
      f.write(bad)
  before = sorted(os.listdir(tmp_path))
  with pytest.raises(eckpt.CheckpointError, match=error) as raised:
    _read(tmp_path, _VALUES)
  assert prefix in str(raised.value)
  assert sorted(os.listdir(tmp_path)) == before


def test_a_directory_that_is_not_there(tmp_path):
  saver = v1.train.Saver  # For comparison.
  with tf.Graph().as_default(), v1.Session() as session:
    v1.get_variable("a", [])
    with pytest.raises((ValueError, tf.errors.NotFoundError)):  # The latter in 1.15.5.
      saver().restore(session, str(tmp_path / "nothing" / "model.ckpt-1"))
    ours = eckpt.dual_scaffold().saver
    with pytest.raises(eckpt.CheckpointError) as error:
      ours.restore(session, str(tmp_path / "nothing" / "model.ckpt-1"))
    assert isinstance(error.value, ValueError)
    assert isinstance(error.value, FileNotFoundError)


def test_a_data_file_that_is_not_there(tmp_path):
  prefix = _write(tmp_path, _VALUES)
  [data] = [
    n for n in os.listdir(tmp_path) if ".data-" in n and n.startswith("model.ckpt-1.")
  ]
  os.remove(tmp_path / data)
  with pytest.raises(errors.CheckpointNotFoundError, match="lost a file"):
    _read(tmp_path, _VALUES)
  assert prefix


@pytest.mark.parametrize("sharded", [True, False])
def test_two_devices(sharded, tmp_path):
  def build():
    with tf.device("/cpu:0"):
      step = v1.train.get_or_create_global_step()
      a = v1.get_variable("a", initializer=np.arange(3, dtype=np.float32))
    with tf.device("/cpu:1"):
      b = v1.get_variable("b", initializer=np.arange(4, dtype=np.float32))
    return a, b, v1.assign_add(step, 1)

  config = v1.ConfigProto(device_count={"CPU": 2})
  with tf.Graph().as_default():
    *_, train_op = build()
    scaffold = eckpt.dual_scaffold(sharded=sharded)
    with _session(scaffold, tmp_path, config=config) as session:
      session.run(train_op)
  values = models.values(tmp_path)
  np.testing.assert_array_equal(values["a"], [0, 1, 2])
  np.testing.assert_array_equal(values["b"], [0, 1, 2, 3])
  shards = {n.split(".data-")[1] for n in os.listdir(tmp_path) if "ckpt-1.data-" in n}
  assert len(shards) == (2 if sharded else 1)
  moved = shutil.copytree(tmp_path, tmp_path / "moved")
  models.assert_same_values(
    _read(moved, {"a": np.zeros(3, np.float32)}), {"a": values["a"]}
  )


def test_an_empty_graph_saves_nothing(tmp_path):
  with tf.Graph().as_default(), v1.Session() as session:
    scaffold = eckpt.dual_scaffold()
    scaffold.finalize()
    assert scaffold.saver.save(session, str(tmp_path / "model.ckpt")) is None
  assert not any(n.endswith(".index") for n in os.listdir(tmp_path))


@pytest.mark.parametrize("make", _FACTORIES)
def test_a_saver_def_makes_a_saver_of_what_is_written(make, tmp_path):
  with tf.Graph().as_default(), v1.Session() as session:
    v1.train.get_or_create_global_step()
    w = v1.get_variable("net/w", initializer=np.arange(3, dtype=np.float32))
    session.run(v1.global_variables_initializer())
    ours = make().saver
    ours.build()
    path = ours.save(session, str(tmp_path / "model.ckpt"), global_step=3)
    session.run(w.assign([0, 0, 0]))
    stock = v1.train.Saver(saver_def=ours.as_saver_def())
    stock.restore(session, path)
    np.testing.assert_array_equal(session.run(w), [0, 1, 2])


@pytest.fixture
def saving(tmp_path):
  """A session, a saver that has saved step 1, and the directory."""
  with tf.Graph().as_default(), v1.Session() as session:
    v1.train.get_or_create_global_step()
    v1.get_variable("net/w", initializer=np.arange(3, dtype=np.float32))
    session.run(v1.global_variables_initializer())
    saver = eckpt.dual_scaffold().saver
    saver.build()
    path = str(tmp_path / "model.ckpt")
    yield session, saver, path, saver.save(session, path, global_step=1)


@pytest.mark.parametrize("step", [1, 2])
def test_a_save_that_fails_leaves_the_last_checkpoint(saving, monkeypatch, step):
  session, saver, path, first = saving

  def full(source, target):
    raise OSError(errno.ENOSPC, "No space left on device")

  with monkeypatch.context() as patched, pytest.raises(errors.CheckpointIOError):
    patched.setattr(os, "replace", full)
    saver.save(session, path, global_step=step)
  directory = os.path.dirname(path)
  assert tf.train.latest_checkpoint(directory) == first
  assert eckpt.verify(first).ok and eckpt.detect_format(first).value == "dual"
  assert not any(".tmp-eckpt" in name for name in os.listdir(directory))
  again = saver.save(session, path, global_step=step)
  assert tf.train.latest_checkpoint(directory) == again
  assert eckpt.verify(directory).ok


def test_the_state_is_written_when_all_else_is(saving, monkeypatch):
  session, saver, path, first = saving
  plan_retention = retention.plan_retention
  seen = []

  def planning(listed, saved, *arguments):
    has_meta = os.path.exists(saved.prefix + ".meta")
    seen.append((eckpt.detect_format(saved.prefix).value, has_meta))
    assert tf.train.latest_checkpoint(os.path.dirname(path)) == first
    return plan_retention(listed, saved, *arguments)

  monkeypatch.setattr(retention, "plan_retention", planning)
  saver.save(session, path, global_step=2)
  assert seen == [("dual", True)]


def test_each_of_many_saves_is_whole(saving):
  session, saver, path, _ = saving
  w = [v for v in v1.global_variables() if v.op.name == "net/w"][0]
  for step in range(2, 7):
    session.run(w.assign([step, 10 * step, 100 * step]))
    saved = saver.save(session, path, global_step=step)
    assert eckpt.verify(saved).ok and eckpt.detect_format(saved).value == "dual"
    values = models.values(saved)
    for key in ("net/w", "var_list/net.Sw/.ATTRIBUTES/VARIABLE_VALUE"):
      np.testing.assert_array_equal(values[key], [step, 10 * step, 100 * step])


def test_two_savers_in_one_graph_each_write_their_own_format(tmp_path):
  with tf.Graph().as_default(), v1.Session() as session:
    v1.train.get_or_create_global_step()
    v1.get_variable("net/w", initializer=np.arange(3, dtype=np.float32))
    session.run(v1.global_variables_initializer())
    for checkpoint_format in ("tf1", "tf2", "dual", "tf2"):
      saver = CheckpointSaver(checkpoint_format)
      saver.build()
      path = saver.save(session, str(tmp_path / f"{checkpoint_format}.ckpt"))
      assert eckpt.detect_format(path).value == checkpoint_format
      named = models.named_values(path)
      np.testing.assert_array_equal(named["net/w"], [0, 1, 2])
