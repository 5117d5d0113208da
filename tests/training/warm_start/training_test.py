"""Warm starts of whole Estimators and sessions: when they run, and what they write."""

from __future__ import annotations

import inspect
import json
import logging
import os
import re
import shutil

import numpy as np
import pytest
import tensorflow as tf
from tensorboard.plugins.text import text_plugin

import estimator_ckpt as eckpt
from estimator_ckpt import errors
from estimator_ckpt.examples import digits
from estimator_ckpt.training.warm_start.settings import warm_start_settings
from estimator_ckpt.warm_start import WarmStart
from tests import golden, models
from tests.training.warm_start import jobs

v1 = tf.compat.v1

OLD = "tf1.15/digits_old_names"


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
  """A model_dir that plain TensorFlow has trained, and its values."""
  return jobs.train(tmp_path_factory.mktemp("trained"))


@pytest.mark.parametrize("checkpoint_format", ["tf1", "tf2", "dual"])
def test_a_new_job_begins_with_the_old_values_and_step_0(
  trained, tmp_path, checkpoint_format
):
  source, expected = trained
  model_fn = eckpt.checkpointing(checkpoint_format, warm_start=source)(models.model_fn)
  _, values = jobs.begun(model_fn, tmp_path)
  assert values["global_step"] == 0
  jobs.assert_begins_with(values, jobs.model_values(expected))
  assert (values["net/out/kernel/Adam"] == 0).all()
  assert sorted(jobs.model_values(expected)) == [
    "net/hidden/bias",
    "net/hidden/kernel",
    "net/norm/beta",
    "net/norm/gamma",
    "net/norm/moving_mean",
    "net/norm/moving_variance",
    "net/out/bias",
    "net/out/kernel",
  ]


def test_everything_on_request(trained, tmp_path):
  source, expected = trained
  warm_start = WarmStart(source, optimizer_state=True, global_step=True)
  model_fn = eckpt.dual_checkpointing(warm_start=warm_start)(models.model_fn)
  estimator = models.estimator(model_fn, tmp_path)
  estimator.train(models.input_fn, max_steps=5)
  first = models.named_values(tmp_path / "model.ckpt-3")
  jobs.assert_begins_with(first, expected)
  assert models.steps_on_disk(tmp_path) == [3, 5]


def test_it_happens_once_even_if_the_source_is_gone(trained, tmp_path):
  source = str(tmp_path / "source")
  shutil.copytree(trained[0], source)
  model_fn = eckpt.dual_checkpointing(warm_start=source)(models.model_fn)
  estimator, _ = jobs.begun(model_fn, tmp_path / "model", steps=5)
  shutil.rmtree(source)
  before = models.named_values(estimator.latest_checkpoint())
  estimator.train(models.input_fn, steps=1)
  assert models.named_values(estimator.latest_checkpoint())["global_step"] == 6
  estimator.evaluate(models.eval_input_fn)
  assert next(estimator.predict(models.eval_input_fn))
  # The same in another process.
  again = models.estimator(model_fn, tmp_path / "model")
  again.train(models.input_fn, steps=1)
  kept = models.named_values(tmp_path / "model" / "model.ckpt-5")
  models.assert_same_values(before, kept)


def test_a_first_run_that_ends_before_its_checkpoint_is_started_again(
  trained, tmp_path
):
  source, expected = trained
  begun_with = []

  class Interrupted(v1.train.SessionRunHook):
    def after_create_session(self, session, coord):
      named = {v.op.name: v for v in v1.global_variables()}
      begun_with.append(session.run(named))

    def after_run(self, run_context, run_values):
      raise KeyboardInterrupt

  config = tf.estimator.RunConfig(
    save_checkpoints_secs=None, save_checkpoints_steps=None
  )
  model_fn = eckpt.dual_checkpointing(warm_start=source)(models.model_fn)
  estimator = tf.estimator.Estimator(model_fn, str(tmp_path), config)
  for _ in range(2):
    with pytest.raises(KeyboardInterrupt):
      estimator.train(models.input_fn, hooks=[Interrupted()], steps=5)
    assert estimator.latest_checkpoint() is None
  for values in begun_with:
    assert values["global_step"] == 0
    jobs.assert_begins_with(values, jobs.model_values(expected))


