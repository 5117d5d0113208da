"""Training resumes and warm-starts from a V1 Saver's checkpoints, as in stock."""

from __future__ import annotations

import functools
import glob
import os
import shutil

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

import estimator_ckpt as eckpt
from estimator_ckpt.checkpoint import state_file
from estimator_ckpt.checkpoint.verify import verify
from tests import golden, models

v1 = tf.compat.v1
_FORMATS = ["tf1", "tf2", "dual"]
_GOLDENS = ["tf1.15/v1/adam_partitioned", "tf1.15/v1/sharded"]


def _golden_model_fn(features, labels, mode):
  """The model of the goldens, with other initial values."""
  return _build(features, labels, mode, partitions=3)


def _build(features, labels, mode, partitions):
  ids, y = features["ids"], labels
  with v1.variable_scope("net", initializer=v1.ones_initializer()):
    embedding = v1.get_variable(
      "embedding", (7, 4), partitioner=v1.fixed_size_partitioner(partitions)
    )
    wide = v1.get_variable(
      "wide", (4, 5), partitioner=v1.fixed_size_partitioner(2, axis=1)
    )
    found = v1.nn.embedding_lookup(embedding, ids, "div")
    hidden = tf.tanh(tf.matmul(found, tf.convert_to_tensor(wide)))
    output = v1.layers.dense(hidden, 2, name="dense")
    rows = 2 if features.get("is_small") is not None else 17500
    v1.get_variable("large", (rows, 4))
  if mode == tf.estimator.ModeKeys.PREDICT:
    return tf.estimator.EstimatorSpec(mode, predictions={"output": output})
  loss = v1.losses.mean_squared_error(y, output)
  train_op = v1.train.AdamOptimizer(0.05).minimize(loss, v1.train.get_global_step())
  return tf.estimator.EstimatorSpec(mode, loss=loss, train_op=train_op)


def _input_fn(name):
  data = golden.data(name)
  features = {"ids": data["ids"]}
  if name.endswith("sharded"):
    features["is_small"] = np.zeros(len(data["ids"]))
  return tf.data.Dataset.from_tensors((features, data["y"])).repeat()


def _decorated(how, fn, model_dir):
  if how == "with_checkpointing":
    return eckpt.with_checkpointing(models.estimator(fn, model_dir), "dual")
  decorate = {
    "tf1": eckpt.checkpointing("tf1"),
    "tf2": eckpt.tf2_checkpointing,
    "dual": eckpt.dual_checkpointing,
    "separate": eckpt.dual_checkpointing(separate=True),
  }[how]
  return models.estimator(decorate(fn), model_dir)


@functools.lru_cache(maxsize=64)
def _stock_goes_on(name, tmp):
  directory = os.path.join(tmp, name.replace("/", "_"))
  golden.copy(name, directory)
  values = models.Values()
  models.estimator(_golden_model_fn, directory).train(
    lambda: _input_fn(name), hooks=[values], steps=4
  )
  return values


@pytest.mark.parametrize(
  "name, how",
  [
    *((_GOLDENS[0], how) for how in [*_FORMATS, "separate", "with_checkpointing"]),
    (_GOLDENS[1], "dual"),
  ],
)
def test_training_goes_on_as_stock_does(name, how, tmp_path, tmp_path_factory):
  stock = _stock_goes_on(name, str(tmp_path_factory.getbasetemp()))
  directory = tmp_path / "model"
  golden.copy(name, directory)
  values = models.Values()
  estimator = _decorated(how, _golden_model_fn, directory)
  predicted = next(estimator.predict(lambda: _input_fn(name)))
  np.testing.assert_allclose(
    predicted["output"], golden.data(name)["output"][0], rtol=1e-6
  )
  estimator.train(lambda: _input_fn(name), hooks=[values], steps=4)
  models.assert_same_values(values.start, stock.start)
  models.assert_same_values(values.last, stock.last)
  expected = {
    key: value for key, value in golden.expected(name).items() if key in values.start
  }
  assert expected["global_step"] == 7 and len(expected) == len(golden.expected(name))
  for key, value in expected.items():
    np.testing.assert_array_equal(values.start[key], value)
  # An Estimator saves at its start; the older checkpoint stays, even with that name.
  state = state_file.read_state(str(directory))
  prefix = golden.manifest(name)["prefix"]
  assert [os.path.basename(p) for p in state.all_model_checkpoint_paths] == [
    *dict.fromkeys([prefix, "model.ckpt-7", "model.ckpt-11"])
  ]
  for path in glob.glob(
    os.path.join(golden.directory(name), glob.escape("model.ckpt-7") + "*")
  ):
    with open(path, "rb") as old, open(directory / os.path.basename(path), "rb") as new:
      assert old.read() == new.read()
  assert verify(str(directory)).ok


