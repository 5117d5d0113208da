"""TF1's oldest checkpoint files: one table, with the tensors' values in it.

`tf.compat.v1.train.Saver(write_version=tf.compat.v1.train.SaverDef.V1)` writes them, and
did by default before TensorFlow 0.12. A checkpoint is one file, called as its prefix; a
sharded one is `PREFIX-00000-of-00002`, ..., and its prefix is `PREFIX-?????-of-00002`.

    file                  a table (see `estimator_ckpt.bundle.table`). The first versions
                          of TensorFlow compress its blocks by snappy, 1.15 does not
    key ""                SavedTensorSlices {meta=1}, of all tensors in the file
    key of a slice        SavedTensorSlices {data=2}; keys are those of a bundle's
                          slices (see `estimator_ckpt.bundle.slices`)

    SavedTensorSliceMeta  tensor=1 (repeated SavedSliceMeta)  versions=2 (VersionDef)
    SavedSliceMeta        name=1  shape=2  type=3  slice=4 (repeated TensorSliceProto)
    SavedSlice            name=1  slice=2  data=3 (TensorProto)
    TensorProto           float_val=5  double_val=6  int_val=7  string_val=8
                          scomplex_val=9  int64_val=10  bool_val=11  dcomplex_val=12
                          half_val=13  uint32_val=16  uint64_val=17
                          (repeated and packed, one of them set: which, the type says)

Sources: saved_tensor_slice.proto, tensor_slice_writer.h and .cc of TensorFlow 1.15.5.
Here the values are presented as the bytes that a bundle's data file would have, with
the checksums that its index would have; so whatever reads a bundle reads them.
"""

from __future__ import annotations

import bisect
from collections.abc import Iterator

from estimator_ckpt.bundle import (
  checksum,
  dtypes,
  slices,
  strings,
  table,
  v1_files,
  wire,
)
from estimator_ckpt.bundle.messages import BundleEntry, TensorSlice, parse_shape
from estimator_ckpt.errors import (
  CorruptCheckpointError,
  UnsupportedCheckpointError,
)
from estimator_ckpt.value_classes import NamedTuple

# The version of the format that this reads, as TensorFlow's own reader.
_VERSION = 1
_MAX_VARINT_SIZE = 10
_META = "SavedTensorSliceMeta"
_SLICE = "SavedSlice"

_FIXED = {"float32": 5, "float64": 6, "complex64": 9, "complex128": 12}
_SMALL = "int32 int16 int8 uint16 uint8 qint32 qint16 qint8 quint16 quint8".split()
_VARINTS = {
  **dict.fromkeys(_SMALL, 7),
  "int64": 10,
  "bool": 11,
  "float16": 13,
  "bfloat16": 13,
  "uint32": 16,
  "uint64": 17,
}
_STRINGS = 8


class _Piece(NamedTuple):
  """A stored slice: where its bytes would be in a data file, and where it is."""

  offset: int
  size: int
  handle: table.Handle
  key: bytes


class _Meta(NamedTuple):
  """What a file says of one slice."""

  name: str
  tensor_slice: TensorSlice
  dtype: int
  shape: tuple[int, ...]


