from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from estimator_ckpt.bundle import wire
from estimator_ckpt.errors import CorruptCheckpointError

_numbers = st.integers(1, 2**29 - 1) | st.integers(1, 20)
_fields = st.lists(
  st.one_of(
    st.tuples(st.just(wire.VARINT), _numbers, st.integers(0, 2**64 - 1)),
    st.tuples(st.just(wire.LENGTH_DELIMITED), _numbers, st.binary(max_size=200)),
    st.tuples(st.just(wire.FIXED32), _numbers, st.integers(0, 2**32 - 1)),
  ),
  max_size=8,
)
_WRITERS = {
  wire.VARINT: wire.write_int,
  wire.LENGTH_DELIMITED: wire.write_bytes,
  wire.FIXED32: wire.write_fixed32,
}


def _write(fields):
  out = bytearray()
  for wire_type, number, value in fields:
    _WRITERS[wire_type](out, number, value)
  return bytes(out)


@given(_fields)
def test_fields_round_trip_in_order_and_cover_the_message(fields):
  message = _write(fields)
  read = list(wire.read_fields(message))
  assert [(f.wire_type, f.number, f.value) for f in read] == fields
  assert b"".join(message[f.start : f.end] for f in read) == message


@given(_fields)
def test_a_memoryview_reads_the_same(fields):
  message = _write(fields)
  read = list(wire.read_fields(memoryview(message)))
  assert [(f.number, f.value) for f in read] == [(n, v) for _, n, v in fields]


def test_known_bytes():
  # The two examples of the protocol buffer documentation.
  out = bytearray()
  wire.write_int(out, 1, 150)
  wire.write_bytes(out, 2, b"testing")
  assert out.hex() == "08960112" + "0774657374696e67"


@given(st.integers(-(2**63), 2**63 - 1))
def test_negative_numbers_are_64_bits_wide(value):
  out = bytearray()
  wire.write_int(out, 3, value)
  (field,) = wire.read_fields(out)
  assert wire.signed64(field.value) == value
  if value < 0:
    assert len(out) == 11


def test_an_int32_is_the_low_32_bits():
  assert wire.signed32(2**64 - 1) == -1
  assert wire.signed32(5) == 5
  assert wire.signed32(2**31) == -(2**31)


def test_text_that_is_not_utf8_survives():
  (field,) = wire.read_fields(b"\x0a\x03a\xff\xfe")
  text = wire.read_text(field, "Example")
  out = bytearray()
  wire.write_bytes(out, 1, text.encode("utf-8", "surrogateescape"))
  assert out == b"\x0a\x03a\xff\xfe"


@pytest.mark.parametrize(
  "message, numbers",
  [("0a03018002", [1, 256]), ("0801", [1]), ("0a00", [])],
)
def test_repeated_numbers_are_read_packed_or_not(message, numbers):
  (field,) = wire.read_fields(bytes.fromhex(message))
  assert wire.read_packed_varints(field, "Example") == numbers


def test_fixed64_is_read():
  (field,) = wire.read_fields(bytes.fromhex("090102000000000000"))
  assert (field.wire_type, field.value) == (wire.FIXED64, 513)


@pytest.mark.parametrize(
  "message, problem",
  [
    ("08", "truncated varint"),
    ("0a", "truncated varint"),
    ("0a05616263", "field 1 has 5 bytes, 3 are left"),
    ("0affffffffffffffffff01", "field 1 has 18446744073709551615 bytes, 0 are left"),
    ("3501", "field 6 has 4 bytes, 1 are left"),
    ("3901", "field 7 has 8 bytes, 1 are left"),
    ("0b", "wire type 3"),
    ("0c", "wire type 4"),
    ("0e01", "wire type 6"),
    ("0001", "field number 0"),
    ("ffffffffffffffffff01", "field number"),
  ],
)
def test_damaged_messages_are_refused(message, problem):
  with pytest.raises(CorruptCheckpointError, match=problem):
    list(wire.read_fields(bytes.fromhex(message)))


@given(st.binary(max_size=40))
def test_any_bytes_are_fields_or_a_checkpoint_error(data):
  try:
    for field in wire.read_fields(data):
      assert 0 <= field.start < field.end <= len(data)
  except CorruptCheckpointError:
    pass


def test_a_field_of_another_wire_type_is_named():
  (field,) = wire.read_fields(bytes.fromhex("0801"))
  with pytest.raises(CorruptCheckpointError, match="Example: field 1 has wire type 0"):
    wire.read_text(field, "Example")
