"""The protocol buffer messages of a bundle's index.

    BundleHeaderProto   num_shards=1  endianness=2  version=3
    VersionDef          producer=1  min_consumer=2  bad_consumers=3 (repeated)
    BundleEntryProto    dtype=1  shape=2  shard_id=3  offset=4  size=5
                        crc32c=6 (fixed32, masked)  slices=7 (repeated)
    TensorShapeProto    dim=2 {size=1}  unknown_rank=3
    TensorSliceProto    extent=1 {start=1  length=2}; no length: the full dimension

Fields not named here are kept as they stand and written back. Errors name only what
is wrong; whoever knows the file and the key adds them.
"""

from __future__ import annotations

import functools

from estimator_ckpt import value_classes
from estimator_ckpt.bundle import coding, wire
from estimator_ckpt.errors import CorruptCheckpointError, UnsupportedCheckpointError
from estimator_ckpt.value_classes import NamedTuple

_ENTRY = "BundleEntryProto"
_HEADER = "BundleHeaderProto"
_SHAPE = "TensorShapeProto"
_SLICE = "TensorSliceProto"
_VERSION = "VersionDef"

LITTLE_ENDIAN = 0
BIG_ENDIAN = 1

# The version of the bundle format this package reads, as TensorFlow's own readers.
_FORMAT_VERSION = 1
# As many as a data file's name has digits for; more are not believed.
_MAX_SHARDS = 99999
# TensorFlow's tensors have at most 254 dimensions.
_MAX_RANK = 254
_INT32_MAX = 2**31 - 1


@value_classes.dataclass(frozen=True)
class BundleHeader:
  """The header of a bundle, under the key `""`.

  Attributes:
    num_shards: the number of data files.
    endianness: `LITTLE_ENDIAN` or `BIG_ENDIAN`, of the tensors' bytes.
    producer: the format's version that wrote the bundle.
    min_consumer: the oldest version that may read it.
    bad_consumers: versions that must not.
    unknown: fields of other numbers, as they stand.
  """

  num_shards: int = 1
  endianness: int = LITTLE_ENDIAN
  producer: int = 1
  min_consumer: int = 0
  bad_consumers: tuple[int, ...] = ()
  unknown: bytes = b""

  @classmethod
  def parse(cls, data: bytes) -> BundleHeader:
    """Reads a header.

    Args:
      data: the message's bytes.

    Returns:
      The header.

    Raises:
      CorruptCheckpointError: the bytes are no such message.
    """
    num_shards = endianness = producer = min_consumer = 0
    bad_consumers: list[int] = []
    unknown = b""
    for field in wire.read_fields(data):
      number = field.number
      if number == 1:
        num_shards = _int32(field, _HEADER)
      elif number == 2:
        endianness = _int32(field, _HEADER)
      elif number == 3:
        wire.expect(field, wire.LENGTH_DELIMITED, _HEADER)
        for part in wire.read_fields(field.value):  # type: ignore[arg-type]
          if part.number == 1:
            producer = _int32(part, _VERSION)
          elif part.number == 2:
            min_consumer = _int32(part, _VERSION)
          elif part.number == 3:
            values = wire.read_packed_varints(part, _VERSION)
            bad_consumers.extend(map(wire.signed32, values))
      else:
        unknown += data[field.start : field.end]
    return cls(
      num_shards, endianness, producer, min_consumer, tuple(bad_consumers), unknown
    )

  def check(self) -> None:
    """Checks that the bundle can be read.

    Raises:
      UnsupportedCheckpointError: its version or byte order is not supported.
      CorruptCheckpointError: it says what no writer does.
    """
    if self.endianness == BIG_ENDIAN:
      raise UnsupportedCheckpointError(
        "the checkpoint was written on a big-endian machine, and its tensors are in that"
        " byte order; read it with TensorFlow on such a machine and save it elsewhere"
      )
    if self.endianness:
      raise CorruptCheckpointError(f"header: unknown byte order {self.endianness}")
    if self.min_consumer > _FORMAT_VERSION or _FORMAT_VERSION in self.bad_consumers:
      raise UnsupportedCheckpointError(
        f"the checkpoint is for readers of format version {self.min_consumer} on"
        f" (excluded: {list(self.bad_consumers)}), and this reads version {_FORMAT_VERSION};"
        " a newer release may read it"
      )
    if not 0 < self.num_shards <= _MAX_SHARDS:
      raise CorruptCheckpointError(f"header: {self.num_shards} data files")

  def serialize(self) -> bytes:
    """The message's bytes."""
    version = bytearray()
    if self.producer:
      wire.write_int(version, 1, self.producer)
    if self.min_consumer:
      wire.write_int(version, 2, self.min_consumer)
    if self.bad_consumers:
      packed = bytearray()
      for consumer in self.bad_consumers:
        wire.write_varint(packed, consumer)
      wire.write_bytes(version, 3, packed)
    out = bytearray()
    if self.num_shards:
      wire.write_int(out, 1, self.num_shards)
    if self.endianness:
      wire.write_int(out, 2, self.endianness)
    wire.write_bytes(out, 3, version)
    return bytes(out) + self.unknown


