"""One entry over the bytes of several slices."""

from __future__ import annotations

import hypothesis
import hypothesis.strategies as st
import pytest

from estimator_ckpt.bundle import checksum
from estimator_ckpt.bundle.index import Index
from estimator_ckpt.bundle.joined import joined_entry
from estimator_ckpt.bundle.messages import BundleEntry, TensorSlice

_HALF = 19
_DATA = bytes(range(24))  # 4 rows of 3 columns, two bytes each.


def _index(*cuts, offset=0, **changed) -> Index:
  """An index of `v`, [4, 3] in half precision; a cut: (extents, shape, start, end)."""
  index = Index()
  slices = tuple(TensorSlice(extents) for extents, *_ in cuts)
  index.put("v", BundleEntry(dtype=_HALF, shape=(4, 3), slices=slices))
  for extents, shape, start, end in cuts:
    entry = BundleEntry(
      dtype=_HALF,
      shape=shape,
      offset=offset + start,
      size=end - start,
      crc32c=checksum.mask(checksum.crc32c(_DATA[start:end])),
      **changed,
    )
    index.put("v", entry, TensorSlice(extents))
  return index


_FIRST = (((0, 3), (0, 3)), (3, 3), 0, 18)
_SECOND = (((3, 1), (0, 3)), (1, 3), 18, 24)


@pytest.mark.parametrize("cuts", [(_FIRST, _SECOND), (_SECOND, _FIRST)])
def test_rows_that_follow_each_other(cuts):
  whole = joined_entry(_index(*cuts, offset=7, shard_id=2), "v")
  assert whole == BundleEntry(
    dtype=_HALF,
    shape=(4, 3),
    shard_id=2,
    offset=7,
    size=24,
    crc32c=checksum.mask(checksum.crc32c(_DATA)),
  )


def test_what_cannot_be_joined():
  columns = [(((0, 4), (0, 1)), (4, 1), 0, 8), (((0, 4), (1, 2)), (4, 2), 8, 24)]
  assert joined_entry(_index(*columns), "v") is None
  gap = (((3, 1), (0, 3)), (1, 3), 19, 24)
  assert joined_entry(_index(_FIRST, gap), "v") is None
  assert joined_entry(_index(_FIRST), "v") is None
  plain = Index()
  plain.put("v", BundleEntry(dtype=_HALF, shape=(4, 3), size=24))
  assert joined_entry(plain, "v") is None


@hypothesis.given(st.binary(max_size=200), st.binary(max_size=200))
def test_the_crc_of_two_runs(first, second):
  both = checksum.combine(checksum.crc32c(first), checksum.crc32c(second), len(second))
  assert both == checksum.crc32c(first + second)


def test_the_crc_of_more_than_a_megabyte():
  first, second = b"ab", bytes(range(256)) * 9000
  both = checksum.combine(checksum.crc32c(first), checksum.crc32c(second), len(second))
  assert both == checksum.crc32c(first + second)
