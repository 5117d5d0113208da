"""Verifying an index: what its entries say, against each other and the data files.

TensorFlow looks at an entry when its tensor is read, and believes offsets. Here every
entry has to fit its type and its shape, its data file has to be there and be long
enough, slices have to tile their tensor, and no two tensors may overlap unless they
are the same bytes.
"""

from __future__ import annotations

import collections
from collections.abc import Iterable
from typing import NamedTuple

from estimator_ckpt.bundle import dtypes, slices
from estimator_ckpt.bundle.file_names import DataName
from estimator_ckpt.bundle.index import Index
from estimator_ckpt.bundle.messages import BundleEntry
from estimator_ckpt.bundle.shards import Shards, num_elements
from estimator_ckpt.checkpoint.verify.findings import Findings
from estimator_ckpt.errors import (
  CheckpointError,
  CheckpointNotFoundError,
  CorruptCheckpointError,
)

# String tensors begin with a byte for each length and four of a checksum.
_STRING_CHECKSUM_SIZE = 4
_UNSIZED = (dtypes.STRING, dtypes.VARIANT, dtypes.RESOURCE)


class Extent(NamedTuple):
  """The bytes that an entry points at, which are there.

  Attributes:
    label: the tensor's key, and which slice of it.
    entry: as the index has it.
    is_slice: whether it is a slice of a tensor.
  """

  label: str
  entry: BundleEntry
  is_slice: bool = False

  @property
  def end(self) -> int:
    """The offset behind its last byte."""
    return self.entry.offset + self.entry.size


def check_entries(
  index: Index, shards: Shards, findings: Findings, names: Iterable[DataName]
) -> list[Extent]:
  """Checks every entry of an index.

  Args:
    index: which tensors there are.
    shards: its data files.
    findings: is added to.
    names: the data files that are there, by one listing: the header may say that there
      are many more.

  Returns:
    What has bytes in a data file, in the order of the keys: tensors that are whole,
    and slices. Entries with an error are not among them.
  """
  checker = _EntryChecker(index, shards, findings)
  for key in index.keys():
    checker.check(key)
  checker.check_slice_keys()
  checker.check_data_files(names)
  return checker.extents


def check_overlaps(
  extents: Iterable[Extent], findings: Findings, shards: Shards
) -> None:
  """Checks that tensors do not overlap, unless they are the same bytes or rows of them.

  Args:
    extents: what has bytes.
    findings: is added to.
    shards: the data files, for their names.
  """
  by_shard: dict[int, dict[tuple[int, int], list[Extent]]] = {}
  for extent in extents:
    if extent.entry.size:
      places = by_shard.setdefault(extent.entry.shard_id, {})
      place = (extent.entry.offset, extent.entry.size)
      places.setdefault(place, []).append(extent)
  for shard_id, places in sorted(by_shard.items()):
    file = shards.path(shard_id)
    behind: Extent | None = None
    for place in sorted(places):
      # A slice may stand in the index as a tensor of its own too.
      first, *aliases = sorted(places[place], key=lambda extent: not extent.is_slice)
      for alias in aliases:
        _check_alias(first, alias, file, findings)
      if (
        behind is not None
        and first.entry.offset < behind.end
        and not (_are_rows(first, behind) or _are_rows(behind, first))
      ):
        findings.error(
          "overlap",
          f"its bytes {first.entry.offset} to {first.end} overlap those of"
          f" {behind.label!r}, {behind.entry.offset} to {behind.end}; at least one of"
          " the two reads the other's values",
          first.label,
          file,
        )
      if behind is None or first.end > behind.end:
        behind = first


def _are_rows(part: Extent, whole: Extent) -> bool:
  """Whether an extent is some rows of another, as a slice of a whole tensor may be."""
  a, b = part.entry, whole.entry
  if a.dtype != b.dtype or not a.shape or not b.shape or a.shape[1:] != b.shape[1:]:
    return False
  row = b.size // max(b.shape[0], 1)
  inside = part.is_slice and b.offset <= a.offset and part.end <= whole.end
  return inside and row > 0 and (a.offset - b.offset) % row == 0


