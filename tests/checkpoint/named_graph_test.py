"""The object graph of many names is the one that is made name by name."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from estimator_ckpt import errors
from estimator_ckpt.checkpoint import graph_writer, layout
from estimator_ckpt.checkpoint.named_graph import named_graph
from estimator_ckpt.checkpoint.object_graph import ObjectGraph

_STEPS = ["a", "b", "w", "", ".", "var_list", "save_counter", "ä", "\udcff", "l" * 130]
_NAMES = st.lists(st.sampled_from(_STEPS), min_size=1, max_size=4).map("/".join)
_LAYOUTS = st.sampled_from(sorted(layout.LAYOUTS))
_VALUE = "VARIABLE_VALUE"


def _by_path(graph: ObjectGraph) -> dict[tuple[str, ...], tuple[int, list[object]]]:
  """What stands at each path: a number that two paths of an object share, and values."""
  found = {}
  first: dict[int, int] = {}
  level: list[tuple[tuple[str, ...], int]] = [((), 0)]
  while level:
    for path, node_id in level:
      values = list(graph.nodes[node_id].attributes)
      found[path] = (first.setdefault(node_id, len(first)), values)
    level = [
      ((*path, step), child)
      for path, node_id in level
      for step, child in sorted(graph.nodes[node_id].children.items())
    ]
  assert len(first) == len(graph.nodes)
  return found


@given(st.lists(_NAMES, unique=True), _LAYOUTS)
@example(["w", "/w", "a/", "a/b", "é//w", "é"], "nested")
@example(["a", "a/b", "a/b/c", "a/b/c/d", "d/a/b"], "default")
def test_names_are_added_at_once_as_one_by_one(names, kind):
  attributes = ["table" if "b" in name else _VALUE for name in names]
  expected = ObjectGraph()
  expected_keys = [
    expected.add_variable(paths, name, attribute=attribute)
    for name, paths, attribute in zip(names, layout.each_path(names, kind), attributes)
  ]
  expected.add_variable([("save_counter",)], "")
  keys, graph = named_graph(names, attributes, kind)
  assert keys == expected_keys
  assert _by_path(graph) == _by_path(expected)


@given(st.lists(_NAMES, unique=True), _LAYOUTS, st.sampled_from([1, 2, 4096]))
def test_the_message_is_that_of_its_nodes(names, kind, batch):
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(graph_writer, "_BATCH", batch)
    _, graph = named_graph(names, [_VALUE] * len(names), kind)
  assert graph.serialize() == ObjectGraph(graph.nodes).serialize()


def test_numbers_of_several_bytes():
  names = [f"net/block_{i % 7}/layer_{i}/kernel" for i in range(17_000)]
  keys, graph = named_graph(names, [_VALUE] * len(names), "default")
  assert [graph.columns.full_names[:-1], graph.columns.keys[:-1]] == [names, keys]
  assert graph.serialize() == ObjectGraph(graph.nodes).serialize()
  for name in (names[0], names[-1]):
    flat, nested = graph.lookup(("var_list", name)), graph.lookup(name.split("/"))
    assert flat == nested and graph.nodes[flat].attributes[0].full_name == name


@pytest.mark.parametrize("kind", sorted(layout.LAYOUTS))
@pytest.mark.parametrize("name", ["w", "net/w", "var_list"])
def test_a_name_that_comes_twice_is_refused(name, kind):
  with pytest.raises(errors.OptionError, match=f"meant for '{name}', is in use"):
    named_graph([name, "b", name], [_VALUE] * 3, kind)
