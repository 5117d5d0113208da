from __future__ import annotations

import pytest

from estimator_ckpt.bundle import dtypes
from estimator_ckpt.bundle.index import Index
from estimator_ckpt.checkpoint import formats, layout
from estimator_ckpt.checkpoint.object_graph import (
  Attribute,
  Node,
  ObjectGraph,
  SlotVariable,
)
from estimator_ckpt.checkpoint.verify.findings import Findings
from estimator_ckpt.checkpoint.verify.references import (
  check_graph,
  check_save_counter,
  check_without_graph,
)
from tests import golden
from tests.bundle_builder import BundleBuilder, dual_builder

_W = "w/.ATTRIBUTES/VARIABLE_VALUE"
_PARTS = "parts/.ATTRIBUTES/VARIABLE_VALUE"


def _check(builder, graph):
  findings = Findings("m")
  check_graph(builder.index, graph, findings)
  return [(f.severity.value, f.code, f.key) for f in findings.found], findings.found


@pytest.fixture
def builder():
  builder = BundleBuilder()
  builder.numbers(_W, [1.0])
  return builder


@pytest.fixture
def graph():
  graph = ObjectGraph()
  graph.add_variable([("w",)], "w")
  return graph


@pytest.mark.parametrize("name", golden.names("tf2"))
def test_what_tensorflow_wrote_refers_to_what_is_there(name):
  prefix = golden.path(name)
  index = Index.read(prefix)
  findings = Findings(prefix)
  check_graph(index, formats.read_object_graph(prefix, index), findings)
  assert findings.found == []


def test_a_dual_checkpoint_has_no_finding():
  builder = dual_builder()
  graph = ObjectGraph()
  for name, paths in layout.object_paths(
    key for key in builder.index.keys() if "ATTR" not in key and key[0] != "_"
  ).items():
    graph.add_variable(paths, name)
  graph.add_variable([("save_counter",)], "save_counter")
  assert _check(builder, graph)[0] == []


def test_a_key_that_the_index_lacks_is_found(builder, graph):
  graph.add_variable([("lost",)], "lost")
  found, messages = _check(builder, graph)
  assert found == [("error", "graph-key-missing", "lost/.ATTRIBUTES/VARIABLE_VALUE")]
  assert messages[0].message == (
    "node 2 of the object graph has its VARIABLE_VALUE there, and the index has no such"
    " tensor"
  )


def test_a_lookup_tables_two_tensors_are_its_keys(builder, graph):
  graph.add_variable([("table",)], "table", attribute="table")
  builder.strings("table/.ATTRIBUTES/table-keys", [b"a"])
  builder.numbers("table/.ATTRIBUTES/table-values", [1.0])
  assert _check(builder, graph)[0] == []


def test_a_key_of_the_old_form_is_found(builder, graph):
  graph.nodes[1].attributes[0].checkpoint_key = "w"
  builder.index.rename(_W, "w")
  found, messages = _check(builder, graph)
  assert found == [("error", "graph-key-form", "w")]
  assert "TensorFlow 2.11 and newer cannot restore" in messages[0].message


def test_an_object_key_that_no_object_has_is_a_warning(builder, graph):
  builder.numbers("stray/.ATTRIBUTES/VARIABLE_VALUE", [1.0])
  assert _check(builder, graph)[0] == [
    ("warning", "graph-key-unused", "stray/.ATTRIBUTES/VARIABLE_VALUE")
  ]


@pytest.mark.parametrize(
  "dtype, found",
  [("bfloat16", []), ("float16", [("warning", "graph-key-in-parts", _PARTS)])],
)
def test_parts_that_tensorflow_does_not_put_together(builder, graph, dtype, found):
  graph.add_variable([("parts",)], "parts")
  for part in builder.partitioned(_PARTS, [[1, 2], [3, 4]], [1]):
    [entry] = [e for own, e in builder.index.slice_entries(_PARTS) if own == part]
    builder.index.put(_PARTS, entry._replace(dtype=dtypes.number(dtype)), part)
  builder.change(_PARTS, dtype=dtypes.number(dtype))
  assert _check(builder, graph)[0] == found


