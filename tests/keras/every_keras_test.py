"""`keras.load` under each tf.keras: from TensorFlow 2.4 on, and an error before.

`//tests/interop:smoke_test` runs this file under each TensorFlow.
"""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

import estimator_ckpt.keras
from estimator_ckpt import errors
from tests.bundle_builder import BundleBuilder

_KERNEL = np.arange(12, dtype=np.float32).reshape(3, 4)
_BIAS = np.arange(4, dtype=np.float32)


def _checkpoint(path):
  """One that TensorFlow 1's AdamOptimizer leaves after 2 steps."""
  builder = BundleBuilder()
  for name, value in (("kernel", _KERNEL), ("bias", _BIAS)):
    builder.numbers("hidden/" + name, value)
    builder.numbers("hidden/" + name + "/Adam", value + 1)
    builder.numbers("hidden/" + name + "/Adam_1", value + 2)
  builder.numbers("beta1_power", 0.9**3)
  builder.numbers("beta2_power", 0.999**3)
  builder.numbers("global_step", 2, "int64")
  return builder.write(str(path / "model.ckpt-2"))


def _model():
  layer = tf.keras.layers.Dense(4, name="hidden", input_shape=(3,))
  return tf.keras.Sequential([layer])


@pytest.mark.skipif(
  tf.__version__.startswith(("1.", "2.1.")), reason="its Keras names no layers"
)
def test_weights_and_optimizer_state_are_loaded(tmp_path):
  model = _model()
  optimizer = tf.keras.optimizers.Adam(0.1)
  model.compile(optimizer, "mse")
  estimator_ckpt.keras.load(model, _checkpoint(tmp_path), optimizer)
  np.testing.assert_array_equal(model.get_weights()[0], _KERNEL)
  np.testing.assert_array_equal(model.get_weights()[1], _BIAS)
  held = optimizer.variables
  held = [v.numpy() for v in (held() if callable(held) else held)]
  for wanted in (_KERNEL + 1, _KERNEL + 2, _BIAS + 1, _BIAS + 2):
    assert any(np.array_equal(wanted, value) for value in held), wanted
  assert int(optimizer.iterations.numpy()) == 2


@pytest.mark.skipif(
  not tf.__version__.startswith(("1.", "2.1.")), reason="its Keras names its layers"
)
def test_a_keras_that_names_no_layers_is_an_error_that_says_where_to_go(tmp_path):
  checkpoint = _checkpoint(tmp_path)
  with pytest.raises(
    errors.OptionError, match="no keras.Model of TensorFlow 2.4 or newer"
  ):
    estimator_ckpt.keras.load(_model(), checkpoint)
