from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from estimator_ckpt.bundle.blocks import plan_blocks

_SHAPES = st.lists(st.integers(0, 6), max_size=4).map(tuple)


@given(_SHAPES, st.integers(1, 300))
def test_blocks_are_the_array_in_row_major_order(shape, limit):
  array = np.arange(np.prod(shape, dtype=int)).reshape(shape)
  blocks = [np.ravel(array[block]) for block in plan_blocks(shape, limit)]
  joined = np.concatenate([np.empty(0, int), *blocks])
  np.testing.assert_array_equal(joined, array.ravel())
  assert all(0 < block.size <= limit for block in blocks)


@given(_SHAPES, st.integers(1, 300))
def test_blocks_are_no_smaller_than_they_have_to_be(shape, limit):
  sizes = [np.zeros(shape)[block].size for block in plan_blocks(shape, limit)]
  assert len(sizes) < 2 or max(sizes) > limit / 2


@pytest.mark.parametrize("shape", [(0,), (3, 0), (0, 3)])
def test_an_array_without_elements_has_no_block(shape):
  assert list(plan_blocks(shape, 8)) == []


def test_a_scalar_is_one_block():
  assert list(plan_blocks((), 1)) == [()]
