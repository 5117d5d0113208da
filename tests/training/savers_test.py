"""Savers without a Scaffold: in bare sessions, in hooks, and in Estimators as they are."""

from __future__ import annotations

import inspect
import logging
import os

import numpy as np
import pytest
import tensorflow as tf

import estimator_ckpt as eckpt
from estimator_ckpt import errors
from tests import models
from tests.training import saver_jobs

v1 = tf.compat.v1
_FORMATS = sorted(saver_jobs.SAVERS)


def _prefix(directory):
  return str(directory / "model.ckpt")


def _train(directory, make, when="after", steps=1):
  """Trains in a bare session as code with a Saver does; returns all values."""
  with tf.Graph().as_default():
    saver, train_op = saver_jobs.built(when, make)
    init_op = v1.global_variables_initializer()
    with v1.Session() as session:
      latest = tf.train.latest_checkpoint(str(directory))
      if latest:
        saver.restore(session, latest)
      else:
        session.run(init_op)
      start = models.whole_values(session)
      for _ in range(steps):
        session.run(train_op)
        saver.save(session, _prefix(directory), v1.train.get_global_step())
      return start, models.whole_values(session)


@pytest.mark.parametrize("when", saver_jobs.WHEN)
@pytest.mark.parametrize("checkpoint_format", _FORMATS)
def test_a_bare_session(tmp_path, checkpoint_format, when):
  _, last = _train(tmp_path, saver_jobs.SAVERS[checkpoint_format], when, steps=2)
  assert "net/w/Adam" in last and last["global_step"] == 2
  assert eckpt.detect_format(tmp_path).value == checkpoint_format
  assert eckpt.verify(tmp_path).ok
  models.assert_same_values(last, models.named_values(tmp_path))
  for other in _FORMATS:
    start, _ = _train(tmp_path, saver_jobs.SAVERS[other], when, steps=0)
    models.assert_same_values(last, start)


@pytest.mark.parametrize("stock_first", [True, False])
def test_the_stock_saver_reads_it_and_is_read(tmp_path, stock_first):
  makes = [eckpt.dual_saver, v1.train.Saver]
  first, second = reversed(makes) if stock_first else makes
  _, last = _train(tmp_path, first)
  start, _ = _train(tmp_path, second)
  models.assert_same_values(last, start)


def test_it_is_a_saver_from_the_start():
  with tf.Graph().as_default():
    saver = eckpt.dual_saver()
    # slim.learning.train and others write `saver = saver or Saver()`.
    assert isinstance(saver, v1.train.Saver) and saver


def test_old_checkpoints_are_deleted(tmp_path):
  with tf.Graph().as_default(), v1.Session() as session:
    saver, train_op = saver_jobs.built(
      "before", lambda: eckpt.dual_saver(max_to_keep=2)
    )
    session.run(v1.global_variables_initializer())
    paths = []
    for step in range(4):
      session.run(train_op)
      paths.append(saver.save(session, _prefix(tmp_path), step))
    assert saver.last_checkpoints == paths[2:]
    assert models.steps_on_disk(tmp_path) == [2, 3]
    # Another process, after a crash.
    again = eckpt.dual_saver(max_to_keep=2)
    again.recover_last_checkpoints(paths)
    assert again.last_checkpoints == paths[2:]
    again.save(session, _prefix(tmp_path), 4, latest_filename="other")
    assert models.steps_on_disk(tmp_path) == [3, 4]
    assert os.path.exists(str(tmp_path / "other"))


def test_by_default_it_keeps_what_a_saver_keeps(tmp_path):
  with tf.Graph().as_default(), v1.Session() as session:
    # An Estimator's saver takes the settings of this collection.
    v1.add_to_collection(
      v1.GraphKeys.SAVERS, v1.train.Saver(max_to_keep=1, defer_build=True)
    )
    collected = v1.get_collection(v1.GraphKeys.SAVERS)
    saver, _ = saver_jobs.built("after", eckpt.dual_saver)
    session.run(v1.global_variables_initializer())
    for step in range(7):
      saver.save(session, _prefix(tmp_path), step, write_meta_graph=False)
    assert v1.get_collection(v1.GraphKeys.SAVERS) == collected
  assert models.steps_on_disk(tmp_path) == [2, 3, 4, 5, 6]


