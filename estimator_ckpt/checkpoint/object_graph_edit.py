"""Edits of an object graph: other names, fewer values, two graphs in one.

All of these change the graph they are given; `ObjectGraph.copy` makes one to change.
"""

from __future__ import annotations

import collections
from collections.abc import Collection, Iterable, Mapping, Sequence

from estimator_ckpt import errors, value_classes
from estimator_ckpt.checkpoint import layout as layout_lib
from estimator_ckpt.checkpoint.object_graph import (
  Attribute,
  Node,
  ObjectGraph,
  SlotVariable,
)

_NAME_DICTS = (layout_lib.VAR_LIST, "vars")


def set_full_names(graph: ObjectGraph, names: Mapping[str, str]) -> None:
  """Sets the names that variables have in a name-based checkpoint.

  Args:
    graph: the graph to change.
    names: names by checkpoint key; others stay as they are.
  """
  for node in graph.nodes:
    for position, attribute in enumerate(node.attributes):
      name = names.get(attribute.checkpoint_key)
      if name is not None:
        node.attributes[position] = value_classes.replace(attribute, full_name=name)


def rename_variables(
  graph: ObjectGraph, renames: Mapping[str, tuple[str, str]]
) -> dict[str, str]:
  """Gives variables other names, and moves the object paths that spell the old ones.

  A path that is `var_list/<name>` or the name's scopes follows the name. One that an
  object of the user's has, as `model/layer-0/kernel`, stays.

  Args:
    graph: the graph to change.
    renames: for the checkpoint keys in question, the old name and the new one.

  Returns:
    For each checkpoint key that spelled an old path, the new key.

  Raises:
    OptionError: a new path is another object's.

  Example:
    >>> graph = ObjectGraph()
    >>> key = graph.add_variable([("var_list", "w"), ("w",)], "w")
    >>> rename_variables(graph, {key: ("w", "net/w")})[key]
    'var_list/net.Sw/.ATTRIBUTES/VARIABLE_VALUE'
    >>> graph.lookup(("net", "w")) == graph.lookup(("var_list", "net/w"))
    True
  """
  if not renames:
    return {}
  had_values = _leads_to_values(graph)
  moves: list[tuple[int, layout_lib.Path, layout_lib.Path]] = []
  for node_id, attribute in graph.attributes():
    if attribute.checkpoint_key not in renames:
      continue
    old, new = renames[attribute.checkpoint_key]
    if old == new:
      continue
    for name_dict in _NAME_DICTS:
      if graph.lookup((name_dict, old)) == node_id:
        moves.append((node_id, (name_dict, old), (name_dict, new)))
    nested = tuple(old.split("/"))
    if graph.lookup(nested) == node_id:
      moves.append((node_id, nested, tuple(new.split("/"))))
  # All old paths go before the first new one comes: names may be swapped.
  for _, path, _ in moves:
    parent = graph.lookup(path[:-1])
    assert parent is not None
    del graph.nodes[parent].children[path[-1]]
  # A scope that is empty now may be the name of a variable next.
  numbers = _drop_emptied(graph, had_values)
  moves = [(numbers.get(node_id, node_id), old, new) for node_id, old, new in moves]
  moved = _add_moved_paths(graph, moves)
  new_keys = _moved_keys(graph, renames, moved)
  for node in graph.nodes:
    for position, attribute in enumerate(node.attributes):
      key = attribute.checkpoint_key
      if key in renames or key in new_keys:
        _, name = renames.get(key, ("", attribute.full_name))
        node.attributes[position] = Attribute(
          attribute.name, name, new_keys.get(key, key)
        )
  return new_keys


def _add_moved_paths(
  graph: ObjectGraph,
  moves: Iterable[tuple[int, layout_lib.Path, layout_lib.Path]],
) -> dict[layout_lib.Path, layout_lib.Path]:
  moved: dict[layout_lib.Path, layout_lib.Path] = {}
  # Every variable keeps a path: flat ones first, which cannot be in each other's way.
  for node_id, old, new in sorted(
    moves, key=lambda move: move[1][0] not in _NAME_DICTS
  ):
    flat = old[0] in _NAME_DICTS
    if graph.lookup(new) is not None or not flat and not _can_nest(graph, new):
      if flat or not _has_parent(graph, node_id):
        raise errors.OptionError(
          f"the object path {'/'.join(new)!r}, which would follow the new name of"
          f" {'/'.join(old)!r}, is another object's; choose another name"
        )
      continue
    parent = graph.add_path(new[:-1])
    graph.nodes[parent].children[new[-1]] = node_id
    moved[old] = new
  return moved


def _can_nest(graph: ObjectGraph, path: layout_lib.Path) -> bool:
  """Whether objects could stand at each step: named, and no variable among them."""
  if not all(path) or path[0] in (layout_lib.VAR_LIST, layout_lib.SAVE_COUNTER):
    return False
  node_id: int | None = 0
  for part in path[:-1]:
    node_id = graph.nodes[node_id].children.get(part) if node_id is not None else None
    if node_id is not None and graph.nodes[node_id].attributes:
      return False
  return True


def _has_parent(graph: ObjectGraph, node_id: int) -> bool:
  return any(child == node_id for _, _, child in graph.edges())


def _moved_keys(
  graph: ObjectGraph,
  renames: Mapping[str, tuple[str, str]],
  moved: Mapping[layout_lib.Path, layout_lib.Path],
) -> dict[str, str]:
  """New keys for variables whose key spells a path that moved, and for their slots."""
  new_keys: dict[str, str] = {}
  for _, attribute in graph.attributes():
    key = layout_lib.parse_object_key(attribute.checkpoint_key)
    if key is None or key.path not in moved:
      continue
    if key.slot is not None or attribute.checkpoint_key in renames:
      new_keys[attribute.checkpoint_key] = str(key._replace(path=moved[key.path]))
  return new_keys


