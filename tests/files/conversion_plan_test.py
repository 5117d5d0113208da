from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

import estimator_ckpt as eckpt
from estimator_ckpt.bundle import dtypes, strings
from estimator_ckpt.bundle.index import Index
from estimator_ckpt.bundle.messages import BundleEntry, TensorSlice
from estimator_ckpt.checkpoint import formats, layout, tensor_names
from estimator_ckpt.checkpoint.formats import CheckpointFormat
from estimator_ckpt.checkpoint.name_map import NameMap
from estimator_ckpt.checkpoint.object_graph import ObjectGraph
from estimator_ckpt.checkpoint.paired_keys import PairedKeys
from estimator_ckpt.errors import CheckpointError, CorruptCheckpointError, OptionError
from estimator_ckpt.files.conversion_plan import (
  plan_conversion,
  plan_names_alone,
  plan_objects_alone,
)
from estimator_ckpt.files.rewrite_plan import (
  RewritePlan,
  apply_plan,
  check_complete,
  with_notes,
)
from tests import golden, stored


def _read(name):
  prefix = golden.path(name)
  index = Index.read(prefix)
  return index, formats.read_object_graph(prefix, index)


def _index(*keys):
  index = Index()
  for number, key in enumerate(keys):
    index.put(key, BundleEntry(1, (1,), 0, 4 * number, 4, number))
  return index


@pytest.mark.parametrize("to", list(CheckpointFormat))
@pytest.mark.parametrize("name", golden.names("tf"))
def test_planning_changes_nothing(name, to):
  index, graph = _read(name)
  before = index.serialize(), graph and graph.serialize()
  plan = plan_conversion(index, graph, to)
  assert (index.serialize(), graph and graph.serialize()) == before
  assert str(plan) == str(plan_conversion(index, graph, to))
  apply_plan(plan, index)
  assert set(index.keys()) == set(plan.keys)


@pytest.mark.parametrize("name", golden.names("tf"))
def test_without_the_object_graph_the_plan_is_the_same(name, tmp_path):
  prefix = str(tmp_path / "dual")
  eckpt.convert(golden.path(name), prefix, "dual")
  index = Index.read(prefix)
  graph = formats.read_object_graph(prefix, index)
  pairs = PairedKeys.of(index)
  # Tensors without bytes stand at one place.
  assert (pairs is None) == (index.has_slices or name == "tf1.15/odd_names")
  if pairs is not None and "global_step" in pairs.names:
    plan = plan_conversion(index, graph, CheckpointFormat.TF1)
    assert plan_names_alone(index, pairs.names) == plan
    plan = plan_conversion(index, graph, CheckpointFormat.TF2)
    found = plan_objects_alone(index, graph, pairs)
    assert found == plan if pairs.are_all_of(graph, index) else found is None


def test_a_damaged_object_graph_does_not_keep_names_from_tf1(tmp_path):
  prefix = str(tmp_path / "dual")
  eckpt.convert(golden.path("tf1.15/adam_dense"), prefix, "dual")
  index = Index.read(prefix)
  entry = index.entry(golden.OBJECT_GRAPH_KEY)
  with open(index.data_paths(prefix)[entry.shard_id], "r+b") as file:
    file.seek(entry.offset + 20)
    file.write(b"\0\0\0")
  with pytest.raises(CorruptCheckpointError):
    eckpt.convert(prefix, tmp_path / "tf2", "tf2")
  eckpt.convert(prefix, tmp_path / "tf1", "tf1")
  expected = stored.stored(golden.path("tf1.15/adam_dense"))
  assert stored.stored(str(tmp_path / "tf1")) == expected


def test_a_plan_can_be_printed():
  index, graph = _read("tf2.15/guide_scaffold")
  lines = str(plan_conversion(index, graph, CheckpointFormat.DUAL)).splitlines()
  kernel = "var_list/net.Sdense.Skernel/.ATTRIBUTES/VARIABLE_VALUE"
  assert f"net/dense/kernel <- {kernel}" in lines
  assert f"{kernel} <- {kernel}" in lines
  assert "_CHECKPOINTABLE_OBJECT_GRAPH <- new" in lines
  index, graph = _read("tf2.15/variable_list")
  lines = str(plan_conversion(index, graph, CheckpointFormat.TF1)).splitlines()
  assert lines[-1].startswith(
    "left out: save_counter/.ATTRIBUTES/VARIABLE_VALUE (name-"
  )


def test_what_is_neither_kept_nor_said_to_be_left_out_is_an_error():
  index = _index("a", "b")
  check_complete(RewritePlan(CheckpointFormat.TF1, {"x": "a", "y": "b"}), index)
  check_complete(
    RewritePlan(CheckpointFormat.TF1, {"x": "a"}, left_out={"b": "why"}), index
  )
  index.alias("c", "a")
  check_complete(RewritePlan(CheckpointFormat.TF1, {"c": "c", "b": "b"}), index)
  with pytest.raises(CheckpointError, match="index: b would be lost; nothing was wri"):
    check_complete(RewritePlan(CheckpointFormat.TF1, {"x": "a"}), index)


