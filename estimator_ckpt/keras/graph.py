"""The object graph of a Keras model and optimizer, made without the model.

The graph fits a model whose layers are attributes with the names of the scopes:
`dense/kernel` stands at `model.dense.kernel`. Only the model itself can write the graph
of any other model; see `estimator_ckpt.keras.template`.

A TensorFlow 1 checkpoint does not store the learning rate and other settings. Each of
these becomes a node without value: TensorFlow matches the node with an object, which
`assert_consumed()` requires, and leaves the object's value as it is. (Checked on 2.12,
2.15 and 2.21. The node is marked as having values, so that TensorFlow also matches it
with an object that is made after restoring.)
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from estimator_ckpt.checkpoint import layout as layout_lib
from estimator_ckpt.checkpoint.object_graph import (
  Attribute,
  Node,
  ObjectGraph,
  SlotVariable,
)
from estimator_ckpt.checkpoint.optimizers import CONVERTED
from estimator_ckpt.keras.slot_formulas import Flavor, Optimizer

# What an optimizer has beside slots and steps.
_OTHER_NODES = {
  Flavor.KERAS_2: (
    "_variables",
    "_learning_rate",
    "_current_learning_rate",
    "_index_dict",
  ),
  Flavor.KERAS_3: (
    "_variables",
    "_learning_rate",
    "_trainable_variables",
    "_trainable_variables_indices",
  ),
}


@dataclasses.dataclass
class KerasGraph:
  """An object graph and the keys of its values.

  Attributes:
    graph: the object graph.
    variables: keys of the model's variables, by name.
    slots: keys of the slot variables, by the slot and the name of its variable.
    iterations: the key of the number of steps; None without an optimizer.
    save_counter: the key of the save counter.
  """

  graph: ObjectGraph
  variables: dict[str, str]
  slots: dict[tuple[str, str], str]
  iterations: str | None
  save_counter: str


def build_graph(
  names: Sequence[str],
  trainable: Sequence[str],
  optimizer: Optimizer | None,
  keras_3: bool,
  model_path: Sequence[str] = ("model",),
  optimizer_path: Sequence[str] = ("optimizer",),
) -> KerasGraph:
  """Builds the object graph of `tf.train.Checkpoint(model=..., optimizer=...)`.

  Args:
    names: the names of the model's variables.
    trainable: the names of the trainable variables, in the order of
      `model.trainable_variables`.
    optimizer: the optimizer of the checkpoint, or None for a model alone.
    keras_3: whether the model is one of Keras 3.
    model_path: the attribute names from the root to the model.
    optimizer_path: the attribute names from the root to the optimizer.

  Returns:
    The graph and its keys.

  Raises:
    OptionError: two variables would have the same object path.
  """
  graph = ObjectGraph()
  result = KerasGraph(graph, {}, {}, None, layout_lib.object_key(["save_counter"]))
  for name in names:
    *scopes, leaf = name.split("/")
    paths = [(*model_path, *scopes, leaf)]
    if keras_3 and leaf in ("kernel", "embeddings"):
      # Dense, convolutions and Embedding have the attribute `_kernel` or `_embeddings`,
      # and other layers `kernel`.
      paths.append((*model_path, *scopes, "_" + leaf))
    result.variables[name] = graph.add_variable(paths, name)
  graph.add_variable([[layout_lib.SAVE_COUNTER]], "save_counter")
  if optimizer is not None:
    places = tuple(model_path), tuple(optimizer_path)
    _Optimizer(result, optimizer, *places).add(trainable, len(names))
  return result


class _Optimizer:
  """Adds an optimizer to a graph."""

  def __init__(
    self,
    result: KerasGraph,
    optimizer: Optimizer,
    model_path: tuple[str, ...],
    path: tuple[str, ...],
  ):
    self._result = result
    self._graph = result.graph
    self._optimizer = optimizer
    self._model_path = model_path
    self._path = path
    self._node = result.graph.add_path(path)

  def add(self, trainable: Sequence[str], count: int) -> None:
    legacy = self._optimizer.flavor is Flavor.KERAS_2_LEGACY
    iterations = "iter" if legacy else "_iterations"
    self._result.iterations = self._graph.add_variable(
      [(*self._path, iterations)], f"{self._optimizer.keras_class}/{iterations}"
    )
    others = (
      CONVERTED[self._optimizer.kind].legacy_settings
      if legacy
      else _OTHER_NODES[self._optimizer.flavor]
    )
    for name in others:
      self._add_valueless(self._node, name)
    if self._optimizer.flavor is Flavor.KERAS_3:
      self._list_trainable(trainable)
    for tf1_slot in self._optimizer.kept:
      if legacy:
        self._add_slot_variables(tf1_slot, trainable)
      else:
        self._add_list(tf1_slot, trainable)
    if not legacy:
      # RMSprop has each list, and the empty ones tell it from Adam.
      for names in CONVERTED[self._optimizer.kind].slots:
        self._graph.add_path((*self._path, names.attribute))
    self._list_variables(trainable)
    for slot in self._optimizer.slots:
      if slot not in map(self._optimizer.own_name, self._optimizer.kept):
        # Keras 2's SGD makes momentums even without momentum.
        node = self._graph.add_path((*self._path, slot))
        for i in range(count):
          self._add_valueless(node, str(i))

  def _list_variables(self, trainable: Sequence[str]) -> None:
    """Adds slot variables to Keras 3's list of all variables of an optimizer.

    SGD and RMSprop of Keras 3 replace their lists of slots while they are built. A
    restore that began before waits for the old lists, so it needs this one.
    """
    if self._optimizer.flavor is not Flavor.KERAS_3:
      return
    if self._optimizer.kind not in ("Momentum", "RMSProp"):
      return
    children = self._graph.nodes[self._node].children
    listed = [children["_iterations"]]
    if not self._optimizer.settings.get("learning_rate_varies"):
      listed.append(children["_learning_rate"])
    for tf1_slot in self._optimizer.kept:
      node = self._graph.nodes[children[self._optimizer.own_name(tf1_slot)]]
      listed += [node.children[str(i)] for i in range(len(trainable))]
    variables = self._graph.nodes[children["_variables"]].children
    variables.update((str(i), node_id) for i, node_id in enumerate(listed))

  def _list_trainable(self, trainable: Sequence[str]) -> None:
    """Lists the variables, which Keras 3 numbers slots by and whose names they lack."""
    children = self._graph.nodes[self._node].children
    listed = self._graph.nodes[children["_trainable_variables"]].children
    for i, name in enumerate(trainable):
      node_id = self._graph.lookup((*self._model_path, *name.split("/")))
      assert node_id is not None
      listed[str(i)] = node_id

  def _add_valueless(self, parent: int, name: str) -> None:
    self._graph.nodes[parent].children[name] = len(self._graph.nodes)
    self._graph.nodes.append(Node(has_checkpoint_values=True))

  def _add_list(self, tf1_slot: str, trainable: Sequence[str]) -> None:
    slot = self._optimizer.own_name(tf1_slot)
    word = self._optimizer.word(tf1_slot)
    for i, name in enumerate(trainable):
      full_name = f"{self._optimizer.keras_class}/{word}/{name}"
      if self._optimizer.flavor is Flavor.KERAS_3:
        kind = self._optimizer.keras_class.lower()
        full_name = f"{kind}/{name.replace('/', '_')}_{word}"
      key = self._graph.add_variable([(*self._path, slot, str(i))], full_name)
      self._result.slots[slot, name] = key

  def _add_slot_variables(self, tf1_slot: str, trainable: Sequence[str]) -> None:
    slot = self._optimizer.own_name(tf1_slot)
    for name in trainable:
      path = (*self._model_path, *name.split("/"))
      original = self._graph.lookup(path)
      assert original is not None
      key = str(layout_lib.ObjectKey(path, optimizer=self._path, slot=slot))
      full_name = f"{self._optimizer.keras_class}/{name}/{slot}"
      node = Node(attributes=[Attribute(layout_lib.VARIABLE_VALUE, full_name, key)])
      self._graph.nodes[self._node].slot_variables.append(
        SlotVariable(original, slot, len(self._graph.nodes))
      )
      self._graph.nodes.append(node)
      self._result.slots[slot, name] = key
