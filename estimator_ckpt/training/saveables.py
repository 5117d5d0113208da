"""What a saver saves: everything in a graph, and the objects that a user names."""

from __future__ import annotations

import copy
import dataclasses
import functools
import os
from collections.abc import Sequence
from typing import Any, Callable

from estimator_ckpt import errors
from estimator_ckpt.bundle import dtypes, joined, slice_specs, slices
from estimator_ckpt.checkpoint import key_plan, part_names
from estimator_ckpt.checkpoint.object_graph import ObjectGraph
from estimator_ckpt.training import restore_targets
from estimator_ckpt.training import tensorflow_private as tfp
from estimator_ckpt.training.tensorflow_private import tf


@dataclasses.dataclass(frozen=True)
class Named:
  """One thing to save, with the TensorFlow objects that save it.

  Attributes:
    saved: its names and its object key.
    saveables: TensorFlow's objects; several for a partitioned variable, in the order of
      the parts.
    base: the beginning of the names of their tensors.
  """

  saved: key_plan.Saved
  saveables: list[tfp.SaveableObject]
  base: str

  def whole(self) -> Any:
    """Joins the parts of a partitioned variable to one tensor."""
    specs = [saveable.specs[0] for saveable in self.saveables]
    axis = _cut_axis([_slice(spec) for spec in specs])
    return tf.concat([spec.tensor for spec in specs], axis)


@dataclasses.dataclass(frozen=True)
class Gathered:
  """Everything that goes into a checkpoint.

  Attributes:
    named: what is saved and restored.
    graph: the user's object graph, or None.
    save_only: keys of tensors that are written and not restored, and functions that make
      the tensors.
    python_states: the user's objects that keep their state in Python.
  """

  named: list[Named]
  graph: ObjectGraph | None = None
  save_only: list[tuple[str, Callable[[], Any]]] = dataclasses.field(
    default_factory=list
  )
  python_states: list[tfp.PythonState] = dataclasses.field(default_factory=list)


def gather(var_list: Any, root: Any, sharded: bool) -> Gathered:
  """Finds everything to save.

  Args:
    var_list: as for `tf.compat.v1.train.Saver`; None for everything in the graph.
    root: a trackable whose object graph is stored, or None.
    sharded: whether each device writes a data file of its own.

  Returns:
    Everything that goes into a checkpoint.

  Raises:
    OptionError: two things have one name, a thing cannot be saved, or the partitions of a
      variable do not make it up.
  """
  frozen = tfp.frozen_objects(var_list) if root is None else None
  if var_list is None or frozen is not None:
    var_list = tfp.all_saveable_objects()
  named = [
    _named(name, saveables, sharded)
    for name, saveables in _regrouped(tfp.saveables_by_name(var_list)).items()
  ]
  if root is None and frozen is None:
    return Gathered(named)
  python_states: list[tfp.PythonState] = []
  if frozen is not None:
    tracked, data = frozen
  else:
    tracked, data, python_states = tfp.serialize_objects(root)
  graph = ObjectGraph.parse(data, "the object graph of checkpoint=")
  save_only: list[tuple[str, Callable[[], Any]]] = [
    (spec.name, functools.partial(getattr, spec, "tensor"))
    for saveable in tracked
    if tfp.is_save_only(saveable)
    for spec in saveable.specs
  ]
  merged = _merge_tracked(named, tracked, graph)
  return Gathered(merged, graph, save_only, python_states)


def keras_variable_orders(root: Any) -> list[list[str]]:
  """Names the trainable variables of Keras models, in the order of each model.

  Args:
    root: a `tf.train.Checkpoint`; its attributes are looked at.

  Returns:
    The variables' names, for each model that has made its variables.
  """
  return [
    [variable.name.partition(":")[0] for variable in member.trainable_variables]
    for member in vars(root).values()
    if callable(getattr(member, "_flatten_layers", None)) and member.built
  ]