@pytest.mark.parametrize("partitions", [1, 2, 7])
def test_other_partitions_are_restored(partitions, tmp_path):
  name = _GOLDENS[0]
  golden.copy(name, tmp_path / "model")

  def fn(features, labels, mode):
    return _build(features, labels, mode, partitions)

  estimator = models.estimator(eckpt.dual_checkpointing(fn), tmp_path / "model")
  values = models.Values()
  estimator.train(lambda: _input_fn(name), hooks=[values], steps=1)
  for key in ("net/embedding", "net/embedding/Adam", "net/embedding/Adam_1"):
    np.testing.assert_array_equal(values.start[key], golden.expected(name)[key])


@pytest.mark.parametrize(
  "name, checkpoint_format",
  [*((_GOLDENS[0], f) for f in _FORMATS), (_GOLDENS[1], "tf2")],
)
def test_a_warm_start_takes_it(name, checkpoint_format, tmp_path):
  fn = eckpt.checkpointing(
    checkpoint_format, warm_start=eckpt.WarmStart(golden.directory(name))
  )(_golden_model_fn)
  values = models.Values()
  models.estimator(fn, tmp_path).train(lambda: _input_fn(name), hooks=[values], steps=1)
  for key in ("net/embedding", "net/wide", "net/dense/kernel", "net/large"):
    np.testing.assert_array_equal(values.start[key], golden.expected(name)[key])
  assert values.start["global_step"] == 0


def _v1_model_fn(features, labels, mode):
  """`models.model_fn` with a Saver of the format V1 in the user's code."""
  made = models.model_fn(features, labels, mode)
  saver = v1.train.Saver(write_version=v1.train.SaverDef.V1)
  return made._replace(scaffold=v1.train.Scaffold(saver=saver))


@pytest.mark.parametrize("checkpoint_format", _FORMATS)
def test_what_stock_writes_as_v1_now_is_resumed(checkpoint_format, tmp_path):
  values, expected = models.Values(), models.Values()
  models.estimator(_v1_model_fn, tmp_path / "model").train(models.input_fn, steps=5)
  assert not [n for n in os.listdir(tmp_path / "model") if n.endswith(".index")]
  shutil.copytree(tmp_path / "model", tmp_path / "stock")
  models.estimator(models.model_fn, tmp_path / "stock").train(
    models.input_fn, hooks=[expected], steps=5
  )
  fn = eckpt.checkpointing(checkpoint_format)(models.model_fn)
  # The copied state file has absolute paths to the other directory.
  estimator = models.estimator(fn, tmp_path / "model")
  estimator.train(models.input_fn, hooks=[values], steps=5)
  models.assert_same_values(values.start, expected.start)
  models.assert_same_values(values.last, expected.last)
  assert estimator.evaluate(models.eval_input_fn)["global_step"] == 10


