"""Keras 2 goes on where TensorFlow 1 stopped, with weights and optimizer state."""

from __future__ import annotations

import dataclasses
import importlib

import numpy as np
import pytest
import tensorflow as tf

import estimator_ckpt.keras
from estimator_ckpt import errors
from estimator_ckpt.checkpoint.reader import open_checkpoint
from estimator_ckpt.files.keras import keras_conversion
from estimator_ckpt.files.keras.starter_map import make_map
from estimator_ckpt.keras import model as keras_model
from estimator_ckpt.keras.keras_options import KerasOptions
from tests.bundle_builder import BundleBuilder
from tests.keras import proof as keras_proof

_OPTIMIZERS = {
  "2": tf.keras.optimizers,
  "2-legacy": tf.keras.optimizers.legacy,
}
_REFUSED = {("2-legacy", "rmsprop"), ("2-legacy", "rmsprop_centered")}


def _optimizer(keras, case, **others):
  kind = getattr(_OPTIMIZERS[keras], case.keras_class)
  return kind(**{**case.keras_arguments, **others})


def _has(keras, case):
  """Whether that Keras has the optimizer; legacy Keras 2 has no AdamW."""
  return hasattr(_OPTIMIZERS[keras], case.keras_class)


@pytest.mark.parametrize(
  ("keras", "name"),
  [
    (keras, name)
    for keras in sorted(_OPTIMIZERS)
    for name, case in sorted(keras_proof.CASES.items())
    if _has(keras, case)
  ],
)
def test_an_optimizer_goes_on_as_in_tf1(name, keras, tmp_path):
  case = keras_proof.CASES[name]
  others = {"momentum": 1e-30} if (keras, name) in _REFUSED else {}
  keras_proof.prove(case, _optimizer(keras, case, **others), str(tmp_path / "m"))


@pytest.mark.parametrize("checkpoint_format", ["tf2", "dual"])
@pytest.mark.parametrize("name", ["adam", "momentum"])
def test_every_format_is_loaded_alike(name, checkpoint_format, tmp_path):
  case = keras_proof.CASES[name]
  prefix, other = str(tmp_path / "tf1"), str(tmp_path / "other")
  keras_proof.train_in_tf1(case, prefix)
  estimator_ckpt.convert(prefix, other, to=checkpoint_format)
  loaded = []
  for path in (prefix, other):
    model, optimizer = keras_proof.keras_model(), _optimizer("2", case)
    assert estimator_ckpt.keras.load(model, path, optimizer).is_complete
    loaded.append([v.numpy() for v in [*model.variables, *optimizer.variables]])
  for expected, found in zip(*loaded):
    np.testing.assert_array_equal(expected, found)
  assert any(np.any(value) for value in loaded[0])


@pytest.mark.parametrize("name", ["rmsprop", "rmsprop_centered"])
def test_epsilon_outside_the_root_is_refused(name, tmp_path):
  case = keras_proof.CASES[name]
  with pytest.raises(errors.UnsupportedCheckpointError, match="momentum=1e-30"):
    keras_proof.prove(case, _optimizer("2-legacy", case), str(tmp_path / "m"))


@pytest.mark.parametrize("name", ["adam", "adagrad", "gradient_descent"])
def test_an_embedding_goes_on_as_in_tf1(name, tmp_path):
  case = dataclasses.replace(keras_proof.CASES[name], embedding=True)
  keras_proof.prove(case, _optimizer("2", case), str(tmp_path / "m"))


@pytest.mark.parametrize("keras", sorted(_OPTIMIZERS))
def test_stock_leaves_the_optimizer_at_its_start(keras, tmp_path):
  case = keras_proof.CASES["adam"]
  prefix = str(tmp_path / "m")
  keras_proof.train_in_tf1(case, prefix)
  model, optimizer = keras_proof.keras_model(), _optimizer(keras, case)
  status = tf.train.Checkpoint(model=model, optimizer=optimizer).restore(prefix)
  with pytest.raises(AssertionError):
    status.assert_consumed()
  assert int(optimizer.iterations) == 0
  estimator_ckpt.keras.load(model, prefix, optimizer)
  assert int(optimizer.iterations) == keras_proof.STEPS_BEFORE


