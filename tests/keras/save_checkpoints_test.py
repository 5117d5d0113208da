"""The callback saves while `fit` trains, in Keras 2 and in Keras 3."""

from __future__ import annotations

import os

import numpy as np
import pytest
import tensorflow as tf

import estimator_ckpt.keras
from estimator_ckpt import errors

v1 = tf.compat.v1
_X = np.sin(np.arange(60, dtype=np.float32).reshape(12, 5))
_Y = np.cos(np.arange(12, dtype=np.float32).reshape(12, 1))


@pytest.fixture
def like(tmp_path):
  """A checkpoint of TF1 code: a dense layer under gradient descent."""
  with tf.Graph().as_default(), v1.Session() as session:
    v1.get_variable("net/kernel", [5, 1])
    v1.get_variable("net/bias", [1])
    v1.train.create_global_step()
    session.run(v1.global_variables_initializer())
    return v1.train.Saver().save(session, str(tmp_path / "old" / "model.ckpt"))


@pytest.fixture
def manager(like, tmp_path):
  model = tf.keras.Sequential(
    [tf.keras.Input((5,)), tf.keras.layers.Dense(1, name="out")]
  )
  optimizer = tf.keras.optimizers.SGD(0.01)
  model.compile(optimizer, "mse")
  optimizer.build(model.trainable_variables)
  return estimator_ckpt.keras.CheckpointManager(
    tf.train.Checkpoint(model=model, optimizer=optimizer),
    tmp_path / "new",
    max_to_keep=None,
    like=like,
  )


def _fit(manager, *arguments, epochs=2, **options):
  callback = estimator_ckpt.keras.SaveCheckpoints(manager, *arguments, **options)
  model = manager.checkpoint.model
  model.fit(
    _X,
    _Y,
    batch_size=2,
    epochs=epochs,
    validation_data=(_X, _Y),
    verbose=0,
    callbacks=[callback],
  )
  model.predict(_X, verbose=0, callbacks=[callback])
  return callback


def _steps(manager):
  return [
    int(tf.train.load_variable(path, "global_step")) for path in manager.checkpoints
  ]


def test_each_epoch_is_saved(manager):
  callback = _fit(manager)
  assert _steps(manager) == [6, 12]
  assert callback.model is manager.checkpoint.model
  np.testing.assert_array_equal(
    tf.train.load_variable(manager.directory, "net/kernel"),
    manager.checkpoint.model.weights[0].numpy(),
  )


def test_every_so_many_batches_are_saved_and_the_last_ones(manager):
  _fit(manager, 5)
  assert _steps(manager) == [5, 10, 12]
  assert os.path.basename(manager.latest_checkpoint) == "ckpt-3"


def test_several_steps_at_once_are_counted(manager):
  model = manager.checkpoint.model
  model.compile(manager.checkpoint.optimizer, "mse", steps_per_execution=3)
  _fit(manager, 4)
  assert _steps(manager) == [6, 12]


def test_asynchronous_saves_are_written_when_fit_ends(manager):
  _fit(manager, options=tf.train.CheckpointOptions(enable_async=True), epochs=3)
  assert _steps(manager) == [6, 12, 18]


def test_a_manager_of_tensorflow_will_do(manager, tmp_path):
  plain = tf.train.CheckpointManager(manager.checkpoint, tmp_path / "plain", None)
  _fit(plain)
  assert list(map(os.path.basename, plain.checkpoints)) == ["ckpt-1", "ckpt-2"]


@pytest.mark.parametrize("save_freq", ["batch", 0, -1, 1.5, None, True])
def test_another_frequency_is_refused(save_freq, manager):
  with pytest.raises(errors.OptionError, match="save_freq="):
    estimator_ckpt.keras.SaveCheckpoints(manager, save_freq)
