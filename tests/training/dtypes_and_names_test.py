"""Every dtype, shape and name that a variable can have."""

from __future__ import annotations

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest
import tensorflow as tf

import estimator_ckpt as eckpt
from estimator_ckpt.checkpoint import key_plan, layout
from tests import models, sessions, tensorflows

v1 = tf.compat.v1
_FORMATS = ["tf1", "tf2", "dual"]

_NUMERIC = (
  "float16 bfloat16 float32 float64 int8 int16 int32 int64 uint8 uint16 bool complex64 "
  "complex128"
).split() + [
  name for name in ("uint32", "uint64") if tensorflows.has_variables_of(name)
]
# TensorFlow can neither fill these with zeros nor cast an integer to them.
_SMALL = tuple(
  name
  for name in ("float8_e4m3fn", "float8_e5m2", "int4", "uint4")
  if tensorflows.has(f"dtypes.experimental.{name}")
  and tensorflows.has_variables_of(name)
)
# The quantized types that TensorFlow can assign to a variable; test_any_saveable_object
# has the others.
_QUANTIZED = {"qint8": "int8", "quint8": "uint8", "qint32": "int32"}
_SHAPES = {
  "scalar": (),
  "vector": (3,),
  "matrix": (2, 3),
  "no_rows": (0, 3),
  "empty": (0,),
}


def _of_dtype(name, shape):
  """A constant of values that are distinct as far as the type allows."""
  count = int(np.prod(shape))
  if name == "string":
    words = [f"word{i}\x00é".encode() for i in range(count)]
    return tf.reshape(tf.constant(words, tf.string), shape)
  numbers = tf.reshape(tf.range(1, count + 1), shape)
  if name in _QUANTIZED:
    return tf.bitcast(tf.cast(numbers, _QUANTIZED[name]), getattr(tf, name))
  if name == "bool":
    return tf.equal(numbers % 2, 1)
  if name in _SMALL:
    return _small(numbers, name)
  if name.startswith("complex"):
    return tf.cast(numbers, name) * (1 + 2j)
  return tf.cast(numbers, name)


def _small(numbers, name):
  if name.startswith("float"):
    numbers = tf.cast(numbers, tf.float32)
  return tf.cast(numbers, getattr(tf.dtypes.experimental, name))


def _zeros(name, shape):
  """The initial value of a variable of that type, before a restore."""
  if name == "string":
    return tf.fill(shape, "")
  if name in _QUANTIZED:
    return tf.bitcast(tf.zeros(shape, _QUANTIZED[name]), getattr(tf, name))
  if name in _SMALL:
    return _small(tf.zeros(shape, tf.int32), name)
  return tf.zeros(shape, name)


def _all_dtypes(start):
  """A variable of every dtype and shape; running the returned ops gives the values."""
  read = {}
  for name in [*_NUMERIC, *_SMALL, *_QUANTIZED, "string"]:
    for shape_name, shape in _SHAPES.items():
      value = _of_dtype(name, shape)
      initial = value if start else _zeros(name, shape)
      variable = v1.Variable(initial, name=f"{name}/{shape_name}", use_resource=True)
      read[f"{name}/{shape_name}"] = variable.read_value()
  return read


@pytest.mark.parametrize("reader", _FORMATS)
@pytest.mark.parametrize("writer", _FORMATS)
def test_every_dtype_and_shape(writer, reader, tmp_path):
  prefix = sessions.save(writer, tmp_path, lambda: tf.group(_all_dtypes(True).values()))
  found = sessions.restore(reader, prefix, lambda: _all_dtypes(False))
  with tf.Graph().as_default(), v1.Session() as session:
    read = _all_dtypes(True)
    session.run(v1.global_variables_initializer())
    expected = session.run(read)
  models.assert_same_values(expected, found)
  assert eckpt.detect_format(prefix).value == writer


