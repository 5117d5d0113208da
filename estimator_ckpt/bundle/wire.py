"""The protocol buffer wire format, as far as a checkpoint's messages need it.

A message is a sequence of fields: a varint tag (field number * 8 + wire type), then

    wire type 0  varint               wire type 2  varint length, that many bytes
    wire type 1  8 bytes, fixed64     wire type 5  4 bytes, fixed32

`scan` is the one loop over a message's fields; `read_fields` names what it finds.
Readers keep the bytes of fields they do not know, so that a message of a newer
TensorFlow survives being read and written. Writers append to a bytearray. Importing
the protobuf package would cost more than everything this package does to a
checkpoint, and generated code is bound to one of its versions.

Errors here name only what is wrong; whoever knows the file and the key adds them.
"""

from __future__ import annotations

from collections.abc import Iterator

from estimator_ckpt.bundle import coding
from estimator_ckpt.errors import CorruptCheckpointError
from estimator_ckpt.value_classes import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
  from typing import Any

VARINT = 0
FIXED64 = 1
LENGTH_DELIMITED = 2
FIXED32 = 5

_INT64_SIGN = 1 << 63
_INT64_MODULUS = 1 << 64
_MAX_TAG = (2**29 - 1) << 3 | 7


class Field(NamedTuple):
  """One field of a message.

  Attributes:
    number: the field number.
    wire_type: `VARINT`, `FIXED64`, `LENGTH_DELIMITED` or `FIXED32`.
    value: an unsigned int, or the bytes of a length-delimited field.
    start: where the field, tag included, begins in the message.
    end: the position behind it: `message[start:end]` is the field as it stands.
  """

  number: int
  wire_type: int
  value: int | bytes | memoryview
  start: int
  end: int


def scan(message: bytes | memoryview, position: int = 0) -> list[tuple[int, Any, int]]:
  """Reads the fields of a message, in the order they stand.

  Plain tuples: a graph of 100,000 variables has a million fields, and a `Field` for
  each would double the time.

  Args:
    message: the message's bytes. Slices of it are the values of length-delimited
      fields, so a memoryview yields memoryviews.
    position: where the first field begins.

  Returns:
    For each field its tag; its value, an unsigned int or the bytes; and the position
    behind it. A field begins where the one before it ends.

  Raises:
    CorruptCheckpointError: a field that goes past the end, a wire type that is not
      used any more, a field number that cannot be.

  >>> scan(bytes.fromhex("0801120161"))
  [(8, 1, 2), (18, b'a', 5)]
  """
  read_varint = coding.read_varint
  fields: list[tuple[int, Any, int]] = []
  append = fields.append
  end = len(message)
  while position < end:
    tag = message[position]
    position += 1
    if tag > 127:
      tag, position = read_varint(message, position - 1, end)
    if not 7 < tag <= _MAX_TAG:
      raise CorruptCheckpointError(f"field number {tag >> 3} in a message")
    wire_type = tag & 7
    if wire_type == LENGTH_DELIMITED or wire_type == VARINT:
      if position < end and message[position] < 128:
        number = message[position]
        position += 1
      else:
        number, position = read_varint(message, position, end)
      if wire_type == VARINT:
        append((tag, number, position))
        continue
      size = number
    elif wire_type == FIXED32 or wire_type == FIXED64:
      size = 4 if wire_type == FIXED32 else 8
    else:
      raise CorruptCheckpointError(f"wire type {wire_type} in a message")
    begin = position
    position += size
    if position > end:
      raise CorruptCheckpointError(
        f"truncated message: field {tag >> 3} has {size} bytes, {end - begin} are left"
      )
    data = message[begin:position]
    is_data = wire_type == LENGTH_DELIMITED
    append((tag, data if is_data else int.from_bytes(data, "little"), position))
  return fields


def read_head(data: bytes | memoryview, position: int = 0) -> tuple[int, int, int]:
  """Reads the beginning of a varint or length-delimited field.

  Args:
    data: a message, or only its first bytes where the field is too large to be read.
    position: where the field begins.

  Returns:
    The field's tag; its value, or its size in bytes; and the position behind these.

  Raises:
    CorruptCheckpointError: the bytes end there, or a number has more than 64 bits.

  >>> read_head(bytes.fromhex("12ac02"))
  (18, 300, 3)
  """
  tag, position = coding.read_varint(data, position)
  number, position = coding.read_varint(data, position)
  return tag, number, position


