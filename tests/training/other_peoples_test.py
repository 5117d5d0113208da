"""with_checkpointing returns Estimators of users' own classes with their state."""

from __future__ import annotations

import copy
import logging

import numpy as np
import pytest
import tensorflow as tf

import estimator_ckpt as eckpt
from estimator_ckpt import errors
from tests import models


def _with_params(features, labels, mode, params):
  y = models.network(features["x"], mode == "train") * params["scale"]
  return models.spec(mode, y, labels)


class _Library(tf.estimator.Estimator):
  """Like AdaNet's: its own constructor and train(), and a method as model_fn."""

  @staticmethod
  def _assert_members_are_not_overridden(estimator):
    """Allows overriding train(), as AdaNet does."""

  def __init__(self, units, model_dir):
    self.units = units
    self.rounds = 0
    super().__init__(model_fn=self._own_model_fn, model_dir=model_dir)

  def _own_model_fn(self, features, labels, mode, config):
    # The model_fn has to see the attributes that train() sets.
    assert mode != "train" or self.rounds == 1
    y = tf.compat.v1.layers.dense(features["x"], self.units, name="own")[:, :1]
    return models.spec(mode, y, labels)

  def train(self, input_fn, steps):
    self.rounds += 1
    return super().train(input_fn, steps=steps)


class _Closed(tf.estimator.Estimator):
  """An Estimator whose model_fn is a closure over it."""

  @staticmethod
  def _assert_members_are_not_overridden(estimator):
    """Allows overriding train(), as AdaNet does."""

  def __init__(self, model_dir):
    def model_fn(features, labels, mode):
      assert self.is_prepared
      return models.model_fn(features, labels, mode)

    self.is_prepared = False
    super().__init__(model_fn=model_fn, model_dir=model_dir)

  def train(self, *args, **kwargs):
    self.is_prepared = True
    return super().train(*args, **kwargs)


@pytest.mark.parametrize("checkpoint_format", ["tf1", "tf2", "dual"])
def test_params_config_and_warm_start_are_kept(checkpoint_format, tmp_path):
  params = {"scale": 2.0, "batch_size": 8}
  config = tf.estimator.RunConfig(keep_checkpoint_max=2, save_checkpoints_steps=1)
  given = tf.estimator.Estimator(
    _with_params, str(tmp_path), config=config, params=params
  )
  estimator = eckpt.with_checkpointing(given, checkpoint_format)
  assert type(estimator) is type(given)
  assert estimator.params == params
  assert estimator.config.keep_checkpoint_max == 2
  assert estimator.model_dir == given.model_dir
  estimator.train(models.input_fn, steps=4)
  assert eckpt.detect_format(tmp_path).value == checkpoint_format
  assert len(models.steps_on_disk(tmp_path)) == 2
  # The given Estimator is unchanged: it writes TF1 checkpoints.
  if checkpoint_format != "tf2":
    given.train(models.input_fn, steps=1)
    assert eckpt.detect_format(tmp_path).value == "tf1"


def test_a_tpu_estimator_gets_its_batch_size(tmp_path):
  def model_fn(features, labels, mode, params):
    assert params["batch_size"] == 8
    return _with_params(features, labels, mode, params)

  def input_fn(params):
    data = tf.data.Dataset.from_tensor_slices(({"x": models.X}, models.Y))
    return data.repeat().batch(params["batch_size"], drop_remainder=True)

  estimator = tf.compat.v1.estimator.tpu.TPUEstimator(
    model_fn,
    str(tmp_path),
    tf.compat.v1.estimator.tpu.RunConfig(),
    params={"scale": 1.0},
    use_tpu=False,
    train_batch_size=8,
    eval_batch_size=8,
    predict_batch_size=8,
  )
  decorated = eckpt.with_checkpointing(estimator, "dual")
  assert type(decorated) is type(estimator)
  decorated.train(input_fn, steps=3)
  assert eckpt.detect_format(tmp_path).value == "dual"
  assert np.isfinite(decorated.evaluate(input_fn, steps=2)["loss"])
  decorated.train(input_fn, steps=1)
  assert decorated.get_variable_value("global_step") == 4


@pytest.mark.parametrize("make", [lambda d: _Library(3, d), _Closed])
def test_a_class_keeps_its_methods_and_its_state(make, tmp_path):
  given = make(str(tmp_path))
  estimator = eckpt.with_checkpointing(given, "tf2")
  assert type(estimator) is type(given)
  estimator.train(models.input_fn, steps=2)
  assert eckpt.detect_format(tmp_path).value == "tf2"
  if isinstance(given, _Library):
    assert (estimator.rounds, given.rounds, estimator.units) == (1, 0, 3)


class _TrainsOthers(tf.estimator.Estimator):
  """Like AdaNet's: it trains Estimators that it makes."""

  @staticmethod
  def _assert_members_are_not_overridden(estimator):
    pass

  def train(self, input_fn, steps):
    tf.estimator.Estimator(models.model_fn, self.model_dir).train(input_fn, steps=steps)
    return self


