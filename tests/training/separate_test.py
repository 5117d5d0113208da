"""dual_scaffold(separate=True): a pure TF1 bundle and a TF2 bundle over the same data."""

from __future__ import annotations

import errno
import logging
import os
import shutil

import numpy as np
import pytest
import tensorflow as tf
from absl import flags as absl_flags

import estimator_ckpt as eckpt
from estimator_ckpt import errors
from estimator_ckpt import flags as checkpoint_flags
from estimator_ckpt.bundle import copies, files
from estimator_ckpt.checkpoint import layout
from estimator_ckpt.checkpoint import state_file as state_lib
from estimator_ckpt.checkpoint.verify import verify
from estimator_ckpt.training import separate
from tests import models, tensorflows

v1 = tf.compat.v1


def _estimator(model_dir, decorate=None, **config):
  decorate = decorate or eckpt.dual_checkpointing(separate=True)
  return models.estimator(decorate(models.model_fn), model_dir, **config)


@pytest.fixture(scope="module")
def trained_dir(tmp_path_factory):
  """A model_dir with pairs of the steps 0, 5 and 10."""
  path = tmp_path_factory.mktemp("trained")
  _estimator(path).train(models.input_fn, steps=10)
  return path


@pytest.fixture
def model_dir(trained_dir, tmp_path):
  """A copy of `trained_dir`; hard links become copies."""
  return shutil.copytree(trained_dir, tmp_path / "model")


def _predicted(estimator):
  return np.array([p["y"] for p in estimator.predict(models.eval_input_fn)])


def test_one_bundle_has_names_and_the_other_objects(trained_dir, tmp_path):
  plain = tmp_path / "plain"
  models.estimator(models.model_fn, plain).train(models.input_fn, steps=10)
  values = models.values(trained_dir)
  assert sorted(models.values(plain)) == sorted(values)
  tf2 = models.values(trained_dir / "tf2")
  assert {k for k in tf2 if layout.parse_object_key(k) is None} == {
    "global_step",
    layout.OBJECT_GRAPH_KEY,
  }
  assert eckpt.detect_format(str(trained_dir)).value == "tf1"
  assert eckpt.detect_format(str(trained_dir / "tf2")).value == "tf2"
  for name, value in values.items():
    np.testing.assert_array_equal(tf2[layout.object_key(["var_list", name])], value)


def test_the_data_is_there_once(trained_dir):
  names = sorted(n for n in os.listdir(trained_dir) if ".data-" in n)
  assert names == sorted(n for n in os.listdir(trained_dir / "tf2") if ".data-" in n)
  for name in names:
    assert os.path.samefile(trained_dir / name, trained_dir / "tf2" / name)
  others = set(os.listdir(trained_dir / "tf2")) - set(names)
  assert all(name == "checkpoint" or name.endswith(".index") for name in others)
  for directory in (trained_dir, trained_dir / "tf2"):
    found = verify(str(directory)).findings
    assert not [f for f in found if f.severity.value == "error"], found


def test_both_state_files_follow(trained_dir):
  tf1, tf2 = (state_lib.read_state(str(d)) for d in (trained_dir, trained_dir / "tf2"))
  for one in (tf1, tf2):
    names = list(map(os.path.basename, one.all_model_checkpoint_paths))
    assert names == ["model.ckpt-0", "model.ckpt-5", "model.ckpt-10"]
    assert os.path.basename(one.model_checkpoint_path) == "model.ckpt-10"
  assert str(trained_dir) not in (trained_dir / "tf2" / "checkpoint").read_text()