def test_momentum_of_an_embedding_is_refused(tmp_path):
  case = dataclasses.replace(keras_proof.CASES["momentum"], embedding=True)
  with pytest.raises(errors.UnsupportedCheckpointError, match="does not look up"):
    keras_proof.prove(case, _optimizer("2", case), str(tmp_path / "m"))


@pytest.mark.parametrize("name", ["adam", "momentum", "adagrad", "rmsprop_momentum"])
@pytest.mark.parametrize("keras", sorted(_OPTIMIZERS))
def test_there_and_back_gives_the_same_tensors(name, keras, tmp_path):
  case = keras_proof.CASES[name]
  prefix = str(tmp_path / "m")
  keras_proof.train_in_tf1(case, prefix)
  model, optimizer = keras_proof.keras_model(), _optimizer(keras, case)
  estimator_ckpt.keras.load(model, prefix, optimizer)
  saved = tf.train.Checkpoint(model=model, optimizer=optimizer).save(
    str(tmp_path / "k")
  )
  known = ("epsilon", "beta_1", "beta_2", "momentum")
  settings = {k: v for k, v in case.keras_arguments.items() if k in known}
  back = str(tmp_path / "back")
  keras_conversion.convert_from_keras(
    saved, back, KerasOptions(like=prefix, settings=settings)
  )
  before, after = open_checkpoint(prefix), open_checkpoint(back)
  assert set(before) == set(after)
  for key, value in before.items():
    np.testing.assert_allclose(after[key], value, rtol=1e-6, atol=1e-9, err_msg=key)


def test_betas_that_keras_does_not_store_are_not_taken_for_the_defaults(tmp_path):
  betas = {"beta_1": 0.8, "beta_2": 0.95}
  case = dataclasses.replace(
    keras_proof.CASES["adam"],
    tf1_arguments={"learning_rate": 0.05, "beta1": 0.8, "beta2": 0.95},
    keras_arguments={"learning_rate": 0.05, "epsilon": 1e-8, **betas},
  )
  prefix = str(tmp_path / "m")
  keras_proof.train_in_tf1(case, prefix)
  model, optimizer = keras_proof.keras_model(), _optimizer("2", case)
  estimator_ckpt.keras.load(model, prefix, optimizer)
  checkpoint = tf.train.Checkpoint(model=model, optimizer=optimizer)
  saved, back = checkpoint.save(str(tmp_path / "k")), str(tmp_path / "back")
  with pytest.raises(errors.OptionError, match=r"step 7 of 0\.8.*--optimizer_setting"):
    keras_conversion.convert_from_keras(saved, back, KerasOptions(like=prefix))
  keras_conversion.convert_from_keras(
    saved, back, KerasOptions(like=prefix, settings=betas)
  )
  for name in ("beta1_power", "beta2_power"):
    np.testing.assert_allclose(
      open_checkpoint(back)[name], open_checkpoint(prefix)[name], rtol=1e-6
    )


@pytest.mark.parametrize("name", ["adam", "momentum", "gradient_descent", "ftrl"])
@pytest.mark.parametrize("keras", sorted(_OPTIMIZERS))
def test_a_converted_checkpoint_is_consumed(name, keras, tmp_path):
  case = keras_proof.CASES[name]
  prefix = str(tmp_path / "m")
  in_tf1 = keras_proof.train_in_tf1(case, prefix)
  model, optimizer = keras_proof.keras_model(), _optimizer(keras, case)
  keras_proof.train_in_keras(model, optimizer, keras_proof.batches(1))
  checkpoint = tf.train.Checkpoint(model=model, optimizer=optimizer)
  like = checkpoint.write(str(tmp_path / "like"))
  target = str(tmp_path / "out" / "m")
  keras_conversion.convert_to_keras(
    prefix, target, KerasOptions(keras=keras, like=like)
  )
  model, optimizer = keras_proof.keras_model(), _optimizer(keras, case)
  status = tf.train.Checkpoint(model=model, optimizer=optimizer).restore(target)
  before = keras_proof.STEPS_BEFORE
  data = keras_proof.batches(before + keras_proof.STEPS_AFTER)[before:]
  losses, _ = keras_proof.train_in_keras(model, optimizer, data)
  status.assert_consumed()
  np.testing.assert_allclose(losses, in_tf1["losses"][before:], rtol=1e-5)