def test_a_name_that_is_another_tensors_key_in_an_object_graph():
  # In a checkpoint with a graph, a tensor that the graph does not know keeps its key.
  index, graph = _read("tf2.15/module_tree")
  index.put("tree/words", BundleEntry(1, (1,), 0, 0, 4, 1))
  for to in (CheckpointFormat.TF1, CheckpointFormat.DUAL):
    with pytest.raises(OptionError, match="gives several variables one name"):
      plan_conversion(index, graph, to)
  rules = NameMap.parse({"tree/words/.ATTRIBUTES/VARIABLE_VALUE": "words"})
  plan = plan_conversion(index, graph, CheckpointFormat.DUAL, name_map=rules)
  assert plan.keys["tree/words"] == "tree/words"
  assert plan.keys["words"].startswith("tree/words/")


def test_notes_are_added():
  plan = with_notes(RewritePlan(CheckpointFormat.TF1, {}, notes=("a",)), ["b"])
  assert plan.notes == ("a", "b")


_KEYS = st.lists(
  st.text("abc", min_size=1, max_size=2), min_size=1, max_size=6, unique=True
)


@given(_KEYS, st.data())
def test_any_keys_can_be_given_to_any_tensors(old_keys, data):
  index = _index(*old_keys)
  source = st.sampled_from(old_keys)
  keys = data.draw(
    st.dictionaries(st.text("abcd", min_size=1, max_size=2), source, max_size=8)
  )
  expected = {key: index.entry(source) for key, source in keys.items()}
  index.rekey(keys)
  assert {key: index.entry(key) for key in index.keys()} == expected


def test_slices_go_with_their_tensor(tmp_path):
  prefix = golden.path("tf1.15/momentum_partitioned")
  index = Index.read(prefix)
  a, b = "net/embedding", "net/embedding/Momentum"
  before = {key: index.slice_entries(key) for key in (a, b)}
  assert before[a] != before[b]
  index.rekey({a: b, b: a, "c": a})
  assert index.slice_entries(a) == before[b]
  assert index.slice_entries(b) == index.slice_entries("c") == before[a]
  assert stored.stored(prefix)


def _half_in_parts(index, offsets):
  """Puts a float16 variable of two rows, one part at each of these offsets."""
  parts = [TensorSlice(((row, 1), (0, -1))) for row in (0, 1)]
  half = dtypes.number("float16")
  index.put("h", BundleEntry(half, (2, 2), slices=tuple(parts)))
  for part, offset in zip(parts, offsets):
    index.put("h", BundleEntry(half, (1, 2), 0, offset, 4), part)


@pytest.mark.parametrize("to", list(CheckpointFormat))
def test_a_tensor_in_parts_and_again_as_a_whole_is_one(to):
  # Training writes float16 variables like this in columns, or in several data files.
  index, graph = Index(), ObjectGraph()
  _half_in_parts(index, (4, 0))
  key = graph.add_variable([("var_list", "h")], "h")
  index.put(key, BundleEntry(dtypes.number("float16"), (2, 2), 0, 8, 8))
  data, crc = strings.encode([graph.serialize()])
  graph_entry = BundleEntry(dtypes.STRING, (), 0, 16, len(data), crc)
  index.put(layout.OBJECT_GRAPH_KEY, graph_entry)
  [tensor] = tensor_names.named_tensors(index, graph)
  assert (tensor.name, tensor.bare_key, tensor.object_key) == ("h", "h", key)
  plan = plan_conversion(index, graph, to)
  expected = {"tf1": {"h"}, "tf2": {key}, "dual": {"h", key}}[to.value]
  assert {k: plan.keys[k] for k in plan.keys if k in ("h", key)} == {
    k: k for k in expected
  }
  for gone in {"h", key} - expected:
    assert "the same is kept in" in plan.left_out[gone]


@pytest.mark.parametrize("to", list(CheckpointFormat))
def test_parts_that_nobody_can_put_together_are_noted(to):
  # The first checkpoint's parts lie in the order of rows; the second's in reverse.
  noted = []
  for offsets in ((0, 4), (4, 0)):
    index = Index()
    _half_in_parts(index, offsets)
    notes = " ".join(plan_conversion(index, None, to).notes)
    noted.append("cannot restore 'h' (float16)" in notes)
  assert noted == [False, to is not CheckpointFormat.TF1]


def test_an_object_graph_that_calls_a_variable_otherwise_is_edited(tmp_path):
  dual, tf2 = str(tmp_path / "dual"), str(tmp_path / "tf2")
  eckpt.convert(golden.path("tf1.15/adam_dense"), dual, "dual")
  index = Index.read(dual)
  graph = formats.read_object_graph(dual, index)
  pairs = PairedKeys.of(index)
  assert plan_objects_alone(index, graph, pairs) is not None
  name, key = next(zip(pairs.names, pairs.object_keys))
  index.rename(name, f"new/{name}")
  index.write(dual)
  assert plan_objects_alone(index, graph, PairedKeys.of(index)) is None
  eckpt.convert(dual, tf2, "tf2")
  found = formats.read_object_graph(tf2, Index.read(tf2))
  assert found.keys_by_full_name()[f"new/{name}"] == key
