"""Recurrent layers give the outputs that TensorFlow 1.15's cells gave.

Runs under Keras 2 and, from tests/interop, under Keras 3.
"""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

import estimator_ckpt.keras
from estimator_ckpt import errors
from tests.bundle_builder import BundleBuilder

_CELLS = {
  "lstm": lambda: tf.keras.layers.LSTM(3, return_sequences=True),
  "basic_lstm": lambda: tf.keras.layers.LSTM(3, return_sequences=True),
  "lstm_block": lambda: tf.keras.layers.LSTM(3, return_sequences=True),
  "cudnn_compatible_lstm": lambda: tf.keras.layers.LSTM(3, return_sequences=True),
  "gru": lambda: tf.keras.layers.GRU(3, return_sequences=True, reset_after=False),
  "gru_block": lambda: tf.keras.layers.GRU(3, return_sequences=True, reset_after=False),
  "cudnn_compatible_gru": lambda: tf.keras.layers.GRU(3, return_sequences=True),
  "basic_rnn": lambda: tf.keras.layers.SimpleRNN(3, return_sequences=True),
}


def _load_cell(scope, layer, testdata, **options):
  golden = testdata / "tf1.15" / "rnn_cells"
  model = tf.keras.Sequential([tf.keras.Input((4, 5)), layer])
  ignore = [f"(?!{scope}/).*"]
  estimator_ckpt.keras.load(model, golden / "model.ckpt-7", ignore=ignore, **options)
  data = np.load(golden / "data.npz")
  return model(data["x"]).numpy(), data[f"{scope}/output"]


@pytest.mark.parametrize("scope", sorted(_CELLS))
def test_a_recurrent_cell_of_tf1_gives_the_same_outputs(scope, testdata):
  ours, theirs = _load_cell(scope, _CELLS[scope](), testdata)
  np.testing.assert_allclose(ours, theirs, atol=1e-6)


@pytest.mark.parametrize("scope", ["lstm", "gru"])
def test_a_layer_that_is_not_built_too(scope, testdata):
  golden = testdata / "tf1.15" / "rnn_cells"
  model = tf.keras.Sequential([_CELLS[scope]()])
  ignore = [f"(?!{scope}/).*"]
  report = estimator_ckpt.keras.load(model, golden / "model.ckpt-7", ignore=ignore)
  assert report.pending
  data = np.load(golden / "data.npz")
  found = model(tf.constant(data["x"])).numpy()
  np.testing.assert_allclose(found, data[f"{scope}/output"], atol=1e-6)
  assert report.is_complete


def test_both_directions(testdata):
  golden = testdata / "tf1.15" / "rnn_cells"
  lstm = tf.keras.layers.LSTM(3, return_sequences=True)
  model = tf.keras.Sequential(
    [tf.keras.Input((4, 5)), tf.keras.layers.Bidirectional(lstm, merge_mode="concat")]
  )
  ignore = ["(?!bidirectional/).*"]
  estimator_ckpt.keras.load(model, golden / "model.ckpt-7", ignore=ignore)
  data = np.load(golden / "data.npz")
  both = [data["bidirectional/output_fw"], data["bidirectional/output_bw"]]
  found = model(data["x"]).numpy()
  np.testing.assert_allclose(found, np.concatenate(both, axis=-1), atol=1e-6)


def test_cells_on_top_of_one_another(testdata):
  golden = testdata / "tf1.15" / "rnn_cells"
  model = tf.keras.Sequential(
    [
      tf.keras.Input((4, 5)),
      tf.keras.layers.LSTM(3, return_sequences=True),
      tf.keras.layers.LSTM(3, return_sequences=True),
    ]
  )
  ignore = ["(?!stacked_lstm/).*"]
  estimator_ckpt.keras.load(model, golden / "model.ckpt-7", ignore=ignore)
  data = np.load(golden / "data.npz")
  found = model(data["x"]).numpy()
  np.testing.assert_allclose(found, data["stacked_lstm/output"], atol=1e-6)


