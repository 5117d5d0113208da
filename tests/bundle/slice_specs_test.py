"""Slice specs, as SaveV2 and RestoreV2 take them."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from estimator_ckpt.bundle import slice_specs
from estimator_ckpt.bundle.messages import TensorSlice

_EXTENT = st.just((0, -1)) | st.tuples(st.integers(0, 2**40), st.integers(0, 2**40))


@given(st.lists(st.tuples(_EXTENT, st.integers(0, 2**40)), min_size=1))
def test_what_is_serialized_is_parsed(dimensions):
  tensor_slice = TensorSlice(tuple(extent for extent, _ in dimensions))
  spec = slice_specs.serialize(tensor_slice, [size for _, size in dimensions])
  assert slice_specs.parse(spec) == tensor_slice
