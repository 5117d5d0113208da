"""What a checkpoint is and what it holds, from its index alone.

Besides the index, the object graph and the step are read from the data files. A
checkpoint whose data files are missing can be inspected all the same.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Collection

from estimator_ckpt import value_classes
from estimator_ckpt.bundle import dtypes, files, paths
from estimator_ckpt.bundle.file_names import index_path
from estimator_ckpt.bundle.index import Index
from estimator_ckpt.bundle.shards import Shards
from estimator_ckpt.checkpoint import formats, layout, object_roles, tensor_names
from estimator_ckpt.checkpoint import prefix as prefix_lib
from estimator_ckpt.checkpoint import roles as roles_lib
from estimator_ckpt.checkpoint.listing import saved_tensors
from estimator_ckpt.checkpoint.meta_file import tensorflow_version
from estimator_ckpt.checkpoint.object_graph import ObjectGraph
from estimator_ckpt.checkpoint.paired_keys import PairedKeys
from estimator_ckpt.checkpoint.roles import Role, RoleKind
from estimator_ckpt.checkpoint.saved_tensor import SavedTensor, SavedTensors
from estimator_ckpt.errors import CheckpointError
from estimator_ckpt.files.weights_file import (
  WeightsFile,
  WeightsFormat,
  is_weights_file,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
  from typing import Any

# Where a step is kept, the best place first: Estimator's, the guide's, Keras's.
_STEP_PATHS = (roles_lib.GLOBAL_STEP, "step", "optimizer/_iterations", "optimizer/iter")
# What checkpoints store beside a program's variables.
_OWN_KEYS = (layout.OBJECT_GRAPH_KEY, tensor_names.SAVE_COUNTER_KEY)
_OPAQUE = (dtypes.VARIANT, dtypes.RESOURCE)
_INTEGERS = (dtypes.INT32, dtypes.INT64)


@value_classes.dataclass(frozen=True)
class Total:
  """How many tensors of one kind there are, and how many bytes they take."""

  tensors: int
  size: int


@value_classes.dataclass(frozen=True)
class DataFile:
  """A data file.

  Attributes:
    path: where it is.
    size: its bytes; None when it is missing.
    needed: the bytes that the index says it has, up to the end of the last tensor.
  """

  path: str
  size: int | None
  needed: int = 0

  @property
  def is_cut(self) -> bool:
    """Whether it is there and ends before the last tensor does."""
    return self.size is not None and self.size < self.needed


@value_classes.dataclass(frozen=True)
class CheckpointSummary:
  """What a checkpoint is and what it holds.

  Attributes:
    prefix: its path.
    format: `TF1`, `TF2` or `DUAL`; or the kind of a file of weights.
    tensorflow_version: the TensorFlow that wrote it, where a file beside it says so.
    producer: the bundle format's version that its writer states.
    step: the training step; None when no tensor is known to be it.
    step_key: the key that the step was read from.
    index_size: the bytes of its index; 0 for a checkpoint of the format V1.
    data_files: in the order of their numbers.
    tensors: what it holds, by name.
    roles: what each of the tensors is for, in the same order.
    graph: its object graph, if it has one that can be read.
    problems: what could not be read, in words. `verify` looks closer.
    is_v1: whether it is of TF1's format V1, which has values in its files and no index.
      The sizes of `data_files` are then those of the values.
  """

  prefix: str
  format: formats.CheckpointFormat | WeightsFormat
  tensorflow_version: str | None
  producer: int
  step: int | None
  step_key: str | None
  index_size: int
  data_files: tuple[DataFile, ...]
  tensors: SavedTensors
  roles: tuple[Role, ...]
  graph: ObjectGraph | None
  problems: tuple[str, ...] = ()
  is_v1: bool = False

  def trouble(self, tensor: SavedTensor) -> str | None:
    """Why a tensor's bytes are not there: `missing` or `cut`; None where they are.

    Args:
      tensor: one of the checkpoint's.
    """
    for part in tensor.parts:
      entry = part.entry
      if not entry.size or entry.shard_id >= len(self.data_files):
        continue
      size = self.data_files[entry.shard_id].size
      if size is None:
        return "missing"
      if entry.offset + entry.size > size:
        return "cut"
    return None

  @property
  def total(self) -> Total:
    """All tensors; bytes that several keys share count once."""
    return Total(len(self.tensors), sum(self.tensors.sizes))

  @property
  def totals(self) -> dict[RoleKind, Total]:
    """The tensors of each kind there is."""
    # By identity: to hash a member of an enum takes as long as all else here.
    sizes: dict[int, list[int]] = {id(kind): [] for kind in RoleKind}
    for size, role in zip(self.tensors.sizes, self.roles):
      sizes[id(role.kind)].append(size)
    return {
      kind: Total(len(sizes[id(kind)]), sum(sizes[id(kind)]))
      for kind in RoleKind
      if sizes[id(kind)]
    }

  def as_dict(self) -> dict[str, Any]:
    """What is known of the checkpoint as lists, dicts, texts and numbers, no tensors."""
    return {
      "path": self.prefix,
      "format": self.format.value,
      "tensorflow_version": self.tensorflow_version,
      "producer": self.producer,
      "v1": self.is_v1,
      "step": self.step,
      "step_key": self.step_key,
      "objects": self.graph.num_nodes if self.graph is not None else None,
      "index_bytes": self.index_size,
      "data_files": [
        {"path": f.path, "bytes": f.size, "needed_bytes": f.needed}
        for f in self.data_files
      ],
      "totals": {
        kind.value: {"tensors": total.tensors, "bytes": total.size}
        for kind, total in self.totals.items()
      },
      "problems": list(self.problems),
    }


def inspect_checkpoint(
  path: str | os.PathLike[str], names: Collection[str] | None = None
) -> CheckpointSummary:
  """Finds out what a checkpoint is and what it holds.

  Args:
    path: a prefix, or anything else that `estimator_ckpt.checkpoint.prefix.resolve` takes: a
      directory, one of a checkpoint's files, a SavedModel. Or a file of weights that
      Keras wrote, `.weights.h5` or `.keras`.
    names: what is in the checkpoint's directory, where that has been listed; otherwise
      it is listed.

  Returns:
    The summary. It costs the reading of the index, whatever the size of the tensors.

  Raises:
    CheckpointNotFoundError: there is no checkpoint.
    CorruptCheckpointError: its index is damaged.
    UnsupportedCheckpointError: its version or byte order is not supported.
    MissingDependencyError: for a file of weights, h5py is not installed.

  Example:
    summary = inspect_checkpoint("model_dir")
    print(summary.format, summary.step, summary.total.size)
  """
  if is_weights_file(path):
    return _weights_summary(path)
  prefix = prefix_lib.resolve(path)
  index = Index.read(prefix)
  shards = Shards.of(prefix, index)
  problems = []
  graph = None
  try:
    graph = formats.read_object_graph(prefix, index, shards)
  except CheckpointError as error:
    problems.append(f"the object graph cannot be read: {error}")
  pairs = PairedKeys.of(index) if graph is not None else None
  tensors = saved_tensors(index, graph, pairs)
  if graph is None and layout.OBJECT_GRAPH_KEY in index:
    found = _keyed(index)
  else:
    found = formats.format_with(index, graph, pairs)
  data_files = _data_files(shards, index, tensors, names)
  producer, is_v1 = index.header.producer, index.v1 is not None
  del index, pairs  # A tenth of the memory, which the roles can have.
  step_row = find_step(tensors)
  step_tensor = None if step_row is None else tensors[step_row]
  step = None
  if step_tensor is not None:
    try:
      step = _read_integer(shards, step_tensor)
    except CheckpointError as error:
      problems.append(f"the step cannot be read: {error}")
  return CheckpointSummary(
    prefix,
    found,
    tensorflow_version(prefix),
    producer,
    step,
    step_tensor.key if step_tensor is not None else None,
    0 if is_v1 else files.size(index_path(prefix)),
    data_files,
    tensors,
    tuple(_classify(tensors, graph, step_row)),
    graph,
    tuple(problems),
    is_v1,
  )


def _weights_summary(path: str | os.PathLike[str]) -> CheckpointSummary:
  with WeightsFile(path) as weights:
    step = weights.step_name()
    return CheckpointSummary(
      weights.path,
      weights.format,
      None,
      0,
      None if step is None else int(weights[step]),
      step,
      0,
      (DataFile(weights.path, weights.size, weights.size),),
      SavedTensors.of(weights.tensors),
      tuple(weights.roles()),
      None,
    )


def _classify(
  tensors: SavedTensors, graph: ObjectGraph | None, step: int | None
) -> list[Role]:
  """Finds what each tensor is for, by its name and by the object graph.

  Args:
    tensors: what a checkpoint has; all of it, since slots are told by their variables.
    graph: the checkpoint's object graph, if it has one.
    step: the place of the tensor that is the training step, or None.

  Returns:
    The roles, in the same order.
  """
  names, entries = tensors.names, tensors.entries
  shapes = dict(zip(names, entries.shapes))
  by_name = roles_lib.classify_others(list(shapes), shapes)
  by_key = object_roles.classify_objects(graph) if graph is not None else {}
  roles = [Role(RoleKind.VARIABLE)] * len(names)
  if by_name:
    roles = [by_name.get(name, roles[0]) for name in names]
  others = {row for row, keys in enumerate(tensors.keys) if keys[0] in _OWN_KEYS}
  if not set(_OPAQUE).isdisjoint(entries.dtypes):
    others.update(row for row, dtype in enumerate(entries.dtypes) if dtype in _OPAQUE)
  if step is not None:
    others.add(step)
  for row in range(len(names)) if by_key else sorted(others):
    if roles[row].kind is RoleKind.VARIABLE:
      said = [by_key[key] for key in tensors.keys[row] if key in by_key]
      if said:
        roles[row] = _optimizer_role(said[0], entries.shapes[row])
      elif row in others:
        roles[row] = Role(RoleKind.GLOBAL_STEP if row == step else RoleKind.OTHER)
  return roles


def _optimizer_role(said: Role, shape: tuple[int, ...]) -> Role:
  """The role by an optimizer's object, which does not tell slots; the shape does."""
  if said.kind is RoleKind.NON_SLOT and shape:
    return said._replace(kind=RoleKind.SLOT, slot=None)
  return said


