"""Writing data files anew, with nothing but what an index points at."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from estimator_ckpt import errors
from estimator_ckpt.bundle import (
  BundleEntry,
  BundleWriter,
  Index,
  Shards,
  checksum,
  dtypes,
  files,
)
from estimator_ckpt.stored_entries import stored_entries

_Run = list[tuple[str, BundleEntry]]


def compact_data(
  index: Index, shards: Shards, bundle: BundleWriter, progress: files.Progress
) -> Index:
  """Writes the data files anew, with nothing but what an index points at.

  A few megabytes at a time are in memory. Numbers are checked against their checksums
  on the way.

  Args:
    index: the index.
    shards: the data files it is for.
    bundle: where the new ones go; each file becomes one, if anything of it is left.
    progress: is called with the number of bytes of each part that is copied.

  Returns:
    An index for the new files.

  Raises:
    CorruptCheckpointError: a checksum does not match.
  """
  by_shard: dict[int, dict[tuple[int, int], tuple[str, BundleEntry]]] = {}
  for key, _, entry in stored_entries(index, aliases=False):
    place = entry.offset, entry.size
    by_shard.setdefault(entry.shard_id, {})[place] = key, entry
  moved: dict[tuple[int, int, int], tuple[int, int]] = {}
  for new_id, shard_id in enumerate(sorted(by_shard)):
    own = by_shard[shard_id]
    with bundle.add_stream() as file:
      position = 0
      for run in _runs([own[place] for place in sorted(own)]):
        check = _Checksums(shards.path(shard_id), run)
        begin, end = run[0][1].offset, run[-1][1].offset + run[-1][1].size
        for _, entry in run:
          offset = position + entry.offset - begin
          moved[shard_id, entry.offset, entry.size] = new_id, offset
        for chunk in files.read_chunks(shards.path(shard_id), begin, end - begin):
          check.update(chunk)
          file.write(chunk)
          progress(len(chunk))
        position += end - begin
  compacted = Index(index.header, index.name)
  for key in index.keys():
    entry = index.entry(key)
    compacted.put(key, entry if entry.slices else _moved(entry, moved))
    for tensor_slice, slice_entry in index.slice_entries(key):
      compacted.put(key, _moved(slice_entry, moved), tensor_slice)
  return compacted


def _runs(entries: _Run) -> Iterator[_Run]:
  """Groups entries, ordered by offset, that stand one right behind the other."""
  run: _Run = []
  for key, entry in entries:
    if run and entry.offset != run[-1][1].offset + run[-1][1].size:
      yield run
      run = []
    run.append((key, entry))
  if run:
    yield run


class _Checksums:
  """Checks the tensors of a run against their checksums while its bytes pass by."""

  def __init__(self, path: str, run: _Run):
    self._path = path
    # From the last on, so that the next one is at the end.
    self._left = run[::-1]
    self._crc = 0
    self._seen = 0

  def update(self, chunk: bytes) -> None:
    """Takes the next bytes."""
    position = 0
    while self._left:
      key, entry = self._left[-1]
      part = chunk[position : position + entry.size - self._seen]
      # Strings have a checksum of another kind.
      numbers = dtypes.item_size(entry.dtype) is not None
      if numbers and part:
        self._crc = checksum.extend(self._crc, part)
      self._seen += len(part)
      position += len(part)
      if self._seen < entry.size:
        return
      if numbers and checksum.mask(self._crc) != entry.crc32c:
        raise errors.CorruptCheckpointError(
          f"{self._path}: the checksum of {key!r} does not match its bytes; nothing was"
          " written. Without compact, the bytes are kept as they are"
        )
      self._left.pop()
      self._crc = self._seen = 0


def _moved(
  entry: BundleEntry, moved: Mapping[tuple[int, int, int], tuple[int, int]]
) -> BundleEntry:
  shard_id, offset = moved[entry.shard_id, entry.offset, entry.size]
  return entry._replace(shard_id=shard_id, offset=offset)
