"""The entries of many tensors that are spelled as TensorFlow does, read by NumPy.

NumPy goes through the fields of all entries at once, in a third of the time of the
regular expression in `entry_columns`. That takes less than NumPy's import, so commands
that have no other use for NumPy leave it alone.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from estimator_ckpt.bundle import varint_arrays
from estimator_ckpt.value_classes import NamedTuple

# Tags: field number * 8 + wire type (0 a varint, 2 length-delimited, 5 of four bytes).
_DTYPE = 1 << 3
_SHAPE = 2 << 3 | 2
_SHARD_ID = 3 << 3
_OFFSET = 4 << 3
_SIZE = 5 << 3
_CRC = 6 << 3 | 5
_CRC_SIZE = 4
_MAX_BITS = 63


class PlainEntries(NamedTuple):
  """What entries say, in their order.

  Attributes:
    heads: the fields in front of the others: type, shape and data file.
    offsets: where the bytes of each start.
    sizes: how many bytes each has.
    crcs: their checksums, masked as they are stored.
  """

  heads: list[bytes]
  offsets: np.ndarray
  sizes: np.ndarray
  crcs: np.ndarray


def read(values: Sequence[bytes]) -> PlainEntries | None:
  """Reads entries.

  Args:
    values: their messages' bytes, one or more.

  Returns:
    What they say, of which the heads are to be checked; None where one of them has other
    fields, or is damaged.
  """
  data = b"".join(values)
  if len(data) < _CRC_SIZE:
    return None
  file = np.frombuffer(data, np.uint8)
  ends = np.cumsum(np.fromiter(map(len, values), np.int64, len(values)))
  starts = np.append(0, ends[:-1])

  def has(tag: int, at: np.ndarray) -> np.ndarray:
    return file.take(at, mode="clip") == tag

  def number(tag: int, at: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The field with a tag, or 0 where it is left out; and what is behind it."""
    is_there = has(tag, at)
    found, behind = varint_arrays.read(file, at + 1, _MAX_BITS, -1)
    return np.where(is_there, found, 0), np.where(is_there, behind, at)

  dtypes = file.take(starts + 1, mode="clip")
  shape_sizes = file.take(starts + 3, mode="clip")
  is_plain = has(_DTYPE, starts) & (dtypes < 128)
  is_plain &= has(_SHAPE, starts + 2) & (shape_sizes < 128)
  _, behind_head = number(_SHARD_ID, starts + 4 + shape_sizes)
  offsets, at = number(_OFFSET, behind_head)
  sizes, at = number(_SIZE, at)
  is_plain &= (
    (offsets >= 0) & (sizes >= 0) & has(_CRC, at) & (at + 1 + _CRC_SIZE == ends)
  )
  if not is_plain.all():
    return None
  words: np.ndarray = np.ndarray((len(data) - 3,), "<u4", data, strides=(1,))
  heads = [value[:size] for value, size in zip(values, (behind_head - starts).tolist())]
  return PlainEntries(heads, offsets, sizes, words[at + 1])
