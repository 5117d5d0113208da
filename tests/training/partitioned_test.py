"""Partitioned variables: any partition count reads any; every row is compared."""

from __future__ import annotations

import os

import numpy as np
import pytest
import tensorflow as tf

import estimator_ckpt as eckpt
from estimator_ckpt import errors
from estimator_ckpt.checkpoint.verify import verify
from tests import golden, models, tensorflows

v1 = tf.compat.v1
_FORMATS = ["tf1", "tf2", "dual"]
_ROWS, _COLUMNS = 14, 4


_PARTITIONERS = {
  "none": lambda: None,
  "one": lambda: v1.fixed_size_partitioner(1),
  "three": lambda: v1.fixed_size_partitioner(3),
  "eleven": lambda: v1.fixed_size_partitioner(11),
  "columns": lambda: v1.fixed_size_partitioner(2, axis=1),
  "min_max": lambda: v1.min_max_variable_partitioner(4, min_slice_size=16),
  "variable": lambda: v1.variable_axis_size_partitioner(48),
}


def _values(dtype):
  """Distinct values that are exact in half precision."""
  numbers = np.arange(_ROWS * _COLUMNS).reshape(_ROWS, _COLUMNS) * 2
  return tf.constant(numbers, dtype)


def _graph(partitioner, dtype, start):
  """An embedding, its Momentum slot and the step; returns the train op and reads."""
  step = v1.train.get_or_create_global_step()
  numbers = (
    np.arange(_ROWS * _COLUMNS).reshape(_ROWS, _COLUMNS) * 2.0 if start else None
  )
  with v1.variable_scope("net", partitioner=partitioner, use_resource=True):
    embedding = v1.get_variable(
      "embedding",
      [_ROWS, _COLUMNS],
      dtype,
      # The initializer of a partitioned variable receives the part that it makes.
      lambda shape, dtype, partition_info: _start(
        shape, dtype, partition_info, numbers
      ),
    )
  parts = list(embedding) if hasattr(embedding, "_get_variable_list") else [embedding]
  optimizer = v1.train.MomentumOptimizer(0.5, 0.5)
  # The gradient is the value itself.
  gradients = [(tf.identity(part), part) for part in parts]
  train_op = optimizer.apply_gradients(gradients, step)
  axis = 1 if parts[0].shape[1] != _COLUMNS else 0

  def whole(tensors):
    return tf.concat([tf.cast(t, tf.float64) for t in tensors], axis)

  slots = [optimizer.get_slot(part, "momentum") for part in parts]
  return train_op, {"embedding": whole(parts), "momentum": whole(slots), "step": step}


def _start(shape, dtype, partition_info, numbers):
  if numbers is None:
    return tf.zeros(shape, dtype)
  offset = partition_info.var_offset if partition_info is not None else [0, 0]
  cut = tuple(slice(o, o + n) for o, n in zip(offset, shape))
  return tf.constant(numbers[cut], dtype)


def _train(
  model_dir, checkpoint_format, partitioner, dtype=tf.float32, steps=1, **options
):
  """Trains some steps, resuming if it can, and returns the values."""
  with tf.Graph().as_default():
    train_op, read = _graph(_PARTITIONERS[partitioner](), dtype, start=True)
    scaffold = None
    if checkpoint_format is not None:
      scaffold = getattr(eckpt, f"{checkpoint_format}_scaffold")(**options)
    with v1.train.MonitoredTrainingSession(
      checkpoint_dir=str(model_dir),
      scaffold=scaffold,
      save_checkpoint_steps=1,
      save_summaries_steps=None,
      log_step_count_steps=None,
    ) as session:
      for _ in range(steps):
        session.run(train_op)
      return session.run_step_fn(lambda step_context: step_context.session.run(read))


def _restored(model_dir, checkpoint_format, partitioner, dtype=tf.float32):
  """The values of a graph that has restored the newest checkpoint."""
  with tf.Graph().as_default():
    _, read = _graph(_PARTITIONERS[partitioner](), dtype, start=False)
    scaffold = getattr(eckpt, f"{checkpoint_format}_scaffold")()
    creator = v1.train.ChiefSessionCreator(scaffold, checkpoint_dir=str(model_dir))
    with v1.train.MonitoredSession(creator) as session:
      return session.run(read)


@pytest.fixture(scope="module")
def written(tmp_path_factory):
  """`written(format, partitioner, dtype)` is a model_dir and the values saved in it."""
  made = {}

  def write(checkpoint_format, partitioner, dtype=tf.float32):
    key = checkpoint_format, partitioner, dtype
    if key not in made:
      path = tmp_path_factory.mktemp("written")
      made[key] = path, _train(path, checkpoint_format, partitioner, dtype)
    return made[key]

  return write