def plain_optimizers(root: Any) -> list[str]:
  """Finds the gradient descent optimizers of TensorFlow 1, which have no state.

  Args:
    root: a `tf.train.Checkpoint`; its attributes are looked at.

  Returns:
    The names of the attributes.
  """
  plain = tf.compat.v1.train.GradientDescentOptimizer
  return [name for name, member in vars(root).items() if isinstance(member, plain)]


def _regrouped(
  by_name: dict[str, list[tfp.SaveableObject]],
) -> dict[str, list[tfp.SaveableObject]]:
  """Puts the parts of a slot together where TensorFlow gave each part another name.

  TensorFlow names a part of a slot by the name of its variable and the end of its own
  name. If the optimizer works within a scope (`dnn/`, as in canned Estimators), the scope
  makes that end too long: `t_0/Adagrad` of `part_0/Adagrad`. Then no two parts agree.
  """
  regrouped: dict[str, list[tfp.SaveableObject]] = {}
  for name, saveables in by_name.items():
    incomplete = all(s.specs[0].slice_spec for s in saveables) and not _is_tiled(
      saveables
    )
    for saveable in saveables:
      own = part_names.without_part(tfp.slice_key(saveable))
      # The name of a slot's only part is as wrong, though its slice is the whole.
      misnamed = incomplete or (own is not None and part_names.is_slot_part(name, own))
      regrouped.setdefault(own if own and misnamed else name, []).append(saveable)
  return regrouped


def _is_tiled(saveables: Sequence[tfp.SaveableObject]) -> bool:
  try:
    slices.check_tiling(
      [_slice(s.specs[0]) for s in saveables], _full_shape(saveables[0].specs[0])
    )
  except errors.CorruptCheckpointError:
    return False
  return True


def _named(name: str, saveables: list[tfp.SaveableObject], sharded: bool) -> Named:
  specs = saveables[0].specs
  # A SaveableObject names its tensors itself, and may not follow the var_list.
  own_names: tuple[tuple[str, str], ...] = ()
  bases = [name, saveables[0].name]
  base = next((b for b in bases if all(s.name.startswith(b) for s in specs)), None)
  if saveables[0].specs[0].slice_spec and base != name:
    base = name
    own_names = tuple((s.specs[0].name, s.specs[0].slice_spec) for s in saveables)
  if base is None:
    saved = key_plan.Saved(
      name, tuple(spec.name for spec in specs), is_variable=False, own_names=True
    )
    return Named(saved, saveables, "")
  saved = key_plan.Saved(
    base,
    ("",) if own_names else tuple(spec.name[len(base) :] for spec in specs),
    is_variable=_is_variable(saveables[0]),
    part_names=own_names,
  )
  if any(saveable.specs[0].slice_spec for saveable in saveables):
    saveables = sorted(saveables, key=lambda s: _slice(s.specs[0]).extents)
    _check_parts(name, saveables)
    if len(saveables) > 1:
      saved = _partitioned(saved, saveables, sharded)
  return Named(saved, saveables, base)


def _partitioned(
  saved: key_plan.Saved, saveables: Sequence[tfp.SaveableObject], sharded: bool
) -> key_plan.Saved:
  specs = [saveable.specs[0] for saveable in saveables]
  dtype = _dtype(specs[0])
  one_file = not sharded or len({spec.device for spec in specs}) == 1
  return saved._replace(
    needs_whole=not joined.tensorflow_stitches(dtype),
    is_joinable=one_file
    and _cut_axis([_slice(spec) for spec in specs]) == 0
    and dtypes.item_size(dtype) is not None,
  )


def _check_parts(name: str, saveables: Sequence[tfp.SaveableObject]) -> None:
  specs = [saveable.specs[0] for saveable in saveables]
  shapes = {_full_shape(spec) for spec in specs}
  try:
    if len(shapes) > 1:
      raise errors.CorruptCheckpointError(
        f"they are of variables of the shapes {sorted(shapes)}"
      )
    [shape] = shapes
    slices.check_tiling([_slice(spec) for spec in specs], shape)
  except errors.CorruptCheckpointError as error:
    parts = ", ".join(repr(tfp.slice_key(saveable)) for saveable in saveables)
    raise errors.OptionError(
      f"The partitions of {name!r} that are to be saved ({parts}) do not make it up: "
      f"{error}. Save all partitions of a variable, and each once."
    ) from None


