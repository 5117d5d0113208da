"""Verifying data files: every tensor's bytes against its checksum.

The files are read once, front to back, a few megabytes at a time. Small tensors are
read together, with the gaps between them. Keys of the same bytes have them read once.
Three kinds of tensors have checksums of their own kind:

    numbers   crc32c of the bytes
    strings   see estimator_ckpt.bundle.strings
    variants  for each element: varint length, a message, the crc so far (masked,
              fixed32). The crc runs over the length (as fixed64), the message, and the
              stored crc; the last one is the entry's.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator

from estimator_ckpt.bundle import checksum, coding, dtypes, files
from estimator_ckpt.bundle.messages import BundleEntry
from estimator_ckpt.bundle.shards import Shards, num_elements
from estimator_ckpt.checkpoint.verify.entries import Extent
from estimator_ckpt.checkpoint.verify.findings import Findings
from estimator_ckpt.errors import CheckpointError, CorruptCheckpointError

TYPE_CHECKING = False
if TYPE_CHECKING:
  from typing import Protocol, TypeAlias
else:
  Protocol = object  # to what runs, a class as any other

Progress: TypeAlias = "Callable[[int, int], None]"

_UINT32_MAX = 2**32 - 1
_FIXED32_SIZE = 4
_MAX_VARINT_SIZE = 10


class Checksum(Protocol):
  """Computes a tensor's checksum from its bytes as they come."""

  def feed(self, data: bytes) -> None:
    """Takes the next bytes."""

  def finish(self) -> int:
    """The crc32c, unmasked; an error where the bytes are no such tensor."""


class NumberChecksum:
  """The checksum of a tensor of numbers."""

  def __init__(self) -> None:
    self._crc = 0

  def feed(self, data: bytes) -> None:
    """Takes the next bytes."""
    self._crc = checksum.extend(self._crc, data)

  def finish(self) -> int:
    """The crc32c."""
    return self._crc


class StringChecksum:
  """The checksum of a string tensor, and of its lengths.

  Args:
    count: how many strings there are.
  """

  def __init__(self, count: int):
    self._missing = count
    self._crc = 0
    self._rest = b""
    self._stored_seen = False
    self._left = 0

  def feed(self, data: bytes) -> None:
    """Takes the next bytes.

    Raises:
      CorruptCheckpointError: the bytes are no string tensor.
    """
    data = self._rest + data
    self._rest = b""
    position = self._feed_lengths(data) if self._missing else 0
    if self._missing:
      self._rest = data[position:]
      return
    if not self._stored_seen:
      stored = data[position : position + _FIXED32_SIZE]
      if len(stored) < _FIXED32_SIZE:
        self._rest = data[position:]
        return
      if int.from_bytes(stored, "little") != checksum.mask(self._crc):
        raise CorruptCheckpointError(
          "the checksum of the strings' lengths does not match"
        )
      self._crc = checksum.extend(self._crc, stored)
      self._stored_seen = True
      position += _FIXED32_SIZE
    self._left -= len(data) - position
    self._crc = checksum.extend(self._crc, data[position:])

  def _feed_lengths(self, data: bytes) -> int:
    """Takes the lengths that are complete in `data`; returns where they end."""
    start = data[: self._missing]
    if start.isascii():
      # Each length is one byte, as those of most strings are.
      fixed = bytearray(_FIXED32_SIZE * len(start))
      fixed[::_FIXED32_SIZE] = start
      self._crc = checksum.extend(self._crc, bytes(fixed))
      self._left += sum(start)
      self._missing -= len(start)
      return len(start)
    position = 0
    parts = []
    while self._missing and position < len(data):
      byte = data[position]
      if byte < 128:
        length = byte
        position += 1
      else:
        if _is_cut(data[position : position + _MAX_VARINT_SIZE]):
          break
        length, position = coding.read_varint(data, position)
      self._missing -= 1
      self._left += length
      parts.append(length.to_bytes(4 if length <= _UINT32_MAX else 8, "little"))
    self._crc = checksum.extend(self._crc, b"".join(parts))
    return position

  def finish(self) -> int:
    """The crc32c.

    Raises:
      CorruptCheckpointError: the bytes end within the lengths, or there are more or
        fewer than the lengths say.
    """
    if not self._stored_seen:
      raise CorruptCheckpointError("it ends within the strings' lengths")
    if self._left:
      raise CorruptCheckpointError(
        f"the strings' lengths and its size disagree by {abs(self._left)} bytes"
      )
    return self._crc