def read_fields(message: bytes | memoryview) -> Iterator[Field]:
  """Iterates over the fields of a message, in the order they stand.

  Args:
    message: the message's bytes; see `scan`.

  Yields:
    One `Field` each.

  Raises:
    CorruptCheckpointError: see `scan`.

  >>> [(f.number, f.value) for f in read_fields(bytes.fromhex("0801120161"))]
  [(1, 1), (2, b'a')]
  """
  start = 0
  for tag, value, end in scan(message):
    yield Field(tag >> 3, tag & 7, value, start, end)
    start = end


def expect(field: Field, wire_type: int, message_name: str) -> None:
  """Checks that a known field has the wire type its number calls for.

  Args:
    field: as `read_fields` yields it.
    wire_type: what it has to have.
    message_name: the message's name, for the error.

  Raises:
    CorruptCheckpointError: it has another.
  """
  if field.wire_type != wire_type:
    raise CorruptCheckpointError(
      f"{message_name}: field {field.number} has wire type {field.wire_type},"
      f" expected {wire_type}"
    )


def read_text(field: Field, message_name: str) -> str:
  """The text of a string field; bytes that are not UTF-8 survive a round trip.

  Args:
    field: as `read_fields` yields it.
    message_name: the message's name, for the error.

  Returns:
    The text, with bytes that are not UTF-8 as lone surrogates.

  Raises:
    CorruptCheckpointError: the field is not length-delimited.
  """
  if field.wire_type != LENGTH_DELIMITED:
    expect(field, LENGTH_DELIMITED, message_name)
  return str(field.value, "utf-8", "surrogateescape")  # type: ignore[arg-type]


def signed64(value: int) -> int:
  """A varint's value as int64: negative numbers are written as 2**64 - n."""
  return value - _INT64_MODULUS if value >= _INT64_SIGN else value


def signed32(value: int) -> int:
  """A varint's value as int32, which keeps the low 32 bits."""
  value &= 0xFFFFFFFF
  return value - (1 << 32) if value >= 1 << 31 else value


def read_packed_varints(field: Field, message_name: str) -> list[int]:
  """The numbers of a repeated integer field, packed or not.

  Args:
    field: one occurrence of the field.
    message_name: the message's name, for the error.

  Returns:
    The numbers it holds, unsigned.

  Raises:
    CorruptCheckpointError: another wire type, or truncated.
  """
  if field.wire_type == VARINT:
    return [field.value]  # type: ignore[list-item]
  expect(field, LENGTH_DELIMITED, message_name)
  data = field.value
  values = []
  position = 0
  while position < len(data):  # type: ignore[arg-type]
    value, position = coding.read_varint(data, position)  # type: ignore[arg-type]
    values.append(value)
  return values


def write_varint(out: bytearray, value: int) -> None:
  """Appends a bare varint, as packed fields hold them; negative values as int64.

  Args:
    out: where to append.
    value: from -2**63 to 2**64 - 1.
  """
  out += coding.encode_varint(value + _INT64_MODULUS if value < 0 else value)


def write_int(out: bytearray, number: int, value: int) -> None:
  """Appends an integer, enum or bool field; negative values as int32 and int64 do.

  Args:
    out: where to append.
    number: the field number.
    value: from -2**63 to 2**64 - 1.
  """
  out += coding.encode_varint(number << 3)
  write_varint(out, value)


def write_bytes(out: bytearray, number: int, value: bytes | bytearray) -> None:
  """Appends a bytes field or an embedded message.

  Args:
    out: where to append.
    number: the field number.
    value: the bytes.
  """
  out += coding.encode_varint(number << 3 | LENGTH_DELIMITED)
  out += coding.encode_varint(len(value))
  out += value


def write_fixed32(out: bytearray, number: int, value: int) -> None:
  """Appends a fixed32 field.

  Args:
    out: where to append.
    number: the field number.
    value: from 0 to 2**32 - 1.
  """
  out += coding.encode_varint(number << 3 | FIXED32)
  out += value.to_bytes(4, "little")