@pytest.mark.parametrize("checkpoint_format", ["tf2", "dual"])
def test_every_dtype_in_eager_code(checkpoint_format, tmp_path):
  prefix = sessions.save(
    checkpoint_format, tmp_path, lambda: tf.group(_all_dtypes(True).values())
  )
  with tensorflows.eager():
    variables = {"global_step": tf.Variable(0, dtype=tf.int64)}
    for name in [*_NUMERIC, *_SMALL, *_QUANTIZED, "string"]:
      for shape_name, shape in _SHAPES.items():
        variables[f"{name}/{shape_name}"] = tf.Variable(_zeros(name, shape))
    checkpoint = tensorflows.checkpoint(var_list=variables)
    tensorflows.assert_consumed(checkpoint.restore(prefix))
    for name, variable in variables.items():
      if name != "global_step":
        dtype, shape_name = name.split("/")
        wanted = _of_dtype(dtype, _SHAPES[shape_name]).numpy()
        np.testing.assert_array_equal(variable.numpy(), wanted, err_msg=name)


_ODD_NAMES = [
  "a.b",
  "a.Sb",
  "a/b",
  "a..Sb",
  "a./b",
  "with space",
  "naïve/é",
  "日本/語",
  "..",
  ".S",
  "/".join(f"scope{i}" for i in range(20)),
  "a/.ATTRIBUTES/VARIABLE_VALUE",
  "x/.OPTIMIZER_SLOT/y/m",
  "a/b/Adam",
  "/leading",
  "trailing/",
  "two//slashes",
  "save_counter",
  "var_list/w",
]


def _under_names(names, start):
  """Variables under the names that a var_list gives them."""
  var_list = {"global_step": v1.train.get_or_create_global_step()}
  for i, name in enumerate(names):
    var_list[name] = v1.get_variable(
      f"v{i}", initializer=float(i + 1) if start else 0.0
    )
  return var_list


def _round_trip(names, writer, reader, directory):
  with tf.Graph().as_default(), v1.Session() as session:
    saver = sessions.scaffold_of(writer, var_list=_under_names(names, True)).saver
    saver.build()
    session.run(v1.global_variables_initializer())
    prefix = saver.save(session, str(directory / "model.ckpt"), global_step=1)
  with tf.Graph().as_default(), v1.Session() as session:
    var_list = _under_names(names, False)
    saver = sessions.scaffold_of(reader, var_list=var_list).saver
    saver.build()
    session.run(v1.global_variables_initializer())
    saver.restore(session, prefix)
    for i, name in enumerate(names):
      assert session.run(var_list[name]) == i + 1, name
  return prefix


# A variable is called as TensorFlow's own counter of saves is: a conversion by names
# refuses to guess which is which, and asks for a name map.
_one_name_twice = pytest.mark.no_round_trip("two things are called save_counter")


@_one_name_twice
@pytest.mark.parametrize("reader", _FORMATS)
@pytest.mark.parametrize("writer", _FORMATS)
def test_odd_names_have_keys_of_their_own(writer, reader, tmp_path):
  prefix = _round_trip(_ODD_NAMES, writer, reader, tmp_path)
  if writer == "dual":
    values = models.values(prefix)
    for i, name in enumerate(_ODD_NAMES):
      assert values[name] == values[layout.object_key([layout.VAR_LIST, name])] == i + 1
  if writer != "tf1":
    with tensorflows.eager():
      var_list = {name: tf.Variable(0.0) for name in _ODD_NAMES}
      step = tf.Variable(0, dtype=tf.int64)
      checkpoint = tensorflows.checkpoint(var_list={**var_list, "global_step": step})
      tensorflows.assert_consumed(checkpoint.restore(prefix))
      for i, name in enumerate(_ODD_NAMES):
        assert var_list[name].numpy() == i + 1, name