def test_a_state_file_that_names_a_v1_file_that_is_gone_is_an_error(tmp_path):
  prefix = golden.copy(_GOLDENS[0], tmp_path / "model")
  os.rename(prefix, prefix[:-1] + "6")
  estimator = models.estimator(
    eckpt.dual_checkpointing(_golden_model_fn), tmp_path / "model"
  )
  with pytest.raises(eckpt.CheckpointError, match=r"did you mean .*model\.ckpt-6\?"):
    estimator.train(lambda: _input_fn(_GOLDENS[0]), steps=1)


_DTYPES = "float32 float64 float16 int32 int64 int16 uint16 int8 uint8 bool".split()
_DTYPES += "complex64 complex128 string qint8 quint8 qint32".split()


@st.composite
def _variables(draw):
  made = {}
  for number in range(draw(st.integers(1, 4))):
    dtype = draw(st.sampled_from(_DTYPES))
    shape = draw(st.lists(st.integers(0, 5), max_size=3))
    parts = [1] * len(shape)
    if shape and min(shape) > 0:
      axis = draw(st.integers(0, len(shape) - 1))
      parts[axis] = draw(st.integers(1, shape[axis]))
    seed = draw(st.integers(0, 99))
    made[f"scope/v{number}"] = (dtype, shape, parts, seed)
  return made


def _sample(dtype, shape, seed):
  rng = np.random.default_rng(seed)
  if dtype == "string":
    flat = [rng.bytes(n) for n in rng.integers(0, 300, int(np.prod(shape)))]
    array = np.empty(len(flat), object)
    array[:] = flat
    return array.reshape(shape)
  plain = np.dtype(dtype[1:] if dtype[0] == "q" else dtype)
  if plain.kind in "fc":
    return (rng.standard_normal(shape) * 10.0 ** (seed % 4)).astype(plain)
  if plain.kind == "b":
    return rng.integers(0, 2, shape).astype(bool)
  limits = np.iinfo(plain)
  return rng.integers(limits.min, limits.max, shape, plain, endpoint=True)


@settings(max_examples=25, deadline=None)
@given(_variables(), st.booleans())
def test_any_file_of_tensorflows_own_writer_is_read(tmp_path_factory, made, sharded):
  prefix = str(tmp_path_factory.mktemp("v1") / "model.ckpt")
  expected = {k: _sample(d, shape, seed) for k, (d, shape, _, seed) in made.items()}
  names, specs, tensors = [], [], []
  with tf.Graph().as_default(), v1.Session() as session:
    for key, (dtype, shape, parts, _) in made.items():
      axis = next((i for i, count in enumerate(parts) if count > 1), None)
      count = parts[axis] if axis is not None else 1
      start = 0
      pieces = (
        np.array_split(expected[key], count, axis or 0) if shape else [expected[key]]
      )
      for piece in pieces:
        tensor = tf.constant(piece)
        if dtype[0] == "q":
          tensor = tf.bitcast(tensor, dtype)
        extents = [
          f"{start},{n}" if i == axis else "-" for i, n in enumerate(piece.shape)
        ]
        dims = " ".join(map(str, shape))
        names.append(key)
        specs.append(f"{dims} {':'.join(extents)}" if shape else "")
        tensors.append(tensor)
        start += piece.shape[axis] if axis is not None else 0
    halves = [slice(None)]
    paths = [prefix]
    if sharded and len(names) > 1:
      half = len(names) // 2
      halves = [slice(0, half), slice(half, None)]
      paths = [f"{prefix}-{i:05d}-of-00002" for i in range(2)]
      prefix += "-?????-of-00002"
    for path, half in zip(paths, halves):
      session.run(
        tf.raw_ops.SaveSlices(
          filename=path,
          tensor_names=names[half],
          shapes_and_slices=specs[half],
          data=tensors[half],
        )
      )
  with eckpt.open_checkpoint(prefix) as reader:
    assert sorted(reader) == sorted(expected)
    for key, value in expected.items():
      assert reader.dtypes[key] == made[key][0]
      assert reader.shapes[key] == value.shape
      np.testing.assert_array_equal(reader[key], value)