def test_it_never_overrides_a_state_that_was_resumed(trained, tmp_path):
  plain = models.estimator(models.model_fn, tmp_path)
  plain.train(models.input_fn, steps=5)
  before = models.values(tmp_path / "model.ckpt-5")
  for signature in (models.model_fn, with_config):
    warm = models.estimator(
      eckpt.dual_checkpointing(warm_start=trained[0])(signature),
      tmp_path,
      save_steps=100,
    )
    predictions = [p["y"] for p in warm.predict(models.eval_input_fn)]
    expected = [p["y"] for p in plain.predict(models.eval_input_fn)]
    np.testing.assert_array_equal(predictions, expected)
  warm.train(models.input_fn, steps=1)
  assert not os.path.exists(tmp_path / "warm_start.json")
  models.assert_same_values(before, models.named_values(tmp_path / "model.ckpt-5"))


def with_config(features, labels, mode, config):
  return models.model_fn(features, labels, mode)


def test_a_job_that_resumes_has_no_ops_of_a_warm_start_where_it_can_know(
  trained, tmp_path
):
  model_fn = eckpt.dual_checkpointing(warm_start=trained[0])(with_config)
  estimator, _ = jobs.begun(model_fn, tmp_path)
  names = []

  class Ops(v1.train.SessionRunHook):
    def after_create_session(self, session, coord):
      names.extend(op.name for op in session.graph.get_operations())

  estimator.train(models.input_fn, steps=1, hooks=[Ops()])
  assert not [name for name in names if name.startswith("warm_start")]


def test_evaluate_and_predict_without_a_checkpoint_are_warm_too(tmp_path):
  model_fn = eckpt.dual_checkpointing(
    warm_start=WarmStart(golden.path(OLD), assignment_map="old/:/")
  )(digits.model_fn)
  estimator = tf.estimator.Estimator(
    model_fn, str(tmp_path), params={"learning_rate": 0.1}
  )
  _, test = digits.load()
  result = estimator.evaluate(digits.input_fn(test, 360, training=False))
  expected = golden.manifest(OLD)["details"]["test_accuracy"]
  assert result["accuracy"] == pytest.approx(expected, abs=1e-6)
  assert result["global_step"] == 0
  data = golden.data(OLD)
  predictions = estimator.predict(digits.input_fn(test, 360, training=False))
  logits = np.stack([next(predictions)["logits"] for _ in range(20)])
  np.testing.assert_allclose(logits, data["logits"], rtol=1e-4, atol=1e-5)


def test_the_users_init_fn_runs_afterwards(trained, tmp_path):
  seen = []

  def model_fn(features, labels, mode):
    made = models.model_fn(features, labels, mode)
    [bias] = [v for v in v1.global_variables() if v.op.name == "net/out/bias"]
    double = bias.assign(bias * 2)

    def init_fn(scaffold, session):
      seen.append(session.run(bias))
      session.run(double)

    return made._replace(scaffold=v1.train.Scaffold(init_fn=init_fn))

  source, expected = trained
  _, values = jobs.begun(
    eckpt.dual_checkpointing(warm_start=source)(model_fn), tmp_path
  )
  np.testing.assert_array_equal(seen, [expected["net/out/bias"]])
  np.testing.assert_array_equal(values["net/out/bias"], expected["net/out/bias"] * 2)


def test_the_users_own_init_op(trained, tmp_path):
  def model_fn(features, labels, mode):
    made = models.model_fn(features, labels, mode)
    init_op = tf.group(v1.global_variables_initializer(), name="mine")
    return made._replace(scaffold=v1.train.Scaffold(init_op=init_op))

  source, expected = trained
  _, values = jobs.begun(
    eckpt.dual_checkpointing(warm_start=source)(model_fn), tmp_path
  )
  jobs.assert_begins_with(values, jobs.model_values(expected))


