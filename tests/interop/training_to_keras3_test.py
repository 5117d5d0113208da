"""Keras 3 restores model and optimizer from what an Estimator with objects writes."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

import estimator_ckpt as eckpt
from tests import models
from tests.interop import keras_nets, readers

v1 = tf.compat.v1
_BEFORE, _AFTER, _BATCH = 5, 3, 8
# TF1's optimizer, Keras' class and its arguments.
_OPTIMIZERS = {
  "adam": (v1.train.AdamOptimizer, {}, "Adam", {"epsilon": 1e-8}),
  "rmsprop": (
    v1.train.RMSPropOptimizer,
    {"momentum": 0.5, "epsilon": 1e-3},
    "RMSprop",
    {"momentum": 0.5, "epsilon": 1e-3},
  ),
  "ftrl": (v1.train.FtrlOptimizer, {}, "Ftrl", {}),
  "adadelta": (
    v1.train.AdadeltaOptimizer,
    {"epsilon": 1e-6},
    "Adadelta",
    {"rho": 0.95, "epsilon": 1e-6},
  ),
}
_CASES = [
  ("tf2", "adam"),
  *(("dual", name) for name in _OPTIMIZERS),
]


def _estimator(checkpoint_format, name, root):
  made = {}
  kind, arguments, _, _ = _OPTIMIZERS[name]

  def model_fn(features, labels, mode):
    made["model"], made["optimizer"] = keras_nets.Net(), kind(0.05, **arguments)
    return models.spec(mode, made["model"](features["x"]), labels, made["optimizer"])

  decorate = eckpt.checkpointing(
    checkpoint_format, checkpoint=lambda: tf.train.Checkpoint(**made)
  )
  return models.estimator(decorate(model_fn), root / f"{checkpoint_format}_{name}")


@pytest.fixture(scope="module")
def answers(interpreter, tmp_path_factory):
  """By case: where the Estimator is, and what Keras 3 made of its checkpoint."""
  root = tmp_path_factory.mktemp("trained")
  rows = len(models.X)
  data = []
  for step in range(_BEFORE, _BEFORE + _AFTER):
    at = np.arange(step * _BATCH, (step + 1) * _BATCH) % rows
    data.append([models.X[at].tolist(), models.Y[at].tolist()])
  questions = {}
  for checkpoint_format, name in _CASES:
    estimator = _estimator(checkpoint_format, name, root)
    estimator.train(models.input_fn, steps=_BEFORE)
    source = estimator.latest_checkpoint()
    questions[f"{checkpoint_format} {name}"] = {
      "kind": "go_on",
      "source": source,
      "data": data,
      "optimizer": _OPTIMIZERS[name][2],
      "arguments": _OPTIMIZERS[name][3],
    }
  asked = tmp_path_factory.mktemp("asked")
  return root, readers.ask(interpreter("tf221"), "keras_trainer.py", asked, questions)


@pytest.mark.parametrize(("checkpoint_format", "name"), _CASES)
def test_keras_3_goes_on_as_the_estimator_does(checkpoint_format, name, answers):
  root, found = answers
  answer = found[f"{checkpoint_format} {name}"]
  assert answer.facts["start"] == _BEFORE
  estimator = _estimator(checkpoint_format, name, root)
  estimator.train(lambda: models.input_fn().skip(_BEFORE), steps=_AFTER)
  own = keras_nets.Net()
  own(tf.constant(models.X))
  prefix = estimator.latest_checkpoint()
  tf.train.Checkpoint(model=own).restore(prefix).expect_partial()
  for i, variable in enumerate(own.trainable_variables):
    np.testing.assert_allclose(
      answer.values[str(i)],
      variable.numpy(),
      rtol=1e-5,
      atol=1e-6,
    )
