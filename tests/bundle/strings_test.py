from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from estimator_ckpt.bundle import checksum, strings
from estimator_ckpt.errors import CorruptCheckpointError


def test_a_tensor_has_known_bytes():
  data, crc = strings.encode([b"ab", b""])
  lengths = (2).to_bytes(4, "little") + (0).to_bytes(4, "little")
  stored = checksum.mask(checksum.crc32c(lengths)).to_bytes(4, "little")
  assert data == b"\x02\x00" + stored + b"ab"
  assert crc == checksum.mask(checksum.crc32c(lengths + stored + b"ab"))


@given(st.lists(st.binary(max_size=200), max_size=20))
def test_tensors_round_trip(elements):
  data, crc = strings.encode(elements)
  assert strings.decode(data, len(elements), crc) == elements
  assert strings.decode(data, len(elements), None) == elements


@given(st.lists(st.binary(max_size=5), max_size=5), st.data())
def test_every_flipped_bit_is_found(elements, data):
  encoded, crc = strings.encode(elements)
  position = data.draw(st.integers(0, len(encoded) - 1))
  damaged = bytearray(encoded)
  damaged[position] ^= 1 << data.draw(st.integers(0, 7))
  with pytest.raises(CorruptCheckpointError):
    strings.decode(bytes(damaged), len(elements), crc)


def test_the_elements_checksum_is_the_entrys():
  data, crc = strings.encode([b"abc"])
  with pytest.raises(CorruptCheckpointError, match="checksum of the strings does not"):
    strings.decode(data[:-1] + b"d", 1, crc)
  assert strings.decode(data[:-1] + b"d", 1, None) == [b"abd"]


@pytest.mark.parametrize(
  "data, count, problem",
  [
    (b"", 1, "1 strings cannot stand in 0 bytes"),
    (bytes(10), 2**60, "1152921504606846976 strings cannot stand in 10 bytes"),
    (b"\xff" * 3 + bytes(4), 3, "truncated varint|more than 64 bits"),
    (strings.encode([b"abc"])[0][:-1], 1, "add up to 3 bytes, and 2 are there"),
    (strings.encode([b"abc"])[0] + b"d", 1, "add up to 3 bytes, and 4 are there"),
    (b"\x00\x00\x00\x00\x00", 1, "checksum of the strings' lengths"),
    (strings.encode([])[0], 1, "1 strings cannot stand in 4 bytes"),
    (b"\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01" + bytes(9), 1, "add up to"),
  ],
)
def test_damaged_tensors_are_refused(data, count, problem):
  with pytest.raises(CorruptCheckpointError, match=problem):
    strings.decode(data, count, None)


@given(st.binary(max_size=40), st.integers(0, 10))
def test_any_bytes_are_a_tensor_or_a_checkpoint_error(data, count):
  try:
    elements = strings.decode(data, count, None)
  except CorruptCheckpointError:
    return
  assert len(elements) == count
  assert data.endswith(b"".join(elements))


def test_lengths_above_32_bits_are_checked_as_64():
  # The test only needs the checksum; it makes no string of 4 GB.
  assert strings._fixed([1, 2**32]) == (1).to_bytes(4, "little") + (2**32).to_bytes(
    8, "little"
  )
