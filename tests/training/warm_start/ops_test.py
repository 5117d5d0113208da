"""Values of variables after a warm start, from checkpoints of every kind."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

import estimator_ckpt as eckpt
from estimator_ckpt import errors
from estimator_ckpt.training.warm_start import ops as warm_start_ops
from estimator_ckpt.warm_start import WarmStart
from tests.training.warm_start.graphs import save_objects, values, variable

v1 = tf.compat.v1


@pytest.fixture
def golden(testdata):
  """A function from a golden's name to its path and values."""

  def find(name):
    with np.load(testdata / name / "expected.npz") as arrays:
      return str(testdata / name), {key: arrays[key] for key in arrays.files}

  return find


@pytest.fixture(params=["resource", "reference"])
def use_resource(request):
  return request.param == "resource"


@pytest.fixture(autouse=True)
def graph():
  with tf.Graph().as_default() as graph:
    yield graph


DENSE = {
  "dense_1/kernel": (5, 4),
  "dense_1/bias": (4,),
  "dense_2/kernel": (4, 3),
  "dense_2/bias": (3,),
}


def dense(scope, **options):
  return {
    name: variable(scope + name, shape, **options) for name, shape in DENSE.items()
  }


def test_same_names(golden, use_resource):
  path, expected = golden("tf1.15/adam_dense")
  dense("net/", use_resource=use_resource)
  variable("other", (2,), use_resource=use_resource)
  found = values(path)
  np.testing.assert_array_equal(found.pop("other"), [9, 9])
  for name, value in found.items():
    np.testing.assert_array_equal(value, expected[name], err_msg=name)


def _forms():
  """Maps that start `new/dense_1` from `net/dense_1`, once variables exist."""
  kernel, bias = "net/dense_1/kernel", "net/dense_1/bias"
  return {
    "scope": lambda v: {"net/dense_1/": "new/dense_1/"},
    "name": lambda v: {kernel: "new/dense_1/kernel", bias: "new/dense_1/bias"},
    "variable": lambda v: {kernel: v["dense_1/kernel"], bias: v["dense_1/bias"]},
    "pairs": lambda v: [(kernel, "new/dense_1/kernel"), (bias, v["dense_1/bias"])],
    "root": lambda v: {"net/": "new/"},
    "expression": lambda v: {r"net/(dense_1)/(.*)": r"new/\1/\2"},
    "text": lambda v: ["net/dense_1/:new/dense_1/"],
  }


@pytest.mark.parametrize("form", _forms())
@pytest.mark.parametrize("source", ["tf1.15/adam_dense", "tf2.15/converted_names"])
def test_forms_of_the_map(golden, form, source):
  path, _ = golden(source)
  _, expected = golden("tf1.15/adam_dense")
  made = dense("new/")
  found = values(WarmStart(path, "new/dense_1", _forms()[form](made)))
  for name in ("dense_1/kernel", "dense_1/bias"):
    np.testing.assert_array_equal(found["new/" + name], expected["net/" + name])
  np.testing.assert_array_equal(found["new/dense_2/bias"], [9, 9, 9])


def test_partitions_of_a_variable_in_the_map(golden):
  path, expected = golden("tf1.15/adam_dense")
  kernel = variable("new/kernel", (5, 4), parts=2)
  bias = variable("new/bias", (4,), parts=3)
  found = values(
    WarmStart(
      path,
      assignment_map={"net/dense_1/kernel": list(kernel), "net/dense_1/bias": bias},
    )
  )
  np.testing.assert_array_equal(found["new/kernel"], expected["net/dense_1/kernel"])
  np.testing.assert_array_equal(found["new/bias"], expected["net/dense_1/bias"])


@pytest.mark.parametrize("parts", [None, 2])
def test_one_variable_of_the_graph_is_selected_without_a_list(golden, parts):
  path, expected = golden("tf1.15/adam_dense")
  kernel = variable("net/dense_1/kernel", (5, 4), parts=parts)
  variable("net/dense_1/bias", (4,))
  found = values(WarmStart(path, kernel))
  np.testing.assert_array_equal(
    found["net/dense_1/kernel"], expected["net/dense_1/kernel"]
  )
  np.testing.assert_array_equal(found["net/dense_1/bias"], [9, 9, 9, 9])


def test_the_root_of_the_checkpoint_into_a_scope(golden):
  path, expected = golden("tf1.15/adam_dense")
  dense("outer/net/")
  found = values(WarmStart(path, assignment_map={"/": "outer/"}))
  for name in DENSE:
    np.testing.assert_array_equal(found["outer/net/" + name], expected["net/" + name])


_KERAS2 = (
  "model/layer_with_weights-0/kernel",
  "model/layer_with_weights-1/moving_mean",
)
_KERAS3 = ("optimizer/_trainable_variables/0", "model/_operations/2/moving_mean")