def test_objects_of_the_model_fn_in_the_map(trained, tmp_path):
  def model_fn(features, labels, mode):
    made = models.model_fn(features, labels, mode)
    [kernel] = [v for v in v1.global_variables() if v.op.name == "net/out/kernel"]
    warm_start = WarmStart(
      trained[0], "net/out/kernel", assignment_map={"net/out/kernel": kernel}
    )
    return eckpt.dual_checkpointing(warm_start=lambda: warm_start)(
      lambda features: made
    )(features)

  _, values = jobs.begun(model_fn, tmp_path)
  np.testing.assert_array_equal(values["net/out/kernel"], trained[1]["net/out/kernel"])
  assert not np.array_equal(
    values["net/hidden/kernel"], trained[1]["net/hidden/kernel"]
  )


def test_a_monitored_training_session(trained, tmp_path):
  source, expected = trained
  for begin in (True, False):
    with tf.Graph().as_default():
      y = models.network(tf.constant(models.X), training=False)
      step = v1.train.get_or_create_global_step().assign_add(1)
      scaffold = eckpt.tf2_scaffold(warm_start=source)
      with v1.train.MonitoredTrainingSession(
        checkpoint_dir=str(tmp_path), scaffold=scaffold, save_checkpoint_steps=1
      ) as session:
        assert (session.run(step) == 1) == begin
        assert np.isfinite(session.run(y)).all()
  values = models.named_values(tmp_path / "model.ckpt-0")
  jobs.assert_begins_with(values, jobs.model_values(expected))


def test_what_does_not_fit_is_an_error_before_anything_is_written(trained, tmp_path):
  warm_start = WarmStart(
    trained[0], assignment_map={"nett/": "net/", "net/out/bias": "net/outer/bias"}
  )
  model_fn = eckpt.dual_checkpointing(warm_start=warm_start)(models.model_fn)
  with pytest.raises(errors.VariableMismatchError) as error:
    models.estimator(model_fn, tmp_path).train(models.input_fn, steps=1)
  for words in (
    "nothing below 'nett/' (nearest: 'net/')",
    "no variable 'net/outer/bias'",
  ):
    assert words in str(error.value)
  assert not [name for name in os.listdir(tmp_path) if "ckpt" in name]


def test_a_damaged_source_is_an_error_before_anything_is_written(trained, tmp_path):
  source = str(tmp_path / "source")
  shutil.copytree(trained[0], source)
  [data] = [n for n in os.listdir(source) if n.startswith("model.ckpt-3.data")]
  os.truncate(os.path.join(source, data), 20)
  model_fn = eckpt.dual_checkpointing(warm_start=source)(models.model_fn)
  with pytest.raises(errors.CorruptCheckpointError, match="truncated"):
    models.estimator(model_fn, tmp_path / "model").train(models.input_fn, steps=1)


WAYS = ["warm_start=", "warm_start_from="]


def train_started(way, source, model_dir):
  """Trains an Estimator for a step, warm-started in one of the two ways."""
  if way == "warm_start=":
    jobs.begun(eckpt.dual_checkpointing(warm_start=source)(models.model_fn), model_dir)
  else:
    settings = warm_start_settings(source)
    models.estimator(models.model_fn, model_dir, warm_start_from=settings).train(
      models.input_fn, steps=1
    )


@pytest.mark.parametrize("way", WAYS)
def test_what_was_started_is_logged_and_written(trained, tmp_path, caplog, way):
  source, expected = trained
  caplog.set_level(logging.INFO, "estimator_ckpt")
  train_started(way, source, tmp_path)
  [line] = jobs.warm_start_lines(caplog)
  assert "started 8 of 23 variables" in line
  assert "net/hidden/bias <- net/hidden/bias (same name)" in line
  assert "and 3 more" in line
  assert (
    "14, such as beta1_power: optimizer state; optimizer_state=True starts it" in line
  )
  with open(tmp_path / "warm_start.json", encoding="utf-8") as file:
    report = json.load(file)
  assert report["checkpoint"].startswith(source)
  names = {item["variable"]: item for item in report["started"]}
  assert sorted(names) == sorted(jobs.model_values(expected))
  assert names["net/out/kernel"]["shape"] == [4, 1]
  left = {item["name"]: item["reason"] for item in report["left_in_graph"]}
  assert left["global_step"] == "the step; global_step=True starts it"


