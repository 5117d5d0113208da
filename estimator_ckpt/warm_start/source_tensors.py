"""The tensors that a checkpoint of any format can supply to a warm start.

Every tensor has a name, as `tensor_names` finds it, and further spellings that an
assignment map may use: its object paths, its keys, the name that the object graph
records. A variable that was saved as the separate tensors `w/part_0`, `w/part_1`, ... is
also one tensor `w`.
"""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple, Tuple

from estimator_ckpt.bundle import dtypes
from estimator_ckpt.bundle.index import Index
from estimator_ckpt.bundle.messages import TensorSlice
from estimator_ckpt.checkpoint import formats
from estimator_ckpt.checkpoint import layout as layout_lib
from estimator_ckpt.checkpoint import prefix as prefix_lib
from estimator_ckpt.checkpoint import roles as roles_lib
from estimator_ckpt.checkpoint.object_graph import ObjectGraph
from estimator_ckpt.checkpoint.object_paths import ObjectPaths
from estimator_ckpt.checkpoint.partition_strategy import row_parts
from estimator_ckpt.checkpoint.roles import Role, RoleKind
from estimator_ckpt.checkpoint.tensor_names import NamedTensor, named_tensors

_PART = re.compile(r"(.*)/part_(\d+)(/.*)?")
_AVERAGE = re.compile(r".*/ExponentialMovingAverage(_\d+)?")
_NO_VARIABLES = frozenset([dtypes.VARIANT, dtypes.RESOURCE])

Shape = Tuple[int, ...]


@dataclasses.dataclass(frozen=True, eq=False)
class SourceTensor:
  """A tensor that a checkpoint can supply.

  Attributes:
    name: its name, whatever the checkpoint's format.
    keys: the key that it is read under; where it was saved in parts, the parts' keys.
    dtype: TensorFlow's DataType number.
    shape: the shape of the whole.
    role: what it is for.
    other_spellings: what else it may be called: object paths, keys, recorded names.
    slices: of a partitioned tensor, the slices that it is stored in.
    part_shapes: where it was saved in parts, the shapes of these.
    axis: the dimension along which parts are joined.
    is_variable: whether it can be a variable's value.
    location: equal for tensors of the same bytes.
  """

  name: str
  keys: tuple[str, ...]
  dtype: int
  shape: Shape
  role: Role
  other_spellings: tuple[str, ...] = ()
  slices: tuple[TensorSlice, ...] = ()
  part_shapes: tuple[Shape, ...] = ()
  axis: int = 0
  is_variable: bool = True
  location: tuple[object, ...] = ()

  @property
  def key(self) -> str:
    """The key it is read under, or the keys, as text."""
    if len(self.keys) > 3:
      return f"{self.keys[0]}, ..., {self.keys[-1]}"
    return ", ".join(self.keys)

  @property
  def row_parts(self) -> tuple[int, ...]:
    """The rows of each part, where there are several parts of rows; else ()."""
    if len(self.part_shapes) > 1:
      rows = tuple(shape[0] for shape in self.part_shapes if shape)
      return rows if self.axis == 0 else ()
    return row_parts(self.slices, self.shape) or ()

  def joined_to(self, shape: Shape | None) -> SourceTensor:
    """The same tensor, its parts joined to a shape where that is possible.

    Parts of equal shapes can be joined along any dimension. Only the variable's shape
    tells which dimension it was.

    Args:
      shape: the variable's shape, or None.

    Returns:
      A tensor of that shape, or this one.
    """
    if shape is None or len(self.part_shapes) < 2 or len(set(self.part_shapes)) > 1:
      return self
    for axis in range(len(shape)):
      if _joined_shape(self.part_shapes, axis) == shape:
        return dataclasses.replace(self, shape=shape, axis=axis)
    return self


class Spelling(NamedTuple):
  """One way to write a tensor's name. Rank 0 is the name itself."""

  text: str
  rank: int
  tensor: SourceTensor


