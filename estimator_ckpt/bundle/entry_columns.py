"""The entries of many tensors at once, as columns.

Nearly all entries of a large checkpoint are spelled alike. One regular expression reads
thousands of them in half the time of one by one; NumPy, where it is loaded, in a third of
that. Where one entry is spelled otherwise, damaged, or that of a partitioned tensor,
each is read by itself: by `estimator_ckpt.bundle.messages`.
"""

from __future__ import annotations

import itertools
import operator
import re
import struct
import sys
from collections.abc import Iterable, Iterator, Sequence

from estimator_ckpt.bundle import coding
from estimator_ckpt.bundle.messages import BundleEntry
from estimator_ckpt.errors import CorruptCheckpointError
from estimator_ckpt.value_classes import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
  from typing import TypeVar

  _T = TypeVar("_T")

# Less are read one by one, since the regular expression takes as long to be compiled as
# some hundred entries to be read.
FEW = 200

# A whole entry of a tensor that is not partitioned, as TensorFlow orders its fields: type,
# shape and data file, which many have in common; offset; size; checksum. A branch of
# nothing is faster than a question mark.
_VARINT = rb"[\x80-\xff]*[\0-\x7f]"
_SHAPE = b"|".join(b"\\x%02x.{%d}" % (size, size) for size in range(128))
_PLAIN = (
  rb"(?s)((\x08[\0-\x7f]\x12(?:%b)(?:\x18%b|))(?:\x20(%b)|)(\x28%b|)\x35(....))"
  % (_SHAPE, _VARINT, _VARINT, _VARINT)
)


class EntryColumns(NamedTuple):
  """What the entries of tensors that are not partitioned say; see `BundleEntry`.

  Attributes:
    dtypes: TensorFlow's number of each type.
    shapes: the dimensions of each.
    shard_ids: the data file of each.
    offsets: where the bytes of each start there.
    sizes: how many bytes each has.
    crcs: their checksums, masked as they are stored.
  """

  dtypes: Sequence[int]
  shapes: Sequence[tuple[int, ...]]
  shard_ids: Sequence[int]
  offsets: Sequence[int]
  sizes: Sequence[int]
  crcs: Sequence[int]

  @classmethod
  def read(cls, values: Sequence[bytes]) -> EntryColumns | None:
    """Reads entries.

    Args:
      values: their messages' bytes.

    Returns:
      The columns; None where one of them is not as TensorFlow writes it, is damaged, or
      is that of a partitioned tensor.
    """
    if not values:
      return cls.of_entries([])
    try:
      found = _plain_fields(values)
      if found is None:
        return None
      heads, *others = found
      by_head = {head: BundleEntry.parse(head) for head in set(heads)}
    except CorruptCheckpointError:
      return None
    if any(e.slices or e.unknown for e in by_head.values()):
      return None
    # Type, shape and data file come first in an entry.
    dtypes, shapes, shard_ids, *_ = (
      dict(zip(by_head, column)) for column in zip(*by_head.values())
    )
    of_heads = [
      list(map(column.__getitem__, heads)) for column in (dtypes, shapes, shard_ids)
    ]
    return cls(*of_heads, *others)

  @classmethod
  def in_batches(cls, values: Sequence[bytes]) -> Iterator[EntryColumns | None]:
    """Iterates over the columns of thousands of entries each; see `read`."""
    for part in coding.batches(values):
      yield cls.read(part) if len(part) >= FEW else cls._read_few(part)

  @classmethod
  def read_all(cls, values: Sequence[bytes]) -> EntryColumns | None:
    """Reads any number of entries; see `read`."""
    parts = []
    for part in cls.in_batches(values):
      if part is None:
        return None
      parts.append(part)
    columns = [list(itertools.chain.from_iterable(each)) for each in zip(*parts)]
    return cls(*columns) if columns else cls.of_entries([])

  @classmethod
  def _read_few(cls, values: Sequence[bytes]) -> EntryColumns | None:
    try:
      entries = list(map(BundleEntry.parse, values))
    except CorruptCheckpointError:
      return None
    if any(e.slices or e.unknown or not 0 <= e.dtype < 256 for e in entries):
      return None
    return cls.of_entries(entries)

  @classmethod
  def of_entries(cls, entries: Sequence[BundleEntry]) -> EntryColumns:
    """The columns of entries, which leave out slices and unknown fields."""
    if not entries:
      return cls([], [], [], [], [], [])
    *columns, _, _ = map(list, zip(*entries))
    return cls(*columns)

  def entry(self, row: int) -> BundleEntry:
    """One of the entries."""
    return BundleEntry(*[column[row] for column in self])  # type: ignore[arg-type]

  def entries(self) -> Iterator[BundleEntry]:
    """Iterates over the entries."""
    new = tuple.__new__  # The constructor would take twice as long.
    for fields in zip(*self, itertools.repeat(()), itertools.repeat(b"")):
      yield new(BundleEntry, fields)

  def ends(self) -> dict[int, int]:
    """How far the bytes reach in each data file, by the number of the file."""
    found: dict[int, int] = {}
    ids, ends = self.shard_ids, map(operator.add, self.offsets, self.sizes)
    if ids and ids.count(ids[0]) == len(ids):  # Most often there is one file of them.
      return {ids[0]: max(ends)}
    for shard_id, end in zip(ids, ends):
      if end > found.get(shard_id, -1):
        found[shard_id] = end
    return found

  def take(self, rows: Sequence[int]) -> EntryColumns:
    """Some of the entries, by their places."""
    return EntryColumns._make(taken(column, rows) for column in self)

  def followed_by(self, others: EntryColumns) -> EntryColumns:
    """These entries, and others behind them."""
    return EntryColumns._make([*own, *other] for own, other in zip(self, others))