class V1Checkpoint:
  """A checkpoint of the format V1, presented as a bundle.

  Attributes:
    prefix: its path.
    paths: its files.
    entries: what an index would have: keys, entries, and which slice the entry is of.
    sizes: for each file, the bytes of the data file that a bundle would have for it.
  """

  def __init__(self, prefix: str):
    """Reads the whole checkpoint, one block at a time, and keeps no values.

    Args:
      prefix: the checkpoint's path, for which `v1_files.is_v1` is true.

    Raises:
      CheckpointNotFoundError: a file is missing.
      CorruptCheckpointError: a file is damaged.
      UnsupportedCheckpointError: its version is not supported, or a tensor's type.
    """
    self.prefix = prefix
    self.paths = v1_files.paths(prefix)
    self._files = [v1_files.read_lazily(path) for path in self.paths]
    self._pieces: list[list[_Piece]] = []
    self._cached: tuple[int, table.Handle, table.Items] | None = None
    self._metas: dict[bytes, _Meta] = {}
    whole: dict[str, BundleEntry] = {}
    parts: list[tuple[str, BundleEntry, TensorSlice]] = []
    for shard, path in enumerate(self.paths):
      self._pieces.append([])
      try:
        found = list(self._read_file(shard))
      except (CorruptCheckpointError, UnsupportedCheckpointError) as error:
        message = str(error)
        if not message.startswith(path):
          message = f"{path}: {message}"
        raise type(error)(message) from None
      for meta, entry in found:
        name, tensor_slice = meta.name, meta.tensor_slice
        known = whole.get(name)
        # As in a bundle, a slice that is all of its tensor is no slice.
        is_all = entry.shape == meta.shape
        if known is None:
          known = BundleEntry(meta.dtype, meta.shape)
        elif (
          is_all
          or not known.slices
          or (known.dtype, known.shape) != (meta.dtype, meta.shape)
        ):
          raise CorruptCheckpointError(
            f"{path}: {name!r} is there twice, and not as slices of one tensor"
          )
        if is_all:
          whole[name] = entry
        else:
          whole[name] = known._replace(slices=(*known.slices, tensor_slice))
          parts.append((name, entry, tensor_slice))
    self.entries: list[tuple[str, BundleEntry, TensorSlice | None]] = [
      *((name, entry, None) for name, entry in whole.items()),
      *parts,
    ]
    self.sizes = [
      pieces[-1].offset + pieces[-1].size if pieces else 0 for pieces in self._pieces
    ]

  def read_chunks(self, shard_id: int, offset: int, size: int) -> Iterator[bytes]:
    """Iterates over a part of what the data file would have, a slice at a time.

    Args:
      shard_id: the file's number.
      offset: where the part starts.
      size: how many bytes; it ends earlier where the data file would.

    Yields:
      The bytes.

    Raises:
      CheckpointNotFoundError: the file is gone.
      CorruptCheckpointError: it is damaged, or another than when it was opened.
    """
    pieces = self._pieces[shard_id]
    end = offset + size
    number = max(bisect.bisect([p.offset for p in pieces], offset) - 1, 0)
    while number < len(pieces) and pieces[number].offset < end:
      piece = pieces[number]
      data = self._value(shard_id, piece)
      begin = max(offset - piece.offset, 0)
      part = data[begin : end - piece.offset]
      if part:
        yield part
      number += 1

  def _read_file(self, shard: int) -> Iterator[tuple[_Meta, BundleEntry]]:
    path = self.paths[shard]
    offset = 0
    metas: dict[bytes, _Meta] = {}
    left: set[bytes] = set()
    for handle, items in table.read_blocks(self._files[shard], path):
      for key, value in items:
        if not key:
          metas = _read_meta(value)
          left = set(metas)
          self._metas.update(metas)
          continue
        meta = metas.get(key)
        if meta is None:
          name, tensor_slice = slices.parse_slice_key(key)
          raise CorruptCheckpointError(
            f"slice {tensor_slice} of {name!r} is not among those that the file lists"
          )
        left.discard(key)
        entry, data = _decode(value, meta)
        self._pieces[shard].append(_Piece(offset, len(data), handle, key))
        yield meta, entry._replace(shard_id=shard, offset=offset)
        offset += len(data)
    if left:
      meta = metas[min(left)]
      raise CorruptCheckpointError(
        f"slice {meta.tensor_slice} of {meta.name!r} is listed and is not there"
      )

  def _value(self, shard_id: int, piece: _Piece) -> bytes:
    path = self.paths[shard_id]
    cached = self._cached
    if cached is None or cached[:2] != (shard_id, piece.handle):
      items = table.read_block(self._files[shard_id], piece.handle, path)
      self._cached = cached = (shard_id, piece.handle, items)
    for key, value in cached[2]:
      if key == piece.key:
        _, data = _decode(value, self._metas[key])
        if len(data) == piece.size:
          return data
    raise CorruptCheckpointError(f"{path}: it is another file than before")


def _read_meta(data: bytes) -> dict[bytes, _Meta]:
  """What a file says of its slices, by their keys."""
  found: dict[bytes, _Meta] = {}
  for field in wire.read_fields(_only_field(data, 1, "SavedTensorSlices")):
    wire.expect(field, wire.LENGTH_DELIMITED, _META)
    if field.number == 2:
      _check_version(bytes(field.value))  # type: ignore[arg-type]
    elif field.number == 1:
      name, dtype = "", 0
      shape: tuple[int, ...] = ()
      own: list[TensorSlice] = []
      for part in wire.read_fields(field.value):  # type: ignore[arg-type]
        if part.number == 3:
          wire.expect(part, wire.VARINT, _META)
          dtype = part.value  # type: ignore[assignment]
          continue
        wire.expect(part, wire.LENGTH_DELIMITED, _META)
        if part.number == 1:
          name = wire.read_text(part, _META)
        elif part.number == 2:
          shape = parse_shape(part.value)  # type: ignore[arg-type]
        elif part.number == 4:
          own.append(TensorSlice.parse(part.value))  # type: ignore[arg-type]
      if not name or name.startswith("\0"):
        raise CorruptCheckpointError(f"a tensor is called {name!r}")
      for tensor_slice in own:
        slices.bounds(tensor_slice, shape)
        key = slices.slice_key(name, tensor_slice)
        if key in found:
          raise CorruptCheckpointError(f"{name!r} lists slice {tensor_slice} twice")
        found[key] = _Meta(name, tensor_slice, dtype, shape)
  return found


