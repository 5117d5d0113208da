"""The variables and optimizer state of a checkpoint, for a Keras model.

In every format, a variable has one name: its name in a TF1 or dual checkpoint; in a TF2
checkpoint its full name in the object graph, or its object path. The state of TF1's
optimizers is found by the names of slots, that of all others in the object graph.
"""

from __future__ import annotations

import collections
import dataclasses
import numbers
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING

from estimator_ckpt import errors
from estimator_ckpt.bundle import dtypes
from estimator_ckpt.checkpoint import layout as layout_lib
from estimator_ckpt.checkpoint import roles as optimizer_names
from estimator_ckpt.checkpoint import tensor_names
from estimator_ckpt.checkpoint.object_paths import ObjectPaths
from estimator_ckpt.checkpoint.optimizers import CONVERTED, OPTIMIZERS, family
from estimator_ckpt.checkpoint.partition_strategy import parts_of
from estimator_ckpt.checkpoint.roles import RoleKind
from estimator_ckpt.keras.iterations import Iterations, iterations
from estimator_ckpt.keras.objects import find_optimizers
from estimator_ckpt.keras.slot_formulas import KINDS, Flavor, Optimizer
from estimator_ckpt.older_pythons import cached_property

if TYPE_CHECKING:
  import numpy as np

  from estimator_ckpt.bundle.index import Index
  from estimator_ckpt.checkpoint.object_graph import ObjectGraph
  from estimator_ckpt.checkpoint.reader import CheckpointReader


_NO_RULES = "there are no rules for it"
_WHY_NOT = {kind.tf1: kind.why_not for kind in OPTIMIZERS if kind.why_not}


@dataclasses.dataclass(frozen=True)
class Variable:
  """A variable of a checkpoint.

  Attributes:
    name: the variable's name, which is independent of the format.
    key: the variable's key in the index.
    shape: its dimensions.
    dtype: the name of its data type, such as `"float32"`.
    remark: a doubt about its role for the user, or "".
    parts: the rows of each part, where it was saved in several parts of rows; or ().
    copy_of: the name of the variable that it is once more, for another weight; or "".
  """

  name: str
  key: str
  shape: tuple[int, ...]
  dtype: str
  remark: str = ""
  parts: tuple[int, ...] = ()
  copy_of: str = ""


@dataclasses.dataclass(frozen=True)
class State:
  """The state of an optimizer in a checkpoint.

  Attributes:
    optimizer: the kind and flavor of the optimizer, and the settings that its slots
      reveal.
    label: the name of the optimizer in messages: TensorFlow 1's name, with a number if
      there are several, or its object path.
    slots: for each slot, the keys of slot variables by the names of their variables.
    iterations: the key of the number of steps, if the optimizer keeps one.
    powers: keys of the beta powers, by name.
    settings: keys of stored settings, by Keras' names.
    unclear: names of slot variables that could belong to several variables.
  """

  optimizer: Optimizer
  label: str
  slots: Mapping[str, Mapping[str, str]]
  iterations: str | None = None
  powers: Mapping[str, str] = dataclasses.field(default_factory=dict)
  settings: Mapping[str, str] = dataclasses.field(default_factory=dict)
  unclear: tuple[str, ...] = ()

  def check_clear(self, prefix: str) -> None:
    """Refuses slot variables of which nobody can say whose they are.

    Args:
      prefix: the checkpoint's prefix, for the message.

    Raises:
      UnsupportedCheckpointError: there are such slot variables.
    """
    if self.unclear and self.optimizer.flavor is Flavor.KERAS_3:
      raise errors.UnsupportedCheckpointError(
        f"{prefix}: {self.optimizer} numbers slots in the order of its "
        "_trainable_variables, and this object graph does not list the variables of "
        f"{', '.join(self.unclear[:4])}{', ...' if len(self.unclear) > 4 else ''}. Write "
        "the checkpoint with tf.train.Checkpoint(model=model, optimizer=optimizer); or "
        "convert the model alone (optimizer='none', --optimizer=none)."
      )
    if self.unclear:
      raise errors.UnsupportedCheckpointError(
        f"{prefix}: {self.optimizer} stores slots by the names of variables, and several "
        f"variables have the names in {', '.join(self.unclear[:4])}"
        f"{', ...' if len(self.unclear) > 4 else ''}. Give each layer a name of its own "
        "in the whole model; load it with estimator_ckpt.keras.load, which knows the "
        "model's order; or convert the model alone (optimizer='none', "
        "--optimizer=none)."
      )


