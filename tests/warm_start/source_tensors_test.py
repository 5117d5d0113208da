"""The tensors that a checkpoint of each format can supply, and their names."""

from __future__ import annotations

import pytest

from estimator_ckpt import errors
from estimator_ckpt.bundle.index import Index
from estimator_ckpt.bundle.messages import BundleEntry
from estimator_ckpt.checkpoint.roles import RoleKind
from estimator_ckpt.warm_start.source_tensors import SourceTensors


def tensor(source, name):
  [found] = source.find(name)
  return found


def with_shapes(shapes):
  index = Index()
  for i, (name, shape) in enumerate(shapes.items()):
    index.put(name, BundleEntry(1, shape, 0, 1000 * i, 8, i))
  return SourceTensors("checkpoint", index, None)


def test_names_of_a_name_based_checkpoint(testdata):
  source = SourceTensors.open(testdata / "tf1.15" / "adam_dense")
  assert source.prefix.endswith("adam_dense/model.ckpt-7")
  found = tensor(source, "net/dense_1/kernel")
  assert (found.keys, found.shape) == (("net/dense_1/kernel",), (5, 4))
  assert [slot.name for slot in source.slots_of(found)] == [
    "net/dense_1/kernel/Adam",
    "net/dense_1/kernel/Adam_1",
  ]


@pytest.mark.parametrize("golden", ["tf2.15/converted_names", "tf2.21/converted_names"])
def test_names_that_the_guides_converter_left_in_the_paths(testdata, golden):
  source = SourceTensors.open(testdata / golden)
  found = tensor(source, "net/dense_1/kernel")
  assert found.keys == ("vars/net.Sdense_1.Skernel/.ATTRIBUTES/VARIABLE_VALUE",)
  assert found is tensor(source, "vars/net/dense_1/kernel")
  assert found is tensor(source, found.keys[0])


@pytest.mark.parametrize(
  "golden, path",
  [
    ("tf2.15/keras2_adam", "model/layer_with_weights-0/kernel"),
    ("tf2.21/keras3_adam", "optimizer/_trainable_variables/0"),
  ],
)
def test_a_keras_model_is_found_by_name_and_by_path(testdata, golden, path):
  source = SourceTensors.open(testdata / golden)
  assert tensor(source, "dense_1/kernel") is tensor(source, path)


def test_slots_in_the_object_graph_are_known_as_such(testdata):
  source = SourceTensors.open(testdata / "tf2.15" / "keras2_legacy_adam")
  kernel = tensor(source, "dense_1/kernel")
  assert len(source.slots_of(kernel)) == 2
  counter = tensor(source, "save_counter")
  assert not counter.is_variable


def test_moving_averages_are_known_as_such(testdata):
  source = SourceTensors.open(testdata / "tf1.15" / "batch_norm")
  average = source.average_of(tensor(source, "net/dense/kernel"))
  assert average.name == "net/dense/kernel/ExponentialMovingAverage"
  assert (
    source.average_of(tensor(source, "net/batch_normalization/moving_mean")) is None
  )


def test_a_saved_model(testdata):
  source = SourceTensors.open(testdata / "tf1.15" / "saved_model" / "export")
  assert tensor(source, "net/dense/kernel").shape == (3, 2)


def test_tables_and_iterators_are_no_variables(testdata):
  for golden in ("tables", "iterator"):
    source = SourceTensors.open(testdata / "tf1.15" / golden)
    for found in source.tensors:
      is_state = "-" in found.name
      assert found.is_variable != is_state, found.name


def test_no_checkpoint(tmp_path):
  with pytest.raises(errors.CheckpointNotFoundError, match=str(tmp_path)):
    SourceTensors.open(tmp_path)


def test_parts_saved_one_by_one_are_one_tensor():
  source = with_shapes(
    {
      "e/part_0": (3, 2),
      "e/part_1": (2, 2),
      "e/part_0/Adam": (3, 2),
      "e/part_1/Adam": (2, 2),
    }
  )
  whole = tensor(source, "e")
  assert (whole.shape, whole.axis, whole.keys) == ((5, 2), 0, ("e/part_0", "e/part_1"))
  slot = tensor(source, "e/Adam")
  assert (slot.shape, slot.role.kind, slot.role.of) == ((5, 2), RoleKind.SLOT, "e")


def test_equal_parts_are_joined_as_the_variable_needs_it():
  whole = tensor(with_shapes({"e/part_0": (2, 3), "e/part_1": (2, 3)}), "e")
  assert whole.shape == (4, 3)
  assert (whole.joined_to((2, 6)).shape, whole.joined_to((2, 6)).axis) == ((2, 6), 1)
  assert whole.joined_to((9, 9)) is whole


@pytest.mark.parametrize(
  "shapes",
  [
    {"e/part_0": (2, 3), "e/part_2": (2, 3)},
    {"e/part_0": (2, 3), "e/part_1": (3, 2)},
    {"e/part_0": (2, 3), "e/part_1": (6,)},
    {"e/part_0": (2, 3), "e/part_1": (2, 3), "e": (1,)},
  ],
)
def test_what_is_no_complete_set_of_parts_is_not_joined(shapes):
  source = with_shapes(shapes)
  assert sorted(t.name for t in source.tensors) == sorted(shapes)


def test_ten_parts_are_joined_in_the_order_of_their_numbers():
  source = with_shapes({f"e/part_{i}": (i + 1, 2) for i in range(11)})
  whole = tensor(source, "e")
  assert whole.keys == tuple(f"e/part_{i}" for i in range(11))
  assert whole.shape == (66, 2)