@pytest.mark.parametrize("name", sorted(keras_proof.CASES))
def test_the_command_line_converts_what_goes_on_as_in_tf1(name, tmp_path):
  case = keras_proof.CASES[name]
  prefix = str(tmp_path / "m")
  in_tf1 = keras_proof.train_in_tf1(case, prefix)
  for keras in sorted(_OPTIMIZERS):
    if not _has(keras, case):
      continue
    others = {"momentum": 1e-30} if (keras, name) in _REFUSED else {}
    optimizer = _optimizer(keras, case, **others)
    keras_proof.prove_converted(case, keras, optimizer, prefix, in_tf1)


def test_a_model_that_is_not_built_is_loaded_before_its_first_use(tmp_path):
  case = keras_proof.CASES["adam"]
  prefix = str(tmp_path / "m")
  keras_proof.train_in_tf1(case, prefix)
  built = keras_proof.keras_model()
  estimator_ckpt.keras.load(built, prefix)
  dense = tf.keras.layers.Dense
  model = tf.keras.Sequential(
    [
      dense(6, "tanh", name="dense_0"),
      dense(4, "tanh", name="dense_1"),
      dense(2, name="dense_2"),
    ]
  )
  report = estimator_ckpt.keras.load(model, prefix, _optimizer("2", case))
  assert not report.is_complete
  assert report.pending["dense_0"] == "net/dense_0"
  ((inputs, _),) = keras_proof.batches(1)
  np.testing.assert_allclose(model(inputs), built(inputs), atol=1e-6)
  assert not report.missing and not report.unused


def test_an_error_has_the_map_that_fixes_it_and_leaves_the_model_alone(tmp_path):
  prefix = str(tmp_path / "m")
  keras_proof.train_in_tf1(keras_proof.CASES["adam"], prefix)
  model = tf.keras.Sequential([tf.keras.Input((5,)), tf.keras.layers.Dense(6)])
  before = model.get_weights()
  with pytest.raises(errors.VariableMismatchError, match="in the checkpoint only"):
    estimator_ckpt.keras.load(model, prefix)
  for ours, old in zip(model.get_weights(), before):
    np.testing.assert_array_equal(ours, old)


def test_slots_of_layers_of_one_name_are_not_left_out_without_a_word(tmp_path):
  def block(name):
    inputs = tf.keras.Input((3,))
    outputs = tf.keras.layers.Dense(3, use_bias=False, name="dense")(inputs)
    return tf.keras.Model(inputs, outputs, name=name)

  inputs = tf.keras.Input((3,))
  model = tf.keras.Model(inputs, block("decoder")(block("encoder")(inputs)))
  optimizer = tf.keras.optimizers.Adam()
  optimizer.build(model.trainable_variables)
  checkpoint = tf.train.Checkpoint(model=model, optimizer=optimizer)
  saved = checkpoint.write(str(tmp_path / "k"))
  stored = BundleBuilder()
  for scope in ("encoder", "decoder"):
    for slot in ("", "/Adam", "/Adam_1"):
      stored.numbers(f"{scope}/dense/kernel{slot}", np.ones((3, 3)))
  for name, beta in (("beta1_power", 0.9), ("beta2_power", 0.999)):
    stored.numbers(name, beta**8)
  stored.numbers("global_step", 7, "int64")
  prefix = stored.write(str(tmp_path / "m"))
  name_map = {rule.old: rule.new for rule in make_map(prefix, saved).rules}
  with pytest.raises(errors.UnsupportedCheckpointError, match="several variables"):
    keras_conversion.convert_to_keras(
      prefix, str(tmp_path / "a"), KerasOptions(like=saved, name_map=name_map)
    )
  with pytest.raises(errors.UnsupportedCheckpointError, match="several variables"):
    keras_conversion.convert_from_keras(
      saved,
      str(tmp_path / "b"),
      KerasOptions(like=prefix, name_map={new: old for old, new in name_map.items()}),
    )