def taken(column: Sequence[_T], rows: Sequence[int]) -> Sequence[_T]:
  """What a column has at some places."""
  if len(rows) < 2:
    return [column[row] for row in rows]
  return operator.itemgetter(*rows)(column)  # in a third of the time


def first_types(values: Iterable[bytes]) -> set[int] | None:
  """The types of many entries, which TensorFlow writes in front of all else.

  Args:
    values: their messages' bytes.

  Returns:
    TensorFlow's numbers of the types; None where an entry begins with something else.
  """
  found = {value[:2] for value in values}
  if all(len(each) == 2 and each[0] == 8 and each[1] < 128 for each in found):
    return {number for _, number in found}
  return None


def all_end_with_checksums(values: Sequence[bytes]) -> bool:
  """Whether the last field of each of many entries is the checksum, for certain.

  Args:
    values: their messages' bytes.

  Returns:
    False where one of them has no checksum, or is not as TensorFlow writes it.
  """
  try:
    found = _plain_fields(values)
    for head in set(found[0] if found is not None else ()):
      BundleEntry.parse(head)
  except CorruptCheckpointError:
    return False
  return found is not None


def _plain_fields(
  values: Sequence[bytes],
) -> tuple[Sequence[bytes], Sequence[int], Sequence[int], Sequence[int]] | None:
  """The heads of entries, offsets, sizes and checksums; None if one differs from most.

  Raises:
    CorruptCheckpointError: an entry is damaged.
  """
  if "numpy" in sys.modules:
    from estimator_ckpt.bundle import plain_entries

    plain = plain_entries.read(values)
    if plain is None:
      return None
    _, *columns = plain
    return (plain.heads, *[column.tolist() for column in columns])  # type: ignore
  found = list(zip(*re.findall(_PLAIN, b"".join(values))))
  if not found or found[0] != tuple(values):
    return None
  _, heads, varints, size_fields, crcs = found
  offsets = coding.read_varints(varints)
  if max(offsets) >> 63:
    return None
  by_field = {field: BundleEntry.parse(field).size for field in set(size_fields)}
  sizes = list(map(by_field.__getitem__, size_fields))
  return heads, offsets, sizes, struct.unpack(f"<{len(crcs)}I", b"".join(crcs))
