"""The object graph message."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from estimator_ckpt import errors
from estimator_ckpt.checkpoint.object_graph import (
  Attribute,
  Node,
  ObjectGraph,
  SlotVariable,
)

_TEXT = st.text(max_size=5)
_IDS = st.integers(0, 2)
_NODES = st.builds(
  Node,
  children=st.dictionaries(_TEXT, _IDS, max_size=3),
  attributes=st.lists(st.builds(Attribute, _TEXT, _TEXT, _TEXT), max_size=2),
  slot_variables=st.lists(st.builds(SlotVariable, _IDS, _TEXT, _IDS), max_size=2),
  registered_saver=st.none() | st.tuples(_TEXT, _TEXT),
  has_checkpoint_values=st.sampled_from([None, True, False]),
)


@given(st.lists(_NODES, min_size=3, max_size=5))
def test_round_trip(nodes):
  graph = ObjectGraph.parse(ObjectGraph(nodes).serialize())
  assert graph.nodes == nodes


def test_known_bytes():
  graph = ObjectGraph()
  graph.add_variable([("w",)], "w", key="k")
  # nodes { children { node_id: 1 local_name: "w" } }
  # nodes { attributes { name: "VARIABLE_VALUE" full_name: "w" checkpoint_key: "k" } }
  assert graph.serialize() == (
    b"\x0a\x07\x0a\x05\x08\x01\x12\x01w"
    b"\x0a\x18\x12\x16\x0a\x0eVARIABLE_VALUE\x12\x01w\x1a\x01k"
  )


def test_unknown_fields_survive():
  data = b"\x0a\x06\x52\x04news"  # Field 10 of a node.
  assert ObjectGraph.parse(data).serialize() == data


@given(st.binary(max_size=60))
def test_any_bytes_are_a_graph_or_one_kind_of_error(data):
  try:
    ObjectGraph.parse(data, "f")
  except errors.CorruptCheckpointError as e:
    assert str(e).startswith("f: ")


@pytest.mark.parametrize(
  "node",
  [
    Node(children={"a": 7}),
    Node(children={"a": -1}),
    Node(slot_variables=[SlotVariable(0, "m", 9)]),
  ],
)
def test_a_reference_to_no_node(node):
  data = ObjectGraph([node]).serialize()
  with pytest.raises(errors.CorruptCheckpointError, match="and there are 1 nodes"):
    ObjectGraph.parse(data)


def test_a_cycle_is_walked_once():
  nodes = [Node(children={"next": i + 1}) for i in range(500)]
  nodes += [Node(children={"root": 0}), Node()]
  paths = ObjectGraph.parse(ObjectGraph(nodes).serialize()).paths()
  assert paths[500] == ("next",) * 500
  assert paths[0] == () and paths[501] is None


def test_a_graph_nested_deeper_than_programs_are():
  nodes = [Node(children={"next": i + 1}) for i in range(100_000)] + [Node()]
  with pytest.raises(errors.UnsupportedCheckpointError, match="deeper than 1000"):
    ObjectGraph(nodes).paths()


def test_one_node_has_every_path():
  graph = ObjectGraph()
  key = graph.add_variable([("var_list", "net/w"), ("net", "w")], "net/w")
  assert key == "var_list/net.Sw/.ATTRIBUTES/VARIABLE_VALUE"
  assert graph.lookup(("var_list", "net/w")) == graph.lookup(("net", "w"))
  assert graph.lookup(("net", "x")) is None
  assert [a.checkpoint_key for _, a in graph.attributes()] == [key]


@pytest.mark.parametrize("paths", [[("a", "b"), ("a",)], [("w",), ("a", "b"), ("a",)]])
def test_a_path_that_another_path_of_the_variable_leads_through_is_refused(paths):
  with pytest.raises(errors.OptionError, match="'a', meant for 'w', is in use"):
    ObjectGraph().add_variable(paths, "w")


def test_a_path_in_use_is_refused():
  graph = ObjectGraph()
  graph.add_variable([("w",)], "w")
  with pytest.raises(errors.OptionError, match="'w', meant for 'v', is in use"):
    graph.add_variable([("w",)], "v")


def test_adding_clears_what_would_make_readers_skip():
  graph = ObjectGraph([Node(has_checkpoint_values=False)])
  graph.add_variable([("w",)], "w")
  assert graph.nodes[0].has_checkpoint_values is None


def test_a_name_of_several_objects_is_no_way_to_find_one():
  graph = ObjectGraph()
  graph.add_variable([("a",)], "Variable")
  graph.add_variable([("b",)], "Variable")
  graph.add_variable([("c",)], "c")
  assert graph.keys_by_full_name() == {
    "Variable": None,
    "c": "c/.ATTRIBUTES/VARIABLE_VALUE",
  }


def test_of_two_nodes_with_one_key_the_later_is_the_one():
  graph = ObjectGraph()
  graph.add_variable([("a",)], "a", key="shared")
  graph.add_variable([("b",)], "b", key="shared")
  own = graph.add_variable([("c",)], "c")
  assert graph.nodes_by_key() == {
    "shared": graph.lookup(("b",)),
    own: graph.lookup(("c",)),
  }