def _next(checkpoint_format, by=1):
  """Another format, so that one format reads another."""
  return _FORMATS[(_FORMATS.index(checkpoint_format) + by) % 3]


_WRITERS = ["none", "three", "eleven", "columns", "min_max", "variable"]


def test_the_partitioners_make_different_parts():
  counts = {}
  for name, make in _PARTITIONERS.items():
    with tf.Graph().as_default():
      v = v1.get_variable("v", [_ROWS, _COLUMNS], partitioner=make())
      counts[name] = len(list(v)) if hasattr(v, "_get_partitions") else 0
  assert counts == {
    "none": 0,
    "one": 1,
    "three": 3,
    "eleven": 11,
    "columns": 2,
    "min_max": 4,
    "variable": 5,
  }


@pytest.mark.parametrize("reader", list(_PARTITIONERS))
@pytest.mark.parametrize("writer", _WRITERS)
@pytest.mark.parametrize("checkpoint_format", _FORMATS)
def test_any_count_reads_any_count(written, checkpoint_format, writer, reader):
  model_dir, values = written(checkpoint_format, writer)
  assert len(np.unique(values["embedding"])) == _ROWS * _COLUMNS
  assert np.any(values["momentum"])
  # Rotates the reader's format, so that every format reads every format.
  by = _WRITERS.index(writer) + list(_PARTITIONERS).index(reader)
  restored = _restored(model_dir, _next(checkpoint_format, by), reader)
  models.assert_same_values(values, restored)


@pytest.mark.parametrize("dtype", [tf.float16, tf.bfloat16], ids=lambda d: d.name)
@pytest.mark.parametrize("checkpoint_format", _FORMATS)
def test_half_precision_too(written, checkpoint_format, dtype):
  for writer in ("none", "three", "columns"):
    model_dir, values = written(checkpoint_format, writer, dtype)
    assert len(np.unique(values["embedding"])) == _ROWS * _COLUMNS
    for reader in ("none", "one", "three", "eleven", "columns"):
      restored = _restored(model_dir, _next(checkpoint_format), reader, dtype)
      models.assert_same_values(values, restored)


def test_training_goes_on_with_another_count(tmp_path):
  expected = _train(tmp_path / "plain", None, "none", steps=4)
  for i, (checkpoint_format, partitioner) in enumerate(
    [("tf1", "three"), ("dual", "columns"), ("tf2", "none"), ("dual", "eleven")]
  ):
    values = _train(tmp_path / "ours", checkpoint_format, partitioner)
    assert values["step"] == i + 1
  models.assert_same_values(expected, values)


def test_training_goes_on_in_half_precision(tmp_path):
  expected = _train(tmp_path / "plain", None, "none", tf.float16, steps=3)
  for checkpoint_format, partitioner in [
    ("dual", "three"),
    ("tf2", "columns"),
    ("dual", "one"),
  ]:
    values = _train(tmp_path / "ours", checkpoint_format, partitioner, tf.float16)
  models.assert_same_values(expected, values)


@pytest.mark.parametrize(
  "dtype", [tf.float32, tf.float16, tf.bfloat16], ids=lambda d: d.name
)
@pytest.mark.parametrize("writer", ["three", "columns"])
@pytest.mark.parametrize("checkpoint_format", ["tf2", "dual"])
def test_eager_code_restores_one_whole_variable(
  written, checkpoint_format, writer, dtype
):
  model_dir, values = written(checkpoint_format, writer, dtype)
  prefix = tf.train.latest_checkpoint(str(model_dir))
  with tensorflows.eager():
    var_list = {
      "net/embedding": tf.Variable(tf.zeros([_ROWS, _COLUMNS], dtype)),
      "net/embedding/Momentum": tf.Variable(tf.zeros([_ROWS, _COLUMNS], dtype)),
      "global_step": tf.Variable(0, dtype=tf.int64),
    }
    module = tf.Module()
    module.embedding = tf.Variable(tf.zeros([_ROWS, _COLUMNS], dtype))
    status = tensorflows.checkpoint(var_list=var_list).restore(prefix)
    tensorflows.assert_consumed(status)
    tensorflows.checkpoint(net=module).restore(prefix).expect_partial()
    for name, variable in [
      ("embedding", var_list["net/embedding"]),
      ("momentum", var_list["net/embedding/Momentum"]),
      ("embedding", module.embedding),
    ]:
      np.testing.assert_array_equal(np.float64(variable.numpy()), values[name])


