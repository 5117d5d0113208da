"""Numbers and strings as LevelDB tables, protocol buffers and OrderedCode write them.

Varints (little-endian groups of seven bits) appear in tables, in messages and
before string tensors. OrderedCode appears in one place only, the keys of tensor
slices, where encoded keys have to sort as their values do:

    num         one length byte, then that many bytes, big-endian
    string      0x00 -> 00 ff, 0xff -> ff 00, ends with 00 01
    signed num  n bytes hold -2^(7n-1) .. 2^(7n-1)-1: two's complement,
                big-endian, with the first n bits inverted

Errors here name only what is wrong; whoever knows the file and the key adds them.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Sequence

from estimator_ckpt.errors import CorruptCheckpointError

_MAX_VARINT_BYTES = 10
_ONE_BYTE = tuple(bytes((value,)) for value in range(128))
_FIRST_BYTE = tuple(bytes((value | 128,)) for value in range(128))
_LOW_BITS = bytes(value & 127 for value in range(256))
_SPECIAL = b"[\x00\xff]"
_UINT64_MAX = 2**64 - 1
# So many values are converted at once, in memory that the processor has at hand.
BATCH = 4096

TYPE_CHECKING = False
if TYPE_CHECKING:
  from typing import TypeVar

  _T = TypeVar("_T")


def encode_varint(value: int) -> bytes:
  """A non-negative integer below 2**64 as a varint.

  Args:
    value: the number.

  Returns:
    One to ten bytes.

  >>> encode_varint(300).hex()
  'ac02'
  """
  if value < 128:
    return _ONE_BYTE[value]
  if value < 1 << 14:
    return bytes((value & 127 | 128, value >> 7))
  if value < 1 << 21:
    return bytes((value & 127 | 128, value >> 7 & 127 | 128, value >> 14))
  if value > _UINT64_MAX:
    raise ValueError(f"{value} does not fit a varint")
  out = bytearray()
  while value > 127:
    out.append(value & 127 | 128)
    value >>= 7
  out.append(value)
  return bytes(out)


def read_varint(
  data: bytes | memoryview, position: int, end: int | None = None
) -> tuple[int, int]:
  """Reads one varint of at most 64 bits.

  Args:
    data: where to read.
    position: where the varint starts.
    end: where it has to have ended; by default the end of `data`.

  Returns:
    The number, and the position behind it.

  Raises:
    CorruptCheckpointError: the bytes end inside the varint, or it has more than
      64 bits.
  """
  if end is None:
    end = len(data)
  value = shift = 0
  while position < end:
    byte = data[position]
    position += 1
    if byte < 128:
      value |= byte << shift
      if value > _UINT64_MAX:
        break
      return value, position
    value |= (byte & 127) << shift
    shift += 7
    if shift == 7 * _MAX_VARINT_BYTES:
      break
  else:
    raise CorruptCheckpointError("truncated varint")
  raise CorruptCheckpointError("varint of more than 64 bits")


def read_varints(varints: Sequence[bytes]) -> list[int]:
  r"""Reads many varints of at most 64 bits, in a fraction of the time of one by one.

  Args:
    varints: the bytes of each, and nothing behind it; none for 0.

  Returns:
    The numbers.

  Raises:
    CorruptCheckpointError: one of them has more than 64 bits.

  >>> read_varints([b"\x05", b"\xac\x02"])
  [5, 300]
  """
  size = max(map(len, varints), default=0) or 1
  if size > 5:
    return [read_varint(varint or b"\0", 0)[0] for varint in varints]
  low = b"".join([varint.ljust(size, b"\0") for varint in varints]).translate(_LOW_BITS)
  numbers = list(low[::size])
  for place in range(1, size):
    shift = 7 * place
    numbers = [
      number | byte << shift for number, byte in zip(numbers, low[place::size])
    ]
  return numbers


def first_varints(count: int) -> list[bytes]:
  """The varints of 0, 1 and so on, in a tenth of the time of one by one.

  Args:
    count: how many.

  >>> [varint.hex() for varint in first_varints(3)]
  ['00', '01', '02']
  """
  varints = list(_ONE_BYTE)
  for rest in map(encode_varint, range(1, -(-count // 128))):
    varints += [low + rest for low in _FIRST_BYTE]
  return varints[:count]


def batches(values: Sequence[_T]) -> Iterator[Sequence[_T]]:
  """Iterates over parts of many values, `BATCH` in each but the last."""
  return (values[start : start + BATCH] for start in range(0, len(values), BATCH))


def decode_texts(values: Sequence[bytes]) -> list[str]:
  """Many texts, in a fifth of the time of one by one.

  Args:
    values: UTF-8; what is not becomes lone surrogates.

  Returns:
    The texts.
  """
  found: list[str] = []
  for batch in batches(values):
    texts = b"\0".join(batch).decode("utf-8", "surrogateescape").split("\0")
    if len(texts) != len(batch):  # One has a zero byte.
      texts = [value.decode("utf-8", "surrogateescape") for value in batch]
    found += texts
  return found


def encode_texts(texts: Sequence[str]) -> list[bytes]:
  """Many texts as UTF-8: the inverse of `decode_texts`."""
  found: list[bytes] = []
  for batch in batches(texts):
    values = "\0".join(batch).encode("utf-8", "surrogateescape").split(b"\0")
    if len(values) != len(batch):
      values = [text.encode("utf-8", "surrogateescape") for text in batch]
    found += values
  return found


def normal_text(text: str) -> str:
  r"""The text that the bytes of a text are read as; nearly always the same.

  Args:
    text: any text. Two of its lone surrogates may stand for one character.

  >>> normal_text("dense/\udcc3\udca9")
  'dense/é'
  """
  if text.isascii():
    return text
  return text.encode("utf-8", "surrogateescape").decode("utf-8", "surrogateescape")


def are_normal(texts: Collection[str]) -> bool:
  """Whether many texts have no lone surrogates, so that each is the `normal_text`."""
  try:
    return all(map(str.isascii, texts)) or bool("".join(texts).encode())
  except UnicodeEncodeError:
    return False


def in_byte_order(texts: Iterable[str]) -> list[str]:
  """Texts in the order of their bytes, which is that of a table's keys.

  Args:
    texts: see `normal_text`.
  """
  found = sorted(texts)
  # Text sorts as UTF-8 does, but for the bytes that lone surrogates stand for.
  if not are_normal(found):
    found.sort(key=lambda text: text.encode("utf-8", "surrogateescape"))
  return found


def encode_ordered_num(value: int) -> bytes:
  """A non-negative integer below 2**64 in OrderedCode.

  >>> encode_ordered_num(0).hex(), encode_ordered_num(258).hex()
  ('00', '020102')
  """
  length = (value.bit_length() + 7) // 8
  return bytes((length,)) + value.to_bytes(length, "big")


def read_ordered_num(data: bytes, position: int) -> tuple[int, int]:
  """Reads a number that `encode_ordered_num` wrote; returns it and the position behind.

  Raises:
    CorruptCheckpointError: truncated, longer than 8 bytes, or with a leading zero.
  """
  if position >= len(data):
    raise CorruptCheckpointError("truncated ordered number")
  length = data[position]
  end = position + 1 + length
  if length > 8:
    raise CorruptCheckpointError(f"ordered number of {length} bytes")
  if end > len(data):
    raise CorruptCheckpointError("truncated ordered number")
  if length and data[position + 1] == 0:
    raise CorruptCheckpointError("ordered number with a leading zero")
  return int.from_bytes(data[position + 1 : end], "big"), end


def encode_ordered_string(value: bytes) -> bytes:
  r"""Bytes in OrderedCode.

  >>> encode_ordered_string(b"a\0").hex()
  '6100ff0001'
  """
  escaped = (part.replace(b"\x00", b"\x00\xff") for part in value.split(b"\xff"))
  return b"\xff\x00".join(escaped) + b"\x00\x01"


def read_ordered_string(data: bytes, position: int) -> tuple[bytes, int]:
  """Reads what `encode_ordered_string` wrote; returns it and the position behind.

  Raises:
    CorruptCheckpointError: no end mark, or an escape that does not exist.
  """
  parts = []
  special_byte = re.compile(_SPECIAL)
  while True:
    match = special_byte.search(data, position)
    if match is None:
      raise CorruptCheckpointError("ordered string without an end")
    special = match.start()
    parts.append(data[position:special])
    pair = data[special : special + 2]
    position = special + 2
    if pair == b"\x00\x01":
      return b"".join(parts), position
    if pair == b"\x00\xff":
      parts.append(b"\x00")
    elif pair == b"\xff\x00":
      parts.append(b"\xff")
    else:
      raise CorruptCheckpointError(f"ordered string with the bad escape {pair.hex()}")


def encode_ordered_signed(value: int) -> bytes:
  """A signed 64-bit integer in OrderedCode.

  >>> encode_ordered_signed(0).hex(), encode_ordered_signed(-1).hex()
  ('80', '7f')
  """
  magnitude = ~value if value < 0 else value
  length = magnitude.bit_length() // 7 + 1
  header = ((1 << length) - 1) << (7 * length)
  number = int.from_bytes(value.to_bytes(length, "big", signed=True), "big")
  return (number ^ header).to_bytes(length, "big")


def read_ordered_signed(data: bytes, position: int) -> tuple[int, int]:
  """Reads what `encode_ordered_signed` wrote; returns it and the position behind.

  Raises:
    CorruptCheckpointError: truncated, more than 64 bits, or not the shortest form.
  """
  if position >= len(data):
    raise CorruptCheckpointError("truncated ordered signed number")
  start = int.from_bytes(data[position : position + 2].ljust(2, b"\x00"), "big")
  if data[position] < 128:
    start ^= 0xFFFF
  # As many bytes as the first two start with equal bits.
  length = 16 - (start ^ 0xFFFF).bit_length()
  end = position + length
  if length > _MAX_VARINT_BYTES:
    raise CorruptCheckpointError("ordered signed number of more than 64 bits")
  if end > len(data):
    raise CorruptCheckpointError("truncated ordered signed number")
  raw = data[position:end]
  header = ((1 << length) - 1) << (7 * length)
  plain = int.from_bytes(raw, "big") ^ header
  value = int.from_bytes(plain.to_bytes(length, "big"), "big", signed=True)
  if not -(2**63) <= value < 2**63:
    raise CorruptCheckpointError("ordered signed number of more than 64 bits")
  if encode_ordered_signed(value) != raw:
    raise CorruptCheckpointError("ordered signed number not in its shortest form")
  return value, end