def _check_alias(first: Extent, alias: Extent, file: str, findings: Findings) -> None:
  if alias.entry.crc32c != first.entry.crc32c and (
    _is_unsized(alias.entry) == _is_unsized(first.entry)
  ):
    findings.error(
      "alias-checksum",
      f"it has the same bytes as {first.label!r} but another checksum, so one of the"
      " two cannot be read",
      alias.label,
      file,
    )
  elif _elements(alias.entry) != _elements(first.entry):
    findings.warning(
      "alias-type",
      f"it is {_type_text(alias.entry)}, and {first.label!r}, which has the same"
      f" bytes, is {_type_text(first.entry)}",
      alias.label,
      file,
    )


class _EntryChecker:
  """Checks the entries of one index."""

  def __init__(self, index: Index, shards: Shards, findings: Findings):
    self.extents: list[Extent] = []
    self._index = index
    self._shards = shards
    self._findings = findings
    # Of data files: their size, or None where they are missing.
    self._sizes: dict[int, int | None] = {}
    self._lost: collections.Counter[int] = collections.Counter()
    # Of data files that are too short: what stands beyond their end, by key.
    self._beyond: dict[int, dict[str, BundleEntry]] = {}

  def check(self, key: str) -> None:
    """Checks the entry of a tensor, slices and all."""
    try:
      entry = self._index.entry(key)
    except CorruptCheckpointError as error:
      self._findings.error("entry-damaged", str(error), key, self._index.name)
      return
    try:
      key.encode("utf-8")
    except UnicodeEncodeError:
      self._findings.warning(
        "key-not-utf8", "TensorFlow's Python readers cannot list such a key", key
      )
    if entry.slices:
      self._check_slices(key, entry)
    else:
      self._check_place(key, key, entry)

  def _check_place(self, key: str, label: str, entry: BundleEntry) -> bool:
    """Checks where an entry's bytes are; returns whether its size fits its shape."""
    fits = self._check_size(key, entry)
    if entry.shard_id >= self._shards.num_shards:
      self._findings.error(
        "shard-number",
        f"it is in data file number {entry.shard_id}, and there are"
        f" {self._shards.num_shards}, from 0",
        key,
      )
      return fits
    size = self._size(entry.shard_id)
    if size is None:
      self._lost[entry.shard_id] += 1
    elif entry.offset + entry.size > size:
      self._beyond.setdefault(entry.shard_id, {})[key] = entry
    elif fits:
      self.extents.append(Extent(label, entry, label != key))
    return fits

  def _check_size(self, key: str, entry: BundleEntry) -> bool:
    try:
      item_size = dtypes.item_size(entry.dtype)
    except CheckpointError:
      self._findings.warning(
        "dtype-unknown",
        f"it is of type number {entry.dtype}, which is not known here; a newer release"
        " may know it. Its size is not checked",
        key,
      )
      return True
    count = num_elements(entry.shape)
    if item_size is None:
      least = count + _STRING_CHECKSUM_SIZE if entry.dtype == dtypes.STRING else count
      if entry.size >= least:
        return True
      expected = f"at least {least}"
    else:
      if entry.size == count * item_size:
        return True
      expected = str(count * item_size)
    self._findings.error(
      "wrong-size",
      f"it has {entry.size} bytes; {_type_text(entry)} takes {expected}",
      key,
    )
    return False

  def _size(self, shard_id: int) -> int | None:
    if shard_id not in self._sizes:
      try:
        self._sizes[shard_id] = self._shards.size(shard_id)
      except CheckpointNotFoundError:
        self._sizes[shard_id] = None
      except CheckpointError as error:
        self._sizes[shard_id] = None
        file = self._shards.path(shard_id)
        self._findings.error("unreadable", str(error), file=file)
    return self._sizes[shard_id]

  def _check_slices(self, key: str, entry: BundleEntry) -> None:
    try:
      parts = self._index.slice_entries(key)
    except CorruptCheckpointError as error:
      self._findings.error("slice-missing", str(error), key, self._index.name)
      return
    try:
      covered = slices.count_covered(entry.slices, entry.shape)
    except CheckpointError as error:
      self._findings.error("slices-do-not-tile", str(error), key)
      return
    if covered < num_elements(entry.shape):
      # TensorFlow itself writes that, for the slots of canned estimators' partitioned
      # embeddings.
      self._findings.warning(
        "slices-incomplete",
        f"its slices hold {covered} of its {num_elements(entry.shape)} elements; only a"
        " reader that asks for these slices can read it",
        key,
      )
    # A location is the entry and those of all slices that stand under the key.
    extra = len(self._index.location(key)) - 1 - len(set(entry.slices))
    if extra:
      self._findings.warning(
        "slice-unlisted", f"{extra} slices have entries, and it does not list them", key
      )
    for tensor_slice, part in parts:
      label = f"{key}, slice {tensor_slice}"
      shape = tuple(b - a for a, b in slices.bounds(tensor_slice, entry.shape))
      if part.slices or (part.dtype, part.shape) != (entry.dtype, shape):
        nested = " with slices of its own" if part.slices else ""
        self._findings.error(
          "slice-type",
          f"slice {tensor_slice} is {_type_text(part)}{nested}, and its place is for"
          f" {dtypes.name(entry.dtype)} of shape {list(shape)}",
          key,
        )
      else:
        self._check_place(key, label, part)

  def check_slice_keys(self) -> None:
    """Checks that slices belong to a tensor that lists them."""
    for key in self._index.slice_keys():
      if key not in self._index:
        self._findings.error(
          "slice-without-tensor", "its slices are there, and no entry for itself", key
        )
      elif not self._entry_lists_slices(key):
        self._findings.warning(
          "slice-unlisted", "slices of it have entries, and it is a whole tensor", key
        )

  def _entry_lists_slices(self, key: str) -> bool:
    try:
      return bool(self._index.entry(key).slices)
    except CorruptCheckpointError:
      return True

  def check_data_files(self, names: Iterable[DataName]) -> None:
    """Reports data files that are missing or too short, each once.

    Args:
      names: the data files that are there.
    """
    if self._shards.v1 is not None:
      return  # Its files have been read.
    for shard_id, beyond in sorted(self._beyond.items()):
      key, entry = next(iter(beyond.items()))
      count = len(beyond) - 1
      noun = "tensor" if count == 1 else "tensors"
      more = f", and {count} more {noun} beyond its end" if count else ""
      needed = max(each.offset + each.size for each in beyond.values())
      self._findings.error(
        "out-of-bounds",
        f"it is at bytes {entry.offset} to {entry.offset + entry.size}{more}; the file"
        f" has {self._sizes[shard_id]} bytes of {needed} at least: it is truncated, or of"
        " another checkpoint",
        key,
        self._shards.path(shard_id),
      )
    for shard_id, lost in sorted(self._lost.items()):
      self._findings.error(
        "shard-missing",
        f"the data file is missing; {lost} tensor{'s' * (lost != 1)} should be in it",
        file=self._shards.path(shard_id),
      )
    count = self._shards.num_shards
    known = {name.shard for name in names if name.num_shards == count} | set(self._lost)
    empty = count - len(known & set(range(count)))
    if empty:
      first = next(shard_id for shard_id in range(count) if shard_id not in known)
      others = f", and {empty - 1} others" if empty > 1 else ""
      self._findings.warning(
        "shard-missing",
        f"the data file is missing{others}; no tensor is in it",
        file=self._shards.path(first),
      )


def _elements(entry: BundleEntry) -> tuple[int, int]:
  """What aliases have in common, also where one is a reshape of the other."""
  return entry.dtype, num_elements(entry.shape)


def _is_unsized(entry: BundleEntry) -> bool:
  return entry.dtype in _UNSIZED


def _type_text(entry: BundleEntry) -> str:
  return f"{dtypes.name(entry.dtype)} of shape {list(entry.shape)}"
