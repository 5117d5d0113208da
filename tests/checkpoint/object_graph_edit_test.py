from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from estimator_ckpt.checkpoint import layout
from estimator_ckpt.checkpoint.object_graph import (
  Attribute,
  Node,
  ObjectGraph,
  SlotVariable,
)
from estimator_ckpt.checkpoint.object_graph_edit import (
  merge_graph,
  remove_values,
  rename_variables,
  set_full_names,
)
from estimator_ckpt.errors import OptionError


def _from_names(names, which="default"):
  graph = ObjectGraph()
  paths = layout.object_paths(names, which)
  keys = {name: graph.add_variable(paths[name], name) for name in names}
  return graph, keys


def _reachable(graph):
  """Every path to a value, except through cycles: path -> (full_name, key)."""
  found = {}

  def walk(node_id, path):
    for attribute in graph.nodes[node_id].attributes:
      found["/".join(path)] = (attribute.full_name, attribute.checkpoint_key)
    for name, child in graph.nodes[node_id].children.items():
      walk(child, (*path, layout.escape_local_name(name)))

  walk(0, ())
  return found


def _renamed(names, new_names, which="default"):
  graph, keys = _from_names(names, which)
  renames = {keys[old]: (old, new) for old, new in zip(names, new_names)}
  rename_variables(graph, renames)
  return graph


@pytest.mark.parametrize("which", ["default", "flat", "nested"])
@pytest.mark.parametrize(
  "names, new_names",
  [
    (["net/w", "net/b"], ["lib/w", "lib/b"]),
    (["net/w", "net/b"], ["net/b", "net/w"]),
    (["a/w", "a/w2", "b"], ["a/w2", "b", "a/w"]),
    (["a", "b/c"], ["deep/er/a", "b/c"]),
    (["w/v"], ["w"]),
  ],
)
def test_renaming_gives_the_graph_that_the_new_names_have(names, new_names, which):
  expected, _ = _from_names(new_names, which)
  assert _reachable(_renamed(names, new_names, which)) == _reachable(expected)


_NAMES = st.lists(
  st.lists(st.sampled_from("abc"), min_size=1, max_size=3).map("/".join),
  min_size=1,
  max_size=6,
  unique=True,
)


@given(_NAMES, st.randoms(use_true_random=False))
def test_any_renaming_keeps_every_variable_under_its_flat_path(names, random):
  new_names = [name + random.choice(["", "x", "/y"]) for name in names]
  if len(set(new_names)) < len(new_names):
    return
  graph = _renamed(names, new_names)
  for name in new_names:
    node_id = graph.lookup(("var_list", name))
    assert node_id is not None
    key = layout.object_key(("var_list", name))
    assert graph.nodes[node_id].attributes == [Attribute("VARIABLE_VALUE", name, key)]
  # No path of an old name is left, and no node without a parent.
  assert {value[0] for value in _reachable(graph).values()} == set(new_names)
  assert len(graph.nodes) == len({0, *(child for _, _, child in graph.edges())})


def test_the_paths_of_a_users_own_objects_stay():
  graph = ObjectGraph()
  key = graph.add_variable([("model", "kernel"), ("alias",)], "dense/kernel")
  assert rename_variables(graph, {key: ("dense/kernel", "net/w")}) == {}
  assert _reachable(graph) == {"model/kernel": ("net/w", key), "alias": ("net/w", key)}


def test_slots_keys_follow_their_variables():
  graph, keys = _from_names(["w"])
  variable = graph.lookup(("w",))
  slot_key = "var_list/w/.OPTIMIZER_SLOT/optimizer/m/.ATTRIBUTES/VARIABLE_VALUE"
  graph.nodes.append(Node(attributes=[Attribute("VARIABLE_VALUE", "w/Adam", slot_key)]))
  optimizer = graph.add_path(("optimizer",))
  slot_node = len(graph.nodes) - 2
  graph.nodes[optimizer].slot_variables.append(SlotVariable(variable, "m", slot_node))
  moved = rename_variables(
    graph, {keys["w"]: ("w", "v"), slot_key: ("w/Adam", "v/Adam")}
  )
  assert moved[slot_key] == slot_key.replace("list/w/", "list/v/")
  [slot] = graph.nodes[graph.lookup(("optimizer",))].slot_variables
  assert slot.original_variable_node_id == graph.lookup(("v",))
  assert graph.nodes[slot.slot_variable_node_id].attributes == [
    Attribute("VARIABLE_VALUE", "v/Adam", moved[slot_key])
  ]