@value_classes.dataclass(frozen=True)
class TensorSlice:
  """A box cut out of a tensor.

  Attributes:
    extents: a (start, length) pair for each dimension; (0, -1) is all of it.

  >>> TensorSlice(((4, 4), (0, -1)))
  TensorSlice('4,4:-')
  """

  extents: tuple[tuple[int, int], ...]

  @classmethod
  def parse(cls, data: bytes) -> TensorSlice:
    """Reads a slice.

    Args:
      data: the message's bytes.

    Returns:
      The slice.

    Raises:
      CorruptCheckpointError: the bytes are no such message, or a start or a length
        is negative.
    """
    extents = []
    for field in wire.read_fields(data):
      if field.number == 1:
        wire.expect(field, wire.LENGTH_DELIMITED, _SLICE)
        start, length = 0, -1
        for part in wire.read_fields(field.value):  # type: ignore[arg-type]
          if part.number == 1:
            start = _int64(part, _SLICE)
          elif part.number == 2:
            length = _int64(part, _SLICE)
            if length < 0:
              raise CorruptCheckpointError(f"a slice has the length {length}")
        if start < 0 or (length == -1 and start):
          raise CorruptCheckpointError(f"a slice has the start {start}")
        extents.append((start, length))
        if len(extents) > _MAX_RANK:
          raise CorruptCheckpointError(f"a slice has more than {_MAX_RANK} dimensions")
    return cls(tuple(extents))

  def serialize(self) -> bytes:
    """The message's bytes."""
    out = bytearray()
    for start, length in self.extents:
      extent = bytearray()
      if start:
        wire.write_int(extent, 1, start)
      if length != -1:
        wire.write_int(extent, 2, length)
      wire.write_bytes(out, 1, extent)
    return bytes(out)

  def __str__(self) -> str:
    return ":".join(
      "-" if length == -1 else f"{start},{length}" for start, length in self.extents
    )

  def __repr__(self) -> str:
    return f"TensorSlice({str(self)!r})"