def test_readers_of_both_worlds(trained_dir):
  values = models.values(trained_dir)
  with tf.Graph().as_default(), v1.Session() as session:
    read = {
      n: v1.get_variable(n, initializer=np.zeros_like(v)) for n, v in values.items()
    }
    v1.train.Saver().restore(session, tf.train.latest_checkpoint(str(trained_dir)))
    models.assert_same_values(values, session.run(read))
  prefix = tf.train.latest_checkpoint(str(trained_dir / "tf2"))
  with tensorflows.eager():
    var_list = {n: tf.Variable(tf.zeros_like(v)) for n, v in values.items()}
    checkpoint = tensorflows.checkpoint(var_list=var_list)
    tensorflows.assert_consumed(checkpoint.restore(prefix))
    models.assert_same_values(values, {n: v.numpy() for n, v in var_list.items()})


def test_it_resumes_evaluates_predicts_and_exports(model_dir):
  before = _predicted(_estimator(model_dir))
  for decorate in [eckpt.tf2_checkpointing, lambda fn: fn]:
    np.testing.assert_array_equal(_predicted(_estimator(model_dir, decorate)), before)
  np.testing.assert_array_equal(
    _predicted(_estimator(model_dir / "tf2", eckpt.tf2_checkpointing)), before
  )
  estimator = _estimator(model_dir)
  path = estimator.export_saved_model(
    str(model_dir / "export"), models.serving_input_fn
  )
  served = tensorflows.served(path, x=models.X)
  np.testing.assert_allclose(served["y"], before, atol=1e-6)
  estimator.train(models.input_fn, max_steps=12)
  assert estimator.evaluate(models.eval_input_fn)["global_step"] == 12
  assert models.steps_on_disk(model_dir) == models.steps_on_disk(model_dir / "tf2")
  # Changes from and to the other formats.
  for name in ("tf1", "tf2", "dual"):
    _estimator(model_dir, eckpt.checkpointing(name)).train(models.input_fn, steps=1)
    estimator.train(models.input_fn, steps=1)
  assert estimator.get_variable_value("global_step") == 18


@pytest.mark.parametrize("checkpoint_format", ["tf1", "tf2", "dual"])
def test_a_job_that_writes_no_pairs_any_more_says_so(
  checkpoint_format, model_dir, caplog
):
  caplog.set_level(logging.WARNING, "estimator_ckpt")
  _estimator(model_dir).train(models.input_fn, steps=1)
  assert "stay at it" not in caplog.text
  plain = eckpt.checkpointing(checkpoint_format)
  _estimator(model_dir, plain).train(models.input_fn, steps=1)
  [said] = [r.getMessage() for r in caplog.records if "stay at it" in r.getMessage()]
  assert said.startswith(
    f"{model_dir}/tf2/model.ckpt-11 is of a job with separate=True"
  )


def test_the_directory_in_tf2_can_be_a_model_dir(model_dir, tmp_path):
  moved = shutil.copytree(model_dir / "tf2", tmp_path / "moved")
  _estimator(moved, eckpt.tf2_checkpointing).train(models.input_fn, steps=1)
  assert 11 in models.steps_on_disk(moved)


def test_retention_deletes_both(tmp_path):
  estimator = _estimator(tmp_path, save_steps=1, keep_checkpoint_max=2)
  estimator.train(models.input_fn, steps=5)
  for directory in (tmp_path, tmp_path / "tf2"):
    assert models.steps_on_disk(directory) == [4, 5]
    assert {n.split(".data-")[0] for n in os.listdir(directory) if ".data-" in n} == {
      "model.ckpt-4",
      "model.ckpt-5",
    }
  estimator.train(models.input_fn, steps=2)
  assert (
    models.steps_on_disk(tmp_path / "tf2") == models.steps_on_disk(tmp_path) == [6, 7]
  )