@pytest.mark.parametrize("way", WAYS)
def test_what_was_started_is_in_tensorboard_as_a_table(trained, tmp_path, way):
  train_started(way, trained[0], tmp_path)
  [(step, text)] = jobs.texts_in_tensorboard(tmp_path)
  assert step == 0
  assert (
    "| variable | from | dtype and shape | matched by |\n| --- | --- | --- | --- |"
    in text
  )
  assert "| `net/out/kernel` | `net/out/kernel` | float32 [4, 1] | same name |" in text
  # Rendered like TensorBoard's text dashboard. That of 1.15.5 has no second argument.
  take = len(inspect.signature(text_plugin.text_array_to_html).parameters)
  html = text_plugin.text_array_to_html(*(np.array(text, object), True)[:take])
  assert html.count("<table>") == 3
  cells = re.findall("<td>(.*?)</td>", html)
  position = cells.index("<code>net/out/kernel</code>")
  assert cells[position + 1 : position + 4] == [
    "<code>net/out/kernel</code>",
    "float32 [4, 1]",
    "same name",
  ]
  assert "|" not in html


def test_the_entries_kept_of_a_vocabulary_are_in_the_report(tmp_path):
  source = golden.directory("tf1.15/canned_linear")
  words = tmp_path / "words.txt"
  words.write_text("fox\nyak\nant\n")
  name = "linear/linear_model/word/weights"
  info = v1.train.VocabInfo(str(words), 3, 1, os.path.join(source, "words.txt"))
  with tf.Graph().as_default():
    v1.get_variable(name, (4, 3), partitioner=v1.fixed_size_partitioner(2))
    v1.train.get_or_create_global_step()
    scaffold = eckpt.dual_scaffold(
      warm_start=WarmStart(source, vocab_info={name: info})
    )
    with v1.train.MonitoredTrainingSession(
      checkpoint_dir=str(tmp_path / "model"), scaffold=scaffold
    ):
      pass
  with open(tmp_path / "model" / "warm_start.json", encoding="utf-8") as file:
    [started] = json.load(file)["started"]
  assert started["vocabulary"]["entries_kept"] == 2


def test_a_mirrored_strategy(trained, tmp_path):
  source, expected = trained
  model_fn = eckpt.dual_checkpointing(warm_start=source)(models.model_fn)
  strategy = tf.distribute.MirroredStrategy(["/cpu:0"])
  estimator = models.estimator(model_fn, tmp_path, train_distribute=strategy)
  estimator.train(models.input_fn, steps=1)
  values = models.named_values(tmp_path / "model.ckpt-0")
  jobs.assert_begins_with(values, jobs.model_values(expected))


def test_the_in_memory_evaluator_does_not_start_again(trained, tmp_path):
  source = str(tmp_path / "source")
  shutil.copytree(trained[0], source)
  model_fn = eckpt.dual_checkpointing(warm_start=source)(models.model_fn)
  estimator, _ = jobs.begun(model_fn, tmp_path / "model")
  shutil.rmtree(source)
  hook = tf.estimator.experimental.InMemoryEvaluatorHook(
    estimator, models.eval_input_fn
  )
  estimator.train(models.input_fn, hooks=[hook], steps=1)
  in_memory = os.listdir(os.path.join(estimator.model_dir, "eval"))
  assert [name for name in in_memory if "tfevents" in name]


def test_a_scaffold_function_of_a_tpu_estimator(trained, tmp_path):
  source, expected = trained

  def model_fn(features, labels, mode, params):
    made = models.model_fn(features, labels, mode)
    return v1.estimator.tpu.TPUEstimatorSpec(
      mode, loss=made.loss, train_op=made.train_op
    )

  estimator = v1.estimator.tpu.TPUEstimator(
    eckpt.dual_checkpointing(warm_start=source)(model_fn),
    str(tmp_path),
    v1.estimator.tpu.RunConfig(save_checkpoints_steps=1),
    use_tpu=False,
    train_batch_size=8,
  )
  estimator.train(lambda params: models.input_fn(), steps=1)
  values = models.named_values(tmp_path / "model.ckpt-0")
  jobs.assert_begins_with(values, jobs.model_values(expected))