def test_the_slots_of_a_gru_with_two_biases_are_refused_by_name(tmp_path):
  n, u = 5, 3
  cell = "rnn/cudnn_compatible_gru_cell/"
  shapes = {
    "gates/kernel": (n + u, 2 * u),
    "gates/bias": (2 * u,),
    "candidate/input_projection/kernel": (n, u),
    "candidate/input_projection/bias": (u,),
    "candidate/hidden_projection/kernel": (u, u),
    "candidate/hidden_projection/bias": (u,),
  }
  builder = BundleBuilder()
  for name, shape in shapes.items():
    for suffix in ("", "/Adam", "/Adam_1"):
      builder.numbers(cell + name + suffix, np.ones(shape))
  builder.numbers("global_step", 7, "int64")
  prefix = builder.write(str(tmp_path / "m"))
  model = tf.keras.Sequential([tf.keras.Input((4, n)), tf.keras.layers.GRU(u)])
  before = model.get_weights()
  optimizer = tf.keras.optimizers.Adam(epsilon=1e-8)
  with pytest.raises(errors.VariableMismatchError, match="bias: .*one bias for each"):
    estimator_ckpt.keras.load(model, prefix, optimizer)
  for ours, old in zip(model.get_weights(), before):
    np.testing.assert_array_equal(ours, old)
  estimator_ckpt.keras.load(model, prefix)
  assert np.all(model.get_weights()[0] == 1)


def test_a_forget_bias_is_as_told(testdata):
  scope = "basic_lstm_no_forget_bias"
  layer = tf.keras.layers.LSTM(3, return_sequences=True)
  ours, theirs = _load_cell(scope, layer, testdata, forget_bias=0.0)
  np.testing.assert_allclose(ours, theirs, atol=1e-6)


@pytest.mark.parametrize("end", ["", "/"])
def test_a_forget_bias_is_told_by_the_scope_that_the_checkpoint_has(end, testdata):
  scope = "basic_lstm_no_forget_bias"
  layer = tf.keras.layers.LSTM(3, return_sequences=True)
  ours, theirs = _load_cell(
    scope,
    layer,
    testdata,
    forget_bias={scope + end: 0.0},
    name_map={f"{scope}/": "renamed/"},
  )
  np.testing.assert_allclose(ours, theirs, atol=1e-6)


@pytest.mark.parametrize(
  ("key", "message"),
  [
    (
      "basic_lstm_no_forget_bia",
      "no variable in it. Did you mean 'basic_lstm_no_forget",
    ),
    ("renamed", "no variable in it"),
    ("gru", "no LSTM cell that is loaded in it"),
  ],
)
def test_a_scope_of_a_forget_bias_that_nothing_uses_is_an_error(key, message, testdata):
  scope = "basic_lstm_no_forget_bias"
  layer = tf.keras.layers.LSTM(3, return_sequences=True)
  with pytest.raises(errors.OptionError, match=message):
    _load_cell(
      scope,
      layer,
      testdata,
      forget_bias={key: 0.0},
      name_map={f"{scope}/": "renamed/"},
    )
  assert np.all(layer.cell.bias.numpy()[:3] == 0)


@pytest.mark.parametrize(
  ("scope", "reason"), [("lstm_peepholes", "peephole"), ("lstm_projection", "projects")]
)
def test_what_keras_has_no_cell_for_is_refused_by_name(scope, reason, testdata):
  with pytest.raises(errors.VariableMismatchError, match=reason):
    _load_cell(scope, tf.keras.layers.LSTM(3, return_sequences=True), testdata)


@pytest.mark.parametrize("scope", ["rnn/layer_norm_basic_lstm_cell", "encoder/cell"])
def test_a_layer_norm_cell_is_refused_and_no_map_is_proposed(scope, tmp_path):
  n, u = 5, 3
  builder = BundleBuilder()
  builder.numbers(f"{scope}/kernel", np.ones((n + u, 4 * u)))
  for gate in ("input", "transform", "forget", "output", "state"):
    for leaf in ("gamma", "beta"):
      builder.numbers(f"{scope}/{gate}/{leaf}", np.ones(u))
  prefix = builder.write(str(tmp_path / "m"))
  model = tf.keras.Sequential([tf.keras.Input((4, n)), tf.keras.layers.LSTM(u)])
  with pytest.raises(errors.VariableMismatchError) as caught:
    estimator_ckpt.keras.load(model, prefix)
  assert "normalizes its gates (layer normalization)" in str(caught.value)
  assert "name_map=" not in str(caught.value)