@pytest.mark.parametrize(
  "source, paths",
  [
    ("tf2.15/keras2_adam", _KERAS2),
    ("tf2.15/keras2_legacy_adam", _KERAS2),
    ("tf2.21/keras3_adam", _KERAS3),
  ],
)
def test_a_keras_model_by_its_layers_names(golden, source, paths):
  path, expected = golden(source)
  shapes = {
    "dense_1/kernel": (5, 4),
    "dense_1/bias": (4,),
    "batch_norm/gamma": (4,),
    "batch_norm/beta": (4,),
    "batch_norm/moving_mean": (4,),
    "batch_norm/moving_variance": (4,),
    "dense_2/kernel": (4, 2),
    "dense_2/bias": (2,),
  }
  for name, shape in shapes.items():
    variable("net/" + name, shape)
  found = values(WarmStart(path, assignment_map={"/": "net/"}))
  with eckpt.open_checkpoint(path) as reader:
    for name in shapes:
      key = reader.names[name]
      np.testing.assert_array_equal(found["net/" + name], expected[key])
  # For these, the expected values come from the program that wrote the checkpoint.
  for name, path in zip(("dense_1/kernel", "batch_norm/moving_mean"), paths):
    key = path + "/.ATTRIBUTES/VARIABLE_VALUE"
    np.testing.assert_array_equal(found["net/" + name], expected[key])


def test_object_paths_of_a_module(golden):
  path, expected = golden("tf2.15/module_tree")
  variable("net/first/kernel", (2, 2))
  variable("net/second/kernel", (2, 1))
  variable("net/main", (4,))
  found = values(
    WarmStart(
      path,
      assignment_map={
        "tree/layers/0/kernel": "net/first/kernel",
        r"tree/layers/1/(.*)": r"net/second/\1",
        "tree/heads/right..v2.Smain/.ATTRIBUTES/VARIABLE_VALUE": "net/main",
      },
      only_mapped=True,
    )
  )
  for name, key in (
    ("net/first/kernel", "tree/layers/0/kernel"),
    ("net/second/kernel", "tree/layers/1/kernel"),
    ("net/main", "tree/heads/right..v2.Smain"),
  ):
    np.testing.assert_array_equal(
      found[name], expected[key + "/.ATTRIBUTES/VARIABLE_VALUE"]
    )


def test_a_saved_model(golden):
  path, expected = golden("tf1.15/saved_model")
  variable("net/dense/kernel", (3, 2))
  variable("net/embedding", (5, 2))
  found = values(path + "/export")
  for name in ("net/dense/kernel", "net/embedding"):
    np.testing.assert_array_equal(found[name], expected[name])


@pytest.mark.parametrize("version", ["tf2.15", "tf2.21"])
def test_a_saved_model_of_objects(golden, version):
  path, expected = golden(f"{version}/saved_module")
  saved = {
    key.rpartition("/.ATTRIBUTES/")[0]: value
    for key, value in expected.items()
    if key.endswith("VARIABLE_VALUE") and value.dtype == np.float32 and value.size > 1
  }
  assert len(saved) > 1
  for name, value in saved.items():
    variable("net/" + name, value.shape)
  found = values(WarmStart(path + "/export", assignment_map={"/": "net/"}))
  for name, value in saved.items():
    np.testing.assert_array_equal(found["net/" + name], value)


@pytest.mark.parametrize(
  "written", ["", "/checkpoint", "/model.ckpt-7", "/model.ckpt-7.index"]
)
@pytest.mark.parametrize(
  "source", ["tf1.15/adam_dense", "tf2.15/guide_scaffold", "dual"]
)
def test_ways_to_write_the_path(golden, tmp_path, source, written):
  if source == "dual":
    path, expected = golden("tf1.15/adam_dense")
    eckpt.convert(path, tmp_path / "dual", to="dual")
    path = str(tmp_path / "dual")
    name = wanted = "net/dense_1/kernel"
  else:
    path, expected = golden(source)
    name = wanted = "net/dense_1/kernel"
    if source == "tf2.15/guide_scaffold":
      name = "net/dense/kernel"
      wanted = "var_list/net.Sdense.Skernel/.ATTRIBUTES/VARIABLE_VALUE"
  variable(name, expected[wanted].shape)
  np.testing.assert_array_equal(values(path + written)[name], expected[wanted])


@pytest.mark.parametrize("parts", [None, 1, 2, 3, 5])
def test_partitioned_into_any_number_of_partitions(golden, parts, use_resource):
  path, expected = golden("tf1.15/momentum_partitioned")
  variable("net/embedding", (7, 4), parts=parts, use_resource=use_resource)
  variable("net/wide", (4, 5), parts=parts, axis=1, use_resource=use_resource)
  variable("net/dense/kernel", (3, 2), use_resource=use_resource)
  found = values(path)
  for name in found:
    np.testing.assert_array_equal(found[name], expected[name], err_msg=name)