def _full_shape(spec: tfp.SaveSpec) -> tuple[int, ...]:
  # A slice spec is the full shape, then start,length (or -) for each dimension.
  return tuple(int(n) for n in spec.slice_spec.split(" ")[:-1])


def _slice(spec: tfp.SaveSpec) -> Any:
  return slice_specs.parse(spec.slice_spec)


def _cut_axis(parts: Sequence[Any]) -> int:
  starts = [
    {part.extents[axis][0] for part in parts} for axis in range(len(parts[0].extents))
  ]
  return max(range(len(starts)), key=lambda axis: len(starts[axis]), default=0)


def _dtype(spec: tfp.SaveSpec) -> int:
  return tf.as_dtype(spec.dtype).base_dtype.as_datatype_enum


def _is_variable(saveable: tfp.SaveableObject) -> bool:
  if tfp.distributed_variable(saveable) is not None:
    return True
  return hasattr(saveable, "handle_op") or (
    len(saveable.specs) == 1
    and getattr(saveable.op, "op", None) is not None
    and saveable.op.op.type
    in ("Variable", "VariableV2", "VarHandleOp", "AutoReloadVariable")
  )


def _merge_tracked(
  named: Sequence[Named], tracked: Sequence[tfp.SaveableObject], graph: ObjectGraph
) -> list[Named]:
  """Sets the object key of each saveable that an object owns; adds those of objects only."""
  left = {tfp.slice_key(s): s for s in tracked if not tfp.is_save_only(s)}
  merged = []
  renamed = {}
  for item in named:
    own = [left.pop(tfp.slice_key(saveable), None) for saveable in item.saveables]
    if len(own) == 1 and own[0] is not None:
      key = own[0].specs[0].name
      key = key[: len(key) - len(item.saved.suffixes[0])]
      item = dataclasses.replace(item, saved=item.saved._replace(object_key=key))
      if item.saved.is_variable and tfp.slice_key(own[0]) != item.saved.base:
        renamed[key] = item.saved.base
    elif any(own):
      # The objects track the parts of a partitioned variable one by one.
      part_keys = tuple(
        (saveable.specs[0].name, part.specs[0].slice_spec)
        for saveable, part in zip(own, item.saveables)
        if saveable is not None
      )
      item = dataclasses.replace(item, saved=item.saved._replace(part_keys=part_keys))
    merged.append(item)
  full_names = {a.checkpoint_key: a.full_name for _, a in graph.attributes()}
  # The name that a var_list gives a variable is its name in the checkpoint.
  for node in graph.nodes:
    node.attributes[:] = [
      dataclasses.replace(a, full_name=renamed[a.checkpoint_key])
      if a.checkpoint_key in renamed
      else a
      for a in node.attributes
    ]
  for saveable in left.values():
    key = _object_key(saveable)
    name = full_names.get(key) or key
    saved = key_plan.Saved(
      name,
      tuple(spec.name[len(key) :] for spec in saveable.specs),
      is_variable=_is_variable(saveable),
      object_key=key,
    )
    merged.append(Named(saved, [saveable], key))
  return merged


def _object_key(saveable: tfp.SaveableObject) -> str:
  """The object key of a tracked saveable, without the suffixes of its tensors."""
  names = [spec.name for spec in saveable.specs]
  return names[0] if len(names) == 1 else os.path.commonprefix(names).rstrip("-")


