"""Object graphs read as columns are those that are read node by node."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from estimator_ckpt import errors
from estimator_ckpt.bundle import wire
from estimator_ckpt.checkpoint import graph_columns, graph_nodes, layout, plain_nodes
from estimator_ckpt.checkpoint.graph_columns import GraphColumns
from estimator_ckpt.checkpoint.object_graph import (
  Attribute,
  Node,
  ObjectGraph,
  SlotVariable,
)

_TEXT = st.sampled_from(["", "w", "net/w", "ä", "\udcff", "a\nb", "\x12", "x" * 200])
_IDS = st.integers(0, 2)
_ATTRIBUTES = st.builds(
  Attribute, st.sampled_from(["VARIABLE_VALUE", "table"]), _TEXT, _TEXT
)
_PLAIN_NODES = st.builds(
  Node, attributes=st.lists(_ATTRIBUTES, min_size=1, max_size=1)
) | st.builds(Node, children=st.dictionaries(_TEXT, _IDS, max_size=3))
_NODES = _PLAIN_NODES | st.builds(
  Node,
  children=st.dictionaries(_TEXT, _IDS, max_size=2),
  attributes=st.lists(_ATTRIBUTES, max_size=2),
  slot_variables=st.lists(st.builds(SlotVariable, _IDS, _TEXT, _IDS), max_size=2),
  has_checkpoint_values=st.sampled_from([None, True]),
)
_COLUMNS = ["count", "owners", "attributes", "full_names", "keys", "parents", "ends"]
_COLUMNS += ["names", "children", "slots", "valueless"]
_NAMES = [f"net/block_{i % 7}/layer_{i}/kernel" for i in range(300)]


@pytest.fixture(autouse=True, scope="module")
def _many():
  """Small graphs are read as large ones are."""
  before, graph_columns._LARGE = graph_columns._LARGE, 0
  yield
  graph_columns._LARGE = before


def _nodes(data: bytes) -> list[Node] | None:
  """The nodes one by one, and None for what no reader accepts."""
  try:
    nodes = [graph_nodes.parse_node(value) for tag, value, _ in wire.scan(data)]
    ObjectGraph(nodes)._check_references("graph")
  except errors.CorruptCheckpointError:
    return None
  return nodes


def _assert_same(columns: GraphColumns, nodes: list[Node]) -> None:
  expected = GraphColumns.of_nodes(nodes)
  for name in _COLUMNS:
    assert getattr(columns, name) == getattr(expected, name), name


def _large() -> ObjectGraph:
  graph = ObjectGraph()
  for name, paths in layout.object_paths(_NAMES).items():
    graph.add_variable(paths, name)
  graph.add_variable([("save_counter",)], "")
  return graph


@given(
  st.lists(_PLAIN_NODES, min_size=3, max_size=6) | st.lists(_NODES, min_size=3),
  st.sampled_from([0, 1, 256]),
)
def test_columns_are_what_the_nodes_have(nodes, few):
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(plain_nodes, "_FEW_MESSAGES", few)
    columns = GraphColumns.read(ObjectGraph(nodes).serialize(), graph_nodes.parse_node)
  assert columns is not None
  _assert_same(columns, nodes)


def test_a_large_graph_is_read_without_a_node():
  def refuse(message: bytes) -> Node:
    raise AssertionError(message)

  graph = _large()
  columns = GraphColumns.read(graph.serialize(), refuse)
  assert columns is not None
  _assert_same(columns, graph.nodes)


@pytest.mark.parametrize("seed", range(20))
def test_damaged_bytes_are_read_as_node_by_node_or_left_to_that(seed):
  chance = random.Random(seed)
  whole = _large().serialize()
  for _ in range(20):
    data = bytearray(whole)
    for _ in range(chance.choice((1, 1, 2))):
      position = chance.randrange(len(data))
      data[position] = chance.choice((chance.randrange(256), 0, 10, 18, 26, 127, 128))
    columns = GraphColumns.read(bytes(data), graph_nodes.parse_node)
    if columns is not None:
      nodes = _nodes(bytes(data))
      assert nodes is not None
      _assert_same(columns, nodes)


@pytest.mark.parametrize(
  "edge",
  [
    b"\x08\x81\x12\x01w",  # A number goes on where a name seems to begin.
    b"\x08\x01\x12\x81\x01w",  # So does a length.
    b"\x08\x01\x12\x02w",
    b"\x08\x01\x12\x01w\x10\x01",
    b"\x08\x81\x80\x80\x80\x80\x00\x12\x01w",  # A number longer than any.
  ],
)
def test_an_edge_that_only_looks_like_one_is_left_to_the_reader_of_nodes(edge):
  def read(edge: bytes) -> plain_nodes.PlainNodes:
    node = b"\n%c%b" % (len(edge), edge)
    found = plain_nodes.read(b"\n%c%b" % (len(node), node))
    assert found is not None
    return found

  assert [number for number, _ in read(edge).others] == [0]
  good = read(b"\x08\x01\x12\x01w")
  assert (good.names.read(), good.children.tolist(), good.others) == (["w"], [1], [])


def test_of_edges_with_one_name_the_last_one_counts():
  edges = b"".join(
    b"\n\x05\x08%c\x12\x01%b" % (c, n) for c, n in [(1, b"w"), (2, b"v")]
  )
  edges += b"\n\x05\x08\x02\x12\x01w"
  data = b"\n%c%b\n\0\n\0" % (len(edges), edges)
  columns = GraphColumns.read(data, graph_nodes.parse_node)
  assert columns is not None
  assert (columns.names, columns.children, columns.ends) == (["w", "v"], [2, 2], [2])


def test_a_damaged_graph_has_the_error_of_its_first_damaged_node():
  data = (
    ObjectGraph([Node(children={"a": 1}), Node()]).serialize() + b"\x0a\x02\x0a\x09"
  )
  with pytest.raises(errors.CorruptCheckpointError, match="^f: truncated message"):
    ObjectGraph.parse(data, "f")


@pytest.mark.parametrize("few", [0, 256])
@pytest.mark.parametrize("edges", range(3))
@pytest.mark.parametrize("rest", [b"\n", b"\n\x80", b"\n\x01", b"\n\xff\xff\xff"])
def test_a_large_graph_may_end_inside_an_edge(edges, rest, few, monkeypatch):
  monkeypatch.setattr(plain_nodes, "_FEW_MESSAGES", few)
  message = b"\n\x05\x08\x01\x12\x01w" * edges + rest
  data = _large().serialize() + b"\n%c%b" % (len(message), message)
  with pytest.raises(errors.CorruptCheckpointError, match="^f: truncated"):
    ObjectGraph.parse(data, "f")


@given(st.lists(_PLAIN_NODES, min_size=3, max_size=6), _TEXT, st.data())
def test_columns_are_compared_with_texts(nodes, text, data):
  plain = GraphColumns.read(ObjectGraph(nodes).serialize(), graph_nodes.parse_node)
  for columns in (GraphColumns.of_nodes(nodes), plain):
    assert columns is not None
    keys = columns.read_keys()
    assert columns.keys_are(keys)
    assert not columns.keys_are([*keys, text])
    if keys:
      row = data.draw(st.integers(0, len(keys) - 1))
      others = [*keys[:row], text, *keys[row + 1 :]]
      assert columns.keys_are(others) == (keys == others)
      names = GraphColumns.of_nodes(nodes).full_names
      assert columns.full_names_are(names, but=row)
      assert columns.full_names_are([*names[:row], "another", *names[row + 1 :]], row)
      wrong = ["another"] * len(names)
      assert columns.full_names_are(wrong, row) == (len(names) == 1)


def test_a_large_graph_is_compared_without_its_texts():
  graph = _large()
  columns = GraphColumns.read(graph.serialize(), graph_nodes.parse_node)
  assert columns is not None
  names = [*_NAMES, "save_counter"]
  assert columns.full_names_are(names, but=len(_NAMES))
  assert not columns.full_names_are(names, but=0)
  assert columns.keys_are(graph.columns.keys)
  assert not columns.keys_are([*graph.columns.keys[:-1], "a\0b"])
  assert not {"keys", "full_names"} & vars(columns).keys()