def test_a_class_that_trains_other_estimators_is_refused(tmp_path):
  given = _TrainsOthers(models.model_fn, str(tmp_path))
  with pytest.raises(
    errors.OptionError, match="_TrainsOthers has a train.. of its own"
  ):
    eckpt.with_checkpointing(given, "dual")


def test_a_copy_of_what_comes_back_works(tmp_path):
  estimator = eckpt.with_checkpointing(
    models.estimator(models.model_fn, tmp_path), "dual"
  )
  copy.copy(estimator).train(models.input_fn, steps=1)
  assert eckpt.detect_format(tmp_path).value == "dual"


def test_metrics_added_to_what_is_decorated_and_decorated_again(tmp_path):
  def metric(labels):
    return {"mean": tf.compat.v1.metrics.mean(labels)}

  inner = eckpt.with_checkpointing(models.estimator(models.model_fn, tmp_path), "dual")
  outer = eckpt.with_checkpointing(tf.estimator.add_metrics(inner, metric), "dual")
  outer.train(models.input_fn, steps=2)
  assert outer.evaluate(models.eval_input_fn)["global_step"] == 2
  assert eckpt.detect_format(tmp_path).value == "dual"


def test_options_of_two_decorators_are_joined_and_contradictions_refused(tmp_path):
  def decorated(first, second):
    return eckpt.dual_checkpointing(**second)(
      eckpt.dual_checkpointing(**first)(models.model_fn)
    )

  estimator = models.estimator(
    decorated({"max_to_keep": 1}, {"layout": "flat"}),
    tmp_path,
    save_steps=1,
  )
  estimator.train(models.input_fn, steps=3)
  assert len(models.steps_on_disk(tmp_path)) == 1
  with eckpt.open_checkpoint(tmp_path) as reader:
    assert not [key for key in reader if key.startswith("net/out/kernel/.")]
  estimator.evaluate(models.eval_input_fn)
  twice = models.estimator(decorated({"max_to_keep": 1}, {"max_to_keep": 2}), tmp_path)
  with pytest.raises(errors.OptionError, match="max_to_keep=1 and max_to_keep=2"):
    twice.train(models.input_fn, steps=1)


def test_asynchronous_saves_may_be_asked_for_twice_and_not_with_other_options(tmp_path):
  def decorated(first, second):
    return eckpt.dual_checkpointing(**second)(
      eckpt.dual_checkpointing(**first)(models.model_fn)
    )

  alike = decorated({"asynchronous": True}, {"asynchronous": True})
  models.estimator(alike, tmp_path, save_steps=1).train(models.input_fn, steps=3)
  assert models.steps_on_disk(tmp_path)[-1] == 3
  other = models.estimator(
    decorated({"asynchronous": True}, {"max_to_keep": 2}), tmp_path
  )
  with pytest.raises(errors.OptionError, match="adds .*max_to_keep"):
    other.train(models.input_fn, steps=1)


def test_two_formats_stay_an_error_that_names_both(tmp_path):
  inner = eckpt.with_checkpointing(models.estimator(models.model_fn, tmp_path), "dual")
  with pytest.raises(errors.OptionError, match="'dual'.*'tf2'"):
    eckpt.with_checkpointing(inner, "tf2").train(models.input_fn, steps=1)


# Behaviour of stock TensorFlow


@pytest.mark.parametrize("checkpoint_format", ["tf1", "tf2", "dual"])
def test_what_code_for_stock_catches_is_raised(checkpoint_format, tmp_path):
  estimator = models.estimator(
    eckpt.checkpointing(checkpoint_format)(models.model_fn), tmp_path
  )
  estimator.train(models.input_fn, steps=1)

  def wider(features, labels, mode):
    y = tf.compat.v1.layers.dense(features["x"], 5, name="other")[:, :1]
    return models.spec(mode, y, labels)

  missing = models.estimator(eckpt.checkpointing(checkpoint_format)(wider), tmp_path)
  with pytest.raises(
    tf.errors.NotFoundError, match="not found in checkpoint"
  ) as raised:
    missing.train(models.input_fn, steps=1)
  assert isinstance(raised.value, (errors.CheckpointError, ValueError))
  assert "'other/kernel'" in str(raised.value)

  with tf.Graph().as_default(), tf.compat.v1.Session() as session:
    tf.compat.v1.get_variable("net/hidden/kernel", [2, 5])
    saver = eckpt.tf1_scaffold().saver
    saver.build()
    with pytest.raises(tf.errors.InvalidArgumentError, match="shapes") as raised:
      saver.restore(session, tf.train.latest_checkpoint(str(tmp_path)))
    assert isinstance(raised.value, errors.VariableMismatchError)
    with pytest.raises(ValueError, match="is not a valid checkpoint"):
      saver.restore(session, str(tmp_path / "no"))
    with pytest.raises(ValueError, match="Can't load save_path when it is None"):
      saver.restore(session, None)


