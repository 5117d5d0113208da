from __future__ import annotations

import numpy as np
import pytest

from estimator_ckpt.files.page import distance as distance_lib
from estimator_ckpt.files.page.distance import Distance, distance

# No wheel of ml-dtypes is for Python 3.7.
ml_dtypes = pytest.importorskip("ml_dtypes")

_RANDOM = np.random.RandomState(0)


@pytest.mark.parametrize(
  ("a", "b"),
  [
    (_RANDOM.randn(30, 5).astype(np.float32), _RANDOM.randn(30, 5).astype(np.float32)),
    (_RANDOM.randint(0, 9, 99), _RANDOM.randint(0, 9, 99)),
    (np.array([200, 3], np.uint8), np.array([1, 250], np.uint8)),
    (_RANDOM.rand(50) > 0.5, _RANDOM.rand(50) > 0.5),
    (
      _RANDOM.randn(40).astype(ml_dtypes.bfloat16),
      _RANDOM.randn(40).astype(ml_dtypes.bfloat16),
    ),
    (np.array([1 + 1j, 2]), np.array([1 - 1j, 2])),
  ],
  ids=lambda array: str(array.dtype),
)
def test_it_agrees_with_numpy(a, b, monkeypatch):
  monkeypatch.setattr(distance_lib, "_CHUNK_SIZE", 7)
  wide = np.complex128 if a.dtype.kind == "c" else np.float64
  x, y = a.astype(wide).reshape(-1), b.astype(wide).reshape(-1)
  found = distance(a, b)
  assert found.norm == pytest.approx(np.linalg.norm(x - y))
  assert found.relative == pytest.approx(np.linalg.norm(x - y) / np.linalg.norm(x))
  assert found.largest == pytest.approx(np.abs(x - y).max())
  assert found.changed == np.count_nonzero(x != y)


def test_nan_equals_nan_and_has_no_distance():
  a, b = np.array([np.nan, np.nan, 1, np.inf]), np.array([np.nan, 0, 3, np.inf])
  assert distance(a, b) == Distance(2.0, 2.0, 2.0, 2)


def test_whole_numbers_beyond_doubles_are_told_apart():
  assert distance(np.array([2**62]), np.array([2**62 + 1])).changed == 1


def test_nothing_to_compare():
  empty = np.zeros(0, np.float32)
  assert distance(empty, empty) == Distance(None, None, None, 0)
  nan = np.array([np.nan])
  assert distance(nan, np.array([1.0])) == Distance(None, None, None, 1)


def test_from_zero_there_is_no_relative_distance():
  assert distance(np.zeros(2), np.ones(2)).relative is None