def find_step(tensors: SavedTensors) -> int | None:
  """The place of the tensor that holds the training step, or None.

  Args:
    tensors: what a checkpoint has.
  """
  types, parts = tensors.entries.dtypes, tensors.partitioned
  numbers = [
    row
    for row, shape in enumerate(tensors.entries.shapes)
    if not shape and types[row] in _INTEGERS and row not in parts
  ]
  for row in numbers:
    if roles_lib.GLOBAL_STEP in (tensors.names[row], *tensors.keys[row]):
      return row
  places: dict[str, int] = {}
  for row in numbers:
    for path in tensors[row].object_paths:
      places.setdefault(path, row)
  return next((places[path] for path in _STEP_PATHS if path in places), None)


def _read_integer(shards: Shards, tensor: SavedTensor) -> int:
  data = shards.read(tensor.parts[0].entry, tensor.key)
  return int.from_bytes(data, "little", signed=True)


def _keyed(index: Index) -> formats.CheckpointFormat:
  """The format as far as the keys tell it, where the object graph is lost."""
  named = any(
    layout.parse_object_key(key) is None
    for key in index.keys()
    if key not in (layout.OBJECT_GRAPH_KEY, roles_lib.GLOBAL_STEP)
  )
  return formats.CheckpointFormat.DUAL if named else formats.CheckpointFormat.TF2


def _data_files(
  shards: Shards,
  index: Index,
  tensors: SavedTensors,
  names: Collection[str] | None,
) -> tuple[DataFile, ...]:
  if index.v1 is not None:
    places = zip(index.v1.paths, index.v1.sizes)
    return tuple(DataFile(path, size, size) for path, size in places)
  # The directory is listed once: the header may state far more files than there are.
  if names is None:
    with contextlib.suppress(CheckpointError):  # A directory may forbid being listed.
      names = files.list_dir(paths.parent(shards.prefix) or ".")
  needed = tensors.parts.ends()
  found = []
  for shard_id, path in enumerate(index.data_paths(shards.prefix)):
    size = None
    if names is None or path.rpartition("/")[2] in names:
      with contextlib.suppress(CheckpointError):
        size = shards.size(shard_id)
    found.append(DataFile(path, size, needed.get(shard_id, 0)))
  return tuple(found)
