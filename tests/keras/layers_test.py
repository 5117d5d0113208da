"""Every kind of layer gives the outputs that TensorFlow 1's variables gave.

Runs under Keras 2 and, from tests/interop, under Keras 3. TensorFlow 1's outputs are
computed by the ops that its layers consist of.
"""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

import estimator_ckpt.keras
from estimator_ckpt import errors
from tests.bundle_builder import BundleBuilder

_RNG = np.random.RandomState(5)
_IMAGE, _LINE, _BOX = (2, 6, 6, 3), (2, 7, 3), (2, 5, 5, 5, 2)
_layers = tf.keras.layers


def _values(**shapes):
  return {
    name: (_RNG.rand(*shape) + 0.5).astype(np.float32) for name, shape in shapes.items()
  }


def _conv_transpose(x, kernel, size):
  filters = kernel.shape[-2]
  shape = [x.shape[0], *(n * 2 for n in x.shape[1:-1]), filters]
  op = {1: tf.nn.conv1d_transpose, 2: tf.nn.conv2d_transpose, 3: tf.nn.conv3d_transpose}
  strides = 2 if size < 3 else [1, 2, 2, 2, 1]
  return op[size](x, kernel, shape, strides, "SAME")


def _separable_1d(x, v):
  depthwise, pointwise = v["depthwise_kernel"][None], v["pointwise_kernel"][None]
  strides = [1, 1, 1, 1]
  return tf.nn.separable_conv2d(x[:, None], depthwise, pointwise, strides, "VALID")[
    :, 0
  ]


def _batch_norm(x, v):
  mean, variance = v["moving_mean"], v["moving_variance"]
  return tf.nn.batch_normalization(x, mean, variance, v["beta"], v["gamma"], 1e-3)


def _layer_norm(x, v):
  mean, variance = tf.nn.moments(x, [-1], keepdims=True)
  return tf.nn.batch_normalization(x, mean, variance, v["beta"], v["gamma"], 1e-3)