@dataclasses.dataclass
class Contents:
  """The variables and optimizer states of a checkpoint.

  Attributes:
    prefix: the checkpoint's prefix.
    variables: the model's variables by name, without optimizer state.
    averages: keys of moving averages, by the names of their variables.
    states: the state of each optimizer that there are rules for.
    global_step: the key of the global step, or None.
    others: names of tensors that no model takes: tables, iterators, the save counter.
    unknown: words for the optimizers with state that there are no rules for.
  """

  prefix: str
  variables: dict[str, Variable]
  averages: dict[str, str]
  states: list[State]
  global_step: str | None
  others: list[str]
  unknown: list[str] = dataclasses.field(default_factory=list)

  def candidates(self) -> str:
    """The optimizers that have state in the checkpoint, for a message."""
    known = (
      str(s.optimizer) if s.label == s.optimizer.kind else f"{s.optimizer} ({s.label})"
      for s in self.states
    )
    return ", ".join([*known, *self.unknown])


def read_contents(prefix: str, index: Index, graph: ObjectGraph | None) -> Contents:
  """Sorts the tensors of a checkpoint into variables and optimizer states.

  Args:
    prefix: the checkpoint's prefix, for messages.
    index: the entries of the checkpoint.
    graph: the object graph of the checkpoint, if it has one.

  Returns:
    The contents.

  Raises:
    CorruptCheckpointError: an entry is damaged.
  """
  return _Contents(prefix, index, graph).read()