class BundleEntry(NamedTuple):
  """Where a tensor's bytes are, and what they are.

  Attributes:
    dtype: TensorFlow's number of the type; see `estimator_ckpt.bundle.dtypes`.
    shape: the dimensions.
    shard_id: the data file.
    offset: where the bytes start there.
    size: how many bytes.
    crc32c: their checksum, masked as it is stored.
    slices: for the entry of a partitioned tensor, its slices, whose own entries
      have the bytes; what stands in shard, offset, size and crc32c is then nothing.
    unknown: fields of other numbers, as they stand.
  """

  dtype: int
  shape: tuple[int, ...]
  shard_id: int = 0
  offset: int = 0
  size: int = 0
  crc32c: int = 0
  slices: tuple[TensorSlice, ...] = ()
  unknown: bytes = b""

  @property
  def content(self) -> tuple[object, ...]:
    """The part of the entry that is equal for tensors with equal bytes.

    >>> a, b = (BundleEntry(1, (2,), offset=at, size=8, crc32c=5) for at in (0, 8))
    >>> a.content == b.content
    True
    """
    return self.dtype, self.shape, self.size, self.crc32c, self.slices

  @classmethod
  def parse(cls, data: bytes) -> BundleEntry:
    """Reads an entry.

    Args:
      data: the message's bytes.

    Returns:
      The entry.

    Raises:
      CorruptCheckpointError: the bytes are no such message, or a number in it cannot
        be, as a negative size.
    """
    # What TensorFlow writes has known fields and short lengths. It is read in place:
    # each command and each restore parses every entry, and 200,000 of them take 0.34 s
    # of processor time so, and 0.77 s by `wire.read_fields`.
    numbers = [0, 0, 0, 0, 0, 0]
    shape: tuple[int, ...] = ()
    position = 0
    end = len(data)
    while position < end:
      tag = data[position]
      if tag == 0x35 and position + 5 <= end:
        numbers[0] = int.from_bytes(data[position + 1 : position + 5], "little")
        position += 5
      elif tag == 0x12 and position + 1 < end and data[position + 1] < 64:
        start = position + 2
        position = start + data[position + 1]
        if position > end:
          return cls._parse_any(data)
        shape = cached_shape(data[start:position])
      elif tag in (0x08, 0x18, 0x20, 0x28):
        position += 1
        if position < end and data[position] < 128:
          value = data[position]
          position += 1
        else:
          value, position = coding.read_varint(data, position, end)
        if value > _INT32_MAX and tag != 0x20 and tag != 0x28 or value >> 63:
          return cls._parse_any(data)
        numbers[tag >> 3] = value
      else:
        return cls._parse_any(data)
    return cls(numbers[1], shape, numbers[3], numbers[4], numbers[5], numbers[0])

  @classmethod
  def _parse_any(cls, data: bytes) -> BundleEntry:
    """Reads an entry with slices, or anything else that may stand there."""
    dtype = shard_id = offset = size = crc = 0
    shape: tuple[int, ...] = ()
    slices: list[TensorSlice] = []
    unknown = b""
    for field in wire.read_fields(data):
      number, wire_type, value, start, end = field
      if number == 2:
        wire.expect(field, wire.LENGTH_DELIMITED, _ENTRY)
        shape = cached_shape(value) if len(value) < 64 else parse_shape(value)  # type: ignore[arg-type]
      elif number == 6:
        wire.expect(field, wire.FIXED32, _ENTRY)
        crc = value  # type: ignore[assignment]
      elif number == 7:
        wire.expect(field, wire.LENGTH_DELIMITED, _ENTRY)
        slices.append(TensorSlice.parse(value))  # type: ignore[arg-type]
      elif number == 1:
        dtype = _int32(field, _ENTRY)
      elif number == 3:
        shard_id = _int32(field, _ENTRY)
      elif number == 4:
        offset = _int64(field, _ENTRY)
      elif number == 5:
        size = _int64(field, _ENTRY)
      else:
        unknown += data[start:end]
    if shard_id < 0 or offset < 0 or size < 0:
      raise CorruptCheckpointError(
        f"an entry has shard {shard_id}, offset {offset}, size {size}"
      )
    return cls(dtype, shape, shard_id, offset, size, crc, tuple(slices), unknown)

  def serialize(self) -> bytes:
    """The message's bytes."""
    shape = bytearray()
    for size in self.shape:
      dim = bytearray()
      if size:
        wire.write_int(dim, 1, size)
      wire.write_bytes(shape, 2, dim)
    out = bytearray()
    if self.dtype:
      wire.write_int(out, 1, self.dtype)
    wire.write_bytes(out, 2, shape)
    if self.shard_id:
      wire.write_int(out, 3, self.shard_id)
    if self.offset:
      wire.write_int(out, 4, self.offset)
    if self.size:
      wire.write_int(out, 5, self.size)
    if self.crc32c:
      wire.write_fixed32(out, 6, self.crc32c)
    for tensor_slice in self.slices:
      wire.write_bytes(out, 7, tensor_slice.serialize())
    return bytes(out) + self.unknown


def parse_shape(data: bytes) -> tuple[int, ...]:
  """The dimensions in a TensorShapeProto.

  Args:
    data: the message's bytes.

  Returns:
    The dimensions.

  Raises:
    CorruptCheckpointError: the bytes are no such message, or the rank is unknown.
  """
  dims: list[int] = []
  for field in wire.read_fields(data):
    if field.number == 2:
      wire.expect(field, wire.LENGTH_DELIMITED, _SHAPE)
      size = 0
      for part in wire.read_fields(field.value):  # type: ignore[arg-type]
        if part.number == 1:
          size = _int64(part, _SHAPE)
      if size < 0:
        raise CorruptCheckpointError(f"a shape has the dimension {size}")
      dims.append(size)
      if len(dims) > _MAX_RANK:
        raise CorruptCheckpointError(f"a shape has more than {_MAX_RANK} dimensions")
    elif field.number == 3 and field.value:
      raise CorruptCheckpointError("a shape has an unknown rank")
  return tuple(dims)


# Most tensors of a checkpoint have one of a few shapes.
cached_shape = functools.lru_cache(maxsize=1024)(parse_shape)


def _int32(field: wire.Field, message_name: str) -> int:
  if field.wire_type != wire.VARINT:
    wire.expect(field, wire.VARINT, message_name)
  return wire.signed32(field.value)  # type: ignore[arg-type]


def _int64(field: wire.Field, message_name: str) -> int:
  if field.wire_type != wire.VARINT:
    wire.expect(field, wire.VARINT, message_name)
  return wire.signed64(field.value)  # type: ignore[arg-type]