def _check_version(data: bytes) -> None:
  for field in wire.read_fields(data):
    if field.number == 2 and field.wire_type == wire.VARINT:
      wanted = int(field.value)
      if wanted <= _VERSION:
        continue
      raise UnsupportedCheckpointError(
        f"the checkpoint is for readers of format version {wanted} on, and this"
        f" reads version {_VERSION}; a newer release may read it"
      )


def _decode(value: bytes, meta: _Meta) -> tuple[BundleEntry, bytes]:
  """A slice's entry, without place, and the bytes that a data file would have."""
  where = f"{meta.name!r}, slice {meta.tensor_slice}"
  bounds = slices.bounds(meta.tensor_slice, meta.shape)
  shape = tuple(end - start for start, end in bounds)
  count = 1
  for size in shape:
    count *= size
  try:
    saved = memoryview(_only_field(value, 2, "SavedTensorSlices"))
    data, crc = _values(_only_field(saved, 3, _SLICE), meta.dtype, count)
  except CorruptCheckpointError as error:
    raise CorruptCheckpointError(f"{where}: {error}") from None
  return BundleEntry(meta.dtype, shape, size=len(data), crc32c=crc), data


def _values(proto: memoryview | bytes, dtype: int, count: int) -> tuple[bytes, int]:
  """The values of a TensorProto as a data file has them, and their checksum."""
  type_name = dtypes.name(dtype)
  if dtype == dtypes.STRING:
    wanted = _STRINGS
  else:
    wanted = _FIXED.get(type_name) or _VARINTS.get(type_name, 0)
  if not wanted:
    raise UnsupportedCheckpointError(
      f"tensors of type {type_name} do not occur in checkpoints of the format V1"
    )
  found: list[bytes] = []
  for field in wire.read_fields(proto):
    if field.number == wanted:
      wire.expect(field, wire.LENGTH_DELIMITED, "TensorProto")
      found.append(bytes(field.value))  # type: ignore[arg-type]
  if dtype == dtypes.STRING:
    _check_count(len(found), count, type_name)
    return strings.encode(found)
  data = b"".join(found)
  item_size = dtypes.item_size(dtype)
  assert item_size is not None
  if type_name not in _FIXED:
    data = _integers(data, item_size)
  _check_count(len(data) / item_size, count, type_name)
  return data, checksum.mask(checksum.crc32c(data))


def _check_count(found: float, count: int, type_name: str) -> None:
  if found != count:
    raise CorruptCheckpointError(
      f"{found:g} values of type {type_name}, expected {count}"
    )


def _integers(data: bytes, item_size: int) -> bytes:
  """The low bytes of each of many varints."""
  import numpy as np

  encoded = np.frombuffer(data, np.uint8)
  last = encoded < 128
  ends = np.flatnonzero(last)
  if encoded.size and not last[-1]:
    raise CorruptCheckpointError("truncated varint")
  if ends.size == encoded.size:  # A byte each.
    return encoded.astype(f"<u{item_size}").tobytes()
  starts = np.concatenate(([0], ends[:-1] + 1))
  lengths = ends - starts + 1
  if lengths.max() > _MAX_VARINT_SIZE:
    raise CorruptCheckpointError("varint too long")
  values = np.zeros(ends.size, np.uint64)
  for position in range(int(lengths.max())):
    has = lengths > position
    septet = encoded[starts[has] + position].astype(np.uint64) & np.uint64(127)
    values[has] |= septet << np.uint64(7 * position)
  return values.astype(f"<u{item_size}").tobytes()


def _only_field(
  message: bytes | memoryview, number: int, message_name: str
) -> bytes | memoryview:
  """The value of a message field; the others are left alone."""
  for field in wire.read_fields(message):
    if field.number == number:
      wire.expect(field, wire.LENGTH_DELIMITED, message_name)
      return field.value  # type: ignore[return-value]
  raise CorruptCheckpointError(f"{message_name} without its field {number}")
