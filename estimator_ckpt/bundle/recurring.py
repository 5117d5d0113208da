"""An index that is made of another again and again, as a training job does.

From one save to the next the index that TensorFlow writes differs in the tensors'
checksums alone, and so does the index that is made of it. Where they stand in both
files is found once; after that they are copied, thousands in one go, and neither file
is taken apart and put together again.

This is kept beside `table_writer.write_table` because every save of a job rewrites its
index, and training waits. `aliased_index`, which rewrites large ones, knows where the
checksums stand. Processor time of a rewriting of others, in full and repeated:

    variables       60    600   6,000   60,000
    in full, ms    0.3    1.7      16      224
    repeated, ms  0.01   0.04     0.3      5.7
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import TYPE_CHECKING

from estimator_ckpt.bundle import checksum, entry_columns, table
from estimator_ckpt.bundle.messages import BundleEntry
from estimator_ckpt.older_pythons import cached_property

if TYPE_CHECKING:
  import numpy as np

CRC_SIZE = 4
# The tag of an entry's checksum.
CRC = b"\x35"
# In front of a block's checksum stands its type, which the checksum covers.
_TYPE_SIZE = 1
# So many bytes are copied at once, into memory that the processor has at hand.
_PIECE = 1 << 14


class RecurringIndex:
  """Repeats a rewriting of an index, as long as nothing but checksums changes.

  A rewriting is repeatable if each entry it writes, whatever the key, is one that it
  read.

  >>> from estimator_ckpt.bundle.index import Index
  >>> def index(crc, *keys):
  ...   made = Index()
  ...   for key in keys:
  ...     made.put(key, BundleEntry(dtype=1, shape=(), size=4, crc32c=crc))
  ...   return made.serialize()
  >>> recurring = RecurringIndex()
  >>> recurring.remember(index(123456, "w"), index(123456, "dense/w", "w"))
  >>> recurring.repeat(index(654321, "w")) == index(654321, "dense/w", "w")
  True
  """

  def __init__(self) -> None:
    """Remembers nothing yet."""
    self._last: tuple[bytes, bytes] | None = None
    self._copy: ChecksumCopy | None = None
    self._is_tried = False

  def remember(self, source: bytes, result: bytes) -> None:
    """Remembers a rewriting.

    Args:
      source: the index file that was read.
      result: the index file that was made of it.
    """
    # If it did not recur once it will not later: a table grows, for instance.
    if not self._is_tried:
      self._last = source, result

  def use(self, copy: ChecksumCopy) -> None:
    """Remembers a rewriting of which the places of the checksums are known.

    Args:
      copy: does the same to other index files.
    """
    self._last = None
    self._copy = copy

  def repeat(self, source: bytes) -> bytearray | None:
    """Does the same to another index.

    Args:
      source: the index file.

    Returns:
      What the rewriting would make of it, until the next call; or None where that has to
      be found out: the two differ in more than the tensors' checksums, or there was none
      before.
    """
    if self._last is not None and len(source) == len(self._last[0]):
      # Not before it is needed: most savers of short jobs save once or twice.
      self._copy = ChecksumCopy.of(*self._last)
      self._last = None
      self._is_tried = True
    return self._copy.apply(source) if self._copy is not None else None


class ChecksumCopy:
  """Copies the entries' checksums of one file of known form to another such.

  Both files stay in memory and are changed there, so that a save takes no new memory.
  One thread at a time may ask for a result.
  """

  def __init__(
    self,
    source: bytes,
    result: bytes,
    places: np.ndarray,
    targets: np.ndarray,
    blocks: Sequence[table.Handle],
    result_blocks: Sequence[table.Handle],
  ):
    """Takes what is known of a rewriting.

    Args:
      source: the index file that was read.
      result: the index file that was made of it.
      places: where the checksums stand in the source, for each of `targets`.
      targets: where they stand in the result, in ascending order.
      blocks: the source's data blocks, the trailers not counted.
      result_blocks: those of the result.
    """
    self._places = places
    self._targets = targets
    self._blocks = blocks
    self._result_blocks = result_blocks
    self._source: bytes | bytearray = source
    self._result: bytes | bytearray = result

  @cached_property
  def _changing(self) -> np.ndarray:
    """Where a source may differ: the checksums of its entries and of its blocks."""
    import numpy as np

    own = np.array(list(map(_checksum_place, self._blocks)), self._places.dtype)
    return np.unique(np.concatenate([self._places, own]))

  @classmethod
  def of(cls, source: bytes, result: bytes) -> ChecksumCopy | None:
    """Finds where the checksums stand; None if a result has others of its own."""
    import numpy as np

    # The position behind each value that seems to end with a checksum. The same value
    # stands for the same bytes of a data file, and changes with them: whatever the four
    # bytes are, a copy of the value gets them too.
    ends: dict[bytes, int] = {}
    blocks = []
    for block in table.read_placed_blocks(source, "index"):
      if source[sum(block.handle)]:
        return None  # There are no places in a compressed block.
      blocks.append(block.handle)
      values, value_ends = _entries(block)
      pairs = zip(values, value_ends)
      ends.update(pair for pair in pairs if pair[0][-CRC_SIZE - 1 : -CRC_SIZE] == CRC)
    places, targets, result_blocks = [], [], []
    for block in table.read_placed_blocks(result, "index"):
      result_blocks.append(block.handle)
      values, value_ends = _entries(block)
      copied = np.array([ends.get(value, -1) for value in values], np.int64)
      is_copy = copied >= 0
      if any(_end_with_checksums(list(itertools.compress(values, ~is_copy)))):
        return None
      places.append(copied[is_copy] - CRC_SIZE)
      targets.append(np.array(value_ends, np.int64)[is_copy] - CRC_SIZE)
    return cls(
      source,
      result,
      np.concatenate(places),
      np.concatenate(targets),
      blocks,
      result_blocks,
    )

  def apply(self, source: bytes) -> bytearray | None:
    """The result for another source, or None if that has another form or is damaged.

    It is changed when the next one is asked for.
    """
    if not self._has_form(source):
      return None
    if not isinstance(self._result, bytearray):
      self._result = bytearray(self._result)
    made = self._result
    _words(made)[self._targets] = _words(source)[self._places]
    for block in self._result_blocks:
      place = _checksum_place(block)
      made[place : place + CRC_SIZE] = _masked_crc(made, block)
    return made

  def _has_form(self, source: bytes) -> bool:
    """Whether a source has other checksums at most, and is not damaged."""
    if len(source) != len(self._source):
      return False
    if not isinstance(self._source, bytearray):
      self._source = bytearray(self._source)
    _words(self._source)[self._changing] = _words(source)[self._changing]
    if self._source != source:
      return False
    return all(
      source.startswith(_masked_crc(source, block), _checksum_place(block))
      for block in self._blocks
    )


def _checksum_place(block: table.Handle) -> int:
  """Where the checksum of a data block stands, behind its type."""
  return sum(block) + _TYPE_SIZE


def _words(data: bytes | bytearray) -> np.ndarray:
  """The four bytes at each place of some bytes, as one number each; not a copy."""
  import numpy as np

  return np.ndarray((len(data) - CRC_SIZE + 1,), "<u4", data, strides=(1,))


def _masked_crc(file: bytes | bytearray, block: table.Handle) -> bytes:
  """The checksum of a block and its type, as it stands behind both."""
  crc, view = 0, memoryview(file)
  for start in range(block[0], _checksum_place(block), _PIECE):
    stop = min(start + _PIECE, _checksum_place(block))
    crc = checksum.extend(crc, bytes(view[start:stop]))
  return checksum.mask(crc).to_bytes(CRC_SIZE, "little")


def _entries(block: table.PlacedBlock) -> tuple[list[bytes], list[int]]:
  """The entries of a block, and the position behind each."""
  # The header has the empty key, and comes first.
  start = 0 if block.items[0][0] else 1
  return [value for _, value in block.items[start:]], block.value_ends[start:]


def _end_with_checksums(values: list[bytes]) -> list[bool]:
  """Whether each entry ends with its checksum, as one that TensorFlow writes does."""
  if entry_columns.all_end_with_checksums(values):
    return [True] * len(values)
  return list(map(_ends_with_checksum, values))


def _ends_with_checksum(value: bytes) -> bool:
  entry = BundleEntry.parse(value)
  stored = CRC + entry.crc32c.to_bytes(CRC_SIZE, "little")
  return not entry.slices and value.endswith(stored)
