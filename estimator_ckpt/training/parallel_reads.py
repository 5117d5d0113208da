"""Which tensors are read by each of the RestoreV2 ops of a device.

A RestoreV2 op reads its tensors one after the other, and TensorFlow runs several ops at the
same time. So a restore with several ops takes a part of the time on a machine with several
cores, and in an object store, which answers late.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from estimator_ckpt.bundle import dtypes
from estimator_ckpt.bundle.shards import num_elements

# TensorFlow itself reads up to 8 large tensors at a time; see kernels/restore_op.cc.
_MOST_OPS = 8
# To find a tensor and to make room for it takes as long as to read so many bytes.
_BYTES_OF_A_TENSOR = 24 << 10
# An op opens the index and a data file; for less work than this, that takes too long.
_LEAST_BYTES = 16 << 20


def num_bytes(dtype: int, shape: tuple[int, ...]) -> int:
  """The bytes of a tensor of a DataType number; 0 where the type does not tell.

  >>> num_bytes(1, (2, 3))
  24
  """
  return (dtypes.item_size(dtype) or 0) * num_elements(shape)


def read_groups(keys: Sequence[str], sizes: Sequence[int]) -> list[list[int]]:
  """Divides what a device restores into groups that take about the same time to read.

  Args:
    keys: what is read, by its first key. A data file has its tensors in their order.
    sizes: the bytes of each, 0 where they are not known.

  Returns:
    The positions in `keys` of each group. The groups follow each other in the data file,
    so that no two ops read the same range. There is one group for little work.

  >>> read_groups(["b", "c", "a"], [16 << 20, 16 << 20, 8 << 20])
  [[2, 0], [1]]
  >>> read_groups(["b", "a"], [1, 1])
  [[0, 1]]
  """
  costs = [size + _BYTES_OF_A_TENSOR for size in sizes]
  total = sum(costs)
  count = min(_MOST_OPS, total // _LEAST_BYTES)
  if count < 2:
    return [list(range(len(keys)))]
  order = sorted(range(len(keys)), key=keys.__getitem__)
  ends = itertools.accumulate(costs[number] for number in order)
  # A tensor is in the group that its middle is in.
  places = [
    (end - costs[number] / 2) * count // total for number, end in zip(order, ends)
  ]
  groups = itertools.groupby(zip(places, order), key=lambda pair: pair[0])
  return [[number for _, number in group] for _, group in groups]