def test_numbers_that_count_from_elsewhere_keep_the_order_on_the_way_back(tmp_path):
  layers = [tf.keras.layers.Dense(3, name=f"dense_{i}") for i in (1, 2)]
  model = tf.keras.Sequential([tf.keras.Input((3,)), *layers])
  inner = tf.Module()
  inner.sequential = tf.Module()
  for layer in layers:
    with tf.name_scope(f"sequential_8/{layer.name}"):
      module = tf.Module()
      for leaf, weight in zip(("kernel", "bias"), layer.weights):
        setattr(module, leaf, tf.Variable(weight + 1.0, name=leaf))
    setattr(inner.sequential, layer.name, module)
  saved = tf.train.Checkpoint(model=inner).write(str(tmp_path / "k"))
  stored = BundleBuilder()
  for scope in ("dense", "dense_1"):
    stored.numbers(f"{scope}/kernel", np.ones((3, 3)))
    stored.numbers(f"{scope}/bias", np.ones(3))
  prefix, back = stored.write(str(tmp_path / "m")), str(tmp_path / "b")
  rules = {rule.old: rule.new for rule in make_map(saved, prefix).rules}
  assert rules["sequential_8/dense_1/kernel"] == "dense/kernel"
  keras_conversion.convert_from_keras(saved, back, KerasOptions(like=prefix))
  for scope, layer in zip(("dense", "dense_1"), model.layers):
    np.testing.assert_array_equal(
      open_checkpoint(back)[f"{scope}/kernel"], layer.kernel.numpy() + 1.0
    )


def test_a_suggested_map_of_cells_is_of_whole_cells(tmp_path):
  rng = np.random.RandomState(0)
  stored = BundleBuilder()
  for scope in ("decoder", "encoder"):
    stored.numbers(f"{scope}/rnn/lstm_cell/kernel", rng.rand(5, 8).astype("f"))
    stored.numbers(f"{scope}/rnn/lstm_cell/bias", rng.rand(8).astype("f"))
  prefix = stored.write(str(tmp_path / "m"))
  lstm = tf.keras.layers.LSTM
  model = tf.keras.Sequential(
    [
      tf.keras.Input((4, 3)),
      lstm(2, name="encoder", return_sequences=True),
      tf.keras.layers.Dense(3, use_bias=False, name="between"),
      lstm(2, name="decoder"),
    ]
  )
  with pytest.raises(errors.VariableMismatchError) as caught:
    estimator_ckpt.keras.load(model, prefix, keep=[".*between/kernel"])
  text = str(caught.value)
  name_map = eval(text.partition("name_map=")[2].partition("}")[0] + "}")
  assert all(old.endswith("/") and new.endswith("/") for old, new in name_map.items())
  assert "ignore=" not in text and "is to stay" not in text
  estimator_ckpt.keras.load(model, prefix, name_map=name_map, keep=[".*between/kernel"])
  for layer in (model.layers[0], model.layers[2]):
    kernel = open_checkpoint(prefix)[f"{layer.name}/rnn/lstm_cell/kernel"]
    found = layer.get_weights()[0]
    np.testing.assert_array_equal(found[:, 2:4], kernel[:3, 4:6])