def test_two_nodes_with_one_key_are_found(builder, graph):
  graph.nodes[0].children["again"] = 2
  graph.nodes.append(Node(attributes=[Attribute("VARIABLE_VALUE", "w", _W)]))
  found, messages = _check(builder, graph)
  assert found == [("error", "graph-key-shared", _W)]
  assert "nodes 1, 2 of the object graph all have it" in messages[0].message


def test_a_slot_variable_without_a_value_is_found(builder, graph):
  graph.nodes[0].children["optimizer"] = 2
  graph.nodes += [Node(slot_variables=[SlotVariable(1, "m", 3)]), Node()]
  found, messages = _check(builder, graph)
  assert found == [("error", "graph-slot", None)]
  assert messages[0].message == (
    "slot 'm' that optimizer node 2 of the object graph has for node 1 stores no value"
  )


def test_a_slot_variable_that_is_there_twice_is_found(builder, graph):
  slot_key = "w/.OPTIMIZER_SLOT/optimizer/m/.ATTRIBUTES/VARIABLE_VALUE"
  builder.numbers(slot_key, [1.0])
  graph.nodes[0].children["optimizer"] = 2
  graph.nodes += [
    Node(slot_variables=[SlotVariable(1, "m", 3), SlotVariable(1, "m", 3)]),
    Node(attributes=[Attribute("VARIABLE_VALUE", "w/m", slot_key)]),
  ]
  found, messages = _check(builder, graph)
  assert found == [("error", "graph-slot", None)]
  assert messages[0].message.endswith("is there twice")


def test_a_value_that_no_path_leads_to_is_a_warning(builder, graph):
  key = "lonely/.ATTRIBUTES/VARIABLE_VALUE"
  builder.numbers(key, [1.0])
  graph.nodes.append(Node(attributes=[Attribute("VARIABLE_VALUE", "", key)]))
  assert _check(builder, graph)[0] == [("warning", "graph-unreachable", key)]


def test_a_node_that_denies_the_values_below_it_is_found(builder):
  graph = ObjectGraph()
  graph.add_variable([("net", "w")], "net/w")
  graph.nodes[2].attributes[0].checkpoint_key = _W
  graph.nodes[1].has_checkpoint_values = False
  found, messages = _check(builder, graph)
  assert found == [("error", "graph-skipped", None)]
  assert "node 1 of the object graph says" in messages[0].message


def test_a_name_with_other_contents_than_the_object_is_found(builder, graph):
  builder.numbers("w", [2.0])
  found, messages = _check(builder, graph)
  assert found == [("error", "names-disagree", "w")]
  assert repr(_W) in messages[0].message


def test_a_name_with_a_copy_of_the_objects_bytes_is_sound(builder, graph):
  builder.numbers("w", [1.0])
  assert _check(builder, graph)[0] == []


def test_a_name_that_two_objects_have_is_nobodys(builder, graph):
  builder.numbers("v/.ATTRIBUTES/VARIABLE_VALUE", [5.0])
  builder.numbers("w", [2.0])
  graph.add_variable([("v",)], "w")
  assert _check(builder, graph)[0] == []


def test_cycles_come_to_an_end(builder, graph):
  graph.nodes[1].children = {"self": 1, "root": 0}
  graph.nodes[1].has_checkpoint_values = True
  assert _check(builder, graph)[0] == []


@pytest.mark.parametrize("stored", [True, False])
def test_a_save_counter_has_to_be_stored(builder, graph, stored):
  graph.add_variable([("save_counter",)], "save_counter")
  if stored:
    builder.numbers("save_counter/.ATTRIBUTES/VARIABLE_VALUE", 1, "int64")
  findings = Findings("m")
  check_save_counter(builder.index, graph, findings)
  assert [f.code for f in findings.found] == ([] if stored else ["no-save-counter"])


def test_object_keys_without_an_object_graph_are_found(builder):
  builder.numbers("global_step", 1, "int64")
  findings = Findings("m")
  check_without_graph(builder.index, findings)
  assert [(f.severity.value, f.code, f.key) for f in findings.found] == [
    ("error", "graph-missing", _W)
  ]


def test_one_variable_that_is_called_like_an_object_key_is_no_lost_graph(builder):
  for number in range(3):
    builder.numbers(f"v{number}", [1.0])
  findings = Findings("m")
  check_without_graph(builder.index, findings)
  assert findings.found == []