def test_two_savers_of_one_graph(tmp_path):
  last, best = tmp_path / "last", tmp_path / "best"
  last.mkdir()
  best.mkdir()
  with tf.Graph().as_default(), v1.Session() as session:
    of_all = eckpt.dual_saver()
    saver_jobs.model()
    v1.get_variable("head", initializer=5.0)
    of_some = eckpt.dual_saver({"net/w": v1.global_variables()[1]}, max_to_keep=1)
    session.run(v1.global_variables_initializer())
    for step in range(2):
      of_all.save(session, _prefix(last), step)
      of_some.save(session, _prefix(best), step)
  assert models.steps_on_disk(last) == [0, 1] and models.steps_on_disk(best) == [1]
  assert "head" in models.values(last) and "net/w/Adam" in models.values(last)
  assert set(models.named_values(best)) == {"net/w", "global_step"}


def test_variables_made_after_the_first_save_are_named(tmp_path, caplog):
  caplog.set_level(logging.WARNING, "estimator_ckpt")
  with tf.Graph().as_default(), v1.Session() as session:
    saver, _ = saver_jobs.built("before", eckpt.dual_saver)
    session.run(v1.global_variables_initializer())
    saver.save(session, _prefix(tmp_path), 0)
    late = v1.get_variable("late", initializer=5.0)
    session.run(late.initializer)
    saver.save(session, _prefix(tmp_path), 1)
    saver.save(session, _prefix(tmp_path), 2)
  said = [r.getMessage() for r in caplog.records if "late" in r.getMessage()]
  assert len(said) == 1 and "are not in the checkpoints" in said[0]


@pytest.mark.parametrize("when", saver_jobs.WHEN)
@pytest.mark.parametrize("asynchronous", [False, True])
def test_a_scaffold(tmp_path, when, asynchronous):
  for step in (1, 2):
    with tf.Graph().as_default():
      saver, train_op = saver_jobs.built(
        when, lambda: eckpt.dual_saver(asynchronous=asynchronous)
      )
      scaffold = v1.train.Scaffold(saver=saver)
      with v1.train.MonitoredTrainingSession(
        checkpoint_dir=str(tmp_path), scaffold=scaffold, save_checkpoint_secs=1000
      ) as session:
        session.run(train_op)
    assert models.named_values(tmp_path)["global_step"] == step
  assert eckpt.detect_format(tmp_path).value == "dual"


@pytest.mark.parametrize("when", saver_jobs.WHEN)
def test_a_checkpoint_saver_hook(tmp_path, when):
  with tf.Graph().as_default():
    saver, train_op = saver_jobs.built(when, eckpt.dual_saver)
    hook = v1.train.CheckpointSaverHook(str(tmp_path), save_steps=2, saver=saver)
    with v1.train.MonitoredTrainingSession(hooks=[hook]) as session:
      for _ in range(3):
        session.run(train_op)
  assert eckpt.detect_format(tmp_path).value == "dual"
  assert "net/w/Adam" in models.named_values(tmp_path)
  assert models.steps_on_disk(tmp_path)[-1] == 3


def test_an_estimator_that_is_not_decorated(tmp_path):
  def model_fn(features, labels, mode):
    scaffold = v1.train.Scaffold(saver=eckpt.tf2_saver())
    return models.model_fn(features, labels, mode)._replace(scaffold=scaffold)

  estimator = models.estimator(model_fn, tmp_path / "job")
  estimator.train(models.input_fn, steps=5)
  estimator.train(models.input_fn, steps=5)
  assert eckpt.detect_format(tmp_path / "job").value == "tf2"
  assert estimator.evaluate(models.eval_input_fn)["global_step"] == 10
  exported = estimator.export_saved_model(
    str(tmp_path / "exported"), models.serving_input_fn
  )
  stored = models.named_values(tmp_path / "job")
  with tf.Graph().as_default(), v1.Session() as session:
    v1.saved_model.load(session, ["serve"], exported)
    for name, value in models.whole_values(session).items():
      np.testing.assert_array_equal(value, stored[name])