_ONES = [1, 1, 1, 1]
# Layer, input shape, TF1's variables, and TF1's computation from input and variables.
_KINDS = {
  "dense": (
    lambda: _layers.Dense(4),
    (2, 3),
    {"kernel": (3, 4), "bias": (4,)},
    lambda x, v: x @ v["kernel"] + v["bias"],
  ),
  "conv1d": (
    lambda: _layers.Conv1D(4, 3),
    _LINE,
    {"kernel": (3, 3, 4), "bias": (4,)},
    lambda x, v: tf.nn.conv1d(x, v["kernel"], 1, "VALID") + v["bias"],
  ),
  "conv2d": (
    lambda: _layers.Conv2D(4, 3),
    _IMAGE,
    {"kernel": (3, 3, 3, 4), "bias": (4,)},
    lambda x, v: tf.nn.conv2d(x, v["kernel"], 1, "VALID") + v["bias"],
  ),
  "conv2d of slim": (
    lambda: _layers.Conv2D(4, 3),
    _IMAGE,
    {"weights": (3, 3, 3, 4), "biases": (4,)},
    lambda x, v: tf.nn.conv2d(x, v["weights"], 1, "VALID") + v["biases"],
  ),
  "conv3d": (
    lambda: _layers.Conv3D(4, 2),
    _BOX,
    {"kernel": (2, 2, 2, 2, 4), "bias": (4,)},
    lambda x, v: tf.nn.conv3d(x, v["kernel"], [1] * 5, "VALID") + v["bias"],
  ),
  "conv1d_transpose": (
    lambda: _layers.Conv1DTranspose(4, 3, 2, "same"),
    _LINE,
    {"kernel": (3, 4, 3), "bias": (4,)},
    lambda x, v: _conv_transpose(x, v["kernel"], 1) + v["bias"],
  ),
  "conv2d_transpose": (
    lambda: _layers.Conv2DTranspose(4, 3, 2, "same"),
    _IMAGE,
    {"kernel": (3, 3, 4, 3), "bias": (4,)},
    lambda x, v: _conv_transpose(x, v["kernel"], 2) + v["bias"],
  ),
  "conv3d_transpose": (
    lambda: _layers.Conv3DTranspose(4, 3, 2, "same"),
    _BOX,
    {"kernel": (3, 3, 3, 4, 2), "bias": (4,)},
    lambda x, v: _conv_transpose(x, v["kernel"], 3) + v["bias"],
  ),
  "depthwise_conv2d": (
    lambda: _layers.DepthwiseConv2D(3, depth_multiplier=2),
    _IMAGE,
    {"depthwise_kernel": (3, 3, 3, 2), "bias": (6,)},
    lambda x, v: (
      tf.nn.depthwise_conv2d(x, v["depthwise_kernel"], _ONES, "VALID") + v["bias"]
    ),
  ),
  "separable_conv1d": (
    lambda: _layers.SeparableConv1D(4, 3),
    _LINE,
    {"depthwise_kernel": (3, 3, 1), "pointwise_kernel": (1, 3, 4), "bias": (4,)},
    lambda x, v: _separable_1d(x, v) + v["bias"],
  ),
  "separable_conv2d": (
    lambda: _layers.SeparableConv2D(4, 3, depth_multiplier=2),
    _IMAGE,
    {"depthwise_kernel": (3, 3, 3, 2), "pointwise_kernel": (1, 1, 6, 4), "bias": (4,)},
    lambda x, v: (
      tf.nn.separable_conv2d(
        x, v["depthwise_kernel"], v["pointwise_kernel"], _ONES, "VALID"
      )
      + v["bias"]
    ),
  ),
  "batch_normalization": (
    lambda: _layers.BatchNormalization(),
    (2, 3),
    dict.fromkeys(("gamma", "beta", "moving_mean", "moving_variance"), (3,)),
    _batch_norm,
  ),
  "LayerNorm": (
    lambda: _layers.LayerNormalization(),
    (2, 3),
    dict.fromkeys(("gamma", "beta"), (3,)),
    _layer_norm,
  ),
  "embedding": (
    lambda: _layers.Embedding(9, 4),
    (2, 5),
    {"embeddings": (9, 4)},
    lambda x, v: tf.gather(v["embeddings"], tf.cast(x, tf.int32)),
  ),
  "p_re_lu": (
    lambda: _layers.PReLU(),
    (2, 3),
    {"alpha": (3,)},
    lambda x, v: tf.where(x > 0, x, x * v["alpha"]),
  ),
}


def _input(shape, ids=False):
  return (_RNG.randint(0, 9, shape) if ids else _RNG.randn(*shape)).astype(np.float32)


def _write(path, values):
  builder = BundleBuilder()
  for name, value in values.items():
    builder.numbers(name, value)
  builder.numbers("global_step", 7, "int64")
  return builder.write(str(path))


@pytest.mark.parametrize("built", [True, False], ids=["built", "deferred"])
@pytest.mark.parametrize("kind", list(_KINDS))
def test_a_layer_gives_the_outputs_of_tensorflow_1(kind, built, tmp_path):
  make, shape, shapes, compute = _KINDS[kind]
  values = _values(**shapes)
  scope = kind.partition(" ")[0]
  named = {f"net/{scope}/{name}": value for name, value in values.items()}
  prefix = _write(tmp_path / "m", named)
  x = _input(shape, ids=kind == "embedding")
  layer = make()
  model = tf.keras.Sequential([layer])
  if built:
    model.build(shape)
  # Keras 2's Embedding knows its input shape, so it is built at once.
  built = bool(layer.weights)
  report = estimator_ckpt.keras.load(model, prefix)
  assert report.is_complete == built
  assert bool(report.pending) != built
  found = model(tf.constant(x)).numpy()
  np.testing.assert_allclose(found, compute(x, values), rtol=1e-5, atol=1e-5)
  assert report.is_complete
  assert {name for row in report.rows for name in row.sources} == set(named)


