"""The optimizers in an object graph, and the variables that their slots belong to.

Optimizers of TensorFlow 1 and Keras 2 legacy have slots as `slot_variables` of their
node; a legacy one also has a child `iter`. Optimizers of Keras 2 and 3 have children
that list slot variables, one list for each slot, in the order of the trainable
variables. Keras 3 lists the trainable variables too. Keras 2 has their names in those
of the slot variables (`Adam/m/dense/kernel`).
"""

from __future__ import annotations

import collections
import dataclasses
import re
from collections.abc import Iterator, Mapping

from estimator_ckpt.checkpoint import layout as layout_lib
from estimator_ckpt.checkpoint.object_graph import Node, ObjectGraph
from estimator_ckpt.checkpoint.optimizers import CONVERTED, OPTIMIZERS, of_class
from estimator_ckpt.keras.slot_formulas import (
  KINDS,
  MODERN,
  Flavor,
  Optimizer,
)

# Keras' names of settings, by the names of the children that hold them.
_SETTINGS = {
  "learning_rate": "learning_rate",
  "_learning_rate": "learning_rate",
  "beta_1": "beta_1",
  "beta_2": "beta_2",
  "momentum": "momentum",
  "rho": "rho",
}
# Keras' optimizers whose slots may be called as Adam's.
_UNCONVERTED = {
  kind.keras.lower()
  for kind in OPTIMIZERS
  if kind.keras and of_class(kind.keras) is None
}
_NUMBER = re.compile(r"_\d+$")
_ITERATIONS = ("iter", "_iterations")
_HATS = ("vhat", "_velocity_hats")


@dataclasses.dataclass(frozen=True)
class OptimizerObject:
  """An optimizer in an object graph.

  Attributes:
    path: the attribute names from the root to the optimizer.
    node_id: the number of the optimizer's node.
    optimizer: its kind and flavor, and the settings that its slots reveal.
    slots: for each slot, by the optimizer's own name, the keys of slot variables by the
      keys of their variables.
    iterations: the key of the number of steps, or None.
    settings: keys of stored settings, by Keras' names.
    powers: keys of TF1's beta powers, by name.
    others: keys of all other values of the optimizer.
    unclear: names of slot variables that could belong to several variables.
  """

  path: tuple[str, ...]
  node_id: int
  optimizer: Optimizer
  slots: Mapping[str, Mapping[str, str]]
  iterations: str | None
  settings: Mapping[str, str]
  powers: Mapping[str, str]
  others: tuple[str, ...] = ()
  unclear: tuple[str, ...] = ()

  def keys(self) -> Iterator[str]:
    """Yields every key of a value of the optimizer."""
    for by_variable in self.slots.values():
      yield from by_variable.values()
    if self.iterations is not None:
      yield self.iterations
    yield from self.settings.values()
    yield from self.powers.values()
    yield from self.others


def find_optimizers(graph: ObjectGraph) -> list[OptimizerObject]:
  """Finds the optimizers in an object graph.

  Args:
    graph: the object graph of a checkpoint.

  Returns:
    The optimizers that there are rules for. Wrappers, such as those for loss scaling, are skipped.
  """
  return _Finder(graph).run()