class SourceTensors:
  """The tensors that a checkpoint can supply.

  Attributes:
    prefix: the checkpoint's path.
    index: where each tensor is.
    tensors: in the order of their names, both wholes and their parts.
  """

  def __init__(self, prefix: str, index: Index, graph: ObjectGraph | None):
    """Names the tensors, and reads nothing.

    Args:
      prefix: the checkpoint's path.
      index: the checkpoint's index.
      graph: the checkpoint's object graph, if it has one.
    """
    self.prefix = prefix
    self.index = index
    tensors = _tensors(index, graph)
    self.tensors = sorted(tensors, key=lambda tensor: tensor.name)
    self._spellings = [Spelling(t.name, 0, t) for t in self.tensors]
    self._spellings += [
      Spelling(text, 1, t) for t in self.tensors for text in t.other_spellings
    ]
    self._found: dict[str, list[Spelling]] = {}
    for spelling in self._spellings:
      self._found.setdefault(spelling.text, []).append(spelling)
    self._slots: dict[str, list[SourceTensor]] = {}
    self._averages: dict[str, SourceTensor] = {}
    for tensor in self.tensors:
      of = tensor.role.of
      if of is not None and tensor.role.kind is RoleKind.SLOT:
        self._slots.setdefault(of, []).append(tensor)
      elif of is not None and tensor.role.kind is RoleKind.MOVING_AVERAGE:
        if _AVERAGE.fullmatch(tensor.name):
          self._averages.setdefault(of, tensor)

  @classmethod
  def open(cls, path: str | os.PathLike[str]) -> SourceTensors:
    """Reads the names of a checkpoint, but no tensors.

    Args:
      path: a prefix, a model_dir, a SavedModel, or a file of a checkpoint.

    Raises:
      CheckpointNotFoundError: there is no checkpoint.
      CorruptCheckpointError: it is damaged, or something else.
      UnsupportedCheckpointError: its version is not supported.
    """
    prefix = prefix_lib.resolve(path)
    index = Index.read(prefix)
    return cls(prefix, index, formats.read_object_graph(prefix, index))

  def spellings(self) -> Iterator[Spelling]:
    """Every way to write every tensor's name, names first."""
    return iter(self._spellings)

  def find(self, text: str) -> list[SourceTensor]:
    """The tensors of a spelling, each once; those that have it as their name, if any."""
    found = self._found.get(text, [])
    best = min((spelling.rank for spelling in found), default=0)
    by_location = {s.tensor.location: s.tensor for s in found if s.rank == best}
    return list(by_location.values())

  def names(self) -> list[str]:
    """The names and the other spellings, for messages that name the nearest."""
    return [spelling.text for spelling in self._spellings]

  def slots_of(self, tensor: SourceTensor) -> Sequence[SourceTensor]:
    """The optimizers' slots of a variable."""
    return self._slots.get(tensor.name, ())

  def average_of(self, tensor: SourceTensor) -> SourceTensor | None:
    """The moving average of a variable, or None."""
    return self._averages.get(tensor.name)

  @property
  def has_averages(self) -> bool:
    """Whether there is a moving average of anything."""
    return bool(self._averages)

  @property
  def average_alone(self) -> str | None:
    """A moving average without its variable, as in checkpoints for serving; or None."""
    of = (t.name for t in self.tensors if t.role.kind is RoleKind.VARIABLE)
    return next((name for name in of if _AVERAGE.fullmatch(name)), None)


def distinct(tensors: Sequence[SourceTensor]) -> list[SourceTensor]:
  """Leaves out tensors of the same bytes.

  Args:
    tensors: some of one checkpoint.

  Returns:
    The first tensor for each place in the data files, in the same order.
  """
  return list({tensor.location: tensor for tensor in reversed(tensors)}.values())[::-1]


def wholes(tensors: Sequence[SourceTensor]) -> list[SourceTensor]:
  """Leaves out parts of tensors that are there as a whole too.

  Args:
    tensors: all of a checkpoint.

  Returns:
    The tensors that a person would count.
  """
  parts = {key for t in tensors if t.part_shapes for key in t.keys}
  seen: set[tuple[object, ...]] = set()
  found = []
  for tensor in tensors:
    if not tensor.part_shapes and parts.intersection(tensor.keys):
      continue
    if tensor.location not in seen:
      seen.add(tensor.location)
      found.append(tensor)
  return found


def _tensors(index: Index, graph: ObjectGraph | None) -> list[SourceTensor]:
  named = named_tensors(index, graph)
  spelled = _Spelled(graph)
  tensors = []
  for item in named:
    entry = index.entry(item.key)
    is_variable = (
      item.attribute in (None, layout_lib.VARIABLE_VALUE)
      and not item.is_save_counter
      and entry.dtype not in _NO_VARIABLES
    )
    tensors.append(
      SourceTensor(
        item.full_name,
        (item.key,),
        entry.dtype,
        tuple(entry.shape),
        Role(RoleKind.VARIABLE),
        spelled.others(item),
        tuple(entry.slices),
        is_variable=is_variable,
        location=index.location(item.key)
        if entry.size or entry.slices
        else (item.key,),
      )
    )
  tensors += _joined(tensors)
  return _with_roles(tensors, _known_slots(named))