# Keras 3 opens scopes of such names, and never leaves one that begins with "_".
class Block(_layers.Layer):
  """A layer of layers."""

  def __init__(self, units, **options):
    super().__init__(**options)
    self.dense = _layers.Dense(units, "tanh")
    self.norm = _layers.BatchNormalization()

  def build(self, input_shape):
    self.dense.build(input_shape)
    self.norm.build((*input_shape[:-1], self.dense.units))
    self.built = True

  def call(self, x):
    return self.norm(self.dense(x))


class Subclassed(tf.keras.Model):
  def __init__(self):
    super().__init__()
    self.first = Block(4)
    self.second = Block(4)
    self.out = _layers.Dense(1)

  def call(self, x):
    return self.out(self.second(self.first(x)))


def _block(name):
  inputs = tf.keras.Input((3,) if name == "first" else (4,))
  net = _layers.Dense(4, "tanh", name=f"{name}_dense")(inputs)
  return tf.keras.Model(inputs, _layers.BatchNormalization(name=f"{name}_norm")(net))


def _functional():
  inputs = tf.keras.Input((3,))
  net = _block("second")(_block("first")(inputs))
  return tf.keras.Model(inputs, _layers.Dense(1, name="out")(net))


def _sequential():
  return tf.keras.Sequential(
    [tf.keras.Input((3,)), _block("first"), _block("second"), _layers.Dense(1)]
  )


_MODELS = {
  "subclassed": Subclassed,
  "functional": _functional,
  "sequential": _sequential,
}


@pytest.mark.parametrize("call_first", [True, False], ids=["built", "not built"])
@pytest.mark.parametrize("form", list(_MODELS))
def test_models_of_models_of_every_form(form, call_first, tmp_path):
  values = {}
  for block, size in (("first", 3), ("second", 4)):
    separator = "/" if form == "subclassed" else "_"
    dense, norm = f"net/{block}{separator}dense", f"net/{block}{separator}norm"
    values.update(_prefixed(dense, _values(kernel=(size, 4), bias=(4,))))
    statistics = ("gamma", "beta", "moving_mean", "moving_variance")
    values.update(_prefixed(norm, _values(**dict.fromkeys(statistics, (4,)))))
  values.update(_prefixed("net/out", _values(kernel=(4, 1), bias=(1,))))
  prefix = _write(tmp_path / "m", values)
  model = _MODELS[form]()
  x = _input((2, 3))
  if call_first:
    model(tf.constant(x))
  report = estimator_ckpt.keras.load(model, prefix)
  found = model(tf.constant(x)).numpy()
  assert report.is_complete, report
  net = x
  for block in ("first", "second"):
    inside = {
      name.split(block)[1][1:]: value for name, value in values.items() if block in name
    }
    net = np.tanh(net @ inside["dense/kernel"] + inside["dense/bias"])
    norm = {n.split("/")[1]: v for n, v in inside.items() if n.startswith("norm/")}
    net = _batch_norm(net, norm).numpy()
  expected = net @ values["net/out/kernel"] + values["net/out/bias"]
  np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def _prefixed(scope, values):
  return {f"{scope}/{name}": value for name, value in values.items()}


def test_two_layers_of_one_shape_and_other_names_are_not_guessed(tmp_path):
  values = {
    **_prefixed("net/a", _values(kernel=(3, 3), bias=(3,))),
    **_prefixed("net/b", _values(kernel=(3, 3), bias=(3,))),
  }
  prefix = _write(tmp_path / "m", values)
  model = tf.keras.Sequential(
    [tf.keras.Input((3,)), _layers.Dense(3, name="x"), _layers.Dense(3, name="y")]
  )
  with pytest.raises(errors.VariableMismatchError, match="by shapes it could be of"):
    estimator_ckpt.keras.load(model, prefix)
  name_map = {"net/b/": "x/", "net/a/": "y/"}
  estimator_ckpt.keras.load(model, prefix, name_map=name_map)
  np.testing.assert_array_equal(
    model.layers[0].get_weights()[0], values["net/b/kernel"]
  )


