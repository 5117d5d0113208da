"""Weights whose TF1 form is a reshape or a transpose: outputs, slots, and the way back.

Runs under Keras 2 and, from tests/interop, under Keras 3.
"""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

import estimator_ckpt as eckpt
import estimator_ckpt.keras
from estimator_ckpt import errors
from estimator_ckpt.checkpoint.reader import open_checkpoint
from estimator_ckpt.keras.forms import Form
from estimator_ckpt.keras.layer_shapes import shape_form
from tests.bundle_builder import BundleBuilder

_layers = tf.keras.layers
_HEADS, _DIM, _HIDDEN = 4, 8, 32
_RNG = np.random.RandomState(8)
_INPUT = _RNG.randn(2, 5, _HIDDEN).astype(np.float32)
# TF1's names, as BERT has them, and the scopes of the Keras model.
_BERT = {
  "bert/self/query/": "attention/query/",
  "bert/self/key/": "attention/key/",
  "bert/self/value/": "attention/value/",
  "bert/output/dense/": "attention/attention_output/",
}
_ADAM = ("", "/Adam", "/Adam_1")


def _values():
  """TF1's variables of an attention layer, with Adam's slots."""
  shapes = {}
  for scope in _BERT:
    shapes[scope + "kernel"] = (_HIDDEN, _HIDDEN)
    shapes[scope + "bias"] = (_HIDDEN,)
  return {
    name + slot: (_RNG.rand(*shape) - (0.5 if not slot else 0)).astype(np.float32)
    for name, shape in shapes.items()
    for slot in _ADAM
  }


def _write(path, values, parts=()):
  builder = BundleBuilder()
  for name, value in values.items():
    if name in parts:
      builder.partitioned(name, value, parts[name])
    else:
      builder.numbers(name, value)
  for name, beta in (("beta1_power", 0.9), ("beta2_power", 0.999)):
    builder.numbers(name, beta**8)
  builder.numbers("global_step", 7, "int64")
  return builder.write(str(path))


def _attention_in_tf1(values, x):
  """The attention of BERT's modeling.py, without a mask and dropout."""

  def dense(scope, inputs):
    return inputs @ values[scope + "kernel"] + values[scope + "bias"]

  def heads(scope):
    split = dense(scope, x).reshape(*x.shape[:2], _HEADS, _DIM)
    return split.transpose(0, 2, 1, 3)

  query, key, value = map(heads, list(_BERT)[:3])
  scores = query @ key.transpose(0, 1, 3, 2) / np.sqrt(_DIM)
  weights = np.exp(scores - scores.max(-1, keepdims=True))
  weights /= weights.sum(-1, keepdims=True)
  mixed = (weights @ value).transpose(0, 2, 1, 3).reshape(*x.shape[:2], _HIDDEN)
  return dense("bert/output/dense/", mixed)


def _attention_model():
  inputs = tf.keras.Input((5, _HIDDEN))
  attention = _layers.MultiHeadAttention(_HEADS, _DIM, name="attention")
  return tf.keras.Model(inputs, attention(inputs, inputs))


def _map(model):
  """The scopes of the model's variables differ between Keras 2 and 3."""
  scopes = {}
  for variable in model.variables:
    path = getattr(variable, "path", variable.name).partition(":")[0]
    scope = path.rpartition("/")[0]
    scopes[scope.rpartition("/")[2]] = scope + "/"
  return {old: scopes[new.split("/")[1]] for old, new in _BERT.items()}


def test_multi_head_attention_gives_the_outputs_of_tf1_without_being_told(tmp_path):
  values = _values()
  prefix = _write(tmp_path / "m", values)
  model, optimizer = _attention_model(), tf.keras.optimizers.Adam(epsilon=1e-8)
  report = estimator_ckpt.keras.load(model, prefix, optimizer, name_map=_map(model))
  expected = _attention_in_tf1(values, _INPUT)
  np.testing.assert_allclose(model(_INPUT), expected, rtol=1e-4, atol=1e-5)
  how = {row.variable: row.how for row in report.rows}
  assert sum("reshaped to [32, 4, 8] by " in text for text in how.values()) == 3
  assert sum("reshaped to [4, 8, 32] by " in text for text in how.values()) == 1
  assert sum("reshaped to [4, 8] by " in text for text in how.values()) == 3
  slots = {
    tuple(v.shape): []
    for v in (optimizer.variables if not callable(optimizer.variables) else [])
  }
  variables = optimizer.variables
  for v in variables() if callable(variables) else variables:
    slots.setdefault(tuple(v.shape), []).append(v.numpy())
  found = values["bert/self/key/kernel/Adam_1"].reshape(_HIDDEN, _HEADS, _DIM)
  assert any(np.array_equal(found, each) for each in slots[found.shape])