def test_a_decorator_does_not_take_it_over():
  with tf.Graph().as_default():
    scaffold = v1.train.Scaffold(saver=eckpt.dual_saver())
    with pytest.raises(errors.OptionError, match="a saver .* of its own"):
      eckpt.tf2_scaffold(scaffold=scaffold)


def _old_model(directory):
  directory.mkdir()
  _train(directory, eckpt.tf2_saver, steps=3)
  return str(directory)


def test_a_warm_start_in_a_bare_session(tmp_path):
  old = _old_model(tmp_path / "old")
  with tf.Graph().as_default(), v1.Session() as session:
    saver, _ = saver_jobs.built("before", lambda: eckpt.dual_saver(warm_start=old))
    session.run(v1.global_variables_initializer())
    with pytest.raises(errors.OptionError, match=r"warm_start\(session\)"):
      saver.save(session, _prefix(tmp_path))
    assert not list(tmp_path.glob("model.ckpt*"))
    saver.warm_start(session)
    saver.save(session, _prefix(tmp_path))
  np.testing.assert_array_equal(
    models.named_values(tmp_path)["net/w"], models.named_values(old)["net/w"]
  )


def test_a_warm_start_that_was_not_asked_for():
  with tf.Graph().as_default(), v1.Session() as session:
    saver, _ = saver_jobs.built("after", eckpt.dual_saver)
    with pytest.raises(errors.OptionError, match="warm_start="):
      saver.warm_start(session)


def test_asynchronous(tmp_path):
  with tf.Graph().as_default():
    saver, train_op = saver_jobs.built(
      "before", lambda: eckpt.dual_saver(asynchronous=True)
    )
    init_op = v1.global_variables_initializer()
    with v1.Session() as session:
      session.run([init_op])
      session.run(train_op)
      path = saver.save(session, _prefix(tmp_path), 1)
      saver.wait_until_finished()
      assert tf.train.latest_checkpoint(str(tmp_path)) == path
  assert models.named_values(tmp_path)["global_step"] == 1
  assert eckpt.detect_format(tmp_path).value == "dual"


def test_a_checkpoint_that_lacks_a_variable(tmp_path):
  _train(tmp_path, eckpt.dual_saver)
  for make in (eckpt.dual_saver, lambda: eckpt.dual_saver(strict=False)):
    with tf.Graph().as_default(), v1.Session() as session:
      saver, _ = saver_jobs.built("before", make)
      new = v1.get_variable("new", initializer=5.0)
      latest = tf.train.latest_checkpoint(str(tmp_path))
      if make is eckpt.dual_saver:
        with pytest.raises(tf.errors.NotFoundError, match="'new'") as raised:
          saver.restore(session, latest)
        assert isinstance(raised.value, errors.VariableMismatchError)
        with pytest.raises(ValueError, match="not a valid checkpoint"):
          saver.restore(session, str(tmp_path / "nothing-1"))
      else:
        saver.restore(session, latest)
        assert session.run(new) == 5


def test_a_meta_graph(tmp_path):
  path = str(tmp_path / "graph.meta")
  with tf.Graph().as_default(), v1.Session() as session:
    saver, _ = saver_jobs.built("after", eckpt.dual_saver)
    saver.export_meta_graph(path)
    assert saver.as_saver_def().restore_op_name
    session.run(v1.global_variables_initializer())
    saved = saver.save(session, _prefix(tmp_path), write_meta_graph=False)
    assert not os.path.exists(saved + ".meta")
  with tf.Graph().as_default(), v1.Session() as session:
    v1.train.import_meta_graph(path).restore(session, saved)
    assert models.whole_values(session)["net/w"].tolist() == [0, 1, 2]