@pytest.mark.parametrize("dtype", [tf.float32, tf.float16], ids=lambda d: d.name)
def test_a_dual_checkpoint_has_slices_under_its_names(written, dtype):
  """The stock Saver restores the same partitions and, except for float16, any other."""
  model_dir, values = written("dual", "three", dtype)
  prefix = tf.train.latest_checkpoint(str(model_dir))
  for reader in ["three"] if dtype is tf.float16 else ["three", "none", "columns"]:
    with tf.Graph().as_default(), v1.Session() as session:
      _, read = _graph(_PARTITIONERS[reader](), dtype, start=False)
      v1.train.Saver().restore(session, prefix)
      models.assert_same_values(values, session.run(read))


@pytest.mark.parametrize("writer", ["three", "columns"])
@pytest.mark.parametrize("dtype", [tf.float32, tf.float16], ids=lambda d: d.name)
def test_bytes_on_disk(written, writer, dtype):
  def size(checkpoint_format):
    model_dir, _ = written(checkpoint_format, writer, dtype)
    data = [n for n in os.listdir(model_dir) if "ckpt-1.data" in n]
    return sum(os.path.getsize(os.path.join(model_dir, n)) for n in data)

  whole = dtype.size * _ROWS * _COLUMNS * 2
  graph = len(
    eckpt.open_checkpoint(str(written("tf2", writer, dtype)[0]))[
      "_CHECKPOINTABLE_OBJECT_GRAPH"
    ].item()
  )
  assert size("tf2") < size("tf1") + graph + 64
  # If TensorFlow cannot join columns of a type, the whole is stored, too.
  twice = whole if (writer, dtype) == ("columns", tf.float16) else 0
  assert size("dual") < size("tf1") + graph + 64 + twice
  assert not verify(str(written("dual", writer, dtype)[0])).findings


@pytest.mark.parametrize("dtype", [tf.float32, tf.float16], ids=lambda d: d.name)
@pytest.mark.parametrize("sharded", [True, False])
@pytest.mark.parametrize("checkpoint_format", ["tf2", "dual"])
def test_partitions_on_two_devices(checkpoint_format, sharded, dtype, tmp_path):
  numbers = np.arange(12.0).reshape(6, 2)
  config = v1.ConfigProto(device_count={"CPU": 2})

  def build(start):
    devices = iter(["/cpu:0", "/cpu:1", "/cpu:0"])
    with v1.device(lambda op: next(devices) if op.type == "VarHandleOp" else ""):
      v = v1.get_variable(
        "v",
        [6, 2],
        dtype,
        lambda shape, dtype, partition_info: _start(
          shape, dtype, partition_info, numbers if start else None
        ),
        partitioner=v1.fixed_size_partitioner(3),
        use_resource=True,
      )
    assert len({part.device for part in v}) == 2
    with tf.device("/cpu:0"):
      return tf.concat(list(v), 0)

  prefix = str(tmp_path / "model.ckpt")
  with tf.Graph().as_default(), v1.Session(config=config) as session:
    build(True)
    scaffold = getattr(eckpt, f"{checkpoint_format}_scaffold")(sharded=sharded)
    scaffold.finalize()
    session.run(scaffold.init_op)
    prefix = scaffold.saver.save(session, prefix)
  with tensorflows.eager():
    whole = tf.Variable(tf.zeros([6, 2], dtype))
    tensorflows.checkpoint(var_list={"v": whole}).restore(prefix).assert_consumed()
    np.testing.assert_array_equal(whole.numpy(), numbers)
  with tf.Graph().as_default(), v1.Session(config=config) as session:
    v = build(False)
    scaffold = eckpt.tf1_scaffold()
    scaffold.finalize()
    scaffold.saver.restore(session, prefix)
    np.testing.assert_array_equal(session.run(v), numbers)


@pytest.mark.parametrize("reader", ["none", "three", "eleven", "columns"])
@pytest.mark.parametrize("checkpoint_format", _FORMATS)
def test_parts_that_the_guides_checkpoint_stored_one_by_one(
  checkpoint_format, reader, tmp_path
):
  with tf.Graph().as_default():
    train_op, read = _graph(_PARTITIONERS["three"](), tf.float32, start=True)
    with v1.Session() as session:
      session.run(v1.global_variables_initializer())
      session.run(train_op)
      values = session.run(read)
      saver = models.guide_scaffold().saver
      prefix = saver.save(str(tmp_path / "model.ckpt"))
  assert "var_list/net.Sembedding.Spart_0/.ATTRIBUTES/VARIABLE_VALUE" in models.values(
    prefix
  )
  models.assert_same_values(values, _restored(tmp_path, checkpoint_format, reader))


