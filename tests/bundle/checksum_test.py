from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from estimator_ckpt.bundle import checksum


@pytest.mark.parametrize(
  "data, crc",
  [
    # RFC 3720, appendix B.4.
    (bytes(32), 0x8A9136AA),
    (b"\xff" * 32, 0x62A8AB43),
    (bytes(range(32)), 0x46DD794E),
    (bytes(range(31, -1, -1)), 0x113FDB5C),
    (
      bytes.fromhex(
        "01c00000 00000000 00000000 00000000 14000000 00000400"
        "00000014 00000018 28000000 00000000 02000000 00000000"
      ),
      0xD9963A56,
    ),
    # The check value of the catalogue of parametrised CRC algorithms.
    (b"123456789", 0xE3069283),
    (b"", 0),
  ],
)
def test_published_vectors(data, crc):
  assert checksum.crc32c(data) == crc


def test_different_bytes_have_different_checksums():
  assert checksum.crc32c(b"a") != checksum.crc32c(b"foo")


@given(st.binary(max_size=50), st.binary(max_size=50))
def test_extending_is_the_checksum_of_both(a, b):
  assert checksum.extend(checksum.crc32c(a), b) == checksum.crc32c(a + b)


@given(st.binary(max_size=50), st.binary(max_size=50))
def test_combining_is_the_checksum_of_both(a, b):
  first, second = checksum.crc32c(a), checksum.crc32c(b)
  assert checksum.combine(first, second, len(b)) == checksum.crc32c(a + b)


def test_combining_takes_any_size():
  zeros = bytes(1 << 20)
  crc = checksum.crc32c(b"abc")
  following = checksum.crc32c(zeros)
  assert checksum.combine(crc, following, 1 << 20) == checksum.crc32c(b"abc" + zeros)
  assert 0 <= checksum.combine(crc, following, 2**63) < 2**32


def test_masking_rotates_and_adds():
  # (0x12345678 rotated right by 15) + 0xa282ead8
  assert checksum.mask(0x12345678) == 0x4F730F40
  assert checksum.mask(0) == 0xA282EAD8


@given(st.integers(0, 2**32 - 1))
def test_unmasking_is_the_inverse_of_masking(crc):
  assert checksum.unmask(checksum.mask(crc)) == crc
  assert checksum.mask(crc) != crc
  assert checksum.mask(checksum.mask(crc)) != crc
