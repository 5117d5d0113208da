"""Writing data files anew, with only the bytes that an index points at."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from estimator_ckpt import errors, value_classes
from estimator_ckpt.bundle import checksum, copies, dtypes
from estimator_ckpt.bundle.commit import BundleWriter
from estimator_ckpt.bundle.index import Index
from estimator_ckpt.bundle.messages import BundleEntry
from estimator_ckpt.bundle.shards import Shards
from estimator_ckpt.bundle.stored_entries import stored_entries

TYPE_CHECKING = False
if TYPE_CHECKING:
  from typing import TypeAlias

_Run: TypeAlias = "list[tuple[str, BundleEntry]]"


@value_classes.dataclass(frozen=True)
class Compaction:
  """The contents of data files that are to be written anew.

  Attributes:
    index: an index for the new files.
    shards: for each new file, the number of the old one and the runs of bytes to take.
  """

  index: Index
  shards: tuple[tuple[int, tuple[_Run, ...]], ...]

  @property
  def sizes(self) -> list[int]:
    """The size of each new file."""
    return [sum(end - begin for begin, end in map(_bounds, r)) for _, r in self.shards]


def plan_compaction(index: Index) -> Compaction:
  """Plans data files with only the bytes that an index points at.

  Args:
    index: which tensors there are; it is only read.

  Returns:
    The plan. Each old file becomes one, if anything of it is left.
  """
  by_shard: dict[int, dict[tuple[int, int], tuple[str, BundleEntry]]] = {}
  for key, _, entry in stored_entries(index, aliases=False):
    place = entry.offset, entry.size
    by_shard.setdefault(entry.shard_id, {})[place] = key, entry
  planned = []
  moved: dict[tuple[int, int, int], tuple[int, int]] = {}
  for new_id, shard_id in enumerate(sorted(by_shard)):
    own = by_shard[shard_id]
    runs = tuple(_runs([own[place] for place in sorted(own)]))
    position = 0
    for run in runs:
      begin, end = _bounds(run)
      for _, entry in run:
        offset = position + entry.offset - begin
        moved[shard_id, entry.offset, entry.size] = new_id, offset
      position += end - begin
    planned.append((shard_id, runs))
  compacted = Index(index.header, index.name)
  for key in index.keys():
    entry = index.entry(key)
    compacted.put(key, entry if entry.slices else _moved(entry, moved))
    for tensor_slice, slice_entry in index.slice_entries(key):
      compacted.put(key, _moved(slice_entry, moved), tensor_slice)
  return Compaction(compacted, tuple(planned))


def compact_data(
  index: Index, shards: Shards, bundle: BundleWriter, progress: copies.Progress
) -> Index:
  """Writes the data files anew, with only the bytes that an index points at.

  A few megabytes at a time are in memory. Numbers are checked against their checksums
  on the way.

  Args:
    index: which tensors are copied.
    shards: the data files it is for.
    bundle: where the new ones go; each file becomes one, if anything of it is left.
    progress: is called with the number of bytes of each part that is copied.

  Returns:
    An index for the new files.

  Raises:
    CorruptCheckpointError: a checksum does not match.
  """
  plan = plan_compaction(index)
  for shard_id, runs in plan.shards:
    path = shards.path(shard_id)
    with bundle.add_stream() as file:
      for run in runs:
        check = _Checksums(path, run)
        begin, end = _bounds(run)
        for chunk in shards.read_chunks(shard_id, begin, end - begin):
          check.update(chunk)
          file.write(chunk)
          progress(len(chunk))
  return plan.index


def _bounds(run: _Run) -> tuple[int, int]:
  """Where a run begins and ends in its file."""
  return run[0][1].offset, max(entry.offset + entry.size for _, entry in run)


def _runs(entries: _Run) -> Iterator[_Run]:
  """Groups entries, ordered by offset, whose bytes overlap or touch.

  A whole tensor and its slices may share bytes; they share them afterwards too.
  """
  run: _Run = []
  end = 0
  for key, entry in entries:
    if run and entry.offset > end:
      yield run
      run, end = [], 0
    run.append((key, entry))
    end = max(end, entry.offset + entry.size)
  if run:
    yield run


class _Checksums:
  """Checks the tensors of a run against their checksums while its bytes pass by."""

  def __init__(self, path: str, run: _Run):
    self._path = path
    # From the last on, so that the next one is at the end.
    self._left = run[::-1]
    # Those that have begun, each with the checksum so far.
    self._begun: list[tuple[str, BundleEntry, int]] = []
    self._position = run[0][1].offset

  def update(self, chunk: bytes) -> None:
    """Takes the next bytes."""
    start = self._position
    self._position += len(chunk)
    while self._left and self._left[-1][1].offset <= self._position:
      key, entry = self._left.pop()
      # Strings have a checksum of another kind.
      if dtypes.item_size(entry.dtype) is not None:
        self._begun.append((key, entry, 0))
    unfinished = []
    for key, entry, crc in self._begun:
      end = entry.offset + entry.size
      part = chunk[max(entry.offset - start, 0) : end - start]
      crc = checksum.extend(crc, part) if part else crc
      if end > self._position:
        unfinished.append((key, entry, crc))
      elif checksum.mask(crc) != entry.crc32c:
        raise errors.CorruptCheckpointError(
          f"{self._path}: the checksum of {key!r} does not match its bytes; nothing was"
          " written. Without compact, the bytes are kept as they are"
        )
    self._begun = unfinished


def _moved(
  entry: BundleEntry, moved: Mapping[tuple[int, int, int], tuple[int, int]]
) -> BundleEntry:
  shard_id, offset = moved[entry.shard_id, entry.offset, entry.size]
  return entry._replace(shard_id=shard_id, offset=offset)
