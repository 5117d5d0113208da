"""Edges of an object graph by which Keras finds the state of TensorFlow 1 optimizers.

`tf.train.Checkpoint(model=..., optimizer=...)` with an optimizer of TensorFlow 1 stores
slots as slot variables, under TensorFlow 1's names. It stores no count of steps, which the
global step is. Where the state means the same in Keras, the optimizer's node gets further
edges, by which Keras finds the same tensors:

    iter, _iterations     the global step (Keras 2 legacy; Keras 3)
    _momentums/0, ...     the slots in the order of the model's trainable variables
                          (Keras 3); only where a Keras model says the order
    learning_rate, ...    nodes without values, which leave the optimizer's settings alone

Layers get `_kernel` beside `kernel`, as Keras 3 calls it. Only edges are stored for this,
and the step once more where an object of the user owns the global step.

The new optimizers of Keras 2 refuse everything with slot variables, and Keras 2 legacy has
other names for those of Ftrl and Adadelta. For these, use `estimator_ckpt.keras.load`.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from estimator_ckpt.checkpoint import layout as layout_lib
from estimator_ckpt.checkpoint.key_plan import GLOBAL_STEP
from estimator_ckpt.checkpoint.object_graph import Attribute, Node, ObjectGraph
from estimator_ckpt.checkpoint.optimizers import CONVERTED
from estimator_ckpt.keras.objects import OptimizerObject, find_optimizers
from estimator_ckpt.keras.slot_formulas import Flavor, Optimizer

_KERAS_3 = {"kernel": "_kernel", "embeddings": "_embeddings"}


def add_keras_edges(
  graph: ObjectGraph,
  orders: Sequence[Sequence[str]],
  without_slots: Collection[str] = (),
) -> list[str]:
  """Adds the edges to an object graph.

  Args:
    graph: the objects that are trained; it is changed.
    orders: for each Keras model, the names of its trainable variables in order.
    without_slots: attributes of the root that are optimizers without state, such as
      gradient descent.

  Returns:
    Keys that have to hold the global step too.
  """
  found = [o for o in find_optimizers(graph) if o.optimizer.flavor is Flavor.TF1]
  for name in without_slots:
    node_id = graph.lookup((name,))
    if node_id is not None and not graph.nodes[node_id].slot_variables:
      plain = Optimizer("GradientDescent", Flavor.TF1)
      found.append(OptimizerObject((name,), node_id, plain, {}, None, {}, {}))
  found = [o for o in found if _is_found_in_legacy(o) or _is_same_in_keras(o)]
  step = _step_node(graph)
  if not found or step is None:
    return []
  added = [_add_iterations(graph, o, step) for o in found]
  for optimizer in found:
    _add_settings(graph, optimizer)
    if _is_same_in_keras(optimizer):
      _add_lists(graph, optimizer, orders)
  _add_layers(graph)
  return [key for key in added if key is not None]


def _is_same_in_keras(optimizer: OptimizerObject) -> bool:
  """Whether slots mean the same in Keras 2 and 3.

  There, slots of Momentum include the learning rate, and those of Adagrad epsilon.
  """
  return CONVERTED[optimizer.optimizer.kind].same_in_keras


def _is_found_in_legacy(optimizer: OptimizerObject) -> bool:
  """Whether slots mean the same in Keras 2 legacy, and are called the same."""
  kind = CONVERTED[optimizer.optimizer.kind]
  return kind.same_in_legacy and kind.is_named_alike_in_legacy


def _step_node(graph: ObjectGraph) -> int | None:
  for node_id, attribute in graph.attributes():
    if attribute.full_name == GLOBAL_STEP:
      return node_id
  return None


def _add_iterations(
  graph: ObjectGraph, optimizer: OptimizerObject, step: int
) -> str | None:
  """Adds the edges to the step; returns the key of a new node for it, if one is needed."""
  children = graph.nodes[optimizer.node_id].children
  key = None
  own = step
  if graph.lookup((layout_lib.VAR_LIST, GLOBAL_STEP)) != step:
    # One node is restored into one object, and an object of the user has the step's node.
    key = layout_lib.object_key((*optimizer.path, "iter"))
    own = len(graph.nodes)
    graph.nodes.append(Node(attributes=[Attribute(layout_lib.VARIABLE_VALUE, "", key)]))
  graph.nodes[optimizer.node_id].has_checkpoint_values = None
  if _is_found_in_legacy(optimizer):
    children["iter"] = own
  children["_iterations"] = own
  return key


def _add_settings(graph: ObjectGraph, optimizer: OptimizerObject) -> None:
  children = graph.nodes[optimizer.node_id].children
  for name in (*CONVERTED[optimizer.optimizer.kind].legacy_settings, "_learning_rate"):
    if name not in children:
      children[name] = len(graph.nodes)
      graph.nodes.append(Node(has_checkpoint_values=True))


def _add_lists(
  graph: ObjectGraph, optimizer: OptimizerObject, orders: Sequence[Sequence[str]]
) -> None:
  keys = graph.keys_by_full_name()
  nodes = graph.nodes_by_key()
  keras = Optimizer(
    optimizer.optimizer.kind,
    Flavor.KERAS_3,
    {**optimizer.optimizer.settings, "momentum": 1.0},
  )
  for order in orders:
    variables = [keys.get(name) for name in order]
    by_slot = {slot: optimizer.slots.get(slot, {}) for slot in keras.kept}
    if any(set(variables) != set(members) for members in by_slot.values()):
      continue
    for slot, members in by_slot.items():
      child = graph.add_path((*optimizer.path, keras.own_name(slot)))
      for position, variable in enumerate(variables):
        assert variable is not None
        graph.nodes[child].children[str(position)] = nodes[members[variable]]
    return


def _add_layers(graph: ObjectGraph) -> None:
  for node in graph.nodes:
    for name, keras_3 in _KERAS_3.items():
      child = node.children.get(name)
      if child is not None and graph.nodes[child].attributes:
        node.children.setdefault(keras_3, child)