def test_the_bias_of_a_cell_is_not_taken_without_its_gates(tmp_path):
  stored = BundleBuilder()
  stored.numbers("lstm/bias", np.arange(8))
  prefix = stored.write(str(tmp_path / "m"))
  layer = tf.keras.layers.LSTM(2, name="lstm")
  model = tf.keras.Sequential([tf.keras.Input((4, 3)), layer])
  scope = layer.cell.name
  with pytest.raises(errors.VariableMismatchError):
    estimator_ckpt.keras.load(
      model,
      prefix,
      name_map={"lstm/bias": f"lstm/{scope}/bias"},
      keep=[".*kernel"],
    )


@pytest.mark.parametrize("kind", ["LSTM", "GRU"])
def test_the_weights_of_a_cudnn_layer_are_those_that_keras_itself_makes(kind, tmp_path):
  """Keras 2 converts the weights when it reads an HDF5 file, in a private function."""
  package = tf.keras.layers.LSTM.__module__.partition(".")[0]
  hdf5_format = importlib.import_module(f"{package}.src.saving.legacy.hdf5_format")
  gates, n, u = (4, 5, 3) if kind == "LSTM" else (3, 5, 3)
  rng = np.random.RandomState(2)
  shapes = {
    "kernel": (n, gates * u),
    "recurrent_kernel": (u, gates * u),
    "bias": (2 * gates * u,),
  }
  stored = {name: rng.randn(*shape).astype("f") for name, shape in shapes.items()}
  builder = BundleBuilder()
  for name, value in stored.items():
    builder.numbers(f"cu_dnn/{name}", value)
  prefix = builder.write(str(tmp_path / "m"))
  layer = getattr(tf.keras.layers, kind)(u)
  model = tf.keras.Sequential([tf.keras.Input((4, n)), layer])
  estimator_ckpt.keras.load(model, prefix)
  expected = hdf5_format._convert_rnn_weights(layer, list(stored.values()))
  for ours, theirs in zip(layer.get_weights(), expected):
    np.testing.assert_allclose(ours, theirs, rtol=1e-6)


_N, _U = 5, 3
_TF1_CELLS = {
  "LSTM": {
    "rnn/lstm_cell/kernel": (_N + _U, 4 * _U),
    "rnn/lstm_cell/bias": (4 * _U,),
  },
  "GRU": {
    "rnn/gru_cell/gates/kernel": (_N + _U, 2 * _U),
    "rnn/gru_cell/gates/bias": (2 * _U,),
    "rnn/gru_cell/candidate/kernel": (_N + _U, _U),
    "rnn/gru_cell/candidate/bias": (_U,),
  },
}


def _recurrent_model(kind):
  options = {"reset_after": False} if kind == "GRU" else {}
  layer = getattr(tf.keras.layers, kind)(_U, name="recurrent", **options)
  return tf.keras.Sequential(
    [tf.keras.Input((4, _N)), layer, tf.keras.layers.Dense(2, name="last")]
  )


