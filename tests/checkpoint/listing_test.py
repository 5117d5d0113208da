from __future__ import annotations

import pytest

from estimator_ckpt.bundle.index import Index
from estimator_ckpt.bundle.joined import joined_entry
from estimator_ckpt.bundle.messages import TensorSlice
from estimator_ckpt.checkpoint import formats, layout, listing, tensor_names
from estimator_ckpt.checkpoint.listing import saved_tensors
from estimator_ckpt.checkpoint.object_graph import Attribute, Node, ObjectGraph
from estimator_ckpt.checkpoint.object_paths import ObjectPaths
from estimator_ckpt.checkpoint.paired_keys import PairedKeys
from tests import golden
from tests.bundle_builder import BundleBuilder, dual_builder


def _golden(name):
  prefix = golden.path(name)
  index = Index.read(prefix)
  graph = formats.read_object_graph(prefix, index)
  return {
    tensor.name: tensor for tensor in saved_tensors(index, graph, PairedKeys.of(index))
  }


@pytest.mark.parametrize("name", golden.names("tf1.15"))
def test_a_name_based_checkpoints_tensors_are_its_keys(name):
  tensors = _golden(name)
  described = golden.manifest(name)["tensors"]
  assert {t.name: (t.dtype, list(t.shape)) for t in tensors.values()} == {
    key: (tensor["dtype"], tensor["shape"]) for key, tensor in described.items()
  }
  assert all(t.keys == (t.name,) and not t.object_paths for t in tensors.values())


def test_a_dual_checkpoint_has_each_tensor_once_with_all_its_keys_and_paths():
  builder = dual_builder()
  graph = ObjectGraph.parse(_graph(builder))
  tensors = {
    tensor.name: tensor
    for tensor in saved_tensors(builder.index, graph, PairedKeys.of(builder.index))
  }
  assert list(tensors) == [
    "_CHECKPOINTABLE_OBJECT_GRAPH",
    "global_step",
    "net/b",
    "net/b/Adam",
    "net/w",
    "net/w/Adam",
  ]
  assert tensors["net/w"].keys == (
    "net/w",
    "var_list/net.Sw/.ATTRIBUTES/VARIABLE_VALUE",
  )
  assert tensors["net/w"].object_paths == ("net/w", "var_list/net.Sw")
  assert tensors["net/w"].size == 24
  # The counter of saves has the step's bytes.
  assert tensors["global_step"].keys == (
    "global_step",
    "save_counter/.ATTRIBUTES/VARIABLE_VALUE",
    "var_list/global_step/.ATTRIBUTES/VARIABLE_VALUE",
  )


def _graph(builder):
  from estimator_ckpt.bundle import strings

  entry = builder.index.entry("_CHECKPOINTABLE_OBJECT_GRAPH")
  data = bytes(builder.shards[0][entry.offset :][: entry.size])
  return strings.decode(data, 1, entry.crc32c)[0]


def test_object_paths_are_all_that_lead_there_the_plainest_first():
  tensors = _golden("tf2.21/keras3_adam")
  kernel = tensors["dense_1/kernel"]
  assert kernel.key == "optimizer/_trainable_variables/0/.ATTRIBUTES/VARIABLE_VALUE"
  assert kernel.object_paths == (
    "model/_operations/1/_kernel",
    "optimizer/_trainable_variables/0",
  )


def test_a_slot_variable_has_the_path_that_its_key_spells():
  tensors = _golden("tf2.15/keras2_legacy_adam")
  slot = "model/layer_with_weights-0/kernel/.OPTIMIZER_SLOT/optimizer/m"
  assert [t.name for t in tensors.values() if slot in t.object_paths] == [
    "dense_1/kernel/Adam"
  ]


def test_a_partitioned_tensor_is_one_with_the_size_of_its_slices():
  tensors = _golden("tf1.15/momentum_partitioned")
  embedding = tensors["net/embedding"]
  assert embedding.shape == (7, 4)
  assert embedding.size == 112
  assert [str(part.tensor_slice) for part in embedding.parts] == [
    "0,3:0,4",
    "3,2:0,4",
    "5,2:0,4",
  ]


def test_shards_are_those_that_have_its_bytes():
  tensors = _golden("tf1.15/multi_shard")
  assert {t.shards for t in tensors.values()} == {(0,), (1,), (0, 1)}


def test_empty_tensors_at_one_place_are_different_tensors():
  builder = BundleBuilder()
  builder.numbers("a", [])
  builder.numbers("b", [])
  assert [t.keys for t in saved_tensors(builder.index, None)] == [("a",), ("b",)]


def test_an_empty_tensor_and_its_object_key_are_one():
  builder = BundleBuilder()
  builder.numbers("a", [])
  builder.numbers("b", [])
  graph = ObjectGraph()
  for name in ("a", "b"):
    builder.index.alias(graph.add_variable([("var_list", name)], name), name)
  assert [
    len(t.keys)
    for t in saved_tensors(builder.index, graph, PairedKeys.of(builder.index))
  ] == [2, 2]


def test_a_partitioned_tensor_that_is_there_as_a_whole_too_is_one():
  builder = BundleBuilder()
  builder.partitioned("p", [[1.0], [2.0], [3.0]], cuts=[1])
  graph = ObjectGraph()
  key = graph.add_variable([("var_list", "p")], "p")
  builder.index.put(key, joined_entry(builder.index, "p"))
  (tensor,) = saved_tensors(builder.index, graph, PairedKeys.of(builder.index))
  assert (tensor.name, tensor.keys, tensor.size) == ("p", ("p", key), 12)
  assert len(tensor.parts) == 2