def _shaped(like):
  """The keys of weights and slots of more than one axis."""
  with open_checkpoint(like) as reader:
    return [key for key, shape in reader.shapes.items() if len(shape) > 1]


@pytest.mark.parametrize("cut", [None, [16]], ids=["whole", "in parts"])
def test_files_go_there_and_back_over_the_same_bytes(cut, tmp_path):
  values = _values()
  parts = {"bert/self/key/kernel": cut} if cut else {}
  prefix = _write(tmp_path / "m", values, parts)
  model, optimizer = _attention_model(), tf.keras.optimizers.Adam(epsilon=1e-8)
  optimizer.build(model.trainable_variables)
  checkpoint = tf.train.Checkpoint(model=model, optimizer=optimizer)
  like = checkpoint.write(str(tmp_path / "like"))
  there, back = str(tmp_path / "there"), str(tmp_path / "back")
  rules = [f"{old}:{new}" for old, new in _map(model).items()]
  eckpt.convert(prefix, str(tmp_path / "dual"), "dual", like=like, name_map=rules)
  assert eckpt.verify(str(tmp_path / "dual")).findings == ()
  report = eckpt.convert(prefix, there, "tf2", like=like, name_map=rules)
  plan = report.checkpoints[0].plan
  # Bytes stay where they are, unless they are in parts.
  assert len(plan.shapes) == 3 * 7 - bool(cut)
  assert len(plan.tensors.keys() & set(_shaped(like))) == bool(cut)
  checkpoint.restore(there).assert_consumed()
  expected = _attention_in_tf1(values, _INPUT)
  np.testing.assert_allclose(model(_INPUT), expected, rtol=1e-4, atol=1e-5)
  assert eckpt.verify(there).ok
  backwards = {new: old for old, new in _map(model).items()}
  options = {"settings": {"epsilon": 1e-8}}
  eckpt.convert(
    there, back, "tf1", like=prefix, name_map=backwards, keras_options=options
  )
  with open_checkpoint(back) as reader:
    assert set(reader) == {*values, "beta1_power", "beta2_power", "global_step"}
    for name, value in values.items():
      np.testing.assert_array_equal(reader[name], value, err_msg=name)


def test_prelu_has_axes_of_one_for_those_that_share_alpha(tmp_path):
  alpha = _RNG.rand(3).astype(np.float32)
  builder = BundleBuilder()
  builder.numbers("net/prelu/alpha", alpha)
  prefix = builder.write(str(tmp_path / "m"))
  layer = _layers.PReLU(shared_axes=[1, 2], name="prelu")
  model = tf.keras.Sequential([tf.keras.Input((4, 4, 3)), layer])
  report = estimator_ckpt.keras.load(model, prefix)
  x = _RNG.randn(2, 4, 4, 3).astype(np.float32)
  expected = np.where(x > 0, x, alpha * x)
  np.testing.assert_allclose(model(x), expected, rtol=1e-6)
  assert "reshaped to [1, 1, 3] by PReLU" in str(report)
  like = tf.train.Checkpoint(model=model).write(str(tmp_path / "like"))
  eckpt.convert(prefix, tmp_path / "out", "tf2", like=like, optimizer="none")
  model.set_weights([np.zeros((1, 1, 3))])
  tf.train.Checkpoint(model=model).restore(str(tmp_path / "out")).assert_consumed()
  np.testing.assert_allclose(model(x), expected, rtol=1e-6)


def _classifier(bias=False):
  dense = _layers.Dense(2, use_bias=bias, name="classifier")
  return tf.keras.Sequential([tf.keras.Input((_HIDDEN,)), dense])


def _kernel_of(model):
  variable = model.variables[0]
  return getattr(variable, "path", variable.name).partition(":")[0]