class _Spelled:
  """Other names of tensors, from the object graph."""

  def __init__(self, graph: ObjectGraph | None):
    self._recorded: dict[str, str] = {}
    self._paths: ObjectPaths | None = None
    if graph is not None:
      self._paths = ObjectPaths(graph)
      self._recorded = {
        key: name for name, key in graph.keys_by_full_name().items() if key
      }

  def others(self, item: NamedTensor) -> tuple[str, ...]:
    """Spellings other than the name, each once."""
    if item.object_key is None or self._paths is None:
      return ()
    found = [self._recorded.get(item.object_key, ""), item.path_name]
    for path in self._paths.of(item.object_key):
      found.append("/".join(map(layout_lib.unescape_local_name, path.split("/"))))
      found.append(path)
    found += [item.object_key, item.object_key.rpartition(layout_lib.ATTRIBUTES)[0]]
    others = dict.fromkeys(found)
    others.pop("", None)
    others.pop(item.full_name, None)
    return tuple(others)


def _known_slots(named: Sequence[NamedTensor]) -> Mapping[str, Role]:
  """The roles that object keys tell: `w/.OPTIMIZER_SLOT/optimizer/m/.ATTRIBUTES/...`."""
  by_path = {}
  slots = []
  for item in named:
    key = layout_lib.parse_object_key(item.object_key or "")
    if key is None:
      continue
    if key.slot is None:
      by_path[key.path] = item.full_name
    else:
      slots.append((item, key))
  roles = {}
  for item, key in slots:
    if key.path in by_path:
      of = by_path[key.path]
      roles[item.full_name] = Role(RoleKind.SLOT, of, key.slot, None, keras=True)
  return roles


def _with_roles(
  tensors: Sequence[SourceTensor], known: Mapping[str, Role]
) -> list[SourceTensor]:
  roles = roles_lib.classify(
    (tensor.name for tensor in tensors), {t.name: t.shape for t in tensors}
  )
  with_roles = []
  for tensor in tensors:
    role = roles[tensor.name]
    if role.kind is RoleKind.VARIABLE and tensor.name in known:
      role = known[tensor.name]
    is_variable = tensor.is_variable and role.kind is not RoleKind.OTHER
    with_roles.append(dataclasses.replace(tensor, role=role, is_variable=is_variable))
  return with_roles


def _joined(tensors: Sequence[SourceTensor]) -> list[SourceTensor]:
  """One tensor for each variable that was saved as a tensor for each part."""
  groups: dict[str, dict[int, SourceTensor]] = {}
  taken = {tensor.name for tensor in tensors}
  for tensor in tensors:
    match = _PART.fullmatch(tensor.name) if tensor.is_variable else None
    if match is not None:
      name = match[1] + (match[3] or "")
      if name not in taken:
        groups.setdefault(name, {})[int(match[2])] = tensor
  joined = []
  for name, by_number in groups.items():
    parts = [by_number[number] for number in sorted(by_number)]
    if sorted(by_number) != list(range(len(parts))):
      continue
    if len({part.dtype for part in parts}) > 1:
      continue
    shapes = tuple(part.shape for part in parts)
    axis = _join_axis(shapes)
    if axis is None:
      continue
    first = parts[0]
    joined.append(
      dataclasses.replace(
        first,
        name=name,
        keys=tuple(part.keys[0] for part in parts),
        shape=_joined_shape(shapes, axis),
        other_spellings=_common_spellings(parts),
        slices=first.slices if len(parts) == 1 else (),
        part_shapes=shapes,
        axis=axis,
        location=tuple(part.location for part in parts)
        if len(parts) > 1
        else first.location,
      )
    )
  return joined


def _join_axis(shapes: Sequence[Shape]) -> int | None:
  """The dimension along which parts can be joined; None where they cannot."""
  first = shapes[0]
  if len(shapes) == 1:
    return 0
  if any(len(shape) != len(first) for shape in shapes) or not first:
    return None
  differing = [
    axis for axis in range(len(first)) if len({shape[axis] for shape in shapes}) > 1
  ]
  if len(differing) > 1:
    return None
  return differing[0] if differing else 0


def _joined_shape(shapes: Sequence[Shape], axis: int) -> Shape:
  first = shapes[0]
  if len(shapes) == 1 or not 0 <= axis < len(first):
    return first
  total = sum(shape[axis] for shape in shapes)
  return (*first[:axis], total, *first[axis + 1 :])


def _common_spellings(parts: Sequence[SourceTensor]) -> tuple[str, ...]:
  """Spellings of the whole: those of its first part without the part's number."""
  found: dict[str, None] = {}
  for text in parts[0].other_spellings:
    match = _PART.fullmatch(text)
    if match is not None:
      found[match[1] + (match[3] or "")] = None
  return tuple(found)