@pytest.mark.parametrize("writer", _FORMATS)
def test_odd_names_of_variables_in_parts(writer, tmp_path):
  """The keys of slices encode their names in another way than plain keys."""
  names = [name for name in _ODD_NAMES if name != "save_counter"] + ["a zero\0byte"]

  def build(start, parts):
    var_list = {"global_step": v1.train.get_or_create_global_step()}
    for i, name in enumerate(names):
      dtype = [tf.float32, tf.float16][i % 2]
      var_list[name] = v1.get_variable(
        f"v{i}",
        [5, 1],
        dtype,
        v1.constant_initializer(i + 1 if start else 0),
        partitioner=v1.fixed_size_partitioner(parts),
      )
    return var_list

  with tf.Graph().as_default(), v1.Session() as session:
    saver = sessions.scaffold_of(writer, var_list=build(True, 2)).saver
    saver.build()
    session.run(v1.global_variables_initializer())
    prefix = saver.save(session, str(tmp_path / "model.ckpt"), global_step=1)
  for reader, parts in zip(_FORMATS, (1, 3, 2)):
    with tf.Graph().as_default(), v1.Session() as session:
      var_list = build(False, parts)
      saver = sessions.scaffold_of(reader, var_list=var_list).saver
      saver.build()
      session.run(v1.global_variables_initializer())
      saver.restore(session, prefix)
      found = session.run({name: list(var_list[name]) for name in names})
      for i, name in enumerate(names):
        assert {*np.concatenate(found[name]).ravel()} == {i + 1}, name
  if writer != "tf1":
    with tensorflows.eager():
      wholes = {
        name: tf.Variable(tf.zeros([5, 1], [tf.float32, tf.float16][i % 2]))
        for i, name in enumerate(names)
      }
      step = tf.Variable(0, dtype=tf.int64)
      checkpoint = tensorflows.checkpoint(var_list={**wholes, "global_step": step})
      tensorflows.assert_consumed(checkpoint.restore(prefix))
      for i, name in enumerate(names):
        assert {*wholes[name].numpy().ravel()} == {i + 1}, name


_name = st.text(
  st.sampled_from("aS./b é\u8a9e_-"), min_size=1, max_size=8
) | st.sampled_from(_ODD_NAMES)


@_one_name_twice
@hypothesis.given(names=st.lists(_name, min_size=1, max_size=8, unique=True))
@hypothesis.settings(max_examples=15)
def test_any_set_of_names(names, tmp_path_factory):
  names = [n for n in names if n != "global_step"]
  writer = ["tf2", "dual"][len(names) % 2]
  prefix = _round_trip(names, writer, "dual", tmp_path_factory.mktemp("names"))
  keys = set(models.values(prefix))
  assert {layout.object_key([layout.VAR_LIST, name]) for name in names} <= keys


@hypothesis.given(
  names=st.lists(_name, max_size=30, unique=True),
  chosen=st.sampled_from(["default", "flat", "nested"]),
)
def test_the_layout_is_injective_and_reversible(names, chosen):
  paths = layout.object_paths(names, chosen)
  keys = [layout.object_key(paths[name][0]) for name in names]
  assert len(set(keys)) == len(names)
  for name, key in zip(names, keys):
    path = layout.parse_object_key(key).path
    assert path == tuple(paths[name][0])
    assert name in (
      path[-1] if path[0] == layout.VAR_LIST else "/".join(path),
      "/".join(path),
    )
  flat = [p for own in paths.values() for p in own]
  assert len(set(map(tuple, flat))) == len(flat)


@pytest.mark.skipif(
  not tensorflows.BUILDS_LARGE_GRAPHS,
  reason=f"TensorFlow {tf.__version__} has no time for 3,000 variables in one graph",
)
def test_three_thousand_variables(tmp_path):
  count = 3_000
  with tf.Graph().as_default():
    v1.train.get_or_create_global_step()
    variables = [
      v1.get_variable(f"s{i % 100}/v{i}", initializer=np.float32(i), use_resource=True)
      for i in range(count)
    ]
    values = tf.stack(variables)
    saver = sessions.scaffold_of("dual").saver
    saver.build()
    init_op = v1.global_variables_initializer()
    with v1.Session() as session:
      session.run(init_op)
      prefix = saver.save(session, str(tmp_path / "model.ckpt"), write_meta_graph=False)
    # In another session, only a restore gives variables their values.
    with v1.Session() as session:
      saver.restore(session, prefix)
      np.testing.assert_array_equal(session.run(values), np.arange(count))
  keys = set(eckpt.open_checkpoint(prefix))
  assert {"s0/v0", "s99/v2999", layout.object_key(["var_list", "s99/v2999"])} <= keys
  assert eckpt.detect_format(prefix) is eckpt.CheckpointFormat.DUAL


@pytest.mark.parametrize("checkpoint_format", _FORMATS)
def test_the_keys_of_ten_thousand_variables(checkpoint_format):
  saved = [key_plan.Saved(f"s{i % 100}/v{i}") for i in range(10_000)]
  plan = key_plan.plan_save(saved, eckpt.CheckpointFormat(checkpoint_format))
  assert len({*plan.keys.values(), *plan.aliases}) == len(saved) * (
    2 if checkpoint_format == "dual" else 1
  )
