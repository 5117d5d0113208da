"""What an object graph says a stored value is: an optimizer's, or the model's.

An optimizer is an object with slot variables, as TensorFlow 1's and Keras 2's legacy
ones have, or with the attributes in which Keras keeps its state: `_variables` and
`_iterations` since TensorFlow 2.11, `iter` and `learning_rate` before. What is reached
through an optimizer alone belongs to it, except `_trainable_variables`, where Keras 3
lists the model's.

`Role` and the roles that names tell are in `estimator_ckpt.checkpoint.roles`, which needs
no object graph.
"""

from __future__ import annotations

import collections
from collections.abc import Collection

from estimator_ckpt.checkpoint.object_graph import ObjectGraph
from estimator_ckpt.checkpoint.roles import Role, RoleKind

_KERAS = ({"_variables", "_iterations"}, {"iter", "learning_rate"})
_MODEL_VARIABLES = "_trainable_variables"


def optimizer_nodes(graph: ObjectGraph) -> list[int]:
  """The numbers of the nodes that are optimizers."""
  columns = graph.columns
  found = {node_id for node_id, _ in columns.slots}
  kinds = [own for own in _KERAS if all(map(columns.has_name, own))]
  for node_id in columns.parents if kinds else ():
    children = columns.children_of(node_id).keys()
    if len(children) > 1 and any(own <= children for own in kinds):
      found.add(node_id)
  return sorted(found)


def classify_objects(graph: ObjectGraph) -> dict[str, Role]:
  """Tells which keys are an optimizer's, from the object graph alone.

  Args:
    graph: the object graph.

  Returns:
    A role for each checkpoint key that is an optimizer's; none for others. `of` is the
    checkpoint key of a slot's variable, and `optimizer` the object path of the
    optimizer. Where Keras does not say which variable a slot is of, `of` is None and
    the names may tell; see `estimator_ckpt.checkpoint.roles`.

  Example:
    >>> graph = ObjectGraph()
    >>> key = graph.add_variable([("optimizer", "iter")], "Adam/iter")
    >>> _ = graph.add_variable([("optimizer", "learning_rate")], "Adam/learning_rate")
    >>> classify_objects(graph)[key].kind.value
    'non_slot'
  """
  optimizers = optimizer_nodes(graph)
  if not optimizers:
    return {}
  paths = graph.paths()
  model = _reached(graph, [0], set(optimizers))
  listed = [
    graph.nodes[node_id].children[_MODEL_VARIABLES]
    for node_id in optimizers
    if _MODEL_VARIABLES in graph.nodes[node_id].children
  ]
  model |= _reached(graph, listed, set(optimizers))
  roles: dict[str, Role] = {}
  for optimizer in optimizers:
    path = "/".join(paths[optimizer] or ())
    for node_id in sorted(_reached(graph, [optimizer], model)):
      for attribute in graph.nodes[node_id].attributes:
        role = Role(RoleKind.NON_SLOT, None, _last(paths[node_id]), path)
        roles[attribute.checkpoint_key] = role
    for slot in graph.nodes[optimizer].slot_variables:
      originals = graph.nodes[slot.original_variable_node_id].attributes
      of = originals[0].checkpoint_key if originals else None
      for attribute in graph.nodes[slot.slot_variable_node_id].attributes:
        role = Role(RoleKind.SLOT, of, slot.slot_name, path)
        roles[attribute.checkpoint_key] = role
  return roles


def _reached(
  graph: ObjectGraph, starts: Collection[int], barred: Collection[int]
) -> set[int]:
  """The nodes that children lead to, without passing through barred ones."""
  found = {start for start in starts if start not in barred}
  queue = collections.deque(found)
  while queue:
    for child in graph.nodes[queue.popleft()].children.values():
      if child not in found and child not in barred:
        found.add(child)
        queue.append(child)
  return found


def _last(path: tuple[str, ...] | None) -> str | None:
  return path[-1] if path else None
