"""Many keys at once: each a row of bytes that ends with zeros.

Two rows are compared eight bytes at a time, and all rows of a matrix with the row before
in one step. Rows sort as their keys do, where these differ in more than zeros at the end.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from estimator_ckpt.bundle.table import UnusualTable

# Longer keys and values are not worth rows of that size.
WIDEST = 1024
_WORD = 8


class KeyRows(NamedTuple):
  r"""Keys as rows.

  Attributes:
    rows: the bytes of each, and zeros up to a multiple of eight.
    sizes: how many bytes each key has.

  >>> rows = KeyRows.of([b"net/a", b"net/b\0"], ["net/bias"])
  >>> rows.keys()
  [b'net/a', b'net/b\x00', b'net/bias']
  >>> rows.shared_sizes()
  array([0, 4, 5])
  """

  rows: np.ndarray
  sizes: np.ndarray

  @classmethod
  def of(cls, keys: Sequence[bytes], texts: Sequence[str]) -> KeyRows:
    """Makes rows of keys.

    Args:
      keys: the first of them.
      texts: the others, of which many take less time than many keys.

    Raises:
      UnusualTable: a key is very long, or a text has a zero.
    """
    data = "\0".join([*texts, ""]).encode("utf-8", "surrogateescape")
    ends = np.flatnonzero(np.frombuffer(data, np.uint8) == 0)
    if len(ends) != len(texts):
      raise UnusualTable
    sizes = np.append(list(map(len, keys)), np.diff(np.append(-1, ends)) - 1)
    sizes = sizes.astype(np.int64)
    width = row_width(int(sizes.max()))
    data = b"\0".join([*keys, data, bytes(width)])
    rows = windows(data, np.cumsum(sizes + 1) - sizes - 1, width)
    words = rows.view(np.uint64)
    words &= masks(width).view(np.uint64)[sizes]
    return cls(rows, sizes)

  def key(self, number: int) -> bytes:
    """One of the keys."""
    return self.rows[number, : self.sizes[number]].tobytes()

  def keys(self) -> list[bytes]:
    """The keys."""
    keys: list[Any] = self.rows.view(f"S{self.rows.shape[1]}").ravel().tolist()
    # These have lost zeros at the end.
    ends_with_zero = self.rows[np.arange(len(keys)), self.sizes - 1] == 0
    for row in np.flatnonzero(ends_with_zero).tolist():
      keys[row] = keys[row].ljust(int(self.sizes[row]), b"\0")
    return keys

  def is_same(self, other: KeyRows) -> bool:
    """Whether two matrices have the same keys."""
    return np.array_equal(self.sizes, other.sizes) and np.array_equal(
      self.rows.view(np.uint64), other.rows.view(np.uint64)
    )

  def shared_sizes(self) -> np.ndarray:
    """How many bytes each key has in common with the one before.

    Raises:
      UnusualTable: the keys are not in strictly ascending order.
    """
    shared = np.zeros(len(self.sizes), np.int64)
    words = self.rows.view("<u8")
    differing = words[1:] ^ words[:-1]
    word = (differing != 0).argmax(1)  # the first that differs
    numbers = np.arange(len(word))
    bits = differing[numbers, word]
    # The lowest bit that differs. Its number is the exponent of a power of two.
    lowest = bits & (~bits + np.uint64(1))
    same = _WORD * word + ((np.frexp(lowest.astype(np.float64))[1] - 1) >> 3)
    same[bits == 0] = 0
    before, behind = self.rows[numbers, same], self.rows[numbers + 1, same]
    # Zeros behind a short key are not its own.
    is_longer = self.sizes[1:] > self.sizes[:-1]
    if not np.where(bits == 0, is_longer, before < behind).all():
      raise UnusualTable
    shorter = np.minimum(self.sizes[1:], self.sizes[:-1])
    shared[1:] = np.where(bits == 0, shorter, np.minimum(same, shorter))
    return shared


def windows(data: bytes, starts: np.ndarray, width: int) -> np.ndarray:
  """Rows of bytes, each from another place.

  Args:
    data: where they are. What is missing behind its end is zeros or anything.
    starts: where each row begins.
    width: how many bytes it has.

  Raises:
    UnusualTable: that is very wide.
  """
  width = max(width, 1)
  last = len(data) - width
  if width > WIDEST or last < 0:
    raise UnusualTable
  # As one item each they are copied faster than byte by byte.
  every: np.ndarray = np.ndarray((last + 1,), f"V{width}", data, strides=(1,))
  rows = every[np.minimum(starts, last)].view(np.uint8).reshape(-1, width)
  for row in np.flatnonzero(starts > last).tolist():
    rest = np.frombuffer(data, np.uint8, offset=int(starts[row]))
    rows[row, : len(rest)] = rest
  return rows


def joined(parts: Sequence[tuple[np.ndarray, np.ndarray]]) -> bytes:
  """Some bytes of rows that stand side by side, row by row.

  Args:
    parts: rows, and a mask of the bytes that are taken of them.

  >>> letters, numbers = np.array([[97, 98], [99, 100]]), np.array([[49], [50]])
  >>> mask = np.array([[True, False], [True, True]])
  >>> parts = [(letters, mask), (numbers, numbers > 0)]
  >>> joined([(rows.astype(np.uint8), taken) for rows, taken in parts])
  b'a1cd2'
  """
  rows, taken = (np.concatenate(column, 1) for column in zip(*parts))
  return rows[taken].tobytes()


def row_width(size: int) -> int:
  """How wide rows are of which the longest key has a size."""
  return max(-(-size // _WORD), 1) * _WORD


@functools.lru_cache(maxsize=8)
def masks(width: int) -> np.ndarray:
  """For each size up to a width, a row of bytes that has ones in so many of the first."""
  return np.where(np.arange(width) < np.arange(width + 1)[:, None], 255, 0).astype(
    np.uint8
  )