class VariantChecksum:
  """The checksum of a variant tensor, and those within it.

  Args:
    count: how many elements there are.
  """

  def __init__(self, count: int):
    self._missing = count
    self._crc = 0
    self._rest = b""
    self._left = 0
    self._in_element = False

  def feed(self, data: bytes) -> None:
    """Takes the next bytes.

    Raises:
      CorruptCheckpointError: the bytes are no variant tensor.
    """
    data = self._rest + data
    position = 0
    while True:
      if not self._in_element:
        varint = data[position : position + _MAX_VARINT_SIZE]
        if not self._missing or _is_cut(varint):
          break
        self._left, used = coding.read_varint(varint, 0)
        position += used
        self._crc = checksum.extend(self._crc, self._left.to_bytes(8, "little"))
        self._in_element = True
      part = data[position : position + self._left]
      self._crc = checksum.extend(self._crc, part)
      self._left -= len(part)
      position += len(part)
      stored = data[position : position + _FIXED32_SIZE]
      if self._left or len(stored) < _FIXED32_SIZE:
        break
      if int.from_bytes(stored, "little") != checksum.mask(self._crc):
        raise CorruptCheckpointError("the checksum of an element does not match")
      self._crc = checksum.extend(self._crc, stored)
      position += _FIXED32_SIZE
      self._missing -= 1
      self._in_element = False
    self._rest = data[position:]

  def finish(self) -> int:
    """The crc32c.

    Raises:
      CorruptCheckpointError: the bytes end within an element, or go on behind the
        last.
    """
    if self._missing or self._rest:
      raise CorruptCheckpointError("its elements and its size disagree")
    return self._crc


def _is_cut(varint: bytes) -> bool:
  """Whether the bytes of a varint, at most ten of them, go on behind the last."""
  return len(varint) < _MAX_VARINT_SIZE and all(byte > 127 for byte in varint)


def check_data(
  extents: Iterable[Extent],
  shards: Shards,
  findings: Findings,
  progress: Progress | None = None,
) -> int:
  """Checks tensors' bytes against their checksums.

  Args:
    extents: what has bytes in the data files.
    shards: the data files.
    findings: is added to.
    progress: is called with the bytes done, and all there are.

  Returns:
    How many bytes of tensors were read.
  """
  groups: dict[tuple[int, int, int, int, int], list[Extent]] = {}
  for extent in extents:
    entry = extent.entry
    kind, count = _kind(entry)
    groups.setdefault(
      (entry.shard_id, entry.offset, entry.size, kind, count), []
    ).append(extent)
  places = [groups[place] for place in sorted(groups)]
  reader = _Reader(shards, findings, progress, sum(g[0].entry.size for g in places))
  for shard_id, batches in itertools.groupby(_batches(places), _shard_id):
    reader.check(shard_id, batches)
  return reader.done


def _kind(entry: BundleEntry) -> tuple[int, int]:
  """Which kind of checksum an entry has, and over how many elements."""
  if entry.dtype in (dtypes.STRING, dtypes.VARIANT):
    return entry.dtype, num_elements(entry.shape)
  return 0, 0


def _checksum(entry: BundleEntry) -> Checksum:
  kind, count = _kind(entry)
  if kind == dtypes.STRING:
    return StringChecksum(count)
  return VariantChecksum(count) if kind == dtypes.VARIANT else NumberChecksum()


