"""How partitioned variables are restored: which parts a checkpoint has, and under what keys.

A partitioned variable is one tensor in slices, and needs nothing of this: RestoreV2 reads a
slice of it, whatever the partitions were. Two kinds of parts have keys of their own:

slots   a name-based Saver stores a slot under the names of the parts,
        `w/part_0/Adam`; each is the whole slot, or an incomplete tensor with one slice
pieces  `tf.train.Checkpoint` stores each part as a tensor: `w/part_0`, `w/part_1`
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from estimator_ckpt import errors
from estimator_ckpt.bundle import slice_specs, slices
from estimator_ckpt.bundle.index import Index
from estimator_ckpt.checkpoint import layout as layout_lib
from estimator_ckpt.checkpoint import part_names
from estimator_ckpt.older_pythons import cached_property
from estimator_ckpt.training.restore_targets import RestoreSource, RestoreTarget


class FoundParts(NamedTuple):
  """What a checkpoint has of a target in parts.

  Attributes:
    source: where the target is read. A source with pieces is more than RestoreV2 can read.
    keys: the keys of all parts.
  """

  source: RestoreSource
  keys: tuple[str, ...]


class StoredPartitions:
  """The parts of one checkpoint that have keys of their own.

  Args:
    index: lists the tensors of the checkpoint.
  """

  def __init__(self, index: Index):
    self._index = index

  def find(self, target: RestoreTarget) -> FoundParts | None:
    """Finds a target that stands in the checkpoint in parts.

    Args:
      target: a tensor of the graph, whole or a part of one.

    Returns:
      The parts, or None if there are none.
    """
    return self._find_slot_parts(target) or self._find_pieces(target)

  @cached_property
  def _slot_parts(self) -> list[str]:
    return [key for key in self._index.keys() if part_names.may_be_slot_part(key)]

  def _find_slot_parts(self, target: RestoreTarget) -> FoundParts | None:
    """A slot that a name-based Saver stored under the names of its parts."""
    pieces = tuple(
      key for key in self._slot_parts if part_names.is_slot_part(key, target.name)
    )
    if not pieces:
      return None
    for key in pieces:
      if not self._is_incomplete(key):
        return FoundParts(RestoreSource(key, target.slice_spec), pieces)
    if target.part_name in pieces:
      source = RestoreSource(target.part_name, target.slice_spec)
      extents = slice_specs.parse(target.slice_spec).extents
      if any(s.extents == extents for s in self._index.entry(source.key).slices):
        return FoundParts(source, pieces)
    return FoundParts(RestoreSource(pieces[0], target.slice_spec, pieces), pieces)

  def _is_incomplete(self, key: str) -> bool:
    entry = self._index.entry(key)
    try:
      slices.check_tiling(entry.slices, entry.shape)
    except errors.CorruptCheckpointError:
      return bool(entry.slices)
    return False

  def _find_pieces(self, target: RestoreTarget) -> FoundParts | None:
    """Parts that are tensors of their own; tf.train.Checkpoint stores them so."""
    pieces = self._pieces.get(target.name, ())
    if not pieces or target.shape is None:
      return None
    shapes = [tuple(self._index.entry(key).shape) for key in pieces]
    axis = _cut_axis(shapes, target.shape)
    if target.slice_spec:
      start = 0
      wanted = slice_specs.parse(target.slice_spec).extents
      for key, shape in zip(pieces, shapes):
        if shape == target.part_shape and wanted[axis][0] == start:
          return FoundParts(RestoreSource(key, ""), pieces)
        start += shape[axis] if axis < len(shape) else 0
    source = RestoreSource(pieces[0], target.slice_spec, pieces, axis)
    return FoundParts(source, pieces)

  @cached_property
  def _pieces(self) -> dict[str, tuple[str, ...]]:
    numbered: dict[str, dict[int, str]] = {}
    for key in self._index.keys():
      # All parts have one full name. In a dict of variables by name, as TensorFlow's
      # migration guide makes it, their paths have numbers.
      parsed = layout_lib.parse_object_key(key)
      name = parsed.path[-1] if parsed is not None and parsed.path else key
      part = part_names.split_part(name)
      if part is not None:
        numbered.setdefault(part.whole, {})[part.number] = key
    return {
      whole: tuple(keys[i] for i in range(len(keys)))
      for whole, keys in numbered.items()
      if all(i in keys for i in range(len(keys)))
    }


def joined_shape(shapes: Sequence[tuple[int, ...]], axis: int) -> tuple[int, ...]:
  """The shape of tensors that follow each other.

  Args:
    shapes: their shapes, in order.
    axis: the dimension in which they follow each other.

  Returns:
    The shape of the whole.
  """
  first = tuple(shapes[0])
  return (*first[:axis], sum(shape[axis] for shape in shapes), *first[axis + 1 :])


def _cut_axis(shapes: Sequence[tuple[int, ...]], whole: tuple[int, ...]) -> int:
  """The dimension in which pieces of these shapes make the whole; 0 if none does."""
  for axis in range(len(whole)):
    if all(len(shape) == len(whole) for shape in shapes) and (
      joined_shape(shapes, axis) == whole
      and all(
        shape[:axis] + shape[axis + 1 :] == whole[:axis] + whole[axis + 1 :]
        for shape in shapes
      )
    ):
      return axis
  return 0
