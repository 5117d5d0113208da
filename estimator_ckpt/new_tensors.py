"""Writing a checkpoint that has tensors of its own beside those of another.

As `rewrite` does, but for tensors whose bytes stand nowhere yet: they are made one by
one, so that only one is in memory, and go into a data file of their own.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from estimator_ckpt import conversion_plan, rewrite
from estimator_ckpt.bundle import (
  BundleEntry,
  BundleWriter,
  Index,
  Shards,
  checksum,
  dtypes,
)

if TYPE_CHECKING:
  import numpy as np


@dataclasses.dataclass(frozen=True)
class NewTensor:
  """A tensor that is made when it is written.

  Attributes:
    dtype: the number of its type.
    shape: its shape.
    make: a function that makes its bytes.
  """

  dtype: int
  shape: tuple[int, ...]
  make: Callable[[], bytes]

  @classmethod
  def of_array(
    cls, dtype: int, shape: tuple[int, ...], make: Callable[[], np.ndarray]
  ) -> NewTensor:
    """A tensor that is made as an array.

    Args:
      dtype: the number of its type.
      shape: its shape.
      make: a function that makes it; it is asked for once, and late.

    Returns:
      The tensor.
    """
    kind = dtypes.to_numpy(dtype)
    return cls(dtype, shape, lambda: make().astype(kind, copy=False).tobytes())


def write(
  source: rewrite.Source,
  target: str,
  plan: conversion_plan.Plan,
  tensors: Mapping[str, NewTensor],
  *,
  data: str = "auto",
  overwrite: bool = False,
) -> rewrite.CheckpointReport:
  """Writes what a plan says, and new tensors.

  Args:
    source: the checkpoint the plan was made for; its index is changed.
    target: the prefix to write.
    plan: the plan.
    tensors: further tensors by key.
    data: how data files get there: `auto`, `link`, `reflink` or `copy`.
    overwrite: whether a checkpoint that is there may be replaced.

  Returns:
    What was done.

  Raises:
    CheckpointExistsError: there is a checkpoint already.
    CorruptCheckpointError: the source is damaged.
    CheckpointIOError: the file system refused. What was there before is there.
  """
  source_format = source.format
  shards = Shards(source.prefix, source.index.header.num_shards)
  rewrite.check_sizes(source.index, shards)
  index = source.index
  conversion_plan.apply_plan(plan, index)
  extras = rewrite.extra_tensors(plan)
  num_shards = shards.num_shards + bool(extras) + bool(tensors)
  with BundleWriter(target, num_shards, overwrite=overwrite) as bundle:
    for shard_id in range(shards.num_shards):
      bundle.add_file(shards.path(shard_id), data)
    rewrite.add_extras(index, bundle, extras)
    if tensors:
      _add_tensors(index, bundle, tensors)
    bundle.commit(index)
  return rewrite.CheckpointReport(
    (source.prefix,),
    target,
    (source_format,),
    plan,
    sum(entry.size for _, _, entry in rewrite.stored_entries(index)),
    tuple(bundle.placed),
    tuple(bundle.cleaned),
  )


def _add_tensors(
  index: Index, bundle: BundleWriter, tensors: Mapping[str, NewTensor]
) -> None:
  shard_id = len(bundle.placed)
  offset = 0
  with bundle.add_stream() as file:
    for key, tensor in tensors.items():
      data = tensor.make()
      file.write(data)
      index.put(
        key,
        BundleEntry(
          dtype=tensor.dtype,
          shape=tensor.shape,
          shard_id=shard_id,
          offset=offset,
          size=len(data),
          crc32c=checksum.mask(checksum.crc32c(data)),
        ),
      )
      offset += len(data)
