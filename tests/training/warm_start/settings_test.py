"""Warm starts by the Estimator's own argument `warm_start_from=`."""

from __future__ import annotations

import copy
import json
import logging
import os
import re
import shutil

import numpy as np
import pytest
import tensorflow as tf

from estimator_ckpt import errors
from estimator_ckpt.training.warm_start.settings import warm_start_settings
from estimator_ckpt.warm_start import WarmStart
from tests import golden, models
from tests.training.warm_start import jobs

v1 = tf.compat.v1


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
  """A model_dir that plain TensorFlow has trained, and its values."""
  return jobs.train(tmp_path_factory.mktemp("trained"))


@pytest.mark.parametrize("parts", [None, 2])
def test_the_users_own_init_op_does_not_undo_settings(trained, tmp_path, parts):
  partitioner = v1.fixed_size_partitioner(parts) if parts else None

  def model_fn(features, labels, mode):
    with v1.variable_scope("", partitioner=partitioner):
      made = models.model_fn(features, labels, mode)
    init_op = tf.group(v1.global_variables_initializer(), name="mine")
    return made._replace(scaffold=v1.train.Scaffold(init_op=init_op))

  source, expected = trained
  settings = warm_start_settings(source)
  estimator = models.estimator(model_fn, tmp_path, warm_start_from=settings)
  # While there is no checkpoint, the settings also start an evaluation.
  found = estimator.evaluate(models.eval_input_fn)
  assert found["mae"] == pytest.approx(
    np.mean(np.abs(jobs.predicted(expected) - models.Y))
  )
  estimator.train(models.input_fn, steps=1)
  jobs.assert_begins_with(
    models.values(tmp_path / "model.ckpt-0"), jobs.model_values(expected)
  )


def test_settings_for_an_estimators_own_argument(trained, tmp_path):
  source, expected = trained
  settings = warm_start_settings(WarmStart(source, optimizer_state=True))
  assert isinstance(settings, tf.estimator.WarmStartSettings)
  assert settings.ckpt_to_initialize_from.endswith("model.ckpt-3")
  config = tf.estimator.RunConfig(save_checkpoints_steps=1)
  estimator = tf.estimator.Estimator(
    models.model_fn, str(tmp_path), config, warm_start_from=settings
  )
  estimator.train(models.input_fn, steps=1)
  values = models.values(tmp_path / "model.ckpt-0")
  assert values["global_step"] == 0
  expected = {name: value for name, value in expected.items() if name != "global_step"}
  jobs.assert_begins_with(values, expected)
  estimator.train(models.input_fn, steps=1)
  assert models.steps_on_disk(tmp_path) == [0, 1, 2]


def test_settings_write_their_report_when_training_starts_and_only_then(
  trained, tmp_path, caplog
):
  caplog.set_level(logging.INFO, "estimator_ckpt")
  warm_start = WarmStart(trained[0], global_step=True)
  seen = []

  def init_fn(scaffold, session):
    seen.append((os.listdir(tmp_path), session.run(v1.train.get_global_step())))

  def model_fn(features, labels, mode):
    spec = models.model_fn(features, labels, mode)
    return spec._replace(scaffold=v1.train.Scaffold(init_fn=init_fn))

  settings = warm_start_settings(warm_start)
  estimator = models.estimator(model_fn, tmp_path, warm_start_from=settings)
  # Evaluation and prediction both use the settings, and write nothing.
  estimator.evaluate(models.eval_input_fn)
  next(estimator.predict(models.eval_input_fn))
  assert len(jobs.warm_start_lines(caplog)) == 2
  assert "warm_start.json" not in os.listdir(tmp_path)
  del seen[:]
  estimator.train(models.input_fn, steps=1)
  [(files, step)] = seen
  assert "warm_start.json" in files
  assert step == 3
  assert len(jobs.warm_start_lines(caplog)) == 3
  [(step, _)] = jobs.texts_in_tensorboard(tmp_path)
  assert step == 3
  os.remove(tmp_path / "warm_start.json")
  estimator.train(models.input_fn, steps=1)
  assert "warm_start.json" not in os.listdir(tmp_path)
  assert len(jobs.texts_in_tensorboard(tmp_path)) == 1