@pytest.mark.parametrize("checkpoint_format", ["tf2", "dual"])
@pytest.mark.parametrize("dtype", [tf.float32, tf.float16], ids=lambda d: d.name)
def test_parts_that_the_users_objects_reach(checkpoint_format, dtype, tmp_path):
  """The guide's Scaffold names every part; the whole tensor is stored as well."""
  with tf.Graph().as_default():
    train_op, read = _graph(_PARTITIONERS["three"](), dtype, start=True)
    scaffold = getattr(eckpt, f"{checkpoint_format}_scaffold")(
      scaffold=models.guide_scaffold()
    )
    with v1.train.MonitoredTrainingSession(
      checkpoint_dir=str(tmp_path), scaffold=scaffold, save_checkpoint_steps=1
    ) as session:
      session.run(train_op)
      values = session.run_step_fn(lambda step_context: step_context.session.run(read))
  prefix = tf.train.latest_checkpoint(str(tmp_path))
  with tensorflows.eager():
    parts = [tf.Variable(tf.zeros([n, _COLUMNS], dtype)) for n in (5, 5, 4)]
    var_list = {f"net/embedding/part_{i}": part for i, part in enumerate(parts)}
    var_list["net/embedding"] = tf.Variable(tf.zeros([_ROWS, _COLUMNS], dtype))
    status = tensorflows.checkpoint(var_list=var_list).restore(prefix)
    status.assert_existing_objects_matched().expect_partial()
    np.testing.assert_array_equal(tf.concat(parts, 0), values["embedding"])
    np.testing.assert_array_equal(
      var_list["net/embedding"].numpy(), values["embedding"]
    )
  models.assert_same_values(values, _restored(tmp_path, "tf1", "columns", dtype))


def test_a_dict_of_partitioned_variables(tmp_path):
  def scaffold_of(embedding):
    return v1.train.Scaffold(
      saver=tensorflows.checkpoint(
        var_list={"emb": embedding}, step=v1.train.get_or_create_global_step()
      )
    )

  def run(decorate, model_dir):
    def model_fn(features, labels, mode):
      with v1.variable_scope("", partitioner=v1.fixed_size_partitioner(2)):
        embedding = v1.get_variable("emb", [2, 1])
      y = features["x"] @ tf.concat(list(embedding), 0)
      return models.spec(
        mode,
        y,
        labels,
        tf.compat.v1.train.GradientDescentOptimizer(0.1),
        scaffold=scaffold_of(embedding),
      )

    models.estimator(decorate(model_fn), model_dir).train(models.input_fn, steps=1)
    return models.values(model_dir)

  guide = run(lambda fn: fn, tmp_path / "guide")
  assert not any("emb" in key for key in guide)
  ours = run(eckpt.dual_checkpointing, tmp_path / "ours")
  assert ours["emb"].shape == (2, 1) and np.all(ours["emb"])


@pytest.mark.parametrize("checkpoint_format", _FORMATS)
def test_golden_checkpoints_of_tf1_in_another_count(checkpoint_format, tmp_path):
  expected = golden.expected("tf1.15/momentum_partitioned")
  half = golden.expected("tf1.15/partitioned_half")
  cases = [
    ("tf1.15/momentum_partitioned", "net/embedding", tf.float32, expected),
    ("tf1.15/momentum_partitioned", "net/wide/Momentum", tf.float32, expected),
    ("tf1.15/partitioned_half", "net/embedding", tf.float16, half),
    ("tf1.15/partitioned_half", "net/embedding/Momentum", tf.float16, half),
    ("tf1.15/partitioned_half", "net/embedding_bfloat16", tf.bfloat16, half),
  ]
  for name, variable, dtype, values in cases:
    for partitioner in (None, v1.fixed_size_partitioner(2)):
      with tf.Graph().as_default(), v1.Session() as session:
        value = values[variable]
        v = v1.get_variable(variable, value.shape, dtype, partitioner=partitioner)
        whole = tf.cast(tf.convert_to_tensor(v), tf.float64)
        scaffold = getattr(eckpt, f"{checkpoint_format}_scaffold")()
        scaffold.finalize()
        scaffold.saver.restore(session, golden.path(name))
        read = session.run(whole)
        np.testing.assert_array_equal(read, np.float64(value))


@pytest.mark.parametrize(
  ("parts", "message"),
  [
    ([0, 2], "hold 9 of the 14"),
    ([0, 0, 1, 2], "overlap"),
  ],
)
@pytest.mark.parametrize("checkpoint_format", _FORMATS)
def test_partitions_that_do_not_make_up_their_variable(
  checkpoint_format, parts, message, tmp_path
):
  with tf.Graph().as_default(), v1.Session():
    v = v1.get_variable(
      "v", [14, 1], use_resource=True, partitioner=v1.fixed_size_partitioner(3)
    )
    var_list = {"v": [list(v)[i] for i in parts]}
    scaffold = getattr(eckpt, f"{checkpoint_format}_scaffold")(var_list=var_list)
    with pytest.raises(errors.OptionError, match=f"partitions of 'v'.*{message}") as e:
      scaffold.finalize()
    assert "v/part_2" in str(e.value)
  assert not os.listdir(tmp_path)