def test_retention_leaves_what_others_saved_in_tf2(tmp_path):
  estimator = _estimator(tmp_path, save_steps=1, keep_checkpoint_max=1)
  estimator.train(models.input_fn, steps=2)
  with tensorflows.eager():
    checkpoint = tensorflows.checkpoint(v=tf.Variable(1.0))
    # The state file lists the first, but not the second.
    saved = checkpoint.save(str(tmp_path / "tf2" / "saved"))
    written = checkpoint.write(str(tmp_path / "tf2" / "written"))
  assert tf.train.latest_checkpoint(str(tmp_path / "tf2")) == saved
  estimator.train(models.input_fn, steps=2)
  for mine in (saved, written):
    assert tf.train.load_variable(mine, "v/.ATTRIBUTES/VARIABLE_VALUE") == 1
  latest = tf.train.latest_checkpoint(str(tmp_path / "tf2"))
  assert latest == str(tmp_path / "tf2" / "model.ckpt-4")
  # That state file no longer lists model.ckpt-2.
  assert not os.path.exists(tmp_path / "tf2" / "model.ckpt-3.index")


class _Killed(BaseException):
  """Raised in place of a kill."""


@pytest.mark.parametrize("step", range(30))
def test_a_crash_leaves_the_pair_behind(model_dir, monkeypatch, step):
  """Killed at every change to the file system; what the state files name is whole."""
  estimator = _estimator(model_dir, keep_checkpoint_max=2)
  changes = dict.fromkeys(("rename", "remove", "write_atomic", "mkdirs"), files)
  changes["hard_link"] = copies
  real = {name: getattr(module, name) for name, module in changes.items()}
  count = [0]

  def killed_at_step(name):
    def call(*args, **kwargs):
      count[0] += 1
      if count[0] == step + 1:
        raise _Killed(name)
      return real[name](*args, **kwargs)

    return call

  class Armed(tf.estimator.SessionRunHook):
    def after_create_session(self, session, coord):
      for name, module in changes.items():
        monkeypatch.setattr(module, name, killed_at_step(name))

  before = models.values(model_dir)
  try:
    estimator.train(models.input_fn, steps=1, hooks=[Armed()])
  except _Killed:
    pass
  else:
    assert count[0] <= step
  monkeypatch.undo()
  for directory in (model_dir, model_dir / "tf2"):
    path = tf.train.latest_checkpoint(str(directory))
    step_there = int(path.rsplit("-", 1)[1])
    assert step_there in (10, 11)
    assert not [f for f in verify(path).findings if f.severity.value == "error"]
    if step_there == 10 and directory == model_dir:
      models.assert_same_values(before, models.values(directory))
  # The next run goes on, and ends with a pair.
  _estimator(model_dir, keep_checkpoint_max=2).train(models.input_fn, max_steps=12)
  for directory in (model_dir, model_dir / "tf2"):
    assert tf.train.latest_checkpoint(str(directory)).endswith("-12")
  np.testing.assert_array_equal(
    models.named_values(model_dir / "tf2")["net/out/kernel"],
    models.values(model_dir)["net/out/kernel"],
  )


@pytest.mark.parametrize("damage", ["index", "data", "truncated"])
def test_restoring_takes_the_bundle_that_is_whole(model_dir, damage, caplog):
  expected = _predicted(_estimator(model_dir))
  prefix = tf.train.latest_checkpoint(str(model_dir))
  data = prefix + ".data-00000-of-00001"
  if damage == "truncated":
    os.truncate(data, 40)
  else:
    os.remove(prefix + ".index" if damage == "index" else data)
  caplog.set_level(logging.WARNING, "estimator_ckpt")

  class Started(tf.estimator.SessionRunHook):
    def after_create_session(self, session, coord):
      [kernel] = [v for v in v1.global_variables() if v.op.name == "net/out/kernel"]
      self.kernel = session.run(kernel)

  hook = Started()
  kernel = models.named_values(model_dir / "tf2")["net/out/kernel"]
  estimator = _estimator(model_dir)
  if damage != "truncated":
    estimator.train(models.input_fn, steps=1, hooks=[hook])
    np.testing.assert_array_equal(hook.kernel, kernel)
    assert estimator.get_variable_value("global_step") == 11
  else:
    np.testing.assert_array_equal(_predicted(estimator), expected)
  assert any("is not whole" in r.getMessage() for r in caplog.records)


