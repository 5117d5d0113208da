"""Uncompresses snappy, which blocks of an index file may be in.

TensorFlow reads such blocks. It never wrote them into a bundle. Its first versions wrote
them into checkpoints of the format V1, and this module is kept for these: without it they
cannot be read. It is short rather than fast, 50 MB a second, and spares every user a
dependency. The layout:

    varint     the uncompressed size
    elements   by the low two bits of their first byte
      00       literal: length - 1 in the upper six bits; 60..63 there say that it is
               in the next 1..4 bytes
      01       copy of 4..11 bytes, offset of 11 bits: three in the tag, one byte
      10       copy of 1..64 bytes, offset in two bytes
      11       copy of 1..64 bytes, offset in four bytes
"""

from __future__ import annotations

from estimator_ckpt.bundle import coding
from estimator_ckpt.errors import CorruptCheckpointError

# Three bytes make at most a copy of 64.
_MAX_EXPANSION = 22


def decompress(data: bytes) -> bytes:
  """Uncompresses a snappy block.

  Args:
    data: the compressed bytes.

  Returns:
    The bytes that were compressed.

  Raises:
    CorruptCheckpointError: the data is damaged, or declares a size that it cannot
      have.

  >>> decompress(bytes.fromhex("06 00 61 12 01 00".replace(" ", "")))
  b'aaaaaa'
  """
  size, position = coding.read_varint(data, 0)
  end = len(data)
  if size > _MAX_EXPANSION * (end - position):
    raise CorruptCheckpointError(
      f"snappy: {end - position} bytes cannot hold the {size} they declare"
    )
  out = bytearray()
  while position < end:
    tag = data[position]
    position += 1
    kind = tag & 3
    if kind == 0:
      length = tag >> 2
      if length >= 60:
        width = length - 59
        if position + width > end:
          raise CorruptCheckpointError("snappy: truncated literal")
        length = int.from_bytes(data[position : position + width], "little")
        position += width
      length += 1
      if length > end - position:
        raise CorruptCheckpointError("snappy: truncated literal")
      if length > size - len(out):
        raise CorruptCheckpointError("snappy: more bytes than declared")
      out += data[position : position + length]
      position += length
      continue
    width = 4 if kind == 3 else kind
    if position + width > end:
      raise CorruptCheckpointError("snappy: truncated copy")
    offset = int.from_bytes(data[position : position + width], "little")
    position += width
    if kind == 1:
      length = (tag >> 2 & 7) + 4
      offset |= tag >> 5 << 8
    else:
      length = (tag >> 2) + 1
    if not 0 < offset <= len(out):
      raise CorruptCheckpointError("snappy: copy from before the start")
    if length > size - len(out):
      raise CorruptCheckpointError("snappy: more bytes than declared")
    start = len(out) - offset
    if offset >= length:
      out += out[start : start + length]
    else:
      # The copy runs into itself: it repeats the last `offset` bytes.
      pattern = bytes(out[start:])
      out += (pattern * (length // offset + 1))[:length]
  if len(out) != size:
    raise CorruptCheckpointError(f"snappy: {len(out)} bytes, {size} were declared")
  return bytes(out)
