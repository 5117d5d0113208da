"""checkpoint= with a TF1 optimizer: eager Keras restores the model and the optimizer."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

import estimator_ckpt as eckpt
import estimator_ckpt.keras
from tests import models

v1 = tf.compat.v1
_STEPS = 5
_KERAS = {"2-legacy": tf.keras.optimizers.legacy, "2": tf.keras.optimizers}
_BATCH = 8


def _model():
  return tf.keras.Sequential(
    [
      tf.keras.Input((2,)),
      tf.keras.layers.Dense(4, "tanh", name="hidden"),
      tf.keras.layers.Dense(4, "tanh", name="more"),
      tf.keras.layers.Dense(1, name="out"),
    ]
  )


_OPTIMIZERS = {
  "adam": (lambda: v1.train.AdamOptimizer(0.05), "Adam", {"epsilon": 1e-8}),
  "rmsprop": (
    lambda: v1.train.RMSPropOptimizer(0.05, momentum=0.5, epsilon=1e-3),
    "RMSprop",
    {"momentum": 0.5, "epsilon": 1e-3},
  ),
  "ftrl": (lambda: v1.train.FtrlOptimizer(0.05), "Ftrl", {}),
  "adadelta": (
    lambda: v1.train.AdadeltaOptimizer(0.05, epsilon=1e-6),
    "Adadelta",
    {"rho": 0.95, "epsilon": 1e-6},
  ),
  "gradient_descent": (lambda: v1.train.GradientDescentOptimizer(0.05), "SGD", {}),
}


# The slots of the other optimizers have different names in legacy Keras 2.
_RESTORED = ("adam", "rmsprop", "gradient_descent")


def _estimator(make_optimizer, model_dir, checkpoint_format, with_step):
  made = {}

  def model_fn(features, labels, mode):
    model, optimizer = _model(), make_optimizer()
    spec = models.spec(mode, model(features["x"]), labels, optimizer)
    made.update(model=model, optimizer=optimizer)
    if with_step:
      made["step"] = v1.train.get_global_step()
    return spec

  decorate = eckpt.checkpointing(
    checkpoint_format, checkpoint=lambda: tf.train.Checkpoint(**made)
  )
  return models.estimator(decorate(model_fn), model_dir)


def _batches(first, count):
  rows = len(models.X)
  for step in range(first, first + count):
    at = np.arange(step * _BATCH, (step + 1) * _BATCH) % rows
    yield models.X[at], models.Y[at]


def _input_fn(first):
  def input_fn():
    return (
      tf.data.Dataset.from_tensor_slices(({"x": models.X}, models.Y))
      .repeat()
      .batch(_BATCH)
      .skip(first)
    )

  return input_fn


_CASES = [
  *(
    (name, checkpoint_format, False)
    for name in _OPTIMIZERS
    for checkpoint_format in ("tf2", "dual")
  ),
  ("adam", "tf2", True),
  ("adam", "dual", True),
]


@pytest.mark.parametrize(("name", "checkpoint_format", "with_step"), _CASES)
def test_eager_keras_goes_on_with_model_and_optimizer(
  name, checkpoint_format, with_step, tmp_path
):
  make_optimizer, keras_class, arguments = _OPTIMIZERS[name]
  estimator = _estimator(make_optimizer, tmp_path, checkpoint_format, with_step)
  estimator.train(_input_fn(0), steps=_STEPS)
  prefix = estimator.latest_checkpoint()
  after = {}
  for keras, made in _KERAS.items():
    model = _model()
    optimizer = getattr(made, keras_class)(0.05, **arguments)
    objects = {"model": model, "optimizer": optimizer}
    if with_step:
      objects["step"] = tf.Variable(0, dtype=tf.int64)
    restores = keras == "2-legacy" and name in _RESTORED
    if restores:
      status = tf.train.Checkpoint(**objects).restore(prefix)
    else:
      # Keras 2's new optimizers refuse any object with slot variables.
      estimator_ckpt.keras.load(model, prefix, optimizer)
    assert int(optimizer.iterations) == _STEPS
    for x, y in _batches(_STEPS, 3):
      with tf.GradientTape() as tape:
        loss = tf.reduce_mean(tf.square(model(x) - y))
      variables = model.trainable_variables
      optimizer.apply_gradients(zip(tape.gradient(loss, variables), variables))
    if restores:
      status.assert_existing_objects_matched().expect_partial()
      assert int(objects.get("step", _STEPS)) == _STEPS
    after[keras] = [v.numpy() for v in model.trainable_variables]
  # The Estimator itself resumes, and computes the same weights.
  again = _estimator(make_optimizer, tmp_path, checkpoint_format, with_step)
  again.train(_input_fn(_STEPS), steps=3)
  assert again.evaluate(models.eval_input_fn)["global_step"] == _STEPS + 3
  own = _model()
  tf.train.Checkpoint(model=own).restore(again.latest_checkpoint()).expect_partial()
  for keras, weights in after.items():
    for ours, theirs in zip(weights, own.trainable_variables):
      np.testing.assert_allclose(
        ours, theirs.numpy(), rtol=1e-5, atol=1e-6, err_msg=keras
      )


def test_nothing_is_stored_twice_for_it(tmp_path):
  make_optimizer = _OPTIMIZERS["adam"][0]
  estimator = _estimator(make_optimizer, tmp_path, "tf2", with_step=False)
  estimator.train(_input_fn(0), steps=1)
  with eckpt.open_checkpoint(tmp_path) as reader:
    assert not [key for key in reader if "/iter" in key or "/_momentums" in key]
