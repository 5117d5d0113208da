from __future__ import annotations

from estimator_ckpt.bundle.index import Index
from estimator_ckpt.checkpoint import formats
from estimator_ckpt.checkpoint.listing import saved_tensors
from estimator_ckpt.checkpoint.object_graph import Node, ObjectGraph
from estimator_ckpt.files.convert import convert
from estimator_ckpt.files.size_tree import MAX_DEPTH, object_tree, scope_tree
from estimator_ckpt.files.summary import inspect_checkpoint
from tests import golden
from tests.bundle_builder import BundleBuilder


def _lines(root, depth=MAX_DEPTH):
  return [
    (level, branch.label, branch.tensors, branch.size, branch.see)
    for level, branch in root.walk(depth)
  ]


def _objects(name, depth=MAX_DEPTH):
  prefix = golden.path(name)
  index = Index.read(prefix)
  graph = formats.read_object_graph(prefix, index)
  return _lines(object_tree(saved_tensors(index, graph), graph), depth)


def test_scopes_have_the_sums_of_what_is_in_them():
  index = Index.read(golden.path("tf1.15/adam_dense"))
  lines = _lines(scope_tree(saved_tensors(index, None)), depth=3)
  assert lines == [
    (0, "beta1_power", 1, 4, ""),
    (0, "beta2_power", 1, 4, ""),
    (0, "global_step", 1, 8, ""),
    (0, "net", 12, 468, ""),
    (1, "dense_1", 6, 288, ""),
    (2, "bias", 3, 48, ""),
    (2, "kernel", 3, 240, ""),
    (1, "dense_2", 6, 180, ""),
    (2, "bias", 3, 36, ""),
    (2, "kernel", 3, 144, ""),
  ]


def test_a_tensor_and_the_scope_of_its_name_are_one_branch():
  builder = BundleBuilder()
  builder.numbers("w", [1.0])
  builder.numbers("w/Adam", [1.0, 2.0])
  (_, branch), (_, below) = scope_tree(saved_tensors(builder.index, None)).walk()
  assert (branch.tensors, branch.size) == (2, 12)
  assert [tensor.name for tensor in branch.own] == ["w"]
  assert [tensor.name for tensor in below.own] == ["w/Adam"]


def test_objects_stand_where_their_key_says_and_other_places_point_there():
  lines = _objects("tf2.15/keras2_adam")
  assert (1, "layer_with_weights-0", 2, 96, "") in lines
  assert (1, "layer-1", 0, 0, "/model/layer_with_weights-0") in lines
  assert (2, "0", 0, 0, "/optimizer/_iterations") in lines
  assert sum(tensors for level, _, tensors, _, _ in lines if level == 0) == 25


def test_every_object_is_shown_and_those_without_tensors_on_demand_only():
  every = {label for _, label, _, _, _ in _objects("tf2.15/keras2_adam")}
  assert {"layer-0", "layer-1", "_momentums"} <= every
  summary = inspect_checkpoint(golden.path("tf2.15/keras2_adam"))
  tree = object_tree(summary.tensors, summary.graph)
  holders = {branch.label for _, branch in tree.walk(all_objects=False)}
  assert "layer-0" not in holders and {"layer-1", "_momentums"} <= holders


def test_an_object_over_the_bytes_of_another_is_there_too_and_counts_once(tmp_path):
  convert(golden.path("tf1.15/adam_dense"), tmp_path / "d", to="dual")
  summary = inspect_checkpoint(tmp_path / "d")
  tree = object_tree(summary.tensors, summary.graph)
  step, counter = tree.children["global_step"], tree.children["save_counter"]
  assert [t.dtype for t in step.own] == [t.dtype for t in counter.own] == ["int64"]
  assert (step.size, counter.size) == (8, 0)
  assert tree.size == sum(tensor.size for tensor in summary.tensors)
  described = tree.as_dict()
  labels = [child["label"] for child in described["children"]]
  assert described["bytes"] == tree.size and "net" in labels and "global_step" in labels


def test_a_depth_keeps_the_sums():
  assert _objects("tf2.15/keras2_adam", depth=1) == [
    (0, "model", 8, 200, ""),
    (0, "optimizer", 14, 348, ""),
    (0, "step", 1, 8, ""),
    (0, "save_counter", 1, 8, ""),
    (0, "_CHECKPOINTABLE_OBJECT_GRAPH", 1, 2993, ""),
  ]


def test_slot_variables_stand_where_their_keys_say():
  lines = _objects("tf2.15/keras2_legacy_adam")
  assert (3, ".OPTIMIZER_SLOT", 2, 160, "") in lines


def test_cycles_come_to_an_end():
  builder = BundleBuilder()
  key = "a/.ATTRIBUTES/VARIABLE_VALUE"
  builder.numbers(key, [1.0])
  graph = ObjectGraph()
  graph.add_variable([("a",)], "a")
  graph.nodes[1].children = {"root": 0, "self": 1}
  tensors = saved_tensors(builder.index, graph)
  assert _lines(object_tree(tensors, graph)) == [
    (0, "a", 1, 4, ""),
    (1, "root", 0, 0, "/"),
    (1, "self", 0, 0, "/a"),
  ]


def test_depths_that_only_a_hostile_file_has_are_cut():
  builder = BundleBuilder()
  builder.numbers("x/" * 200_000, [1.0])
  tensors = saved_tensors(builder.index, None)
  assert len(_lines(scope_tree(tensors))) == MAX_DEPTH
  chain = ObjectGraph([Node(children={"x": i + 1}) for i in range(500)] + [Node()])
  assert len(_lines(object_tree(tensors, chain))) == MAX_DEPTH