@pytest.mark.parametrize("tasks", [[0, 0], [0, 1]])
def test_the_file_of_a_single_device_is_written_there_and_not_merged(tasks):
  with tf.Graph().as_default() as graph:
    for number, task in enumerate(tasks):
      with tf.device(f"/job:ps/task:{task}"):
        v1.get_variable(f"w{number}", [2])
    eckpt.dual_saver().build()
    ops = graph.get_operations()
  devices = [op.device for op in ops if op.type == "SaveV2"]
  assert devices == [f"/job:ps/task:{task}/device:CPU:0" for task in sorted({*tasks})]
  assert [op.type for op in ops].count("MergeV2Checkpoints") == len(devices) - 1


def test_a_list_of_variables_is_not_overruled(tmp_path):
  with tf.Graph().as_default(), v1.Session() as session:
    saver_jobs.model()
    saver = eckpt.dual_saver([v for v in v1.global_variables() if "Adam" not in v.name])
    session.run(v1.global_variables_initializer())
    saver.build()
    saver.save(session, _prefix(tmp_path))
  assert "net/w" in models.named_values(
    tmp_path
  ) and "net/w/Adam" not in models.named_values(tmp_path)


def test_a_graph_without_variables(tmp_path):
  with tf.Graph().as_default(), v1.Session() as session:
    saver = eckpt.dual_saver()
    with pytest.raises(ValueError, match="nothing to save"):
      saver.save(session, _prefix(tmp_path))
    # It is not too late.
    saver_jobs.model()
    session.run(v1.global_variables_initializer())
    saver.save(session, _prefix(tmp_path))
  assert "net/w" in models.named_values(tmp_path)


def test_a_graph_that_was_finalized_elsewhere(tmp_path):
  with tf.Graph().as_default():
    saver = eckpt.dual_saver()
  with tf.Graph().as_default() as graph:
    saver_jobs.model()
    graph.finalize()
    with v1.Session() as session:
      with pytest.raises(errors.OptionError, match="finalized"):
        saver.restore(session, _prefix(tmp_path))


def test_a_graph_of_another_session(tmp_path):
  with tf.Graph().as_default():
    saver, _ = saver_jobs.built("after", eckpt.dual_saver)
    saver.build()
  with tf.Graph().as_default(), v1.Session() as session:
    saver_jobs.model()
    session.run(v1.global_variables_initializer())
    with pytest.raises(errors.OptionError, match="another graph"):
      saver.save(session, _prefix(tmp_path))


@pytest.mark.parametrize(
  ("options", "match"),
  [
    ({"saver_def": None}, "dual_saver has no option 'saver_def'.*MetaGraph"),
    ({"builder": None}, "dual_saver has no option 'builder'"),
    ({"defer_build": True}, "'defer_build'.*first use"),
    ({"allow_empty": True}, "'allow_empty'"),
    ({"write_version": 2}, "'write_version'"),
    ({"save_on_signals": ("SIGTERM",)}, "'save_on_signals'.*dual_scaffold"),
    ({"max_to_kep": 3}, "'max_to_kep'. Did you mean 'max_to_keep'"),
    ({"scaffold": None}, "no option 'scaffold'"),
    ({"layout": "none"}, "'none' is unknown"),
  ],
)
def test_options_that_a_saver_does_not_have(options, match):
  with tf.Graph().as_default(), pytest.raises(errors.OptionError, match=match):
    eckpt.dual_saver(**options)


def test_an_eager_tensorflow():
  if not tf.executing_eagerly():  # TensorFlow 1 begins with a graph.
    assert eckpt.dual_saver()
    return
  with pytest.raises(errors.OptionError, match="disable_eager_execution"):
    eckpt.dual_saver()


def test_help_shows_the_options():
  shown = inspect.signature(eckpt.dual_saver).parameters
  assert list(shown)[0] == "var_list" and shown["max_to_keep"].default is None
  assert "warm_start" in shown and "save_on_signals" not in shown
