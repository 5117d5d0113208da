"""How a tensor's values are spread: standard deviation, norm, histogram."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
  import numpy as np

BINS = 24

_CHUNK_SIZE = 1 << 20


@dataclasses.dataclass(frozen=True)
class Distribution:
  """How finite values are spread. Complex numbers count by their magnitude.

  Attributes:
    standard_deviation: that of the population; None where it is no finite double.
    norm: the Euclidean norm; likewise.
    low: the left edge of the first bin; None where no value is finite.
    high: the right edge of the last bin.
    bins: how many values are in each bin; all bins are equally wide. None are there
      where all values are equal, or are too far apart for a double.
  """

  standard_deviation: float | None
  norm: float | None
  low: float | None
  high: float | None
  bins: tuple[int, ...]


def distribution(array: np.ndarray, bins: int = BINS) -> Distribution:
  """Looks at the values of an array of numbers, a few megabytes at a time.

  Args:
    array: as a checkpoint reader gives it; not of strings.
    bins: how many bins the histogram has.

  Returns:
    The distribution. NaN and the infinities are left out.

  >>> import numpy as np
  >>> found = distribution(np.array([1.0, 3.0, np.nan], np.float32), bins=2)
  >>> found.standard_deviation, found.bins
  (1.0, (1, 1))
  """
  import numpy as np

  count, total, low, high = 0, 0.0, math.inf, -math.inf
  with np.errstate(over="ignore", invalid="ignore"):
    for chunk in _finite(array):
      count += chunk.size
      total += float(chunk.sum())
      low, high = min(low, float(chunk.min())), max(high, float(chunk.max()))
    if not count:
      return Distribution(None, None, None, None, ())
    mean = total / count
    counts = np.zeros(bins, np.int64)
    deviations = squares = 0.0
    has_bins = 0 < high - low < math.inf
    for chunk in _finite(array):
      deviations += float(np.square(chunk - mean).sum())
      squares += float(np.square(chunk).sum())
      if has_bins:
        # Not numpy.histogram, which fails where bins are no wider than doubles tell.
        places = ((chunk - low) / (high - low) * bins).astype(np.int64)
        counts += np.bincount(np.minimum(places, bins - 1), minlength=bins)
  return Distribution(
    _root(deviations / count),
    _root(squares),
    low,
    high,
    tuple(counts.tolist()) if has_bins else (),
  )


def norm(array: np.ndarray) -> float | None:
  """The Euclidean norm of an array's finite values.

  Args:
    array: as a checkpoint reader gives it; not of strings.

  Returns:
    The norm; None where it is no finite double, or no value is finite.
  """
  import numpy as np

  count, squares = 0, 0.0
  with np.errstate(over="ignore"):
    for chunk in _finite(array):
      count += chunk.size
      squares += float(np.square(chunk).sum())
  return _root(squares) if count else None


def _finite(array: np.ndarray) -> Iterator[np.ndarray]:
  """The finite values as doubles, chunk by chunk; no chunk is empty."""
  import numpy as np

  flat = array.reshape(-1)
  for start in range(0, flat.size, _CHUNK_SIZE):
    chunk = flat[start : start + _CHUNK_SIZE]
    if chunk.dtype.kind == "c":
      chunk = np.abs(chunk)
    chunk = chunk.astype(np.float64)
    chunk = chunk[np.isfinite(chunk)]
    if chunk.size:
      yield chunk


def _root(square: float) -> float | None:
  return math.sqrt(square) if math.isfinite(square) else None
