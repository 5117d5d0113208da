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
_FORMATS = ["tf2", "dual"]


def _estimator(checkpoint_format, model_dir):
  made = {}

  def model_fn(features, labels, mode):
    made["model"], made["optimizer"] = keras_nets.Net(), v1.train.AdamOptimizer(0.05)
    return models.spec(mode, made["model"](features["x"]), labels, made["optimizer"])

  decorate = eckpt.checkpointing(
    checkpoint_format, checkpoint=lambda: tf.train.Checkpoint(**made)
  )
  return models.estimator(decorate(model_fn), model_dir)


@pytest.fixture(scope="module")
def answers(interpreter, tmp_path_factory):
  """By format: where the Estimator is, and what Keras 3 made of its checkpoint."""
  root = tmp_path_factory.mktemp("trained")
  rows = len(models.X)
  data = []
  for step in range(_BEFORE, _BEFORE + _AFTER):
    at = np.arange(step * _BATCH, (step + 1) * _BATCH) % rows
    data.append([models.X[at].tolist(), models.Y[at].tolist()])
  questions = {}
  for checkpoint_format in _FORMATS:
    estimator = _estimator(checkpoint_format, root / checkpoint_format)
    estimator.train(models.input_fn, steps=_BEFORE)
    source = estimator.latest_checkpoint()
    questions[checkpoint_format] = {"kind": "go_on", "source": source, "data": data}
  asked = tmp_path_factory.mktemp("asked")
  return root, readers.ask(interpreter("tf221"), "keras_trainer.py", asked, questions)


@pytest.mark.parametrize("checkpoint_format", _FORMATS)
def test_keras_3_goes_on_as_the_estimator_does(checkpoint_format, answers):
  root, by_format = answers
  assert by_format[checkpoint_format].facts["start"] == _BEFORE
  estimator = _estimator(checkpoint_format, root / checkpoint_format)
  estimator.train(lambda: models.input_fn().skip(_BEFORE), steps=_AFTER)
  own = keras_nets.Net()
  own(tf.constant(models.X))
  prefix = estimator.latest_checkpoint()
  tf.train.Checkpoint(model=own).restore(prefix).expect_partial()
  for i, variable in enumerate(own.trainable_variables):
    np.testing.assert_allclose(
      by_format[checkpoint_format].values[str(i)],
      variable.numpy(),
      rtol=1e-5,
      atol=1e-6,
    )