class RecordedSaveable(tfp.SaveableObject):
  """A saveable under another key, which remembers the op that restores it.

  Args:
    inner: TensorFlow's own, which assigns what was read.
    item: the thing to save that `inner` belongs to.
    key: the key that its tensors are written under, without their suffixes; None for
      their own names.
    object_key: the object key that a checkpoint may have it under, or None.
    is_written: whether a save writes its tensors.

  Attributes:
    restored: the op that restores it, from the time when the graph has one.
    assigned_after: an op that has to run before `restored` assigns anything, or None.
    variable_name: the name of its variable, table or other resource.
    is_variable: whether it saves a variable.
    targets: what it restores, one for each of its tensors.
    is_written: whether a save writes its tensors.
  """

  def __init__(
    self,
    inner: tfp.SaveableObject,
    item: Named,
    key: str | None,
    object_key: str | None,
    is_written: bool = True,
  ):
    self.inner = inner
    self.is_written = is_written
    self.is_variable = item.saved.is_variable
    self.variable_name = tfp.slice_key(inner)
    self.restored: Any = None
    self.assigned_after: Any = None
    self.targets: list[restore_targets.RestoreTarget] = []
    specs = []
    if self._is_renamed(item):
      # The name in a var_list says what to restore, such as an average into its
      # variable. The object key would lead to the variable's own value.
      object_key = None
    for spec in inner.specs:
      own_name = None
      suffix = spec.name[len(item.base) :]
      if item.saved.part_names:
        own_name, suffix = spec.name, ""
      self.targets.append(
        _target(
          inner,
          spec,
          item.saved.base + suffix,
          object_key + suffix if object_key is not None else None,
          own_name,
        )
      )
      spec = copy.copy(spec)
      spec.name = key + suffix if key is not None else spec.name
      specs.append(spec)
    super().__init__(inner.op, specs, key or inner.name)

  def _is_renamed(self, item: Named) -> bool:
    # The name of a saveable that only an object owns is its object key.
    own_names = (self.variable_name, item.saved.object_key)
    reached = item.saved.object_key is not None
    return reached and self.is_variable and item.saved.base not in own_names

  @property
  def num_bytes(self) -> int:
    """How many bytes it restores, as far as types and shapes are known."""
    return sum(target.num_bytes for target in self.targets)

  def restore(self, restored_tensors: Any, restored_shapes: Any) -> Any:
    """Adds the op that assigns the tensors that were read."""
    before = [] if self.assigned_after is None else [self.assigned_after]
    with tf.control_dependencies(before):
      if len(restored_tensors) == 1 and not restored_shapes:
        self.restored = tfp.assign(self.inner, restored_tensors[0])
      else:
        self.restored = self.inner.restore(restored_tensors, restored_shapes)
    return self.restored


def _target(
  saveable: tfp.SaveableObject,
  spec: tfp.SaveSpec,
  name: str,
  key: str | None,
  part_name: str | None,
) -> restore_targets.RestoreTarget:
  dtype = _dtype(spec)
  shape = _shape(saveable, spec)
  if not spec.slice_spec:
    part = restore_targets.RestoreTarget(name, key, dtype, shape)
    # ExponentialMovingAverage.variables_to_restore gives each part a name of its own.
    whole, part_spec = part_names.without_part(name), tfp.part_spec(saveable)
    if whole is None or part_spec is None:
      return part
    spec = copy.copy(spec)
    spec.slice_spec = part_spec
    of_whole = _target(saveable, spec, whole, None, None)
    return dataclasses.replace(part, of_whole=of_whole)
  return restore_targets.RestoreTarget(
    name, key, dtype, _full_shape(spec), spec.slice_spec, part_name, shape
  )


def _shape(saveable: tfp.SaveableObject, spec: tfp.SaveSpec) -> tuple[int, ...] | None:
  if _is_variable(saveable):
    variable = tfp.distributed_variable(saveable)
    variable = saveable.op if variable is None else variable
    static = tf.TensorShape(getattr(variable, "shape", None))
    return tuple(static.as_list()) if static.is_fully_defined() else None
  # A table has any number of rows, each of the same shape.
  value_shape = getattr(saveable.op, "_value_shape", None)
  if value_shape is None or not spec.name.endswith("-values"):
    return None
  return (-1, *tf.TensorShape(value_shape).as_list())
