"""crc32c (Castagnoli) and the mask TensorFlow stores it under.

A checksum of bytes that hold checksums is weak, so a stored crc is masked: rotated
right by 15 bits, plus 0xa282ead8.
"""

from __future__ import annotations

import google_crc32c

_MASK_DELTA = 0xA282EAD8
_POLYNOMIAL = 0x82F63B78
_UINT32 = 0xFFFFFFFF


def crc32c(data: bytes) -> int:
  """The crc32c of some bytes.

  Args:
    data: the bytes.

  Returns:
    An unsigned 32-bit number.

  >>> hex(crc32c(b"123456789"))
  '0xe3069283'
  """
  return google_crc32c.value(data)


def extend(crc: int, data: bytes) -> int:
  """The crc32c of bytes that follow others.

  Args:
    crc: the crc32c of what came before.
    data: what follows.

  Returns:
    The crc32c of both together.

  >>> extend(crc32c(b"1234"), b"56789") == crc32c(b"123456789")
  True
  """
  return google_crc32c.extend(crc, data)


def combine(crc: int, following: int, size: int) -> int:
  """The crc32c of two runs of bytes of which only the checksums are known.

  Args:
    crc: the crc32c of the first.
    following: the crc32c of the second.
    size: how many bytes the second has; the time grows with its logarithm.

  Returns:
    The crc32c of both together.

  >>> combine(crc32c(b"1234"), crc32c(b"56789"), 5) == crc32c(b"123456789")
  True
  """
  # A crc is the remainder of a polynomial over bits, and bytes behind it multiply it
  # by x**8 each. The highest bit is the coefficient of x**0.
  power = 1 << 30
  shift = 1 << 31
  exponent = 8 * size
  while exponent:
    if exponent & 1:
      shift = _multiply(shift, power)
    power = _multiply(power, power)
    exponent >>= 1
  return _multiply(shift, crc) ^ following


def _multiply(a: int, b: int) -> int:
  """The product of two polynomials modulo that of crc32c."""
  product = 0
  while a:
    if a & 1 << 31:
      product ^= b
    a = a << 1 & _UINT32
    b = b >> 1 ^ (_POLYNOMIAL if b & 1 else 0)
  return product


def mask(crc: int) -> int:
  """A crc as it is stored.

  >>> unmask(mask(0x12345678)) == 0x12345678
  True
  """
  return ((crc >> 15 | crc << 17) + _MASK_DELTA) & _UINT32


def unmask(masked: int) -> int:
  """The crc behind a stored one; the inverse of `mask`."""
  rotated = (masked - _MASK_DELTA) & _UINT32
  return (rotated >> 17 | rotated << 15) & _UINT32
