from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from estimator_ckpt.checkpoint import layout, plain_nodes, plain_paths
from estimator_ckpt.checkpoint.graph_columns import GraphColumns
from estimator_ckpt.checkpoint.graph_nodes import parse_node
from estimator_ckpt.checkpoint.named_graph import named_graph
from estimator_ckpt.checkpoint.object_graph import Attribute, Node, ObjectGraph
from estimator_ckpt.checkpoint.object_paths import ObjectPaths

_VALUE = "VARIABLE_VALUE"


def _nodes(graph: ObjectGraph) -> plain_nodes.PlainNodes:
  nodes = plain_nodes.read(graph.serialize())
  assert nodes is not None
  assert not nodes.others
  return nodes


def _follow(graph: ObjectGraph, names: dict[str, str]) -> bool:
  nodes = _nodes(graph)
  return plain_paths.follow(nodes, [names.get(k, k) for k in nodes.keys.read()])


def _do_follow(graph: ObjectGraph, names: dict[str, str]) -> bool:
  """What `follow` says for certain, found out path by path."""
  paths = ObjectPaths(ObjectGraph.parse(graph.serialize()))
  return all(
    path
    in (
      layout.nested_path(name),
      f"{layout.VAR_LIST}/{layout.escape_local_name(name)}",
      layout.SAVE_COUNTER,
    )
    for key, name in names.items()
    for path in paths.of_value(key)
  )


_COUNTER_KEY = layout.object_key([layout.SAVE_COUNTER])


def _named(count: int, kind: str) -> tuple[dict[str, str], ObjectGraph]:
  names = [f"net/block.{number}/w" for number in range(count - 1)] + ["step"]
  keys, graph = named_graph(names, [_VALUE] * count, kind)
  return {**dict(zip(keys, names)), _COUNTER_KEY: "step"}, graph


@pytest.mark.parametrize("count", [2, 3, 300, 5000])
@pytest.mark.parametrize("kind", sorted(layout.LAYOUTS))
def test_paths_that_spell_the_names_follow_from_them(count, kind):
  names, graph = _named(count, kind)
  assert _follow(graph, names)
  assert _follow(graph, {**names, _COUNTER_KEY: layout.SAVE_COUNTER})
  first, *_, last, _ = names
  assert not _follow(graph, {**names, first: names[last], last: names[first]})
  assert not _follow(graph, {**names, first: "other"})
  assert not _follow(graph, {**names, first: names[first] + "\0"})
  assert not _follow(graph, {**names, first: names[first] + "x" * 2000})


@pytest.mark.parametrize("kind", sorted(layout.LAYOUTS))
def test_names_of_any_characters_are_compared_as_they_are(kind):
  names = ["a.b/c..d/é", "\U0001f600/w", "var_list/x", "save_counter/y", "é"]
  keys, graph = named_graph(names, [_VALUE] * len(names), kind)
  assert _follow(graph, {**dict(zip(keys, names)), _COUNTER_KEY: "é"})


def test_names_that_differ_in_two_numbers_follow():
  names = [f"model/block_{a}/layer_{b}/w" for a in (100, 105) for b in (100, 400)]
  keys, graph = named_graph(names, [_VALUE] * 4, "default")
  assert _follow(graph, {**dict(zip(keys, names)), _COUNTER_KEY: "step"})


def _with(**children: int) -> tuple[dict[str, str], ObjectGraph]:
  """The variables `net/w` and `b` of a graph, whose root has further children."""
  graph = ObjectGraph()
  keys = [
    graph.add_variable([("net", "w"), ("var_list", "net/w")], "net/w"),
    graph.add_variable([("b",)], "b"),
  ]
  graph.nodes[0].children.update(children)
  return dict(zip(keys, ["net/w", "b"])), graph


@pytest.mark.parametrize(
  "children, expected",
  [
    ({}, True),
    ({"save_counter": 4}, True),  # The step is the counter too.
    ({"further": 4}, False),
    ({"net/w": 2}, False),  # It is escaped, and so another path.
    ({"var_list/net": 1}, False),
    ({"again": 1}, False),  # A scope with two names.
  ],
)
def test_further_paths_do_not_follow(children, expected):
  names, graph = _with(**children)
  assert [len(graph.nodes), list(names.values())] == [5, ["net/w", "b"]]
  assert _follow(graph, names) == expected
  if expected:
    assert _do_follow(graph, names)


def test_objects_without_a_path_are_to_be_looked_at():
  names, graph = _with()
  assert _follow(graph, names)
  graph.nodes.append(Node(children={"b": 4}))
  assert not _follow(graph, names)
  del graph.nodes[0].children["b"]
  assert not _follow(graph, names)
  graph.nodes.pop()
  assert not _follow(graph, names)


def test_a_name_that_an_object_has_twice_is_to_be_looked_at():
  names, graph = _with()
  data = graph.serialize()
  edge = b"\n\x05\x08\x04\x12\x01b"
  size = data[1]
  twice = bytes([10, size + len(edge)]) + data[2 : 2 + size] + edge + data[2 + size :]
  nodes = plain_nodes.read(twice)
  assert nodes is not None
  assert nodes.names.read().count("b") == 2
  assert not plain_paths.follow(nodes, list(names.values()))


def test_an_object_graph_of_many_paths_ends_soon():
  # Each of 40 objects has two ways to the next, which are 2**40 paths.
  nodes = [Node(children={"a": n + 1, "b": n + 1}) for n in range(40)]
  key = "w/.ATTRIBUTES/VARIABLE_VALUE"
  graph = ObjectGraph([*nodes, Node(attributes=[Attribute(_VALUE, "w", key)])])
  assert not _follow(graph, {key: "/".join("a" * 40)})
  # They come back to the first of them.
  graph.nodes[39].children["up"] = 1
  assert not _follow(graph, {key: "/".join("a" * 40)})


_steps = st.sampled_from(["a", "b", "a/b", "var_list", "save_counter", "a.b", "é"])
_children = st.dictionaries(_steps, st.integers(1, 6), min_size=1, max_size=3)


@given(st.lists(_children, min_size=1, max_size=4), st.data())
def test_what_follows_does(children, data):
  count = 7 - len(children)
  names = data.draw(
    st.lists(
      st.sampled_from(["a", "b", "a/b", "a/b/a", "a.b", "b/var_list", "é", "b/é"]),
      min_size=count,
      max_size=count,
      unique=True,
    )
  )
  keys = {f"key{i}/.ATTRIBUTES/VARIABLE_VALUE": name for i, name in enumerate(names)}
  nodes = [Node(children=each) for each in children]
  nodes += [Node(attributes=[Attribute(_VALUE, name, k)]) for k, name in keys.items()]
  graph = ObjectGraph(nodes)
  assert not _follow(graph, keys) or _do_follow(graph, keys)


def test_the_columns_of_a_large_graph_know_its_names():
  _, graph = _named(3000, "default")
  columns = GraphColumns.read(graph.serialize(), parse_node)
  assert columns is not None
  assert columns.plain is not None
  for name in ("net", "w", "block.17", "net/block.17/w", "save_counter"):
    assert columns.has_name(name)
  for name in ("et", "x", "block.1777777", "net/block.17/", "save_counte", ""):
    assert not columns.has_name(name)
  small = graph.columns
  assert small.has_name("block.17")
  assert not small.has_name("block")
