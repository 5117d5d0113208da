"""Every callable that an Estimator takes keeps its arguments when it is decorated."""

from __future__ import annotations

import functools

import numpy as np
import pytest
import tensorflow as tf

import estimator_ckpt as eckpt
from estimator_ckpt.training import model_fns
from tests import models


def _spec(features, labels, mode, params, config, scale=1.0):
  assert params["rate"] == 0.5 and config.model_dir
  y = models.network(features["x"], mode == "train") * scale
  return models.spec(mode, y, labels)


def _fixed_in_the_middle(features, labels, foo, mode, params, config, bar):
  return _spec(features, labels, mode, params, config, scale=foo * bar)


def _keyword_only(features, labels, *, mode, params, config=None):
  return _spec(features, labels, mode, params, config)


def _in_another_order(mode, params, features, config, labels=None):
  return _spec(features, labels, mode, params, config)


def _any_keywords(features, labels, mode, **rest):
  assert set(rest) >= {"config"}
  return models.spec(mode, models.network(features["x"], mode == "train"), labels)


class _Model:
  def model_fn(self, features, labels, mode, params, config):
    return _spec(features, labels, mode, params, config)

  def __call__(self, features, labels, mode, params, config):
    return _spec(features, labels, mode, params, config)


_CALLABLES = {
  "partial": functools.partial(_fixed_in_the_middle, foo=1.0, bar=2.0),
  "partial of a partial": functools.partial(
    functools.partial(_fixed_in_the_middle, foo=1.0), bar=2.0
  ),
  "keyword only": _keyword_only,
  "another order": _in_another_order,
  "method": _Model().model_fn,
  "object": _Model(),
}


@pytest.mark.parametrize("name", _CALLABLES)
def test_a_decorated_model_fn_gets_what_the_estimator_has(name, tmp_path):
  model_fn = eckpt.dual_checkpointing(_CALLABLES[name])
  estimator = tf.estimator.Estimator(model_fn, str(tmp_path), params={"rate": 0.5})
  estimator.train(models.input_fn, steps=2)
  assert np.isfinite(estimator.evaluate(models.eval_input_fn)["loss"])
  assert eckpt.detect_format(tmp_path).value == "dual"


@pytest.mark.parametrize("name", _CALLABLES)
def test_what_is_decorated_twice_gets_it_too(name, tmp_path):
  model_fn = eckpt.dual_checkpointing(eckpt.dual_checkpointing(_CALLABLES[name]))
  estimator = tf.estimator.Estimator(model_fn, str(tmp_path), params={"rate": 0.5})
  estimator.train(models.input_fn, steps=1)
  assert eckpt.detect_format(tmp_path).value == "dual"


def test_an_estimator_sees_the_arguments_that_are_not_fixed():
  from tensorflow.python.util import function_utils

  for model_fn in _CALLABLES.values():
    seen = function_utils.fn_args(eckpt.tf2_checkpointing(model_fn))
    assert set(seen) == {"features", "labels", "mode", "params", "config"}


def test_keywords_of_any_name_are_passed_on():
  signature = model_fns.model_fn_signature(_any_keywords)
  bound = signature.bind({"x": 1}, None, "train", config=3, other=4)
  assert bound.arguments["config"] == 3

  def told(features, labels, mode, **rest):
    return features, labels, mode, rest

  assert model_fns.call(
    told, model_fns.model_fn_signature(told).bind(1, 2, 3, more=5)
  ) == (
    1,
    2,
    3,
    {"more": 5},
  )


def test_positional_arguments_stay_where_they_were():
  def told(features, labels, mode):
    return features, labels, mode

  bound = model_fns.model_fn_signature(told).bind(1, 2, 3, 4)
  assert bound.arguments["config"] == 4
  assert model_fns.call(told, bound) == (1, 2, 3)
