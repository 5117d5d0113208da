"""How far two tensors of one shape are from each other."""

from __future__ import annotations

import dataclasses
import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
  import numpy as np

_CHUNK_SIZE = 1 << 20


@dataclasses.dataclass(frozen=True)
class Distance:
  """How far two tensors are from each other, where both have finite values.

  Attributes:
    norm: the Euclidean norm of the difference; None where it is no finite double.
    relative: the same, divided by the norm of the first tensor; None where that is zero.
    largest: the largest difference of two elements; None where none can be compared.
    changed: how many elements differ. NaN equals NaN.
  """

  norm: float | None
  relative: float | None
  largest: float | None
  changed: int


def distance(a: np.ndarray, b: np.ndarray) -> Distance:
  """Compares two arrays of numbers, a few megabytes at a time.

  Args:
    a: an array.
    b: another of the same shape; its type may be another.

  Returns:
    Their distance.

  >>> import numpy as np
  >>> distance(np.array([3.0, 4.0]), np.array([3.0, 4.5]))
  Distance(norm=0.5, relative=0.1, largest=0.5, changed=1)
  """
  import numpy as np

  a, b = a.reshape(-1), b.reshape(-1)
  wide = np.complex128 if "c" in (a.dtype.kind, b.dtype.kind) else np.float64
  squares = own = 0.0
  largest: float | None = None
  changed = 0
  with np.errstate(over="ignore", invalid="ignore"):
    for start in range(0, a.size, _CHUNK_SIZE):
      raw = a[start : start + _CHUNK_SIZE], b[start : start + _CHUNK_SIZE]
      # Whole numbers of 64 bits differ where the doubles nearest to them do not.
      differs = (raw[0] != raw[1]) & ((raw[0] == raw[0]) | (raw[1] == raw[1]))
      changed += int(np.count_nonzero(differs))
      x, y = raw[0].astype(wide), raw[1].astype(wide)
      gap = np.abs(x - y)
      size = np.abs(x)
      finite = np.isfinite(gap)
      gap, size = gap[finite], size[finite]
      if gap.size:
        squares += float(np.square(gap).sum())
        own += float(np.square(size).sum())
        largest = max(largest or 0.0, float(gap.max()))
  norm = math.sqrt(squares) if math.isfinite(squares) and largest is not None else None
  relative = None
  if norm is not None and 0 < own < math.inf:
    relative = norm / math.sqrt(own)
  return Distance(norm, relative, largest, changed)
