"""The ops of a warm start: few reads of many tensors, and an assignment for each variable.

Three kinds of tensors are put together in the graph, since TensorFlow's RestoreV2 cannot do
it: a tensor that was saved as several, a tensor in slices of a type that RestoreV2 does not
join, and a tensor whose vocabulary changed. No tensor passes through Python.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any, NamedTuple, Tuple

from estimator_ckpt import errors
from estimator_ckpt.bundle import dtypes, slice_specs, slices
from estimator_ckpt.bundle.messages import TensorSlice
from estimator_ckpt.bundle.shards import Shards
from estimator_ckpt.checkpoint.partition_strategy import stored_rows
from estimator_ckpt.training import parallel_reads
from estimator_ckpt.training import tensorflow_private as tfp
from estimator_ckpt.training.tensorflow_private import tf
from estimator_ckpt.warm_start.matches import Started
from estimator_ckpt.warm_start.source_tensors import SourceTensor
from estimator_ckpt.warm_start.vocabulary import VocabularyChange
from estimator_ckpt.warm_start.warm_start_plan import WarmStartPlan

# The types that RestoreV2 takes slices of; tensor_bundle.cc has a fixed list. Every type
# was checked on TensorFlow 1.15.5, 2.12 and 2.15.
_STITCHED = frozenset(
  dtypes.number(name)
  for name in (
    "bfloat16 bool complex64 complex128 float32 float64 int8 int16 int32 int64 uint8"
    " qint8 qint32 quint8"
  ).split()
)

Bounds = Tuple[Tuple[int, int], ...]


class WarmStartOps(NamedTuple):
  """What was added to the graph.

  Attributes:
    assignments: for each variable, or part of one, the op that starts it.
    variables: the variable or part that each assignment starts.
    rows_kept: for each variable with a changed vocabulary, the number of entries of the
      new vocabulary that the old one has; int32 scalars.
  """

  assignments: list[tf.Operation]
  variables: list[Any]
  rows_kept: dict[str, tf.Tensor]


def build(plan: WarmStartPlan) -> WarmStartOps:
  """Adds the ops of a warm start to the default graph.

  Args:
    plan: says what is started; its targets are variables of the graph.

  Returns:
    The ops, none of which has run.

  Raises:
    CheckpointNotFoundError: a data file is missing.
    CorruptCheckpointError: a data file is too short.
    UnsupportedCheckpointError: slices that are no grid, of a type that RestoreV2 does
      not join.
  """
  _check_data_files(plan)
  names = {item.target.name for item in plan.started}
  by_name: dict[str, list[Any]] = {}
  for v in tf.compat.v1.global_variables():
    if tfp.saved_name(v) in names:
      by_name.setdefault(tfp.saved_name(v), []).append(v)
  saveables = tfp.saveables_by_name([v for parts in by_name.values() for v in parts])
  with tf.name_scope("warm_start"):
    reads = _Reads(plan.prefix)
    pending = []
    for item in plan.started:
      parts = by_name[item.target.name]
      by_op = {v.op.name: v for v in parts}
      for saveable in saveables[item.target.name]:
        # A single variable needs no look-up; the saveables of parts need one.
        variable = parts[0] if len(parts) == 1 else by_op[tfp.slice_key(saveable)]
        part = _Part(item, saveable.specs[0], variable, reads)
        pending.append((part, saveable, variable))
    reads.build()
    assignments = []
    variables = []
    rows_kept: dict[str, tf.Tensor] = {}
    for part, saveable, variable in pending:
      with tf.device(part.device):
        value = part.value(rows_kept)
      assignments.append(tfp.assign(saveable, value))
      variables.append(variable)
  return WarmStartOps(assignments, variables, rows_kept)


def run_rows_kept(
  session: tf.compat.v1.Session, rows_kept: dict[str, tf.Tensor]
) -> dict[str, int]:
  """Counts the entries of changed vocabularies that started from an old one.

  Args:
    session: the one that the variables were started in.
    rows_kept: see `WarmStartOps`.

  Returns:
    The counts by the names of variables.
  """
  counts = session.run(rows_kept) if rows_kept else {}
  return {name: int(count) for name, count in counts.items()}


def _check_data_files(plan: WarmStartPlan) -> None:
  """Finds damaged data files now; TensorFlow would find them when the session begins."""
  index = plan.source.index
  shards = Shards.of(plan.prefix, index)
  for key in {key for item in plan.started for key in item.source.keys}:
    entries = [entry for _, entry in index.slice_entries(key)] or [index.entry(key)]
    for entry in entries:
      shards.check_bounds(entry, key)


class _Read(NamedTuple):
  """What is read once, however many variables want it."""

  key: str
  slice_spec: str
  dtype: int


class _Reads:
  """Gathers what is read, so that each task reads everything at once.

  A variable is read by the task that has it, as a sharded Saver does.
  """

  def __init__(self, prefix: str):
    self._prefix = prefix
    # The bytes of what is read, by device.
    self._wanted: dict[str, dict[_Read, int]] = {}
    self._tensors: dict[str, dict[_Read, tf.Tensor]] = {}

  def add(self, device: str, read: _Read, num_bytes: int) -> None:
    """Asks for a tensor or a slice of it."""
    self._wanted.setdefault(device, {})[read] = num_bytes

  def build(self) -> None:
    """Adds the ops that read."""
    for device, wanted in self._wanted.items():
      reads = list(wanted)
      tensors = self._tensors[device] = {}
      keys = [read.key for read in reads]
      for group in parallel_reads.read_groups(keys, list(wanted.values())):
        own = [reads[number] for number in group]
        with tf.device(device):
          values = tfp.restore_v2(
            self._prefix,
            [read.key for read in own],
            [read.slice_spec for read in own],
            [tf.as_dtype(read.dtype) for read in own],
          )
        tensors.update(zip(own, values))

  def tensor(self, device: str, read: _Read) -> tf.Tensor:
    """The tensor that `add` asked for."""
    return self._tensors[device][read]


class _Part:
  """One variable, or one part of a partitioned one, and where its value comes from."""

  def __init__(self, item: Started, spec: tfp.SaveSpec, variable: Any, reads: _Reads):
    self.device = tfp.cpu_of(spec.device)
    self._item = item
    self._variable = variable
    self._reads = reads
    self._bounds = _bounds(spec.slice_spec, item.target.shape)
    self._change = item.vocabulary
    wanted = self._bounds
    if wanted is not None and self._change is not None:
      wanted = _along_whole(wanted, self._change.axis, item.source.shape)
    # The rows that are wanted, in the order of ids, are spread over all parts.
    self._rows = wanted[0] if wanted is not None and item.mod_parts else None
    if wanted is not None and item.mod_parts:
      wanted = _along_whole(wanted, 0, item.source.shape)
    self._wanted = wanted
    self._pieces = []
    for key, slice_spec, bounds in _pieces(item.source, wanted):
      read = _Read(key, slice_spec, item.source.dtype)
      shape = tuple(end - start for start, end in bounds)
      size = parallel_reads.num_bytes(item.source.dtype, shape)
      reads.add(self.device, read, size)
      self._pieces.append((bounds, read))

  def value(self, rows_kept: dict[str, tf.Tensor]) -> tf.Tensor:
    """The value that the part starts with; adds its count to `rows_kept`."""
    pieces = [
      (bounds, self._reads.tensor(self.device, read)) for bounds, read in self._pieces
    ]
    if self._wanted is None:
      old = pieces[0][1]
    else:
      old = _stitch(pieces, self._wanted, self._item.source)
    if self._item.mod_parts:
      places = stored_rows(self._item.mod_parts)
      old = tf.gather(old, places if self._rows is None else places[slice(*self._rows)])
    if self._change is None:
      return old
    return self._remapped(old, self._change, rows_kept)

  def _remapped(
    self, old: tf.Tensor, change: VocabularyChange, rows_kept: dict[str, tf.Tensor]
  ) -> tf.Tensor:
    assert self._bounds is not None
    axis = change.axis
    shape = [end - start for start, end in self._bounds]
    backup = self._backup(change, shape)
    start, end = self._bounds[axis]
    # The rows behind the entries of the vocabulary are for words that it does not have.
    entries = max(0, min(end, change.new_size) - start)
    if not entries or not self._item.source.shape[axis]:
      return backup
    remapping, present = tf.raw_ops.GenerateVocabRemapping(
      new_vocab_file=change.new_vocab,
      old_vocab_file=change.old_vocab,
      new_vocab_offset=start,
      num_new_vocab=entries,
      old_vocab_size=change.old_size,
    )
    if all(pair[0] == 0 for i, pair in enumerate(self._bounds) if i != axis):
      name = self._item.target.name
      rows_kept[name] = rows_kept[name] + present if name in rows_kept else present
    rows = tf.gather(old, tf.maximum(remapping, 0), axis=axis)
    along = [entries if i == axis else 1 for i in range(len(shape))]
    is_old = tf.reshape(remapping >= 0, along)
    first, rest = tf.split(backup, [entries, shape[axis] - entries], axis)
    # Only `where` of compat.v2 broadcasts in 1.15.5.
    first = tf.compat.v2.where(is_old, rows, first)
    return tf.concat([first, rest], axis)

  def _backup(self, change: VocabularyChange, shape: list[int]) -> tf.Tensor:
    dtype = tf.as_dtype(self._item.target.dtype)
    if change.keeps_initial:
      return tf.convert_to_tensor(self._variable.initial_value)
    if change.initializer is None:
      return tf.zeros(shape, dtype)
    if "dtype" in inspect.signature(change.initializer).parameters:
      return tf.convert_to_tensor(change.initializer(shape, dtype=dtype))
    return tf.cast(change.initializer(shape), dtype)


def _bounds(slice_spec: str, shape: Sequence[int] | None) -> Bounds | None:
  """Where a part begins and ends in each dimension; None if the shape is not known."""
  if not slice_spec:
    return None if shape is None else tuple((0, n) for n in shape)
  of_shape = map(int, slice_spec.split()[:-1])
  extents = slice_specs.parse(slice_spec).extents
  return tuple(
    (start, size if length == -1 else start + length)
    for size, (start, length) in zip(of_shape, extents)
  )


def _slice_spec(shape: Sequence[int], bounds: Bounds) -> str:
  extents = tuple((start, end - start) for start, end in bounds)
  return slice_specs.serialize(TensorSlice(extents), shape)


def _along_whole(bounds: Bounds, axis: int, shape: Sequence[int]) -> Bounds:
  """The same bounds, but all of a tensor of that shape along one axis."""
  return (*bounds[:axis], (0, shape[axis]), *bounds[axis + 1 :])


def _whole(shape: Sequence[int]) -> Bounds:
  return tuple((0, n) for n in shape)


def _pieces(
  source: SourceTensor, wanted: Bounds | None
) -> list[tuple[str, str, Bounds]]:
  """Lists what to read for a part of a tensor: keys, slice specs, and bounds."""
  key = source.keys[0]
  if wanted is None:
    return [(key, "", ())]
  if len(source.keys) > 1:
    found = []
    start = 0
    for key, shape in zip(source.keys, source.part_shapes):
      end = start + shape[source.axis]
      bounds = _whole(shape)
      bounds = bounds[: source.axis] + ((start, end),) + bounds[source.axis + 1 :]
      found.append((key, "", bounds))
      start = end
    return [piece for piece in found if _intersection(piece[2], wanted)]
  whole = _whole(source.shape)
  if source.dtype in _STITCHED or (wanted == whole and not source.slices):
    spec = "" if wanted == whole else _slice_spec(source.shape, wanted)
    return [(key, spec, wanted)]
  if not source.slices:
    return [(key, "", whole)]
  # RestoreV2 reads a slice of any type as it is stored, if the slice spec is the same.
  dims = " ".join(map(str, source.shape))
  stored = [
    (key, f"{dims} {part}", slices.bounds(part, source.shape)) for part in source.slices
  ]
  return [piece for piece in stored if _intersection(piece[2], wanted)]


def _intersection(one: Bounds, other: Bounds) -> Bounds | None:
  common = tuple((max(a[0], b[0]), min(a[1], b[1])) for a, b in zip(one, other))
  empty = any(start >= end for start, end in common)
  # An empty variable has no elements, and still needs a value.
  return None if empty and one != other else common


def _stitch(
  pieces: Sequence[tuple[Bounds, tf.Tensor]], wanted: Bounds, source: SourceTensor
) -> tf.Tensor:
  """Cuts pieces to the bounds that are wanted, and joins them."""
  cut = []
  for bounds, tensor in pieces:
    common = _intersection(bounds, wanted)
    assert common is not None
    if common != bounds:
      begin = [start - own for (start, _), (own, _) in zip(common, bounds)]
      tensor = tf.slice(tensor, begin, [end - start for start, end in common])
    cut.append((common, tensor))
  return _concat(cut, wanted, 0, source)


def _concat(
  pieces: Sequence[tuple[Bounds, tf.Tensor]],
  wanted: Bounds,
  axis: int,
  source: SourceTensor,
) -> tf.Tensor:
  if len(pieces) == 1:
    return pieces[0][1]
  groups: dict[tuple[int, int], list[tuple[Bounds, tf.Tensor]]] = {}
  for piece in pieces:
    # Two pieces of the same bounds differ in no dimension.
    along = piece[0][axis] if axis < len(wanted) else (-1, -1)
    groups.setdefault(along, []).append(piece)
  position = wanted[axis][0] if axis < len(wanted) else 0
  for start, end in sorted(groups):
    if start != position:
      raise errors.UnsupportedCheckpointError(
        f"{source.key}: its {len(source.slices)} slices of {dtypes.name(source.dtype)} are "
        "no grid, and TensorFlow cannot join slices of that type. Save it unpartitioned."
      )
    position = end
  parts = [_concat(groups[key], wanted, axis + 1, source) for key in sorted(groups)]
  return parts[0] if len(parts) == 1 else tf.concat(parts, axis)
