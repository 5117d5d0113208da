"""Jobs that a warm start begins: their first values, and their reports."""

from __future__ import annotations

import os
import re

import numpy as np
import tensorflow as tf

from tests import models

v1 = tf.compat.v1


def train(model_dir):
  """Trains with plain TensorFlow for three steps; returns the model_dir and values."""
  estimator = models.estimator(models.model_fn, model_dir)
  estimator.train(models.input_fn, steps=3)
  return estimator.model_dir, models.values(estimator.model_dir)


def model_values(values):
  """The values without optimizer state and step."""
  return {
    name: value
    for name, value in values.items()
    if name.endswith("norm/beta")
    or (
      "Adam" not in name
      and "beta" not in name.rsplit("/")[-1]
      and name != "global_step"
    )
  }


def begun(model_fn, model_dir, steps=1):
  """The Estimator after one step, and the values that it began with."""
  estimator = models.estimator(model_fn, model_dir)
  estimator.train(models.input_fn, steps=steps)
  first = os.path.join(
    estimator.model_dir, f"model.ckpt-{models.steps_on_disk(estimator.model_dir)[0]}"
  )
  return estimator, models.named_values(first)


def predicted(values):
  """The model's predictions for all features, with these values."""
  get = {re.sub("^net/", "", name): value for name, value in values.items()}.get
  h = np.tanh(models.X @ get("hidden/kernel") + get("hidden/bias"))
  h = (h - get("norm/moving_mean")) / np.sqrt(get("norm/moving_variance") + 1e-3)
  h = h * get("norm/gamma") + get("norm/beta")
  return h @ get("out/kernel") + get("out/bias")


def assert_begins_with(values, expected):
  for name, value in expected.items():
    np.testing.assert_array_equal(values[name], value, err_msg=name)


def warm_start_lines(caplog):
  messages = [record.getMessage() for record in caplog.records]
  return [message for message in messages if message.startswith("Warm start")]


def texts_in_tensorboard(model_dir):
  """The step and the content of each text in TensorBoard."""
  texts = []
  for name in os.listdir(model_dir):
    if "tfevents" in name:
      for event in v1.train.summary_iterator(os.path.join(model_dir, name)):
        for value in event.summary.value:
          if value.metadata.plugin_data.plugin_name == "text":
            assert value.tag == "warm_start"
            text = tf.make_ndarray(value.tensor).item().decode()
            texts.append((event.step, text))
  return texts