class _Finder:
  """Finds optimizers."""

  def __init__(self, graph: ObjectGraph):
    self._graph = graph
    self._paths = graph.paths()
    self._keys = {
      node_id: attribute.checkpoint_key
      for node_id, attribute in graph.attributes()
      if attribute.name == layout_lib.VARIABLE_VALUE
    }
    self._full_names = {
      attribute.checkpoint_key: attribute.full_name
      for _, attribute in graph.attributes()
    }
    self._by_name = graph.keys_by_full_name()

  def run(self) -> list[OptimizerObject]:
    found = []
    for node_id, node in enumerate(self._graph.nodes):
      path = self._paths[node_id]
      if path is None:
        continue
      if "_iterations" in node.children and "_variables" in node.children:
        optimizer = self._modern(node_id, node, path)
      elif node.slot_variables or "iter" in node.children:
        optimizer = self._with_slot_variables(node_id, node, path)
      else:
        continue
      if optimizer is not None:
        found.append(optimizer)
    return found

  def _with_slot_variables(
    self, node_id: int, node: Node, path: tuple[str, ...]
  ) -> OptimizerObject | None:
    flavor = Flavor.KERAS_2_LEGACY if "iter" in node.children else Flavor.TF1
    if "_iterations" in node.children:
      # An optimizer of TensorFlow 1 that Keras can restore; see training/keras_edges.
      flavor = Flavor.TF1
    slots: dict[str, dict[str, str]] = collections.defaultdict(dict)
    for slot in node.slot_variables:
      variable = self._keys.get(slot.original_variable_node_id)
      own = self._keys.get(slot.slot_variable_node_id)
      if variable is not None and own is not None:
        slots[slot.slot_name][variable] = own
    optimizer = self._by_names(_recognise(flavor, slots), slots)
    if optimizer is None:
      return None
    return self._object(node_id, node, path, optimizer, slots)

  def _modern(
    self, node_id: int, node: Node, path: tuple[str, ...]
  ) -> OptimizerObject | None:
    keras_3 = (
      "_trainable_variables" in node.children
      or "_trainable_variables_indices" in node.children
    )
    flavor = Flavor.KERAS_3 if keras_3 else Flavor.KERAS_2
    lists = {
      name: self._list(child)
      for name, child in node.children.items()
      if name not in ("_variables", "_trainable_variables")
    }
    optimizer = self._by_names(_recognise(flavor, lists), lists)
    if optimizer is None or "_u_product" in node.children:
      # Keras' Nadam has Adam's slots, and a schedule besides.
      return None
    variables = self._list(node.children["_trainable_variables"]) if keras_3 else {}
    slots: dict[str, dict[str, str]] = {}
    unclear = []
    for slot in {*optimizer.slots, *_HATS} & set(lists):
      slots[slot] = {}
      for position, key in lists[slot].items():
        owner = self._owner_name(key)
        variable = variables.get(position) if keras_3 else self._by_name.get(owner)
        if variable is not None:
          slots[slot][variable] = key
        elif keras_3 or owner in self._by_name:
          unclear.append(self._full_names[key])
    found = self._object(node_id, node, path, optimizer, slots)
    return dataclasses.replace(found, unclear=tuple(sorted(unclear)))

  def _by_names(
    self, found: Optimizer | None, slots: Mapping[str, Mapping[str, str]]
  ) -> Optimizer | None:
    """Tells optimizers with equal slots apart, as far as names of slot variables do."""
    if found is None:
      return None
    keys = (key for members in slots.values() for key in members.values())
    parts = self._full_names.get(next(keys, ""), "").split("/")
    tf1 = found.flavor is Flavor.TF1
    if tf1 or found.flavor in MODERN:
      parts = parts[-1:] if tf1 else parts[:1]
    # Keras 3 calls an AdamW `adam_w`, or `adam_w_1`.
    said = {_NUMBER.sub("", part).lower().replace("_", "") for part in parts}
    if not tf1 and said & _UNCONVERTED:
      return None
    for kind, known in CONVERTED.items():
      other = Optimizer(kind, found.flavor, found.settings)
      name = known.tf1 if tf1 else known.keras
      if name.lower() in said and set(other.slots) == set(found.slots) != set():
        return other
    return found

  def _list(self, node_id: int) -> dict[str, str]:
    children = self._graph.nodes[node_id].children
    return {
      position: self._keys[child]
      for position, child in children.items()
      if position.isdigit() and child in self._keys
    }

  def _owner_name(self, slot_key: str) -> str:
    """The variable of a Keras 2 slot by its name, such as `Adam/m/dense/kernel`."""
    _, _, name = self._full_names[slot_key].partition("/")
    while name and name not in self._by_name:
      _, _, name = name.partition("/")
    return name

  def _object(
    self,
    node_id: int,
    node: Node,
    path: tuple[str, ...],
    optimizer: Optimizer,
    slots: Mapping[str, Mapping[str, str]],
  ) -> OptimizerObject:
    own = {
      name: self._keys[child]
      for name, child in node.children.items()
      if child in self._keys
    }
    iterations = next((own[name] for name in _ITERATIONS if name in own), None)
    settings = {_SETTINGS[name]: key for name, key in own.items() if name in _SETTINGS}
    powers = {
      name: key for name, key in own.items() if name in ("beta1_power", "beta2_power")
    }
    found = OptimizerObject(
      path, node_id, optimizer, slots, iterations, settings, powers
    )
    known = set(found.keys())
    lists = [
      self._list(child)
      for n, child in node.children.items()
      if n != "_trainable_variables"
    ]
    below = [*own.values(), *(key for members in lists for key in members.values())]
    others = tuple(key for key in dict.fromkeys(below) if key not in known)
    return dataclasses.replace(found, others=others)


def _recognise(
  flavor: Flavor, slots: Mapping[str, Mapping[str, str]]
) -> Optimizer | None:
  """Finds the optimizer that has exactly these slots."""
  present = {slot for slot, members in slots.items() if members}
  if flavor in MODERN:
    # RMSprop always has this list, even if it is empty. Adam never has it.
    rmsprop = "_average_gradients" in slots
  else:
    rmsprop = "rms" in slots
  for kind in KINDS:
    if kind == "GradientDescent" or (kind == "RMSProp") != rmsprop:
      continue
    settings = {}
    if rmsprop:
      settings = {
        "momentum": bool(present & {"_momentums", "momentum"}),
        "centered": bool(present & {"_average_gradients", "mg"}),
      }
    optimizer = Optimizer(kind, flavor, settings)
    if present - set(_HATS) == set(optimizer.slots):
      if present & set(_HATS):
        optimizer = dataclasses.replace(optimizer, settings={"amsgrad": True})
      return optimizer
  if flavor is not Flavor.TF1 and not present:
    return Optimizer("GradientDescent", flavor)
  return None