def test_tied_output_weights_are_transposed_where_a_rule_says_so(tmp_path):
  values = {f"output_weights{slot}": _RNG.rand(2, _HIDDEN) for slot in _ADAM}
  values = {name: value.astype(np.float32) for name, value in values.items()}
  prefix = _write(tmp_path / "m", values)
  model, optimizer = _classifier(), tf.keras.optimizers.Adam(epsilon=1e-8)
  with pytest.raises(errors.VariableMismatchError) as caught:
    estimator_ckpt.keras.load(model, prefix, optimizer)
  kernel = _kernel_of(model)
  rule = f"'output_weights': '{kernel} transpose=1,0'"
  assert rule in str(caught.value)
  name_map = {"output_weights": f"{kernel} transpose=1,0"}
  report = estimator_ckpt.keras.load(model, prefix, optimizer, name_map=name_map)
  np.testing.assert_array_equal(model.get_weights()[0], values["output_weights"].T)
  assert "axes transposed to 1,0" in str(report)
  checkpoint = tf.train.Checkpoint(model=model, optimizer=optimizer)
  like = checkpoint.write(str(tmp_path / "like"))
  there, back = str(tmp_path / "there"), str(tmp_path / "back")
  (tmp_path / "names.txt").write_text(f"output_weights: {kernel} transpose=1,0\n")
  eckpt.convert(prefix, there, "tf2", like=like, name_map=str(tmp_path / "names.txt"))
  model.set_weights([np.zeros((_HIDDEN, 2))])
  checkpoint.restore(there).assert_consumed()
  np.testing.assert_array_equal(model.get_weights()[0], values["output_weights"].T)
  eckpt.convert(
    there,
    back,
    "tf1",
    like=prefix,
    name_map={kernel: "output_weights transpose=1,0"},
    keras_options={"settings": {"epsilon": 1e-8}},
  )
  with open_checkpoint(back) as reader:
    for name, value in values.items():
      np.testing.assert_array_equal(reader[name], value, err_msg=name)


def test_a_rule_reshapes_what_no_layer_explains_and_back(tmp_path):
  value = _RNG.rand(1, 1, _HIDDEN, 2).astype(np.float32)
  builder = BundleBuilder()
  builder.numbers("conv/weights", value)
  prefix = builder.write(str(tmp_path / "m"))
  model = _classifier()
  kernel = _kernel_of(model)
  with pytest.raises(errors.VariableMismatchError, match=f"'{kernel} reshape'"):
    estimator_ckpt.keras.load(model, prefix)
  estimator_ckpt.keras.load(model, prefix, name_map=[f"conv/weights:{kernel} reshape"])
  np.testing.assert_array_equal(model.get_weights()[0], value[0, 0])
  like = tf.train.Checkpoint(model=model).write(str(tmp_path / "like"))
  report = eckpt.convert(
    like,
    tmp_path / "back",
    "tf1",
    like=prefix,
    name_map={kernel: "conv/weights reshape"},
  )
  assert report.checkpoints[0].plan.shapes == {"conv/weights": (1, 1, _HIDDEN, 2)}
  with open_checkpoint(tmp_path / "back") as reader:
    np.testing.assert_array_equal(reader["conv/weights"], value)


def test_a_transposition_of_other_axes_is_refused(tmp_path):
  prefix = _write(tmp_path / "m", {"w": np.ones((2, _HIDDEN), np.float32)})
  model = _classifier()
  name_map = {"w": f"{_kernel_of(model)} transpose=2,0,1"}
  with pytest.raises(errors.OptionError, match=r"w has the shape \[2, 32\], and so 2"):
    estimator_ckpt.keras.load(model, prefix, name_map=name_map)


@pytest.mark.parametrize(
  ("equation", "shape", "stored", "form"),
  [
    ("abc,cde->abde", (6, 2, 3), (6, 6), Form(reshape=True)),
    ("...x,xy->...y", (6, 3), (6, 3), Form(reshape=True)),
    ("abcd,cde->abe", (2, 3, 5), (6, 5), Form(reshape=True)),
    ("abc,dc->abd", (4, 6), (6, 4), Form(axes=(1, 0))),
    ("abc,dec->abde", (2, 3, 6), (6, 6), Form(axes=(1, 0), reshape=True)),
    ("abc,dce->abde", (2, 6, 3), (6, 6), None),
    ("abc,abcd->abd", (2, 3, 6, 4), (6, 4), None),
    ("abc,cde->abde", (6, 2, 3), (5, 6), None),
  ],
)
def test_an_equation_says_which_shape_a_dense_kernel_takes(
  equation, shape, stored, form
):
  found = shape_form("EinsumDense", {"equation": equation}, "kernel", shape, stored)
  assert found == form


@pytest.mark.parametrize(
  ("equation", "output", "axes"),
  [("abc,cde->abde", (None, 2, 3), "de"), ("abc,dec->abde", (None, 2, 3), "de")],
)
def test_einsum_dense_gives_the_outputs_of_a_dense_layer(
  equation, output, axes, tmp_path
):
  kernel, bias = _RNG.rand(5, 6).astype("f"), _RNG.rand(6).astype("f")
  builder = BundleBuilder()
  builder.numbers("net/project/kernel", kernel)
  builder.numbers("net/project/bias", bias)
  prefix = builder.write(str(tmp_path / "m"))
  layer = _layers.EinsumDense(equation, output, bias_axes=axes, name="project")
  model = tf.keras.Sequential([tf.keras.Input((4, 5)), layer])
  estimator_ckpt.keras.load(model, prefix)
  x = _RNG.rand(2, 4, 5).astype("f")
  expected = (x @ kernel + bias).reshape(2, 4, 2, 3)
  np.testing.assert_allclose(model(x), expected, rtol=1e-5)