class _Contents:
  """Sorts the tensors of a checkpoint."""

  def __init__(self, prefix: str, index: Index, graph: ObjectGraph | None):
    self._prefix = prefix
    self._index = index
    self._graph = graph
    self._objects = find_optimizers(graph) if graph is not None else []

  def read(self) -> Contents:
    owned = {key for found in self._objects for key in found.keys()}
    names: dict[str, str] = {}
    bare: dict[str, str | None] = {}
    others: list[str] = []
    tensors = tensor_names.named_tensors(self._index, self._graph)
    count = collections.Counter(t.name for t in tensors if t.key not in owned)
    # In a subclassed model of Keras 3, names of variables lack those of their layers.
    clashing = any(number > 1 for number in count.values())
    for tensor in tensors:
      if tensor.key in owned:
        continue
      if tensor.is_save_counter or tensor.suffix or self._is_no_array(tensor.key):
        others.append(tensor.full_name)
        continue
      name = tensor.name
      if not _is_below_var_list(tensor) and (clashing or name == tensor.path_name):
        name = self._better_name(tensor)
      names[name] = tensor.key
      bare[name] = tensor.bare_key
    shapes = {name: self._index.entry(key).shape for name, key in names.items()}
    roles = optimizer_names.classify(names, shapes)
    result = Contents(self._prefix, {}, {}, [], None, others)
    for name, role in roles.items():
      key = names[name]
      if role.kind is RoleKind.GLOBAL_STEP:
        result.global_step = key
      elif role.kind is RoleKind.MOVING_AVERAGE and role.of is not None:
        if name.rpartition("/")[2] not in ("biased", "local_step"):
          result.averages[role.of] = key
      elif role.kind is RoleKind.VARIABLE:
        result.variables[name] = Variable(
          name,
          key,
          shapes[name],
          dtypes.name(self._index.entry(key).dtype),
          role.unclear,
          parts_of(self._index, key, bare[name]) or (),
        )
      elif role.kind is RoleKind.OTHER:
        others.append(name)
    self._add_named_states(result, names, roles)
    self._add_objects(result, names)
    return result

  def _is_no_array(self, key: str) -> bool:
    entry = self._index.entry(key)
    return entry.dtype in (dtypes.VARIANT, dtypes.RESOURCE, dtypes.STRING)

  def _better_name(self, tensor: tensor_names.NamedTensor) -> str:
    """The first object path that is not below an optimizer."""
    if self._graph is None or tensor.object_key is None:
      return tensor.name
    optimizers = tuple(
      "/".join(map(layout_lib.escape_local_name, found.path)) + "/"
      for found in self._objects
    )
    paths = self._paths.of(tensor.object_key)
    return next(
      (path for path in paths if not path.startswith(optimizers)), tensor.name
    )

  @cached_property
  def _paths(self) -> ObjectPaths:
    assert self._graph is not None
    return ObjectPaths(self._graph)

  def _add_named_states(
    self,
    result: Contents,
    names: Mapping[str, str],
    roles: Mapping[str, optimizer_names.Role],
  ) -> None:
    slots: dict[tuple[str, int], dict[str, dict[str, str]]] = {}
    powers: dict[int, dict[str, str]] = collections.defaultdict(dict)
    unknown: dict[str, None] = {}
    for name, role in roles.items():
      if role.optimizer is None:
        continue
      if role.keras:
        unknown[f"{role.optimizer} of Keras (by names without objects)"] = None
      elif role.kind is RoleKind.SLOT and role.slot is None:
        unknown[f"{role.optimizer} (the names do not tell its slots apart)"] = None
      elif role.kind is RoleKind.SLOT and role.optimizer not in KINDS:
        unknown[f"{role.optimizer} ({_WHY_NOT.get(role.optimizer, _NO_RULES)})"] = None
      elif role.kind is RoleKind.SLOT and role.slot is not None and role.of is not None:
        state = slots.setdefault((role.optimizer, role.instance), {})
        state.setdefault(role.slot, {})[role.of] = names[name]
      elif role.kind is RoleKind.NON_SLOT and role.slot is not None:
        powers[role.instance][role.slot] = names[name]
    result.unknown = list(unknown)
    powered = [key for key in slots if CONVERTED[key[0]].powers]
    for (optimizer, instance), by_slot in sorted(slots.items()):
      settings = {"centered": "mg" in by_slot} if optimizer == "RMSProp" else {}
      # Two optimizers such as Adam of different variables both number their slots from 0, so their
      # powers cannot be told apart.
      kinds = [name for name, _, _ in CONVERTED[optimizer].powers]
      certain = bool(kinds) and len(powered) == len(powers)
      label = optimizer if not instance else f"{optimizer} number {instance + 1}"
      result.states.append(
        State(
          Optimizer(optimizer, Flavor.TF1, settings),
          label,
          by_slot,
          powers={
            name: key
            for name, key in powers.get(instance, {}).items()
            if certain and name in kinds
          },
        )
      )

  def _add_objects(self, result: Contents, names: Mapping[str, str]) -> None:
    by_key = {key: name for name, key in names.items()}
    for found in self._objects:
      slots = {
        slot: {
          by_key[variable]: key
          for variable, key in members.items()
          if variable in by_key
        }
        for slot, members in found.slots.items()
      }
      result.states.append(
        State(
          found.optimizer,
          "/".join(found.path),
          slots,
          found.iterations,
          found.powers,
          found.settings,
          found.unclear,
        )
      )


def _is_below_var_list(tensor: tensor_names.NamedTensor) -> bool:
  """Whether the path is `var_list/<name>`, which spells the name as it is."""
  parsed = layout_lib.parse_object_key(tensor.object_key or "")
  return parsed is not None and parsed.path[:1] == (layout_lib.VAR_LIST,)


def choose_state(contents: Contents, target: Optimizer) -> State | None:
  """Chooses the state that an optimizer continues with.

  Args:
    contents: the variables and optimizer states of a checkpoint.
    target: the optimizer that continues.

  Returns:
    The state of the optimizer's kind, or of one whose slots it can take; None for plain
    gradient descent without state.

  Raises:
    UnsupportedCheckpointError: no state is of the optimizer's kind.
    VariableMismatchError: several states are.
  """
  fitting = [s for s in contents.states if s.optimizer.kind == target.kind] or [
    state
    for state in contents.states
    if family(state.optimizer.kind) == family(target.kind) != "SGD"
  ]
  if len(fitting) == 1:
    return fitting[0]
  if len(fitting) > 1:
    listed = ", ".join(state.label for state in fitting)
    raise errors.VariableMismatchError(
      f"{contents.prefix}: several optimizers have state that fits {target}: {listed}. "
      "Remove the state of the others first (estimator-ckpt strip)."
    )
  sgd = {"Momentum", "GradientDescent"}
  if target.kind in sgd:
    close = [s for s in contents.states if s.optimizer.kind in sgd]
    if len(close) == 1:
      return close[0]
    if not contents.states and not contents.unknown:
      return None
  found = contents.candidates()
  classes = dict.fromkeys(state.optimizer.keras_class for state in contents.states)
  advice = ""
  if classes:
    names = " or ".join(f"keras.optimizers.{name}" for name in classes)
    advice = f" Make {names}, which continues from it."
  elif found:
    advice = " Keras has no optimizer that continues from it."
  raise errors.UnsupportedCheckpointError(
    f"{contents.prefix}: there is no state of {target} in the checkpoint, "
    + (f"but that of {found}.{advice}" if found else "nor of any other.")
    + " To load the model alone, pass no optimizer=."
  )