def test_a_copy_of_the_step_under_its_name_is_the_step():
  builder = BundleBuilder()
  builder.numbers("global_step", 7, "int64")
  graph = ObjectGraph()
  key = graph.add_variable([("var_list", "global_step")], "global_step")
  builder.numbers(key, 7, "int64")
  (tensor,) = saved_tensors(builder.index, graph, PairedKeys.of(builder.index))
  assert tensor.keys == ("global_step", key)


def test_paths_through_a_cycle_come_to_an_end():
  graph = ObjectGraph()
  above = graph.add_variable([("a",)], "a")
  below = graph.add_variable([("a", "w")], "w")
  graph.nodes[1].children["root"] = 0
  graph.nodes[2].children["up"] = 1
  assert ObjectPaths(graph).of(below) == ["a/w"]
  assert ObjectPaths(graph).of(above) == ["a", "a/w/up"]


def test_paths_are_cut_where_an_object_graph_spells_very_long_and_very_many():
  node = Node(children={f"x{i}" + "y" * 5000: 1 for i in range(1000)})
  stored = Node(attributes=[Attribute("VARIABLE_VALUE", "w", "w")])
  paths = ObjectPaths(ObjectGraph([node, stored])).of("w")
  assert len(paths) == 8
  assert all(len(path) < 1100 and path.startswith("...") for path in paths)


def test_slices_are_read_with_their_entries():
  builder = BundleBuilder()
  builder.partitioned("p", [[1.0], [2.0], [3.0]], cuts=[1])
  (tensor,) = saved_tensors(builder.index, None)
  assert [part.tensor_slice for part in tensor.parts] == [
    TensorSlice(((0, 1), (0, -1))),
    TensorSlice(((1, 2), (0, -1))),
  ]
  assert [part.entry.size for part in tensor.parts] == [4, 8]


@pytest.mark.parametrize("name", golden.names())
def test_tensors_with_bytes_of_their_own_are_listed_as_all_together(name):
  prefix = golden.path(name)
  index = Index.read(prefix)
  graph = formats.read_object_graph(prefix, index)
  locations = index.locations()
  named = tensor_names.named_tensors(index, graph)
  paths = ObjectPaths(graph) if graph is not None else None
  expected = listing._listed_together(index, locations, named, paths)
  found = saved_tensors(index, graph, PairedKeys.of(index))
  assert [(t.name, t.keys, t.entry, t.parts, t.object_paths) for t in found] == [
    (t.name, t.keys, t.entry, t.parts, t.object_paths)
    for t in sorted(expected, key=lambda t: t.name)
  ]
  for row in range(len(found)):
    one = found.take([row])
    if listing.paths_follow(one):
      assert listing.unexpected_paths(one) == [()]


def _tf2() -> BundleBuilder:
  """What training with this package writes in TF2: full names, and the step twice."""
  builder, graph = BundleBuilder(), ObjectGraph()
  for number, name in enumerate(["net/w", "b", "a/z", "global_step"]):
    key = graph.add_variable([("var_list", name), tuple(name.split("/"))], name)
    builder.numbers(key, number, "int64")
  builder.index.alias("global_step", key)
  builder.index.alias(graph.add_variable([("save_counter",)], ""), key)
  builder.object_graph(graph)
  return builder


def _key(name: str) -> str:
  return layout.object_key(("var_list", name))


def _share(builder: BundleBuilder, key: str, with_key: str) -> None:
  builder.index.remove(key)
  builder.index.alias(key, with_key)


_COUNTER = tensor_names.SAVE_COUNTER_KEY


@pytest.mark.parametrize(
  "change, by_full_names",
  [
    (lambda builder: None, True),
    (lambda builder: builder.numbers("global_step", 3, "int64"), True),
    (lambda builder: builder.numbers(_COUNTER, 9, "int64"), True),
    (lambda builder: _share(builder, "global_step", _key("net/w")), False),
    (lambda builder: _share(builder, _COUNTER, _key("net/w")), False),
    (lambda builder: _share(builder, _key("b"), _key("net/w")), False),
    (lambda builder: _share(builder, _key("b"), _COUNTER), False),
    (lambda builder: builder.index.rename(_key("b"), "b"), False),
    (lambda builder: builder.index.alias("more", _key("b")), False),
    (lambda builder: builder.index.remove("global_step"), False),
  ],
)
def test_tensors_with_full_names_are_listed_as_all_together(change, by_full_names):
  builder = _tf2()
  graph = ObjectGraph.parse(_graph(builder))
  change(builder)
  index, paths = builder.index, ObjectPaths(graph)
  keys = list(graph.columns.keys)
  found = listing._listed_by_full_names(index, graph)
  assert (found is not None) == by_full_names
  assert graph.columns.keys == keys
  named = tensor_names.named_tensors(index, graph)
  expected = listing._listed_together(index, index.locations(), named, paths)
  assert [(*tensor[:4], tensor.object_paths) for tensor in expected.by_name()] == [
    (*tensor[:4], tensor.object_paths) for tensor in saved_tensors(index, graph)
  ]