@pytest.mark.parametrize("parts", [None, 2, 3, 5])
def test_partitions_of_types_that_tensorflow_does_not_stitch(
  golden, parts, use_resource
):
  path, expected = golden("tf1.15/partitioned_half")
  variable("net/embedding", (7, 4), tf.float16, parts, use_resource=use_resource)
  variable(
    "net/embedding_bfloat16", (8, 3), tf.bfloat16, parts, use_resource=use_resource
  )
  found = values(path)
  np.testing.assert_array_equal(found["net/embedding"], expected["net/embedding"])
  bfloat16 = found["net/embedding_bfloat16"].astype(np.float32)
  np.testing.assert_array_equal(bfloat16, expected["net/embedding_bfloat16"])


@pytest.mark.parametrize("parts, axis", [(2, 0), (3, 1), (2, 1)])
def test_unpartitioned_into_partitions_of_a_type_that_tensorflow_does_not_cut(
  golden, parts, axis
):
  path, expected = golden("tf2.15/module_tree")
  variable("half", (2, 3), tf.float16, parts, axis)
  found = values(WarmStart(path, assignment_map={"tree/half": "half"}))
  np.testing.assert_array_equal(
    found["half"], expected["tree/half/.ATTRIBUTES/VARIABLE_VALUE"]
  )


@pytest.mark.parametrize("parts", [None, 2, 3])
@pytest.mark.parametrize("dtype", [tf.float32, tf.float16])
def test_parts_that_tensorflows_guide_saves_one_by_one(tmp_path, parts, dtype):
  expected = np.arange(28).reshape(7, 4).astype(dtype.as_numpy_dtype)
  prefix = save_objects(tmp_path, {"net/e": expected}, parts=3)
  variable("net/e", (7, 4), dtype, parts)
  np.testing.assert_array_equal(values(prefix)["net/e"], expected)


@pytest.mark.parametrize("checkpoint_format", ["tf1", "tf2", "dual"])
def test_partitioned_checkpoints_of_this_package(tmp_path, checkpoint_format):
  expected = np.arange(28, dtype=np.float32).reshape(7, 4)
  with tf.Graph().as_default():
    v1.get_variable(
      "e", initializer=tf.constant(expected), partitioner=v1.fixed_size_partitioner(3)
    )
    v1.train.get_or_create_global_step()
    scaffold = getattr(eckpt, f"{checkpoint_format}_scaffold")()
    with v1.train.MonitoredTrainingSession(
      checkpoint_dir=str(tmp_path), scaffold=scaffold, save_checkpoint_steps=1
    ):
      pass
  variable("e", (7, 4), parts=2)
  np.testing.assert_array_equal(values(str(tmp_path))["e"], expected)


def _averaged(use_average):
  shapes = {
    "net/dense/kernel": (5, 4),
    "net/batch_normalization/gamma": (4,),
    "net/batch_normalization/moving_mean": (4,),
    "net/batch_normalization/moving_variance": (4,),
  }
  made = [variable(name, shape) for name, shape in shapes.items()]
  if use_average:
    tf.compat.v1.train.ExponentialMovingAverage(0.9).apply(made[:2])


def test_moving_statistics_and_averages(golden):
  path, expected = golden("tf1.15/batch_norm")
  _averaged(True)
  found = values(path)
  assert "net/dense/kernel/ExponentialMovingAverage" in found
  for name, value in found.items():
    np.testing.assert_array_equal(value, expected[name], err_msg=name)


def test_moving_averages_become_the_weights(golden):
  path, expected = golden("tf1.15/batch_norm")
  _averaged(False)
  found = values(WarmStart(path, moving_averages="use"))
  for name, value in found.items():
    average = expected.get(name + "/ExponentialMovingAverage", expected[name])
    np.testing.assert_array_equal(value, average, err_msg=name)
  assert not np.array_equal(found["net/dense/kernel"], expected["net/dense/kernel"])


@pytest.mark.parametrize("source", ["tf1.15/adam_dense", "tf2.15/converted_names"])
def test_optimizer_state_and_step(golden, source):
  path, _ = golden(source)
  _, expected = golden("tf1.15/adam_dense")
  made = dense("new/")
  step = v1.train.get_or_create_global_step()
  loss = tf.add_n([tf.reduce_sum(v) for v in made.values()])
  v1.train.AdamOptimizer().minimize(loss, step)
  found = values(
    WarmStart(path, assignment_map="net/:new/", optimizer_state=True, global_step=True)
  )
  assert len(found) == 15
  for name, value in found.items():
    np.testing.assert_array_equal(
      value, expected[name.replace("new/", "net/")], err_msg=name
    )