def test_a_manager_writes_tf1s_names_over_the_same_bytes(tmp_path):
  values = _values()
  prefix = _write(tmp_path / "m", values)
  model, optimizer = _attention_model(), tf.keras.optimizers.Adam(epsilon=1e-8)
  estimator_ckpt.keras.load(model, prefix, optimizer, name_map=_map(model))
  manager = estimator_ckpt.keras.CheckpointManager(
    tf.train.Checkpoint(model=model, optimizer=optimizer),
    str(tmp_path / "new"),
    like=prefix,
    name_map={new: old for old, new in _map(model).items()},
  )
  saved = manager.save()
  assert len(manager.plan.shapes) == 3 * 7
  assert not any(name.startswith("bert/") for name in manager.plan.made_of)
  with tf.Graph().as_default(), tf.compat.v1.Session() as session:
    variables = {
      name: tf.compat.v1.get_variable(name, value.shape)
      for name, value in values.items()
    }
    tf.compat.v1.train.Saver().restore(session, saved)
    for name, value in session.run(variables).items():
      np.testing.assert_array_equal(value, values[name], err_msg=name)


def _tied_model():
  """A model that holds one table twice, and an optimizer with slots of both."""
  ids = tf.keras.Input((4,), dtype="int32")
  table = _layers.Embedding(7, _HIDDEN, name="words")(ids)
  logits = _layers.Dense(7, use_bias=False, name="output")(table)
  model = tf.keras.Model(ids, logits)
  adam = tf.keras.optimizers.Adam(epsilon=1e-8)
  optimizer = estimator_ckpt.keras.sum_sparse_gradients(adam)
  optimizer.build(model.trainable_variables)
  return (
    model,
    optimizer,
    [getattr(v, "path", v.name).partition(":")[0] for v in model.variables],
  )


def test_a_tied_table_goes_into_both_weights_and_back(tmp_path):
  values = {f"bert/table{slot}": _RNG.rand(7, _HIDDEN) for slot in _ADAM}
  values = {name: value.astype(np.float32) for name, value in values.items()}
  prefix = _write(tmp_path / "m", values)
  model, optimizer, (words, output) = _tied_model()
  checkpoint = tf.train.Checkpoint(model=model, optimizer=optimizer)
  like = checkpoint.write(str(tmp_path / "like"))
  name_map = [f"bert/table:{words}", f"bert/table:{output} transpose=1,0"]

  def check():
    for found, expected in zip(model.get_weights(), ("bert/table", "bert/table")):
      found = found if found.shape == values[expected].shape else found.T
      np.testing.assert_array_equal(found, values[expected])
    variables = optimizer.variables
    for slot in _ADAM[1:]:
      shaped = [v.numpy() for v in (variables() if callable(variables) else variables)]
      for wanted in (values[f"bert/table{slot}"], values[f"bert/table{slot}"].T):
        assert any(np.array_equal(wanted, each) for each in shaped)

  report = estimator_ckpt.keras.load(model, prefix, optimizer, name_map=name_map)
  check()
  assert report.is_complete and f"bert/table as {output}" in str(report)
  there = str(tmp_path / "there")
  eckpt.convert(prefix, there, "tf2", like=like, name_map=name_map)
  checkpoint.restore(like)
  checkpoint.restore(there).assert_consumed()
  check()
  back = str(tmp_path / "back")
  backwards = {words: "bert/table", output: "bert/table transpose=1,0"}

  def convert_back(source):
    options = {"settings": {"epsilon": 1e-8}}
    names = {"name_map": backwards, "keras_options": options}
    eckpt.convert(source, back, "tf1", like=prefix, overwrite=True, **names)

  convert_back(there)
  with open_checkpoint(back) as reader:
    assert set(reader) == {*values, "beta1_power", "beta2_power", "global_step"}
    for name, value in values.items():
      np.testing.assert_array_equal(reader[name], value, err_msg=name)
  # Of a weight that was trained alone, the values or the slots differ.
  variables = optimizer.variables
  variables = variables() if callable(variables) else variables
  slot = next(v for v in variables if tuple(v.shape) == (_HIDDEN, 7))
  for changed in (slot, model.layers[-1].kernel):
    before = changed.numpy()
    changed.assign(before + 1.0)
    trained = checkpoint.write(str(tmp_path / "trained"))
    changed.assign(before)
    with pytest.raises(errors.VariableMismatchError, match=f"{words}' and '{output}'"):
      convert_back(trained)
