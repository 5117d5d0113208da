"""Which key of a checkpoint each tensor of a graph is restored from.

A plan is made from the checkpoint's index alone, before a tensor is read or assigned. So
one error can name everything that does not fit. This module needs no TensorFlow.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Container, Sequence

from estimator_ckpt import errors
from estimator_ckpt.bundle import dtypes, slice_specs
from estimator_ckpt.bundle.index import Index
from estimator_ckpt.bundle.joined import tensorflow_stitches
from estimator_ckpt.checkpoint import layout as layout_lib
from estimator_ckpt.checkpoint.object_graph import ObjectGraph
from estimator_ckpt.training.restore_partitions import StoredPartitions, joined_shape
from estimator_ckpt.training.restore_targets import (
  RestoreSource,
  RestoreTarget,
  RestoreTargets,
)

_SHOWN = 20


@dataclasses.dataclass(frozen=True)
class RestoreProblem:
  """One target that a checkpoint does not fit.

  Attributes:
    target: what the graph wants.
    key: where it stands in the checkpoint; None if it is missing.
    found: the type and shape there, in words; "" if it is missing.
    nearest: the most similar name in the checkpoint, for a missing target.
  """

  target: RestoreTarget
  key: str | None
  found: str
  nearest: str | None = None

  def __str__(self) -> str:
    wanted = dtypes.describe(self.target.dtype, self.target.shape)
    if self.key is None:
      hint = f" (nearest: {self.nearest!r})" if self.nearest else ""
      return f"{self.target.name!r} ({wanted}) is not in the checkpoint{hint}"
    return (
      f"{self.target.name!r} is {wanted} in the graph, {self.found} in the checkpoint"
    )


@dataclasses.dataclass(frozen=True)
class RestorePlan:
  """Where a restore reads each target, and what does not fit.

  Attributes:
    prefix: the path of the checkpoint.
    sources: for each target, in order, where it is read; None for a problem.
    missing: targets that the checkpoint lacks.
    mismatched: targets that the checkpoint has with another dtype or shape.
    unused: names of tensors that no target takes.
  """

  prefix: str
  sources: tuple[RestoreSource | None, ...]
  missing: tuple[RestoreProblem, ...]
  mismatched: tuple[RestoreProblem, ...]
  unused: tuple[str, ...]

  @property
  def problems(self) -> tuple[RestoreProblem, ...]:
    """Everything that does not fit."""
    return self.missing + self.mismatched

  def message(self) -> str:
    """Says what does not fit, and what to do about it."""
    lines = [
      (
        f"The checkpoint {self.prefix} does not fit this graph: {len(self.missing)} missing, "
        f"{len(self.mismatched)} of another shape or dtype, of {len(self.sources)} tensors."
      )
    ]
    lines += _listed(self.problems)
    if self.missing and self.unused:
      lines.append("In the checkpoint and not in the graph:")
      lines += _listed([repr(name) for name in self.unused])
    if self.missing:
      lines.append(
        "If a variable or scope was renamed, rename it in the checkpoint (`estimator-ckpt "
        "rename`) or start a new model_dir with warm_start= and an assignment_map. To "
        "initialize what is missing and go on, pass strict=False."
      )
    if self.mismatched:
      lines.append(
        "A changed shape or dtype cannot be restored: use a new model_dir, and "
        "warm_start= for what still fits."
      )
    return "\n".join(lines)


def _listed(items: Sequence[object]) -> list[str]:
  return [f"  {line}" for line in errors.shorten(items, _SHOWN)]


def plan_restore(targets: RestoreTargets, index: Index, prefix: str) -> RestorePlan:
  """Finds every target in a checkpoint of any format.

  A target is looked up by its object key, then by its name, then by the `full_name` in
  the object graph, then as a part of the same name and shape.

  Args:
    targets: the tensors of the graph.
    index: lists the tensors of the checkpoint.
    prefix: the path of the checkpoint, whose object graph is read if it is needed.

  Returns:
    The plan; look at its `problems` before you carry it out.

  Raises:
    CorruptCheckpointError: the object graph cannot be read.
  """
  lookup = _Lookup(index, prefix)
  sources: list[RestoreSource | None] = lookup.find_exact(targets)
  missing: list[RestoreProblem] = []
  mismatched: list[RestoreProblem] = []
  for number in [number for number, source in enumerate(sources) if source is None]:
    target = targets.targets[number]
    source = lookup.find(target)
    problem = None
    if source is None:
      missing.append(RestoreProblem(target, None, ""))
    else:
      problem = _mismatch(target, source, index)
      if problem is not None:
        mismatched.append(problem)
    sources[number] = None if problem is not None else source
  unused = lookup.unused(targets.names)
  missing = [
    dataclasses.replace(p, nearest=errors.nearest(p.target.name, unused))
    for p in missing
  ]
  return RestorePlan(
    prefix, tuple(sources), tuple(missing), tuple(mismatched), tuple(unused)
  )


def _mismatch(
  target: RestoreTarget, source: RestoreSource, index: Index
) -> RestoreProblem | None:
  entry = index.entry(source.key)
  target = target.of_whole if source.slice_spec and target.of_whole else target
  found = tuple(entry.shape)
  if source.pieces and not entry.slices:
    found = joined_shape([index.entry(key).shape for key in source.pieces], source.axis)
  shape = target.part_shape if source.slice_spec != target.slice_spec else target.shape
  if entry.dtype == target.dtype and (shape is None or _fits(found, shape)):
    return None
  return RestoreProblem(target, source.key, dtypes.describe(entry.dtype, found))


def _fits(found: tuple[int, ...], shape: tuple[int, ...]) -> bool:
  if -1 in shape and len(found) == len(shape) + 1 and found[-1] == 1:
    found = found[:-1]  # So a dense hash table stores scalar values.
  return len(found) == len(shape) and all(b in (-1, a) for a, b in zip(found, shape))


def _is_whole(extents: Sequence[tuple[int, int]], shape: Sequence[int]) -> bool:
  return all(e in ((0, -1), (0, n)) for e, n in zip(extents, shape))


class _Lookup:
  """Finds targets in one index; reads the object graph only when it is needed."""

  def __init__(self, index: Index, prefix: str):
    self._index = index
    self._prefix = prefix
    self._has_objects = layout_lib.OBJECT_GRAPH_KEY in index
    self._graph: ObjectGraph | None = None
    self._full_names: dict[str, str | None] | None = None
    self._partitions = StoredPartitions(index)
    self._stand_ins: dict[int, tuple[str, str]] = {}
    # Serialized entries of the tensors that targets take, under each of their keys.
    self._used: set[bytes] = set()

  def find_exact(self, targets: RestoreTargets) -> list[RestoreSource | None]:
    """The sources of tensors that stand there whole, with their types and shapes.

    Most tensors do, and `find`, which looks at everything, takes much longer.

    Args:
      targets: the tensors of the graph.

    Returns:
      A source for each target, or None where `find` has to look.
    """
    keys, exact = targets.first_sources(self._has_objects)
    values = self._index.values(keys)
    if None in values:
      exact = exact.copy()
      for number in [number for number, value in enumerate(values) if value is None]:
        key = self._keys(targets.targets[targets.fixed[number]])[-1]
        exact[number] = RestoreSource(key, "")
        values[number] = self._index.value(key)
    fits = targets.fit(values)
    self._used.update(itertools.compress(values, fits))  # type: ignore[arg-type]
    if len(exact) == len(targets) and all(fits):
      return list(exact)
    sources: list[RestoreSource | None] = [None] * len(targets)
    for number, source in itertools.compress(zip(targets.fixed, exact), fits):
      sources[number] = source
    return sources

  def _keys(self, target: RestoreTarget) -> tuple[str, ...]:
    if target.key is None:
      return (target.name,)
    # Without an object graph all keys are names, even those that look like object keys.
    return (target.key, target.name) if self._has_objects else (target.name, target.key)

  def find(self, target: RestoreTarget) -> RestoreSource | None:
    found = [key for key in self._keys(target) if key in self._index]
    by_full_name = self._by_full_name(target.name) if not found else None
    if by_full_name is not None:
      found.append(by_full_name)
    self._used.update(*map(self._index.location, found))
    if not found:
      whole = self.find(target.of_whole) if target.of_whole else None
      return whole or self._find_parts(target)
    sources = [RestoreSource(key, target.slice_spec) for key in found]
    return next(filter(self._is_readable, sources), None) or self._fed(sources[0])

  def _find_parts(self, target: RestoreTarget) -> RestoreSource | None:
    """The source of a target of which the checkpoint has parts, each with a key."""
    found = self._partitions.find(target)
    if found is None:
      return None
    for key in found.keys:
      self._used.update(self._index.location(key))
    source = found.source
    return source if self._is_readable(source) else self._fed(source)

  def _is_readable(self, source: RestoreSource) -> bool:
    """Whether RestoreV2 can read a source; it joins slices of some types only."""
    if source.pieces:
      return False
    entry = self._index.entry(source.key)
    if tensorflow_stitches(entry.dtype):
      return True
    if not source.slice_spec:
      return not entry.slices
    extents = slice_specs.parse(source.slice_spec).extents
    if entry.slices:
      return any(s.extents == extents for s in entry.slices)
    return _is_whole(extents, entry.shape)

  def _fed(self, source: RestoreSource) -> RestoreSource:
    dtype = self._index.entry(source.key).dtype
    if dtype not in self._stand_ins:
      self._stand_ins[dtype] = self._stand_in(dtype)
    return source._replace(stand_in=self._stand_ins[dtype])

  def _stand_in(self, dtype: int) -> tuple[str, str]:
    """The smallest tensor or slice of a type, as it is stored."""
    stored: list[tuple[int, str, str]] = []
    for key in self._index.keys():
      entry = self._index.entry(key)
      if entry.dtype != dtype:
        continue
      if not entry.slices:
        stored.append((entry.size, key, ""))
      for tensor_slice, part in self._index.slice_entries(key):
        stored.append(
          (part.size, key, slice_specs.serialize(tensor_slice, entry.shape))
        )
    return min(stored)[1:]

  def _by_full_name(self, name: str) -> str | None:
    if self._full_names is None:
      graph = self.graph()
      self._full_names = graph.keys_by_full_name() if graph else {}
    # Eager code that restores and saves keeps the paths, and writes other full names.
    flat = layout_lib.object_key([layout_lib.VAR_LIST, name])
    guesses = [self._full_names.get(name), flat]
    scopes = name.split("/")
    if all(scopes) and scopes[0] not in (layout_lib.VAR_LIST, layout_lib.SAVE_COUNTER):
      guesses.append(layout_lib.object_key(scopes))
    key = next((k for k in guesses if k is not None and k in self._index), None)
    for suffix in ("-keys", "-values"):
      if name.endswith(suffix) and key is None:
        # The full name of a table has no suffix; the names of its tensors have one.
        key = f"{self._full_names.get(name[: -len(suffix)])}{suffix}"
    return key if key is not None and key in self._index else None

  def graph(self) -> ObjectGraph | None:
    if self._graph is None and layout_lib.OBJECT_GRAPH_KEY in self._index:
      from estimator_ckpt.bundle import shards

      data = shards.read_scalar_string(
        self._prefix, self._index, layout_lib.OBJECT_GRAPH_KEY
      )
      self._graph = ObjectGraph.parse(data, f"the object graph of {self._prefix}")
    return self._graph

  def unused(self, targets: Container[str]) -> list[str]:
    """Names of tensors that no target takes; a tensor with aliases counts once."""
    names: dict[tuple[bytes, ...], str] = {}
    for key in self._index.keys_besides(self._used):
      where = self._index.location(key)
      # The bytes of a partitioned tensor are those of its slices.
      if self._used.issuperset(where[1:] or where):
        continue
      # A name may have other bytes than the object key that was taken.
      if key == layout_lib.OBJECT_GRAPH_KEY or key in targets:
        continue
      if key.startswith(layout_lib.SAVE_COUNTER + "/"):
        continue
      # A user knows the name-based key rather than an object key.
      if layout_lib.parse_object_key(key) is None or where not in names:
        names[where] = key
    if not names:
      return []
    # A tensor may stand there twice: whole under its object key, in slices by its name.
    graph = self.graph()
    own = graph.keys_by_full_name().items() if graph is not None else ()
    known = {key for name, key in own if name in targets and name in self._index}
    return sorted(name for name in names.values() if name not in known)