def test_settings_report_where_nothing_is_saved(trained, tmp_path):
  config = tf.estimator.RunConfig(
    save_checkpoints_steps=None,
    save_checkpoints_secs=None,
    save_summary_steps=None,
    log_step_count_steps=None,
  )
  model_dir = tmp_path / "new" / "model"
  settings = warm_start_settings(trained[0])
  tf.estimator.Estimator(
    models.model_fn, str(model_dir), config, warm_start_from=settings
  ).train(models.input_fn, steps=1)
  assert "warm_start.json" in os.listdir(model_dir)


def test_settings_whose_source_is_gone_resume(trained, tmp_path):
  source = str(tmp_path / "source")
  shutil.copytree(trained[0], source)
  model_dir = tmp_path / "model"
  settings = warm_start_settings(source)
  models.estimator(models.model_fn, model_dir, warm_start_from=settings).train(
    models.input_fn, steps=1
  )
  shutil.rmtree(source)
  # Another process would make new settings.
  settings = warm_start_settings(source)
  again = models.estimator(models.model_fn, model_dir, warm_start_from=settings)
  again.train(models.input_fn, steps=1)
  assert models.steps_on_disk(model_dir) == [0, 1, 2]
  new = models.estimator(models.model_fn, tmp_path / "new", warm_start_from=settings)
  with pytest.raises(errors.CheckpointNotFoundError, match=re.escape(source)):
    new.train(models.input_fn, steps=1)
  assert not os.path.exists(tmp_path / "new") or not os.listdir(tmp_path / "new")


def test_settings_can_be_copied(trained, tmp_path):
  settings = copy.deepcopy(warm_start_settings(WarmStart(trained[0], "net/out/")))
  estimator = models.estimator(models.model_fn, tmp_path, warm_start_from=settings)
  estimator.train(models.input_fn, steps=1)
  with open(tmp_path / "warm_start.json", encoding="utf-8") as file:
    started = json.load(file)["started"]
  assert [item["variable"] for item in started] == ["net/out/bias", "net/out/kernel"]


def test_settings_may_be_made_before_their_saved_model(tmp_path):
  source = str(tmp_path / "exported")
  settings = warm_start_settings(source)
  variables = os.path.dirname(golden.path("tf1.15/saved_model"))
  shutil.copytree(os.path.dirname(variables), source)
  expected = golden.expected("tf1.15/saved_model")["net/dense/kernel"]
  with tf.Graph().as_default(), v1.Session() as session:
    kernel = v1.get_variable("net/dense/kernel", expected.shape)
    v1.train.warm_start(*settings)
    session.run(v1.global_variables_initializer())
    np.testing.assert_array_equal(session.run(kernel), expected)


def test_settings_name_one_variable_and_still_map_the_rest(tmp_path):
  path = golden.path("tf2.15/converted_names")
  expected = golden.expected("tf1.15/adam_dense")
  with tf.Graph().as_default(), v1.Session() as session:
    made = {
      name: v1.get_variable(name, expected[source].shape)
      for name, source in (
        ("net/dense_1/kernel", "net/dense_1/kernel"),
        ("net/renamed/kernel", "net/dense_2/kernel"),
      )
    }
    settings = warm_start_settings(
      WarmStart(path, assignment_map={"net/dense_2/kernel": "net/renamed/kernel"})
    )
    v1.train.warm_start(*settings)
    session.run(v1.global_variables_initializer())
    values = session.run(made)
  np.testing.assert_array_equal(
    values["net/dense_1/kernel"], expected["net/dense_1/kernel"]
  )
  np.testing.assert_array_equal(
    values["net/renamed/kernel"], expected["net/dense_2/kernel"]
  )