def scalar(reader: CheckpointReader, key: str | None) -> float | int | None:
  """Reads a number of a checkpoint.

  Args:
    reader: an open reader of the checkpoint.
    key: the key of a tensor with one element, or None.

  Returns:
    The number; None without a key, or if the tensor has not exactly one element.
  """
  if key is None:
    return None
  value: np.ndarray = reader[key]
  return value.item() if value.size == 1 else None


def source_optimizer(
  state: State | None, reader: CheckpointReader, target: Optimizer
) -> Optimizer:
  """Describes the optimizer of a checkpoint, with the settings that are known.

  Args:
    state: the optimizer's state; None for plain gradient descent.
    reader: an open reader of the checkpoint.
    target: the optimizer that continues. Settings that a Keras checkpoint does not
      store are taken to be the same as in `target`.

  Returns:
    The optimizer of the checkpoint.
  """
  if state is None:
    return Optimizer("GradientDescent", Flavor.TF1)
  settings = dict(state.optimizer.settings)
  settings.update(
    (name, scalar(reader, key))
    for name, key in state.settings.items()
    # The slots have already told whether there is momentum.
    if name != "momentum"
  )
  if state.optimizer.flavor is not Flavor.TF1:
    for name in ("epsilon", "learning_rate", "beta_1", "beta_2"):
      if name in target.settings:
        settings.setdefault(name, target.settings[name])
    for name in ("sums_sparse_gradients", "learning_rate_varies"):
      settings[name] = target.settings.get(name, False)
  return Optimizer(state.optimizer.kind, state.optimizer.flavor, settings)


def read_iterations(
  contents: Contents,
  state: State | None,
  reader: CheckpointReader,
  target: Optimizer,
  given: int | str | None,
) -> Iterations:
  """Finds the number of steps that an optimizer has made.

  Args:
    contents: the variables and optimizer states of the checkpoint.
    state: the optimizer's state; None for plain gradient descent.
    reader: an open reader of the checkpoint.
    target: the optimizer that continues. The beta powers must be powers of its betas.
    given: the number of steps, or the source to use where sources disagree:
      `"global_step"` or `"beta_powers"`.

  Returns:
    The number of steps and its source.

  Raises:
    VariableMismatchError: there is no source, or the sources disagree.
    OptionError: `given` is neither a number nor a source.
  """
  own = scalar(reader, state.iterations if state is not None else None)
  if own is not None and given is None:
    return Iterations(int(own), "the optimizer's own")
  step = scalar(reader, contents.global_step)
  keys = state.powers if state is not None else {}
  values = {name: scalar(reader, key) for name, key in keys.items()}
  powers = {name: float(value) for name, value in values.items() if value is not None}
  betas = {
    name: float(target.settings[name])
    for name in ("beta_1", "beta_2")
    if isinstance(target.settings.get(name), numbers.Real)
  }
  return iterations(None if step is None else int(step), powers, betas, given)


def embeddings(variables: Iterable[str]) -> list[str]:
  """Picks the names of embeddings, whose gradients are sparse.

  Args:
    variables: names of variables.

  Returns:
    The names whose last part contains "embedding".
  """
  return [v for v in variables if "embedding" in v.rpartition("/")[2].lower()]


def smallest_of(
  state: State | None, reader: CheckpointReader
) -> Callable[[str], float]:
  """Makes a function that finds the smallest value of a slot.

  Args:
    state: the optimizer's state; None for plain gradient descent.
    reader: an open reader of the checkpoint.

  Returns:
    A function from the name of a slot to the smallest value in its slot variables,
    which it reads when it is called; 0 if there are none.
  """

  def smallest(slot: str) -> float:
    keys = state.slots[slot].values() if state is not None else ()
    return min((float(reader[key].min()) for key in keys), default=0.0)

  return smallest
