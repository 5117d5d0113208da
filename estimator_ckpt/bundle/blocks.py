"""Cutting an array into blocks that follow each other in row-major order."""

from __future__ import annotations

import itertools
from collections.abc import Iterator


def plan_blocks(shape: tuple[int, ...], limit: int) -> Iterator[tuple[slice, ...]]:
  """Plans blocks of an array, each of which is one run of its elements.

  Args:
    shape: the array's dimensions.
    limit: how many elements a block has at most; at least 1.

  Yields:
    An index of the array for each block. The blocks together are the array, in
    row-major order. An array without elements has no block.

  Example:
    >>> list(plan_blocks((3, 4), 8))
    [(slice(0, 2, None),), (slice(2, 3, None),)]
    >>> list(plan_blocks((1, 3), 2))
    [(slice(0, 1, None), slice(0, 2, None)), (slice(0, 1, None), slice(2, 3, None))]
  """
  if 0 in shape:
    return
  # The axes behind `axis` fit as a whole; it is cut, and those before it are walked.
  axis, inner = len(shape), 1
  while axis and inner * shape[axis - 1] <= limit:
    axis -= 1
    inner *= shape[axis]
  if not axis:
    yield ()
    return
  axis -= 1
  rows = max(limit // inner, 1)
  for place in itertools.product(*map(range, shape[:axis])):
    outer = tuple(slice(i, i + 1) for i in place)
    for start in range(0, shape[axis], rows):
      yield (*outer, slice(start, min(start + rows, shape[axis])))
