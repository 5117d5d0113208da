"""Many varints, read and written by NumPy in a few steps for all of them."""

from __future__ import annotations

import numpy as np


def read(
  file: np.ndarray, at: np.ndarray, max_bits: int, too_large: int
) -> tuple[np.ndarray, np.ndarray]:
  r"""Reads a varint at each of many places.

  Args:
    file: the bytes. Behind the last one, that one comes again and again.
    at: where each varint starts.
    max_bits: how many bits a number may have, a multiple of 7 below 64.
    too_large: what is returned for a number that has more.

  Returns:
    The numbers, and the positions behind them.

  >>> file = np.frombuffer(b"\x05\xac\x02\xff\xff\xff\x01", np.uint8)
  >>> read(file, np.array([0, 1, 3]), 21, -1)
  (array([  5, 300,  -1]), array([1, 3, 6]))
  """
  byte = file.take(at, mode="clip").astype(np.int64)
  numbers, at = byte & 127, at + 1
  goes_on = np.flatnonzero(byte > 127)
  shift = 7
  while len(goes_on):
    if shift == max_bits:
      numbers[goes_on] = too_large
      break
    byte = file.take(at[goes_on], mode="clip").astype(np.int64)
    numbers[goes_on] |= (byte & 127) << shift
    at[goes_on] += 1
    goes_on = goes_on[byte > 127]
    shift += 7
  return numbers, at


def sizes(numbers: np.ndarray) -> np.ndarray:
  """How many bytes each of many numbers from 0 to 2**63 - 1 takes.

  >>> sizes(np.array([0, 127, 128, 16384]))
  array([1, 1, 2, 3])
  """
  found = np.ones(len(numbers), np.int64)
  left = numbers >> 7
  while left.any():
    found += left > 0
    left = left >> 7
  return found


def encode(numbers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """Many numbers from 0 to 2**63 - 1 as varints.

  Args:
    numbers: one or more.

  Returns:
    A row of bytes for each, and a mask of those that the varint has.

  >>> rows, mask = encode(np.array([5, 300]))
  >>> rows[mask].tobytes().hex()
  '05ac02'
  """
  places = np.arange(int(sizes(numbers[[numbers.argmax()]])[0]))
  groups = numbers[:, None] >> 7 * places
  goes_on = groups > 127
  mask = groups > 0
  mask[:, 0] = True
  return (groups & 127 | goes_on * 128).astype(np.uint8), mask
