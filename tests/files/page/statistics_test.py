from __future__ import annotations

import numpy as np
import pytest

from estimator_ckpt.files.page import statistics
from estimator_ckpt.files.page.statistics import distribution, norm

# No wheel of ml-dtypes is for Python 3.7.
ml_dtypes = pytest.importorskip("ml_dtypes")

_RANDOM = np.random.RandomState(0)


@pytest.mark.parametrize(
  "array",
  [
    _RANDOM.randn(1000).astype(np.float32),
    _RANDOM.randn(40, 30),
    _RANDOM.randint(-100, 100, 500).astype(np.int8),
    np.arange(2**62, 2**62 + 3, dtype=np.int64),
    _RANDOM.rand(50) > 0.3,
    _RANDOM.randn(99).astype(np.float16),
    _RANDOM.randn(99).astype(ml_dtypes.bfloat16),
  ],
  ids=lambda array: str(array.dtype),
)
def test_it_agrees_with_numpy(array, monkeypatch):
  # Several chunks, the last one not full.
  monkeypatch.setattr(statistics, "_CHUNK_SIZE", 37)
  plain = array.astype(np.float64)
  found = distribution(array)
  assert found.standard_deviation == pytest.approx(plain.std(), rel=1e-9, abs=1e-12)
  assert found.norm == pytest.approx(np.linalg.norm(plain.reshape(-1)), rel=1e-12)
  assert norm(array) == found.norm
  assert (found.low, found.high) == (plain.min(), plain.max())
  if plain.min() == plain.max():  # as doubles
    assert found.bins == ()
  else:
    bins = np.histogram(plain, statistics.BINS, (plain.min(), plain.max()))[0]
    assert found.bins == tuple(bins)
    assert sum(found.bins) == array.size


def test_complex_numbers_count_by_their_magnitude():
  found = distribution(np.array([3 + 4j, 0], np.complex64))
  assert (found.low, found.high, found.norm) == (0.0, 5.0, 5.0)


def test_nan_and_infinities_are_left_out():
  found = distribution(np.array([np.nan, np.inf, -np.inf, 1, 3], np.float32))
  assert (found.low, found.high, found.standard_deviation) == (1.0, 3.0, 1.0)
  assert sum(found.bins) == 2


@pytest.mark.parametrize("values", [[], [np.nan, np.inf]])
def test_nothing_finite(values):
  array = np.array(values, np.float32)
  assert distribution(array) == statistics.Distribution(None, None, None, None, ())
  assert norm(array) is None


def test_what_no_double_holds_is_none():
  found = distribution(np.array([-1.7e308, 1.7e308]))
  assert found.standard_deviation is None
  assert found.norm is None
  assert found.bins == ()