def test_another_shape_is_an_error_and_the_model_stays_as_it_is(tmp_path):
  values = _prefixed("net/dense", _values(kernel=(3, 5), bias=(5,)))
  prefix = _write(tmp_path / "m", values)
  model = tf.keras.Sequential([tf.keras.Input((3,)), _layers.Dense(4, name="dense")])
  before = model.get_weights()
  with pytest.raises(errors.VariableMismatchError, match=r"\[3, 5\], not \[3, 4\]"):
    estimator_ckpt.keras.load(model, prefix)
  for ours, old in zip(model.get_weights(), before):
    np.testing.assert_array_equal(ours, old)


def _block_of_one(name):
  inputs = tf.keras.Input((3,))
  outputs = _layers.Dense(3, name="dense")(inputs)
  return tf.keras.Model(inputs, outputs, name=name)


def _two_blocks_of_one_name():
  inputs = tf.keras.Input((3,))
  blocks = [_block_of_one("encoder"), _block_of_one("decoder")]
  model = tf.keras.Model(inputs, blocks[1](blocks[0](inputs)))
  return model, [block.layers[1] for block in blocks]


def test_layers_of_one_name_in_two_models_take_what_is_called_as_these(tmp_path):
  values = {
    **_prefixed("encoder/dense", _values(kernel=(3, 3), bias=(3,))),
    **_prefixed("decoder/dense", _values(kernel=(3, 3), bias=(3,))),
  }
  model, layers = _two_blocks_of_one_name()
  report = estimator_ckpt.keras.load(model, _write(tmp_path / "m", values))
  for scope, layer in zip(("encoder", "decoder"), layers):
    assert f"{scope}/dense/kernel" in str(report)
    for leaf, value in zip(("kernel", "bias"), layer.get_weights()):
      np.testing.assert_array_equal(value, values[f"{scope}/dense/{leaf}"])


def test_layers_of_one_name_are_not_told_apart_by_guessing(tmp_path):
  values = {
    **_prefixed("dense", _values(kernel=(3, 3), bias=(3,))),
    **_prefixed("dense_1", _values(kernel=(3, 3), bias=(3,))),
  }
  prefix = _write(tmp_path / "m", values)
  model, layers = _two_blocks_of_one_name()
  with pytest.raises(errors.VariableMismatchError, match="encoder/dense/kernel"):
    estimator_ckpt.keras.load(model, prefix)
  name_map = {"dense/": "encoder/dense/", "dense_1/": "decoder/dense/"}
  estimator_ckpt.keras.load(model, prefix, name_map=name_map)
  for scope, layer in zip(("dense", "dense_1"), layers):
    np.testing.assert_array_equal(layer.get_weights()[0], values[f"{scope}/kernel"])


def _line_of_dense(*names):
  return tf.keras.Sequential(
    [tf.keras.Input((3,)), *(_layers.Dense(3, name=name) for name in names)]
  )


@pytest.mark.parametrize(
  ("scopes", "names"),
  [
    (["dense", "dense_1"], ["dense_1", "dense_2"]),
    (["net/dense", "net/dense_1"], ["dense_1", "dense_2"]),
    (["fc_0", "fc_1", "fc_2"], ["fc_1", "fc_2", "fc_3"]),
    (["dense_2", "dense_3", "dense_4"], ["dense", "dense_1", "dense_2"]),
  ],
)
def test_numbers_that_count_from_elsewhere_keep_the_order(scopes, names, tmp_path):
  values = {}
  for scope in scopes:
    values.update(_prefixed(scope, _values(kernel=(3, 3), bias=(3,))))
  model = _line_of_dense(*names)
  estimator_ckpt.keras.load(model, _write(tmp_path / "m", values))
  for scope, layer in zip(scopes, model.layers):
    for leaf, value in zip(("kernel", "bias"), layer.get_weights()):
      np.testing.assert_array_equal(value, values[f"{scope}/{leaf}"])


def test_a_number_within_a_name_is_no_order_and_is_not_guessed(tmp_path):
  values = {}
  for scope in ("fc0", "fc1"):
    values.update(_prefixed(scope, _values(kernel=(3, 3), bias=(3,))))
  with pytest.raises(errors.VariableMismatchError, match="by shapes it could be of"):
    estimator_ckpt.keras.load(
      _line_of_dense("fc1", "fc2"), _write(tmp_path / "m", values)
    )


