"""String tensors as a data file holds them.

    varint    length of each element
    fixed32   masked crc32c over the lengths, each as fixed32 (as fixed64 above 2**32-1)
    bytes     the elements, one behind the other

The entry's crc32c is not that of these bytes: it runs over the lengths as fixed
numbers, the stored fixed32, and the elements.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

from estimator_ckpt.bundle import checksum, coding
from estimator_ckpt.errors import CorruptCheckpointError

_UINT32_MAX = 2**32 - 1
_CHECKSUM_SIZE = 4


def encode(elements: Sequence[bytes]) -> tuple[bytes, int]:
  """Encodes a string tensor.

  Args:
    elements: its elements in row-major order.

  Returns:
    The bytes for the data file, and the masked checksum for the entry.

  >>> encode([b"ab", b""])[0].hex()
  '020078270b346162'
  """
  lengths = [len(element) for element in elements]
  crc = checksum.crc32c(_fixed(lengths))
  stored = checksum.mask(crc).to_bytes(_CHECKSUM_SIZE, "little")
  joined = b"".join(elements)
  crc = checksum.extend(checksum.extend(crc, stored), joined)
  varints = b"".join(map(coding.encode_varint, lengths))
  return varints + stored + joined, checksum.mask(crc)


def decode(data: bytes, count: int, crc: int | None) -> list[bytes]:
  """Decodes a string tensor.

  Args:
    data: the bytes the entry points at.
    count: how many elements the entry's shape has.
    crc: the entry's masked checksum; None leaves the elements' bytes unchecked.

  Returns:
    The elements.

  Raises:
    CorruptCheckpointError: truncated, more bytes than elements, or a checksum that
      does not match.
  """
  # An element takes at least one byte, so a count is not believed beyond that.
  if count > len(data) - _CHECKSUM_SIZE:
    raise CorruptCheckpointError(f"{count} strings cannot stand in {len(data)} bytes")
  lengths = []
  position = 0
  end = len(data) - _CHECKSUM_SIZE
  for _ in range(count):
    length, position = coding.read_varint(data, position, end)
    lengths.append(length)
  begin = position + _CHECKSUM_SIZE
  if len(data) - begin != sum(lengths):
    raise CorruptCheckpointError(
      f"the strings' lengths add up to {sum(lengths)} bytes,"
      f" and {len(data) - begin} are there"
    )
  stored = data[position:begin]
  lengths_crc = checksum.crc32c(_fixed(lengths))
  if int.from_bytes(stored, "little") != checksum.mask(lengths_crc):
    raise CorruptCheckpointError("the checksum of the strings' lengths does not match")
  joined = data[begin:]
  if crc is not None:
    found = checksum.extend(checksum.extend(lengths_crc, stored), joined)
    if checksum.mask(found) != crc:
      raise CorruptCheckpointError("the checksum of the strings does not match")
  elements = []
  start = 0
  for length in lengths:
    elements.append(joined[start : start + length])
    start += length
  return elements


def _fixed(lengths: Sequence[int]) -> bytes:
  if not lengths or max(lengths) <= _UINT32_MAX:
    return struct.pack(f"<{len(lengths)}I", *lengths)
  return b"".join(
    length.to_bytes(4 if length <= _UINT32_MAX else 8, "little") for length in lengths
  )