def test_a_path_that_is_another_objects():
  graph, keys = _from_names(["a", "b"], "flat")
  with pytest.raises(OptionError, match="'var_list/b'.*is another object's"):
    rename_variables(graph, {keys["a"]: ("a", "b")})


def test_full_names():
  graph, keys = _from_names(["a", "b"], "flat")
  set_full_names(graph, {keys["a"]: "x"})
  assert {name for name, _ in _reachable(graph).values()} == {"x", "b"}


def test_a_copy_can_be_edited_alone():
  graph, keys = _from_names(["a/b", "c"])
  before = graph.serialize()
  copied = graph.copy()
  assert copied.serialize() == before
  rename_variables(copied, {keys["c"]: ("c", "d")})
  remove_values(copied, [keys["a/b"]])
  assert graph.serialize() == before


def test_objects_that_have_no_value_left_go_and_others_stay():
  graph, keys = _from_names(["a/b", "c/d"])
  graph.add_path(("stateless", "layer"))
  remove_values(graph, [keys["a/b"]])
  assert list(_reachable(graph)) == ["var_list/c.Sd", "c/d"]
  assert graph.lookup(("a",)) is None
  assert graph.lookup(("stateless", "layer")) is not None
  # TensorFlow can read the message: every reference leads to an existing node.
  ObjectGraph.parse(graph.serialize())


def test_an_optimizer_goes_with_its_slots():
  graph, keys = _from_names(["w", "v"], "nested")
  variable = graph.lookup(("w",))
  graph.nodes.append(Node(attributes=[Attribute("VARIABLE_VALUE", "", "slot")]))
  slot_node = len(graph.nodes) - 1
  optimizer = graph.add_path(("optimizer",))
  graph.nodes[optimizer].slot_variables.append(SlotVariable(variable, "m", slot_node))
  remove_values(graph, ["slot"])
  assert graph.lookup(("optimizer",)) is None
  assert list(_reachable(graph)) == ["w", "v"]
  assert len(graph.nodes) == 3


def test_cycles_are_no_hindrance():
  graph, keys = _from_names(["a/b"], "nested")
  graph.nodes[graph.lookup(("a",))].children["root"] = 0
  remove_values(graph, keys.values())
  assert len(graph.nodes) == 1


def test_merging_graphs_of_names_gives_the_graph_of_all_names():
  graph, _ = _from_names(["a/b", "c"])
  other, _ = _from_names(["a/d", "c"])
  merge_graph(graph, other)
  expected, _ = _from_names(["a/b", "c", "a/d"])
  assert _reachable(graph) == _reachable(expected)


def test_merging_takes_slots_along():
  graph, _ = _from_names(["w"], "nested")
  other, _ = _from_names(["w"], "nested")
  other.nodes.append(Node(attributes=[Attribute("VARIABLE_VALUE", "", "slot")]))
  optimizer = other.add_path(("optimizer",))
  other.nodes[optimizer].slot_variables.append(SlotVariable(1, "m", 2))
  merge_graph(graph, other)
  [slot] = graph.nodes[graph.lookup(("optimizer",))].slot_variables
  assert slot.original_variable_node_id == graph.lookup(("w",))
  [attribute] = graph.nodes[slot.slot_variable_node_id].attributes
  assert attribute.checkpoint_key == "slot"


def test_a_flag_that_says_there_are_no_values_gives_way():
  graph, _ = _from_names(["a/b"], "nested")
  other = graph.copy()
  graph.nodes[1].has_checkpoint_values = False
  other.nodes[1].has_checkpoint_values = True
  merge_graph(graph, other)
  assert graph.nodes[1].has_checkpoint_values is True


def test_graphs_that_have_nothing_in_common():
  graph = ObjectGraph()
  graph.add_variable([("a",)], "")
  graph.add_variable([("b",)], "")
  other = ObjectGraph()
  other.add_variable([("a",), ("b",)], "")
  with pytest.raises(OptionError, match="'a' and 'b' are one object in one"):
    merge_graph(graph, other)
  other = ObjectGraph()
  other.add_variable([("a",)], "", key="x/.ATTRIBUTES/VARIABLE_VALUE")
  with pytest.raises(OptionError, match="would be the value of one object"):
    merge_graph(graph, other)
