"""A tensor's values in a few numbers."""

from __future__ import annotations

import math

from estimator_ckpt import value_classes

TYPE_CHECKING = False
if TYPE_CHECKING:
  from typing import Any, TypeAlias

  import numpy as np

Value: TypeAlias = "int | float | bytes"


_CHUNK_SIZE = 1 << 20


@value_classes.dataclass(frozen=True)
class ValueSummary:
  """A tensor's values in a few numbers. Complex numbers count by their magnitude.

  Attributes:
    count: how many there are.
    minimum: the smallest that is a number; of strings, the first in order of bytes.
      None where there is none.
    maximum: the largest.
    mean: the mean of the finite ones; None for strings, and where there is none.
    zeros: how many are zero; of strings, empty.
    nans: how many are not a number.
    infinities: how many are infinite.
  """

  count: int
  minimum: Value | None
  maximum: Value | None
  mean: float | None
  zeros: int
  nans: int = 0
  infinities: int = 0

  def as_dict(self) -> dict[str, Any]:
    """The summary as texts and numbers; None for NaN and the infinities."""
    return {
      "count": self.count,
      "min": _plain(self.minimum),
      "max": _plain(self.maximum),
      "mean": self.mean,
      "zeros": self.zeros,
      "nans": self.nans,
      "infinities": self.infinities,
    }


def _plain(value: Value | None) -> int | float | str | None:
  if isinstance(value, bytes):
    return value.decode("utf-8", "backslashreplace")
  if isinstance(value, float) and not math.isfinite(value):
    return None
  return value


def summarize(array: np.ndarray) -> ValueSummary:
  """Looks at every value of an array, a few megabytes at a time.

  Args:
    array: a tensor as a checkpoint reader gives it, of any shape and type.

  Returns:
    The extremes, the mean, and counts.

  >>> import numpy as np
  >>> summary = summarize(np.array([0.0, 3.0, np.nan], np.float32))
  >>> summary.maximum, summary.mean, summary.zeros, summary.nans
  (3.0, 1.5, 1, 1)
  """
  flat = array.reshape(-1)
  if array.dtype.kind == "O":
    elements = flat.tolist()
    return ValueSummary(
      len(elements),
      min(elements, default=None),
      max(elements, default=None),
      None,
      elements.count(b""),
    )
  return _summarize_numbers(flat)


def _summarize_numbers(flat: np.ndarray) -> ValueSummary:
  import numpy as np

  lows: list[int | float] = []
  highs: list[int | float] = []
  zeros = nans = infinities = 0
  total = 0.0
  for start in range(0, flat.size, _CHUNK_SIZE):
    chunk = flat[start : start + _CHUNK_SIZE]
    if chunk.dtype.kind == "c":
      chunk = np.abs(chunk)
    elif chunk.dtype.kind not in "iuf":
      # bool, and the types of ml_dtypes, which lack some of what follows.
      chunk = chunk.astype(np.float32)
    zeros += chunk.size - int(np.count_nonzero(chunk))
    finite = chunk
    if chunk.dtype.kind == "f":
      is_nan = np.isnan(chunk)
      nans += int(np.count_nonzero(is_nan))
      is_finite = np.isfinite(chunk)
      infinite = chunk.size - int(np.count_nonzero(is_finite | is_nan))
      infinities += infinite
      if infinite:
        chunk = chunk[~is_nan]
      finite = finite[is_finite]
      if not infinite:
        chunk = finite
    if chunk.size:
      lows.append(chunk.min().item())
      highs.append(chunk.max().item())
    with np.errstate(over="ignore"):
      total += float(finite.sum(dtype=np.float64))
  finite_count = flat.size - nans - infinities
  mean = total / finite_count if finite_count else None
  return ValueSummary(
    int(flat.size),
    min(lows, default=None),
    max(highs, default=None),
    mean if mean is None or math.isfinite(mean) else None,
    zeros,
    nans,
    infinities,
  )