def _batches(places: Iterable[list[Extent]]) -> Iterator[list[list[Extent]]]:
  """Places that are near each other, to be read at once."""
  batch: list[list[Extent]] = []
  for place in places:
    first = place[0].entry
    if batch:
      start = batch[0][0].entry
      if (
        start.shard_id != first.shard_id
        or first.offset + first.size - start.offset > files.CHUNK_SIZE
      ):
        yield batch
        batch = []
    batch.append(place)
  if batch:
    yield batch


def _shard_id(batch: list[list[Extent]]) -> int:
  return batch[0][0].entry.shard_id


def _parts(batch: list[list[Extent]]) -> list[tuple[int, int]]:
  """Where the parts are in which a batch is read, and how many bytes each has."""
  start = batch[0][0].entry.offset
  return list(files.split(start, max(place[0].end for place in batch) - start))


class _Reader:
  """Reads batches and compares checksums."""

  def __init__(
    self,
    shards: Shards,
    findings: Findings,
    progress: Progress | None,
    total: int,
  ):
    self.done = 0
    self._shards = shards
    self._findings = findings
    self._progress = progress
    self._total = total
    self._budget: dict[int, int] = {}

  def check(self, shard_id: int, batches: Iterable[list[list[Extent]]]) -> None:
    """Checks all that is in one data file.

    Args:
      shard_id: the data file.
      batches: what is in it, from its beginning on.
    """
    path = self._shards.path(shard_id)
    wanted = []
    for batch in batches:
      parts = _parts(batch)
      if self._may_read(shard_id, sum(size for _, size in parts), path):
        wanted.append((batch, parts))
    reads = files.read_parts(path, (part for _, parts in wanted for part in parts))
    for batch, parts in wanted:
      own = itertools.islice(reads, len(parts))
      self._check(batch, path, own)
      for _ in own:
        pass  # What follows something that cannot be read is not read.

  def _check(
    self, batch: list[list[Extent]], path: str, reads: Iterator[Callable[[], bytes]]
  ) -> None:
    """Checks the places of a batch; those of one place have the same bytes."""
    try:
      if len(batch) == 1:
        self._compare(batch[0], path, (read() for read in reads))
        return
      data = b"".join(read() for read in reads)
      for place in batch:
        start = place[0].entry.offset - batch[0][0].entry.offset
        self._compare(place, path, [data[start : start + place[0].entry.size]])
    except CheckpointError as error:
      labels = ", ".join(repr(place[0].label) for place in batch[:3])
      others = f" and {len(batch) - 3} others" if len(batch) > 3 else ""
      self._findings.error("unreadable", f"{labels}{others}: {error}", file=path)

  def _compare(self, place: list[Extent], path: str, chunks: Iterable[bytes]) -> None:
    entry = place[0].entry
    computed = _checksum(entry)
    size = 0
    damage = ""
    for chunk in chunks:
      size += len(chunk)
      self.done += len(chunk)
      if not damage:
        try:
          computed.feed(chunk)
        except CorruptCheckpointError as error:
          damage = str(error)
      if self._progress is not None:
        self._progress(self.done, self._total)
    if not damage:
      try:
        crc = checksum.mask(computed.finish())
      except CorruptCheckpointError as error:
        damage = str(error)
    if size < entry.size:
      damage = f"the file ends {entry.size - size} bytes before it does"
    for extent in place:
      if damage:
        self._findings.error("checksum", damage, extent.label, path)
      elif extent.entry.crc32c != crc:
        self._findings.error(
          "checksum",
          "its bytes do not match its checksum: the file is damaged, or belongs to"
          " another checkpoint",
          extent.label,
          path,
        )

  def _may_read(self, shard_id: int, size: int, path: str) -> bool:
    """Whether to read on. Entries that overlap could have a file read many times."""
    left = self._budget.get(shard_id)
    if left is None:
      left = 2 * self._shards.size(shard_id) + files.CHUNK_SIZE
    self._budget[shard_id] = left - size
    if left < size:
      if left >= 0:
        self._budget[shard_id] = -1
        self._findings.error(
          "overlap",
          "so much of it overlaps that not every checksum was computed",
          file=path,
        )
      return False
    return True