def test_a_file_system_without_links_gets_a_copy_and_one_warning(
  tmp_path, monkeypatch, caplog
):
  def no_link(path, to, **kwargs):
    raise OSError(errno.EPERM, "no links here")

  monkeypatch.setattr(os, "link", no_link)
  caplog.set_level(logging.WARNING, "estimator_ckpt")
  _estimator(tmp_path).train(models.input_fn, steps=10)
  [record] = [r for r in caplog.records if r.name.startswith("estimator_ckpt")]
  assert "no hard links" in record.getMessage()
  for name in os.listdir(tmp_path / "tf2"):
    if ".data-" in name:
      one, other = tmp_path / name, tmp_path / "tf2" / name
      assert not os.path.samefile(one, other)
      assert one.read_bytes() == other.read_bytes()


def test_partitions_and_tables_in_both(tmp_path):
  def build():
    v1.train.get_or_create_global_step()
    half = v1.get_variable(
      "half",
      [6, 1],
      tf.float16,
      v1.ones_initializer(),
      partitioner=v1.fixed_size_partitioner(2),
      use_resource=True,
    )
    table = tensorflows.MutableHashTable(tf.string, tf.int64, -1, name="t")
    insert = table.insert(tf.constant(["a"]), tf.constant([4], tf.int64))
    return half, insert, table.lookup(tf.constant(["a"]))

  with tf.Graph().as_default(), v1.Session() as session:
    _, insert, _ = build()
    scaffold = eckpt.dual_scaffold(separate=True)
    scaffold.finalize()
    session.run(scaffold.init_op)
    session.run(insert)
    prefix = scaffold.saver.save(session, str(tmp_path / "model.ckpt"), global_step=3)
  keys = {key for key, _ in tf.train.list_variables(prefix)}
  assert keys == {"global_step", "half", "t-keys", "t-values"}
  with tf.Graph().as_default(), v1.Session() as session:
    half, _, found = build()
    v1.train.Saver().restore(session, prefix)
    assert session.run(found) == [4]
    np.testing.assert_array_equal(session.run(list(half)), np.ones([2, 3, 1]))
  with tensorflows.eager():
    whole = tf.Variable(tf.zeros([6, 1], tf.float16))
    table = tensorflows.MutableHashTable(tf.string, tf.int64, -1)
    step = tf.Variable(0, dtype=tf.int64)
    checkpoint = tensorflows.checkpoint(
      var_list={"half": whole, "t": table, "global_step": step}
    )
    checkpoint.restore(separate.tf2_prefix(prefix)).assert_consumed()
    np.testing.assert_array_equal(whole.numpy(), np.ones([6, 1]))
    np.testing.assert_array_equal(table.lookup(tf.constant(["a"])), [4])


@pytest.mark.parametrize("factory", [eckpt.tf1_scaffold, eckpt.tf2_scaffold])
def test_other_formats_have_nothing_to_separate(factory):
  with pytest.raises(errors.OptionError, match="choose 'dual'"):
    factory(separate=True)


def test_the_flag(tmp_path):
  values = absl_flags.FlagValues()
  checkpoint_flags.define_checkpoint_flags(values)
  values(["binary", "--checkpoint_separate"])
  decorate = checkpoint_flags.checkpointing_from_flags(values)
  _estimator(tmp_path, decorate).train(models.input_fn, steps=1)
  assert eckpt.detect_format(str(tmp_path)).value == "tf1"
  assert eckpt.detect_format(str(tmp_path / "tf2")).value == "tf2"
  values = absl_flags.FlagValues()
  checkpoint_flags.define_checkpoint_flags(values)
  with pytest.raises(absl_flags.IllegalFlagValueError, match="checkpoint_separate"):
    values(["binary", "--checkpoint_separate", "--checkpoint_format=tf2"])