def test_a_name_counts_where_a_layer_or_a_scope_is_left_out(tmp_path):
  values = {}
  for scope in ("dense", "dense_1", "dense_2"):
    values.update(_prefixed(scope, _values(kernel=(3, 3), bias=(3,))))
  prefix = _write(tmp_path / "m", values)
  model = _line_of_dense("dense_1", "dense_2")
  estimator_ckpt.keras.load(model, prefix, ignore=["dense/"])
  np.testing.assert_array_equal(
    model.layers[0].get_weights()[0], values["dense_1/kernel"]
  )
  model = _line_of_dense("dense_1", "dense_2", "dense_3")
  estimator_ckpt.keras.load(model, prefix, ignore=["dense/"], keep=[".*dense_3/.*"])
  np.testing.assert_array_equal(
    model.layers[1].get_weights()[0], values["dense_2/kernel"]
  )


@pytest.mark.parametrize(
  ("layer", "stored"),
  [
    (lambda: _layers.Dense(3, name="a"), {"kernel": (3, 3), "gamma": (3,)}),
    (lambda: _layers.LayerNormalization(center=False, name="a"), {"beta": (3,)}),
    (
      lambda: _layers.BatchNormalization(center=False, name="a"),
      {"gamma": (3,), "beta": (3,), "moving_mean": (3,)},
    ),
  ],
  ids=["bias", "gamma", "moving_variance"],
)
def test_a_variable_is_not_taken_for_what_its_name_says_it_is_not(
  layer, stored, tmp_path
):
  prefix = _write(tmp_path / "m", _prefixed("a", _values(**stored)))
  model = tf.keras.Sequential([tf.keras.Input((3,)), layer()])
  with pytest.raises(errors.VariableMismatchError, match="in the checkpoint only"):
    estimator_ckpt.keras.load(model, prefix)


def test_layers_built_one_by_one_keep_the_order_too(tmp_path):
  values = {}
  for scope in ("dense", "dense_1", "dense_2"):
    values.update(_prefixed(scope, _values(kernel=(3, 3), bias=(3,))))
  names = ("dense_1", "dense_2", "dense_3")
  model = tf.keras.Sequential([_layers.Dense(3, name=name) for name in names])
  report = estimator_ckpt.keras.load(model, _write(tmp_path / "m", values))
  model(tf.zeros((2, 3)))
  assert report.is_complete, report
  for scope, layer in zip(("dense", "dense_1", "dense_2"), model.layers):
    np.testing.assert_array_equal(layer.get_weights()[0], values[f"{scope}/kernel"])


def test_names_that_end_alike_find_each_other_where_only_one_does(tmp_path):
  rng = np.random.RandomState(3)
  names = ("word_embeddings", "position_embeddings", "token_type_embeddings")
  values = {f"bert/embeddings/{name}": rng.rand(4, 3).astype("f") for name in names}
  prefix = _write(tmp_path / "m", values)
  ids = tf.keras.Input((2,), dtype="int32")
  # In another order than in the checkpoint, and all of one shape.
  made = {
    name: _layers.Embedding(4, 3, name=name)
    for name in ("token_type_embeddings", "word_embeddings", "position_embeddings")
  }
  total = _layers.Add()([embedding(ids) for embedding in made.values()])
  report = estimator_ckpt.keras.load(tf.keras.Model(ids, total), prefix)
  assert {row.how for row in report.rows} == {"end of the name"}
  for name, embedding in made.items():
    np.testing.assert_array_equal(
      embedding.get_weights()[0], values[f"bert/embeddings/{name}"]
    )


def test_a_name_that_two_variables_end_in_is_not_guessed(tmp_path):
  values = {f"{scope}/table": np.ones((4, 3), np.float32) for scope in ("a", "b")}
  prefix = _write(tmp_path / "m", values)
  ids = tf.keras.Input((2,), dtype="int32")
  model = tf.keras.Model(ids, _layers.Embedding(4, 3, name="table")(ids))
  with pytest.raises(errors.VariableMismatchError):
    estimator_ckpt.keras.load(model, prefix)
