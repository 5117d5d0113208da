"""A checkpoint's tensor as an array whose bytes stay in a file, however large it is."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from typing import TYPE_CHECKING

from estimator_ckpt.bundle import checksum, dtypes, files, slices
from estimator_ckpt.bundle.messages import BundleEntry, TensorSlice
from estimator_ckpt.bundle.shards import Shards
from estimator_ckpt.checkpoint.reader import CheckpointReader
from estimator_ckpt.errors import CheckpointIOError, CorruptCheckpointError

if TYPE_CHECKING:
  import numpy as np


def file_array(reader: CheckpointReader, key: str, least: int) -> np.ndarray:
  """Reads a tensor without taking memory for it.

  One of a local data file is mapped, aligned or not. One in an object store, in parts
  or of the format V1 is copied to a temporary file first, so each byte is read once.

  Args:
    reader: the checkpoint, without a `partition_strategy`.
    key: the tensor's key.
    least: the number of bytes up to which a tensor is read into memory nevertheless.

  Returns:
    A read-only array. Parts that are not runs of rows are put together in memory.

  Raises:
    CheckpointKeyError: no such tensor.
    CheckpointNotFoundError: a data file is missing.
    CorruptCheckpointError: its entry or its bytes are damaged.
    CheckpointIOError: a file cannot be mapped, or there is no room for the temporary.
  """
  import numpy as np

  index = reader.index
  entry, parts = index.entry(key), index.slice_entries(key)
  pieces = _runs_of_rows(entry, parts) if parts else [entry]
  if not pieces or sum(piece.size for piece in pieces) <= max(least, 0):
    return reader[key]
  shards = Shards.of(reader.prefix, index)
  for piece in pieces:
    shards.check_bounds(piece, key)
  dtype = dtypes.to_numpy(entry.dtype)
  if not parts and shards.v1 is None and files.is_local(reader.prefix):
    shards.verify(entry, key)
    path = shards.path(entry.shard_id)
    try:
      return np.memmap(files.local_path(path), dtype, "r", entry.offset, entry.shape)
    except OSError as error:
      raise CheckpointIOError(f"{path} cannot be mapped: {error}") from error
  try:
    with tempfile.TemporaryFile() as file:
      for piece in pieces:
        crc = 0
        for chunk in shards.read_chunks(piece.shard_id, piece.offset, piece.size):
          file.write(chunk)
          crc = checksum.extend(crc, chunk)
        if checksum.mask(crc) != piece.crc32c:
          raise CorruptCheckpointError(
            f"{shards.path(piece.shard_id)}: the checksum of {key!r} does not match its"
            " bytes; the file is damaged, or of another checkpoint"
          )
      file.flush()
      return np.memmap(file, dtype, "r", 0, entry.shape)
  except OSError as error:
    if isinstance(error, (CheckpointIOError, CorruptCheckpointError)):
      raise
    size = sum(piece.size for piece in pieces)
    raise CheckpointIOError(
      f"{reader.prefix}: {key!r} takes a temporary file of {size:,} bytes, which cannot"
      f" be made in {tempfile.gettempdir()}: {error}. Set TMPDIR to a directory with room"
    ) from error


def _runs_of_rows(
  entry: BundleEntry, parts: Sequence[tuple[TensorSlice, BundleEntry]]
) -> list[BundleEntry]:
  """The parts of a tensor in the order of rows; nothing where they are not rows of it."""
  rows = []
  for tensor_slice, part in parts:
    (first, *rest) = slices.bounds(tensor_slice, entry.shape)
    whole = all((0, size) == pair for pair, size in zip(rest, entry.shape[1:]))
    shape = (first[1] - first[0], *entry.shape[1:])
    if not whole or part.slices or (part.dtype, part.shape) != (entry.dtype, shape):
      return []
    rows.append((first, part))
  rows.sort(key=lambda row: row[0])
  ends = [0, *(end for (_, end), _ in rows)]
  starts = [*(start for (start, _), _ in rows), entry.shape[0]]
  return [part for _, part in rows] if starts == ends else []