@pytest.mark.parametrize("kind", ["LSTM", "GRU"])
@pytest.mark.parametrize("keras", sorted(_OPTIMIZERS))
def test_a_recurrent_cell_and_its_slots_go_there_and_back(kind, keras, tmp_path):
  rng = np.random.RandomState(4)
  shapes = {**_TF1_CELLS[kind], "out/kernel": (_U, 2), "out/bias": (2,)}
  tensors = {
    name + slot: rng.rand(*shape).astype("f")
    for name, shape in shapes.items()
    for slot in ("", "/Adam", "/Adam_1")
  }
  builder = BundleBuilder()
  for name, value in tensors.items():
    builder.numbers(name, value)
  for name, beta in (("beta1_power", 0.9), ("beta2_power", 0.999)):
    builder.numbers(name, beta**8)
  builder.numbers("global_step", 7, "int64")
  source = builder.write(str(tmp_path / "tf1"))
  adam = _OPTIMIZERS[keras].Adam(epsilon=1e-8)
  model = _recurrent_model(kind)
  zeros = [tf.zeros_like(v) for v in model.trainable_variables]
  adam.apply_gradients(zip(zeros, model.trainable_variables))
  checkpoint = tf.train.Checkpoint(model=model, optimizer=adam)
  like = checkpoint.write(str(tmp_path / "like"))

  def convert(old, new, other, to):
    names = [f"{rule.old}:{rule.new}" for rule in make_map(old, other).rules]
    options = {"settings": {"epsilon": 1e-8}}
    estimator_ckpt.convert(
      old, str(new), to, like=other, name_map=names, keras_options=options
    )
    return str(new)

  converted = convert(source, tmp_path / "keras", like, "tf2")
  checkpoint.restore(converted).assert_consumed()
  # The moments have the weights' order of gates, as if loaded alone as weights.
  builder = BundleBuilder()
  for name in shapes:
    builder.numbers(name, tensors[name + "/Adam_1"])
  other = _recurrent_model(kind)
  scopes = {"rnn/": "recurrent/", "out/": "last/"}
  estimator_ckpt.keras.load(
    other, builder.write(str(tmp_path / "v")), name_map=scopes, forget_bias=0.0
  )
  for variable, expected in zip(model.trainable_variables, other.get_weights()):
    slot = keras_model.KerasOptimizer(adam).slot(
      variable, "v" if keras == "2-legacy" else "_velocities"
    )
    np.testing.assert_array_equal(slot, expected)
  back = convert(converted, tmp_path / "back", source, "tf1")
  reader = open_checkpoint(back)
  assert set(reader) == {*tensors, "beta1_power", "beta2_power", "global_step"}
  for name, value in tensors.items():
    np.testing.assert_allclose(reader[name], value, rtol=1e-6, atol=1e-7)
  assert abs(reader["beta2_power"] - 0.999**8) < 1e-6 and reader["global_step"] == 7


def test_a_trainable_variable_without_slots_is_an_error_unless_not_strict(tmp_path):
  stored = BundleBuilder()
  for slot in ("", "/Adam", "/Adam_1"):
    stored.numbers(f"dense/kernel{slot}", np.ones((3, 2)))
  stored.numbers("dense/bias", np.ones(2))
  for name, beta in (("beta1_power", 0.9), ("beta2_power", 0.999)):
    stored.numbers(name, beta**8)
  stored.numbers("global_step", 7, "int64")
  prefix = stored.write(str(tmp_path / "m"))
  model = tf.keras.Sequential(
    [tf.keras.Input((3,)), tf.keras.layers.Dense(2, name="dense")]
  )
  before = model.get_weights()
  optimizer = tf.keras.optimizers.Adam(epsilon=1e-8)
  message = (
    "slots of these variables.*\n  dense/bias: no slot 'm' of dense/bias; no slot 'v'"
  )
  with pytest.raises(errors.VariableMismatchError, match=message):
    estimator_ckpt.keras.load(model, prefix, optimizer)
  for ours, old in zip(model.get_weights(), before):
    np.testing.assert_array_equal(ours, old)
  estimator_ckpt.keras.load(model, prefix, optimizer, strict=False)
  wrapped = keras_model.KerasOptimizer(optimizer)
  kernel, bias = model.trainable_variables
  np.testing.assert_array_equal(wrapped.slot(kernel, "_velocities"), np.ones((3, 2)))
  np.testing.assert_array_equal(wrapped.slot(bias, "_velocities"), np.zeros(2))


def test_weights_are_not_written_without_the_optimizer_that_is_asked_for(tmp_path):
  case = keras_proof.CASES["adam"]
  prefix = str(tmp_path / "m")
  keras_proof.train_in_tf1(case, prefix)
  model, path = keras_proof.keras_model(), tmp_path / "m.keras"
  before = model.get_weights()
  with pytest.raises(
    errors.OptionError, match=r"model\.compile\(optimizer=optimizer\)"
  ):
    estimator_ckpt.keras.save_weights(
      model, prefix, path, optimizer=_optimizer("2", case)
    )
  assert not path.exists()
  for ours, old in zip(model.get_weights(), before):
    np.testing.assert_array_equal(ours, old)
