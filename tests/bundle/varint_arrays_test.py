from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from estimator_ckpt.bundle import coding, varint_arrays

_NUMBERS = st.one_of(st.integers(0, 2**14), st.integers(0, 2**63 - 1))


@given(st.lists(_NUMBERS, min_size=1))
@example([0])
@example([127, 128, 2**63 - 1])
def test_many_numbers_are_written_as_one_by_one(numbers):
  expected = [coding.encode_varint(number) for number in numbers]
  array = np.array(numbers, np.int64)
  assert varint_arrays.sizes(array).tolist() == [len(each) for each in expected]
  rows, mask = varint_arrays.encode(array)
  assert [row[own].tobytes() for row, own in zip(rows, mask)] == expected


@given(st.lists(st.integers(0, 2**35), min_size=1), st.binary(max_size=3))
def test_what_was_written_is_read(numbers, rest):
  varints = [coding.encode_varint(number) for number in numbers]
  ends = np.cumsum([len(varint) for varint in varints])
  file = np.frombuffer(b"".join(varints) + rest, np.uint8)
  found, behind = varint_arrays.read(file, np.append(0, ends[:-1]), 28, -1)
  assert found.tolist() == [n if n < 2**28 else -1 for n in numbers]
  fits = [n < 2**28 for n in numbers]
  assert behind[fits].tolist() == ends[fits].tolist()


@pytest.mark.parametrize("number", [0, 1, 127])
def test_small_numbers_take_a_byte(number):
  rows, mask = varint_arrays.encode(np.array([number, number]))
  assert rows.tolist() == [[number], [number]]
  assert mask.all()
