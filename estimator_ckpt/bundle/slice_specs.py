"""Slice specs, the texts by which SaveV2 and RestoreV2 are told a slice of a tensor."""

from __future__ import annotations

from collections.abc import Sequence

from estimator_ckpt.bundle.messages import TensorSlice


def parse(spec: str) -> TensorSlice:
  """The slice that a slice spec means.

  Args:
    spec: the whole tensor's shape, then a start and length, or `-`, for each dimension.

  Returns:
    The slice.

  Example:
    >>> parse("14 4 0,5:-").extents
    ((0, 5), (0, -1))
  """
  parts = spec.split(" ")[-1].split(":")
  extents = (part.split(",") if part != "-" else ("0", "-1") for part in parts)
  return TensorSlice(tuple((int(start), int(length)) for start, length in extents))


def serialize(tensor_slice: TensorSlice, shape: Sequence[int]) -> str:
  """The slice spec of a slice.

  Args:
    tensor_slice: which part of the tensor.
    shape: the whole tensor's shape.

  Returns:
    The slice spec.

  Example:
    >>> serialize(TensorSlice(((0, 5), (0, -1))), (14, 4))
    '14 4 0,5:-'
  """
  return " ".join([*map(str, shape), str(tensor_slice)])
