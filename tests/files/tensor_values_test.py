from __future__ import annotations

import math

import numpy as np
import pytest

from estimator_ckpt.checkpoint.reader import open_checkpoint
from estimator_ckpt.files.tensor_values import summarize
from tests import golden


def test_numbers_are_summarized():
  summary = summarize(np.array([[0.0, -2.0], [4.0, 0.0]], np.float32))
  assert (summary.count, summary.minimum, summary.maximum) == (4, -2.0, 4.0)
  assert (summary.mean, summary.zeros, summary.nans, summary.infinities) == (
    0.5,
    2,
    0,
    0,
  )


def test_what_is_no_number_is_counted_and_left_out():
  summary = summarize(np.array([np.nan, 1.0, np.inf, -np.inf, np.nan], np.float64))
  assert (summary.minimum, summary.maximum) == (-math.inf, math.inf)
  assert (summary.mean, summary.nans, summary.infinities) == (1.0, 2, 2)


def test_nothing_but_nans_has_no_extremes():
  summary = summarize(np.array([np.nan], np.float16))
  assert (summary.minimum, summary.maximum, summary.mean) == (None, None, None)


def test_an_empty_tensor_has_no_extremes():
  summary = summarize(np.zeros((0, 4), np.int32))
  assert (summary.count, summary.minimum, summary.mean) == (0, None, None)


def test_the_largest_integers_keep_their_last_digit():
  summary = summarize(np.array([2**63 - 1, -(2**63)], np.int64))
  assert (summary.minimum, summary.maximum) == (-(2**63), 2**63 - 1)


def test_more_than_one_chunk_is_seen_whole():
  array = np.zeros(3_000_000, np.float32)
  array[[5, 1_500_000, 2_999_999]] = [-1.0, 7.0, np.nan]
  summary = summarize(array)
  assert (summary.minimum, summary.maximum, summary.nans) == (-1.0, 7.0, 1)
  assert summary.zeros == 2_999_997


def test_strings_are_in_the_order_of_their_bytes():
  array = np.empty(3, object)
  array[:] = [b"b", b"", b"\xff"]
  summary = summarize(array)
  assert (summary.minimum, summary.maximum, summary.zeros) == (b"", b"\xff", 1)


def test_complex_numbers_count_by_magnitude():
  summary = summarize(np.array([3 + 4j, 0], np.complex64))
  assert (summary.minimum, summary.maximum, summary.zeros) == (0.0, 5.0, 1)


@pytest.mark.parametrize("name", ["bfloat16", "float8_e5m2"])
def test_types_of_ml_dtypes_are_summarized(name):
  # No wheel of ml-dtypes is for Python 3.7.
  dtype = getattr(pytest.importorskip("ml_dtypes"), name)
  summary = summarize(np.array([1.0, -2.0, np.nan], np.float32).astype(dtype))
  assert (summary.minimum, summary.maximum, summary.nans) == (-2.0, 1.0, 1)


def test_every_type_that_tensorflow_saves_is_summarized():
  with open_checkpoint(golden.path("tf1.15/many_dtypes")) as reader:
    for key, array in reader.items():
      assert summarize(array).count == array.size, key