def test_one_read_for_all_variables(golden, graph):
  path, _ = golden("tf1.15/adam_dense")
  dense("net/")
  values(WarmStart(path))
  reads = [op for op in graph.get_operations() if op.type == "RestoreV2"]
  assert [op.name.split("/")[0] for op in reads].count("warm_start") == 1


def test_large_variables_are_read_at_the_same_time(graph, tmp_path):
  """Several ops read a range of the data file each."""
  size = 1 << 20
  path = str(tmp_path / "model.ckpt")
  with tf.Graph().as_default(), v1.Session() as session:
    for i in range(12):
      v1.get_variable(f"net/w{i}", initializer=tf.fill([size], float(i)))
    session.run(v1.global_variables_initializer())
    v1.train.Saver().save(session, path)
  for i in range(12):
    variable(f"net/w{i}", (size,))
  found = values(WarmStart(path))
  reads = [op for op in graph.get_operations() if op.type == "RestoreV2"]
  counts = [len(op.outputs) for op in reads if op.name.startswith("warm_start")]
  assert len(counts) > 1 and sum(counts) == 12
  for i in range(12):
    np.testing.assert_array_equal(found[f"net/w{i}"], np.full(size, i, np.float32))


def test_each_parameter_server_reads_what_it_has_with_one_op(golden, graph):
  path, _ = golden("tf1.15/momentum_partitioned")
  setter = v1.train.replica_device_setter(ps_tasks=2, worker_device="/job:chief")
  with v1.device(setter):
    variable("net/embedding", (7, 4), parts=2)
    variable("net/wide", (4, 5))
    variable("net/dense/kernel", (3, 2))
  before = set(graph.get_operations())
  plan = WarmStart(path).plan(v1.global_variables())
  made = warm_start_ops.build(plan)
  added = [op for op in graph.get_operations() if op not in before]
  reads = [op for op in added if op.type == "RestoreV2"]
  assert sorted(op.device.lower() for op in reads) == [
    "/job:ps/task:0/device:cpu:0",
    "/job:ps/task:1/device:cpu:0",
  ]
  assert sum(len(op.outputs) for op in reads) == len(made.assignments) == 4
  # Each value is read by the task of its variable, and goes to it without Python.
  for op, v in zip(made.assignments, made.variables):
    assert op.type == "AssignVariableOp"
    tasks = {tf.DeviceSpec.from_string(d).task for d in (op.device, v.device)}
    value = op.inputs[1].op
    assert tasks == {tf.DeviceSpec.from_string(value.device).task}
    assert value.type in ("RestoreV2", "Identity")


def test_started_variables_are_not_initialized_first(golden, graph):
  path, _ = golden("tf1.15/adam_dense")
  made = dense("net/")
  other = variable("other", (2,))
  values(WarmStart(path))
  [init_op] = v1.get_collection(v1.GraphKeys.INIT_OP)
  reached, queue = set(), [init_op]
  while queue:
    op = queue.pop()
    if op not in reached:
      reached.add(op)
      queue += op.control_inputs
  assert other.initializer in reached
  assert not reached.intersection(v.initializer for v in made.values())


def test_what_does_not_fit_is_an_error_before_the_first_step(golden):
  path, _ = golden("tf1.15/adam_dense")
  variable("net/dense_1/kernel", (5, 5))
  variable("net/dense_1/bias", (4,), tf.float64)
  with pytest.raises(errors.VariableMismatchError) as error:
    values(WarmStart(path, assignment_map={"net/dense_3/": "net/dense_2/"}))
  for words in ("float32 [5, 5]", "float64 [4]", "nothing below 'net/dense_3/'"):
    assert words in str(error.value)


def test_without_strict_the_rest_is_started(golden):
  path, expected = golden("tf1.15/adam_dense")
  variable("net/dense_1/kernel", (5, 5))
  variable("net/dense_1/bias", (4,))
  found = values(WarmStart(path, strict=False))
  assert (found["net/dense_1/kernel"] == 9).all()
  np.testing.assert_array_equal(found["net/dense_1/bias"], expected["net/dense_1/bias"])


def test_a_checkpoint_that_is_not_there(tmp_path):
  variable("a", (1,))
  with pytest.raises(errors.CheckpointNotFoundError, match=str(tmp_path)):
    values(str(tmp_path))


def test_the_plan_of_a_graph(golden):
  path, _ = golden("tf1.15/momentum_partitioned")
  variable("net/embedding", (7, 4), parts=2)
  variable("net/odd/Momentum", (7,), trainable=False)
  made = WarmStart(path).plan(v1.global_variables())
  assert [item.target.name for item in made.started] == ["net/embedding"]
  assert made.started[0].target.shape == (7, 4)
  assert made.started[0].target.trainable
  assert "net/embedding  net/embedding  float32 [7, 4]" in str(made)