def remove_values(graph: ObjectGraph, keys: Collection[str]) -> None:
  """Removes stored values, and the objects that have none left.

  Objects that stored nothing before stay: TensorFlow matches objects with them.

  Args:
    graph: the graph to change.
    keys: the checkpoint keys of what goes.
  """
  had_values = _leads_to_values(graph)
  keys = set(keys)
  for node in graph.nodes:
    if node.attributes:
      node.attributes = [a for a in node.attributes if a.checkpoint_key not in keys]
  _drop_emptied(graph, had_values)


def _leads_to_values(graph: ObjectGraph) -> list[bool]:
  """For each node, whether it stores something or leads to a node that does."""
  parents: list[list[int]] = [[] for _ in graph.nodes]
  for node_id, node in enumerate(graph.nodes):
    for child in node.children.values():
      parents[child].append(node_id)
    for slot in node.slot_variables:
      parents[slot.slot_variable_node_id].append(node_id)
  leads = [bool(node.attributes or node.registered_saver) for node in graph.nodes]
  queue = collections.deque(i for i, stored in enumerate(leads) if stored)
  while queue:
    for parent in parents[queue.popleft()]:
      if not leads[parent]:
        leads[parent] = True
        queue.append(parent)
  return leads


def _drop_emptied(graph: ObjectGraph, had_values: Sequence[bool]) -> dict[int, int]:
  """Drops nodes that led to values; returns the new numbers of others that have one."""
  has_values = _leads_to_values(graph)
  dropped = {
    node_id
    for node_id, had in enumerate(had_values)
    # The root stays, whatever it leads to.
    if node_id and had and not has_values[node_id]
  }
  return _drop_nodes(graph, dropped) if dropped else {}


def _drop_nodes(graph: ObjectGraph, dropped: Collection[int]) -> dict[int, int]:
  numbers: dict[int, int] = {}
  for node_id in range(len(graph.nodes)):
    if node_id not in dropped:
      numbers[node_id] = len(numbers)
  kept = []
  for node_id, node in enumerate(graph.nodes):
    if node_id in dropped:
      continue
    node.children = {
      name: numbers[child] for name, child in node.children.items() if child in numbers
    }
    node.slot_variables = [
      SlotVariable(
        numbers[slot.original_variable_node_id],
        slot.slot_name,
        numbers[slot.slot_variable_node_id],
      )
      for slot in node.slot_variables
      if slot.original_variable_node_id in numbers
      and slot.slot_variable_node_id in numbers
    ]
    kept.append(node)
  graph.nodes[:] = kept
  return numbers


def merge_graph(graph: ObjectGraph, other: ObjectGraph) -> None:
  """Adds what another object graph has; objects at the same path become one.

  Args:
    graph: the graph to change.
    other: the graph to add. Where both store something for one object, the same
      attribute must have the same checkpoint key.

  Raises:
    OptionError: one object would store two values for one attribute, or one object of
      `other` is two of `graph`.
  """
  paths = other.paths()
  pairs = {0: 0}
  queue = collections.deque([0])
  while queue:
    theirs = queue.popleft()
    ours = pairs[theirs]
    for name, child in other.nodes[theirs].children.items():
      known = graph.nodes[ours].children.get(name)
      if child not in pairs:
        pairs[child] = _add_node(graph) if known is None else known
        queue.append(child)
      if known is None:
        graph.nodes[ours].children[name] = pairs[child]
      elif known != pairs[child]:
        raise errors.OptionError(
          f"{'/'.join(paths[child] or ())!r} and"
          f" {'/'.join([*(paths[theirs] or ()), name])!r} are one object in one"
          " checkpoint, and two in another; they have no object graph in common"
        )
  for theirs in range(len(other.nodes)):
    if theirs not in pairs:
      # A slot variable; or an object nothing leads to.
      pairs[theirs] = _add_node(graph)
  for theirs, node in enumerate(other.nodes):
    _merge_node(graph, graph.nodes[pairs[theirs]], node, pairs)


def _add_node(graph: ObjectGraph) -> int:
  graph.nodes.append(Node())
  return len(graph.nodes) - 1


def _merge_node(
  graph: ObjectGraph, node: Node, other: Node, pairs: Mapping[int, int]
) -> None:
  keys = {attribute.name: attribute.checkpoint_key for attribute in node.attributes}
  for attribute in other.attributes:
    if attribute.name not in keys:
      node.attributes.append(attribute)
    elif keys[attribute.name] != attribute.checkpoint_key:
      raise errors.OptionError(
        f"{keys[attribute.name]!r} and {attribute.checkpoint_key!r} would be the value"
        " of one object; convert the checkpoints to tf1 and merge them by name"
      )
  known = {(s.original_variable_node_id, s.slot_name) for s in node.slot_variables}
  for slot in other.slot_variables:
    original = pairs[slot.original_variable_node_id]
    if (original, slot.slot_name) not in known:
      slot_node = pairs[slot.slot_variable_node_id]
      node.slot_variables.append(SlotVariable(original, slot.slot_name, slot_node))
  node.registered_saver = node.registered_saver or other.registered_saver
  if other.has_checkpoint_values or node.has_checkpoint_values is False:
    node.has_checkpoint_values = other.has_checkpoint_values
  node.unknown = node.unknown or other.unknown