def test_a_model_fn_without_a_spec_is_told_in_stocks_words(tmp_path):
  estimator = models.estimator(
    eckpt.dual_checkpointing(lambda features, labels, mode: None), tmp_path
  )
  with pytest.raises(ValueError, match="model_fn should return an EstimatorSpec"):
    estimator.train(models.input_fn, steps=1)


# Names


def test_names_work_in_a_tf2_model_dir(tmp_path):
  plain = models.estimator(models.model_fn, tmp_path / "tf1")
  plain.train(models.input_fn, steps=3)
  expected = sorted(plain.get_variable_names())
  for checkpoint_format in ("tf2", "dual", "tf1"):
    directory = tmp_path / checkpoint_format
    if checkpoint_format != "tf1":
      eckpt.convert(tmp_path / "tf1", directory, to=checkpoint_format)
    estimator = eckpt.with_checkpointing(
      models.estimator(models.model_fn, directory), checkpoint_format
    )
    assert estimator.get_variable_names() == expected
    for name in expected:
      np.testing.assert_array_equal(
        estimator.get_variable_value(name), plain.get_variable_value(name)
      )
    with pytest.raises(tf.errors.NotFoundError, match="Did you mean 'net/out/kernel'"):
      estimator.get_variable_value("net/out/kernell")


def test_names_of_an_estimator_without_a_checkpoint(tmp_path):
  estimator = eckpt.with_checkpointing(
    models.estimator(models.model_fn, tmp_path), "tf2"
  )
  with pytest.raises(ValueError, match="Couldn't find trained model"):
    estimator.get_variable_names()


@pytest.mark.parametrize("selected", [".*", ["net/"], None])
def test_stock_warm_start_from_a_tf2_model_dir_goes_by_names(selected, tmp_path):
  old = models.estimator(eckpt.tf2_checkpointing(models.model_fn), tmp_path / "old")
  old.train(models.input_fn, steps=3)
  named = eckpt.with_checkpointing(old, "tf2")
  settings = tf.estimator.WarmStartSettings(str(tmp_path / "old"), selected)
  new = tf.estimator.Estimator(
    eckpt.dual_checkpointing(_frozen), str(tmp_path / "new"), warm_start_from=settings
  )
  new.train(models.input_fn, steps=1)
  for name in ("net/hidden/kernel", "net/out/bias"):
    np.testing.assert_array_equal(
      new.get_variable_value(name), named.get_variable_value(name)
    )


def _frozen(features, labels, mode):
  y = models.network(features["x"], False)
  still = tf.compat.v1.train.GradientDescentOptimizer(0.0)
  return models.spec(mode, y, labels, optimizer=still)


def test_the_first_tf2_checkpoint_of_a_directory_says_what_names_cannot_do(
  tmp_path, caplog
):
  def said():
    return [r for r in caplog.records if "keeps names" in r.getMessage()]

  with caplog.at_level(logging.WARNING):
    for expected in (1, 1):
      estimator = models.estimator(eckpt.tf2_checkpointing(models.model_fn), tmp_path)
      estimator.train(models.input_fn, steps=1)
      assert len(said()) == expected
    models.estimator(eckpt.dual_checkpointing(models.model_fn), tmp_path / "d").train(
      models.input_fn, steps=1
    )
  assert len(said()) == 1


# Directories


@pytest.mark.parametrize("name", ["a*b", "a?b"])
def test_a_model_dir_whose_name_matches_another_directory_is_refused(name, tmp_path):
  estimator = models.estimator(
    eckpt.dual_checkpointing(models.model_fn), tmp_path / name
  )
  (tmp_path / "axb").mkdir()
  with pytest.raises(errors.OptionError, match="axb' matches it too"):
    estimator.train(models.input_fn, steps=1)


@pytest.mark.parametrize("name", ["a[1]", "a\\b"])
def test_a_model_dir_that_tensorflow_takes_for_a_pattern_is_refused(name, tmp_path):
  estimator = models.estimator(
    eckpt.dual_checkpointing(models.model_fn), tmp_path / name
  )
  with pytest.raises(errors.OptionError, match="takes that for a pattern"):
    estimator.train(models.input_fn, steps=1)
  assert not list(tmp_path.glob("*/*.index"))


@pytest.mark.parametrize("name", ["a{b}", "a*b", "a?b", "a b", "a]b", "ä"])
def test_a_model_dir_with_another_odd_name_works(name, tmp_path):
  for steps in (1, 2):
    estimator = models.estimator(
      eckpt.dual_checkpointing(models.model_fn), tmp_path / name
    )
    estimator.train(models.input_fn, steps=1)
    assert models.steps_on_disk(tmp_path / name)[-1] == steps
