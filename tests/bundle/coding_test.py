from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from estimator_ckpt.bundle import coding
from estimator_ckpt.errors import CorruptCheckpointError


@pytest.mark.parametrize(
  "value, encoded",
  [
    (0, "00"),
    (127, "7f"),
    (128, "8001"),
    (300, "ac02"),
    (2**32 - 1, "ffffffff0f"),
    (2**64 - 1, "ffffffffffffffffff01"),
  ],
)
def test_varints_have_known_bytes(value, encoded):
  assert coding.encode_varint(value).hex() == encoded
  assert coding.read_varint(bytes.fromhex(encoded), 0) == (value, len(encoded) // 2)


@given(st.integers(0, 2**64 - 1), st.binary(max_size=3), st.binary(max_size=3))
def test_varints_round_trip_in_the_midst_of_other_bytes(value, before, after):
  encoded = coding.encode_varint(value)
  data = before + encoded + after
  end = len(before) + len(encoded)
  assert coding.read_varint(data, len(before)) == (value, end)
  assert coding.read_varint(memoryview(data), len(before), end) == (value, end)


@pytest.mark.parametrize("data", ["", "80", "ffff", "ffffffffffffffffff"])
def test_truncated_varints_are_refused(data):
  with pytest.raises(CorruptCheckpointError, match="truncated varint"):
    coding.read_varint(bytes.fromhex(data), 0)


def test_a_varint_must_end_before_the_given_end():
  with pytest.raises(CorruptCheckpointError, match="truncated varint"):
    coding.read_varint(bytes.fromhex("ac02"), 0, 1)


@pytest.mark.parametrize("data", ["ffffffffffffffffff02", "80" * 10 + "00", "ff" * 40])
def test_varints_of_more_than_64_bits_are_refused(data):
  with pytest.raises(CorruptCheckpointError, match="more than 64 bits"):
    coding.read_varint(bytes.fromhex(data), 0)


def test_encoding_a_varint_of_more_than_64_bits_is_an_error():
  with pytest.raises(ValueError, match="does not fit"):
    coding.encode_varint(2**64)


@pytest.mark.parametrize(
  "value, encoded", [(0, "00"), (1, "0101"), (255, "01ff"), (256, "020100")]
)
def test_ordered_nums_have_known_bytes(value, encoded):
  assert coding.encode_ordered_num(value).hex() == encoded
  assert coding.read_ordered_num(bytes.fromhex(encoded), 0) == (
    value,
    len(encoded) // 2,
  )


@pytest.mark.parametrize(
  "value, encoded",
  [
    (0, "80"),
    (1, "81"),
    (-1, "7f"),
    (63, "bf"),
    (64, "c040"),
    (-64, "40"),
    (-65, "3fbf"),
    (8191, "dfff"),
    (8192, "e02000"),
    (2**63 - 1, "ffc07fffffffffffffff"),
    (-(2**63), "003f8000000000000000"),
  ],
)
def test_ordered_signed_nums_have_known_bytes(value, encoded):
  assert coding.encode_ordered_signed(value).hex() == encoded
  end = len(encoded) // 2
  assert coding.read_ordered_signed(bytes.fromhex(encoded), 0) == (value, end)


_int64s = st.integers(-(2**63), 2**63 - 1) | st.integers(-300, 300)
_uint64s = st.integers(0, 2**64 - 1) | st.integers(0, 300)
_texts = st.binary(max_size=20) | st.lists(
  st.sampled_from([b"\x00", b"\xff", b"\x01", b"a"]), max_size=12
).map(b"".join)


@given(_int64s, st.binary(max_size=4))
def test_ordered_signed_nums_round_trip(value, after):
  encoded = coding.encode_ordered_signed(value)
  assert coding.read_ordered_signed(b"xy" + encoded + after, 2) == (
    value,
    2 + len(encoded),
  )


@given(_int64s, _int64s)
def test_ordered_signed_nums_sort_as_their_values_do(a, b):
  encoded = coding.encode_ordered_signed
  assert (encoded(a) < encoded(b)) == (a < b)


@given(_uint64s, _uint64s)
def test_ordered_nums_sort_as_their_values_do(a, b):
  assert (coding.encode_ordered_num(a) < coding.encode_ordered_num(b)) == (a < b)


@given(_texts, _texts)
def test_ordered_strings_sort_as_their_values_do(a, b):
  assert (coding.encode_ordered_string(a) < coding.encode_ordered_string(b)) == (a < b)


@given(_texts, st.binary(max_size=4))
def test_ordered_strings_round_trip(value, after):
  encoded = coding.encode_ordered_string(value)
  assert coding.read_ordered_string(encoded + after, 0) == (value, len(encoded))


def test_ordered_strings_have_known_bytes():
  assert coding.encode_ordered_string(b"") == b"\x00\x01"
  assert coding.encode_ordered_string(b"a\x00b\xffc") == b"a\x00\xffb\xff\x00c\x00\x01"
  # An escaped 0xff and a 0x01 contain the bytes of an end mark, but end nothing.
  assert coding.read_ordered_string(b"\xff\x00\x01\x00\x01", 0) == (b"\xff\x01", 5)


@pytest.mark.parametrize(
  "read, data, message",
  [
    (coding.read_ordered_num, b"", "truncated"),
    (coding.read_ordered_num, b"\x02\x01", "truncated"),
    (coding.read_ordered_num, b"\x09" + bytes(9), "of 9 bytes"),
    (coding.read_ordered_num, b"\x02\x00\x01", "leading zero"),
    (coding.read_ordered_signed, b"", "truncated"),
    (coding.read_ordered_signed, b"\xc0", "truncated"),
    (coding.read_ordered_signed, b"\xff\xff" + bytes(20), "more than 64 bits"),
    (coding.read_ordered_signed, b"\xff\xe0" + bytes(20), "more than 64 bits"),
    (coding.read_ordered_signed, b"\xff\xc1" + bytes(8), "more than 64 bits"),
    (coding.read_ordered_signed, b"\xc0\x01", "shortest"),
    (coding.read_ordered_string, b"abc", "without an end"),
    (coding.read_ordered_string, b"abc\x00", "bad escape"),
    (coding.read_ordered_string, b"\xff\x02\x00\x01", "bad escape"),
  ],
)
def test_damaged_ordered_codes_are_refused(read, data, message):
  with pytest.raises(CorruptCheckpointError, match=message):
    read(data, 0)


@given(st.binary(max_size=14))
def test_whatever_reads_as_an_ordered_code_is_its_only_spelling(data):
  for read, encode in [
    (coding.read_ordered_num, coding.encode_ordered_num),
    (coding.read_ordered_signed, coding.encode_ordered_signed),
    (coding.read_ordered_string, coding.encode_ordered_string),
  ]:
    try:
      value, end = read(data, 0)
    except CorruptCheckpointError:
      continue
    assert encode(value) == data[:end]


@given(st.lists(st.integers(0, 2**64 - 1) | st.integers(0, 2**30)))
def test_many_varints_are_read_as_each_by_itself(values):
  assert coding.read_varints(list(map(coding.encode_varint, values))) == values


@pytest.mark.parametrize("count", [0, 1, 127, 128, 129, 256, 16383, 16385, 40_000])
def test_the_first_varints_are_those_of_each_by_itself(count):
  assert coding.first_varints(count) == list(map(coding.encode_varint, range(count)))


@given(st.lists(st.binary(max_size=6)))
def test_many_texts_round_trip_whatever_bytes_they_are(values):
  texts = coding.decode_texts(values)
  assert texts == [value.decode("utf-8", "surrogateescape") for value in values]
  assert coding.encode_texts(texts) == values
