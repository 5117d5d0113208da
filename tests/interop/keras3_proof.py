"""Keras 3 goes on where TensorFlow 1 stopped; run on TensorFlow 2.16 or later."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

import estimator_ckpt.keras
from estimator_ckpt import errors
from estimator_ckpt.checkpoint.reader import open_checkpoint
from estimator_ckpt.files.keras import keras_conversion
from estimator_ckpt.keras.keras_options import KerasOptions
from tests.keras import proof as keras_proof


def _optimizer(case):
  return getattr(tf.keras.optimizers, case.keras_class)(**case.keras_arguments)


@pytest.mark.parametrize("name", sorted(keras_proof.CASES))
def test_an_optimizer_goes_on_as_in_tf1(name, tmp_path):
  case = keras_proof.CASES[name]
  keras_proof.prove(case, _optimizer(case), str(tmp_path / "m"))


@pytest.mark.parametrize("name", ["adam", "adagrad"])
def test_an_embedding_goes_on_as_in_tf1_once_its_gradients_are_summed(name, tmp_path):
  case = dataclasses.replace(keras_proof.CASES[name], embedding=True)
  prefix = str(tmp_path / "m")
  with pytest.raises(errors.UnsupportedCheckpointError, match="sum_sparse_gradients"):
    keras_proof.prove(case, _optimizer(case), prefix)
  optimizer = estimator_ckpt.keras.sum_sparse_gradients(_optimizer(case))
  keras_proof.prove(case, optimizer, prefix)


@pytest.mark.parametrize("name", sorted(keras_proof.CASES))
def test_a_converted_checkpoint_is_consumed_and_leads_back(name, tmp_path):
  case = keras_proof.CASES[name]
  prefix = str(tmp_path / "m")
  in_tf1 = keras_proof.train_in_tf1(case, prefix)
  model, optimizer = keras_proof.keras_model(), _optimizer(case)
  optimizer.build(model.trainable_variables)
  checkpoint = tf.train.Checkpoint(model=model, optimizer=optimizer)
  like = checkpoint.write(str(tmp_path / "like"))
  target, back = str(tmp_path / "out" / "m"), str(tmp_path / "back")
  known = ("epsilon", "beta_1", "beta_2")
  settings = {k: v for k, v in case.keras_arguments.items() if k in known}
  keras_conversion.convert_to_keras(
    prefix, target, KerasOptions(keras="3", like=like, settings=settings)
  )
  model, optimizer = keras_proof.keras_model(), _optimizer(case)
  checkpoint = tf.train.Checkpoint(model=model, optimizer=optimizer)
  status = checkpoint.restore(target)
  before = keras_proof.STEPS_BEFORE
  data = keras_proof.batches(before + keras_proof.STEPS_AFTER)[before:]
  losses, _ = keras_proof.train_in_keras(model, optimizer, data)
  status.assert_consumed()
  np.testing.assert_allclose(losses, in_tf1["losses"][before:], rtol=1e-5)
  keras_conversion.convert_from_keras(
    checkpoint.write(str(tmp_path / "k")),
    back,
    KerasOptions(like=prefix, settings=settings),
  )
  after = open_checkpoint(back)
  assert set(after) == set(open_checkpoint(prefix))
  assert after["global_step"] == before + keras_proof.STEPS_AFTER


@pytest.mark.parametrize("name", sorted(keras_proof.CASES))
def test_the_command_line_converts_what_goes_on_as_in_tf1(name, tmp_path):
  case = keras_proof.CASES[name]
  prefix = str(tmp_path / "m")
  in_tf1 = keras_proof.train_in_tf1(case, prefix)
  keras_proof.prove_converted(case, "3", _optimizer(case), prefix, in_tf1)


@pytest.mark.parametrize("built", [True, False], ids=["built", "deferred"])
def test_stock_loads_nothing_and_says_nothing(built, tmp_path):
  prefix = str(tmp_path / "m")
  in_tf1 = keras_proof.train_in_tf1(keras_proof.CASES["adam"], prefix)
  trained = in_tf1["weights"][keras_proof.STEPS_BEFORE]["net/dense_0/kernel"]
  x = np.zeros((1, 5), np.float32)
  stock, ours = keras_proof.Net(), keras_proof.Net()
  if built:
    stock(x), ours(x)
  tf.train.Checkpoint(model=stock).restore(prefix).expect_partial()
  stock(x)
  assert not np.allclose(stock.dense_0.kernel.numpy(), trained)
  report = estimator_ckpt.keras.load(ours, prefix)
  ours(x)
  assert report.is_complete
  np.testing.assert_array_equal(ours.dense_0.kernel.numpy(), trained)


def test_weights_are_written_for_load_weights(tmp_path):
  prefix = str(tmp_path / "m")
  keras_proof.train_in_tf1(keras_proof.CASES["gradient_descent"], prefix)
  model, other = keras_proof.keras_model(), keras_proof.keras_model()
  path = str(tmp_path / "m.weights.h5")
  estimator_ckpt.keras.save_weights(model, prefix, path)
  other.load_weights(path)
  for ours, theirs in zip(other.get_weights(), model.get_weights()):
    np.testing.assert_array_equal(ours, theirs)


def test_weights_of_a_subclassed_model_are_written_once_it_is_built(tmp_path):
  prefix = str(tmp_path / "m")
  keras_proof.train_in_tf1(keras_proof.CASES["gradient_descent"], prefix)
  path = tmp_path / "m.weights.h5"
  with pytest.raises(errors.VariableMismatchError, match="not built"):
    estimator_ckpt.keras.save_weights(keras_proof.Net(), prefix, path)
  assert not path.exists()
  model, other = keras_proof.Net(), keras_proof.Net()
  for made in (model, other):
    made(np.zeros((1, 5), np.float32))
  estimator_ckpt.keras.save_weights(model, prefix, path)
  other.load_weights(str(path))
  for ours, theirs in zip(other.get_weights(), model.get_weights()):
    np.testing.assert_array_equal(ours, theirs)
  assert np.any(model.get_weights()[0])


def test_a_whole_model_is_written_with_its_optimizer(tmp_path):
  case = keras_proof.CASES["adam"]
  prefix = str(tmp_path / "m")
  in_tf1 = keras_proof.train_in_tf1(case, prefix)
  model = keras_proof.keras_model()
  model.compile(_optimizer(case), "mse")
  path = tmp_path / "m.keras"
  estimator_ckpt.keras.save_weights(model, prefix, path, optimizer=model.optimizer)
  loaded = tf.keras.models.load_model(path)
  before = keras_proof.STEPS_BEFORE
  assert int(loaded.optimizer.iterations) == before
  data = keras_proof.batches(before + 3)[before:]
  losses, _ = keras_proof.train_in_keras(loaded, loaded.optimizer, data)
  np.testing.assert_allclose(losses, in_tf1["losses"][before : before + 3], rtol=1e-5)
