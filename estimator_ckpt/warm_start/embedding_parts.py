"""Partitioned embeddings of a warm start: whose rows are put into the order of ids."""

from __future__ import annotations

from collections.abc import Iterable

from estimator_ckpt.checkpoint.partition_strategy import (
  MOD,
  PartitionStrategy,
  note_untold,
)
from estimator_ckpt.checkpoint.roles import RoleKind
from estimator_ckpt.warm_start.matches import Started
from estimator_ckpt.warm_start.source_tensors import SourceTensor


def mod_parts(strategy: PartitionStrategy, tensor: SourceTensor) -> tuple[int, ...]:
  """The rows of each part of a tensor whose rows are put into the order of ids.

  Args:
    strategy: how the checkpoint's embeddings were looked up.
    tensor: a tensor of the checkpoint; a slot or an average follows its variable.

  Returns:
    The rows; () for a tensor that was not looked up with `"mod"`.
  """
  told = strategy.of(tensor.name) or strategy.of(tensor.role.of or "")
  return tensor.row_parts if told == MOD else ()


def strategy_notes(
  strategy: PartitionStrategy, started: Iterable[Started]
) -> tuple[str, ...]:
  """Says that parts of embeddings are joined, and that nobody said how.

  Args:
    strategy: how the checkpoint's embeddings were looked up.
    started: the variables that are started.

  Returns:
    A note, or nothing.
  """
  # A graph with as many parts gets each part as it is.
  untold = {
    item.source.name
    for item in started
    if len(item.source.row_parts) not in (0, item.target.parts)
    and len(item.source.shape) > 1
    and item.source.role.kind is RoleKind.VARIABLE
    and strategy.of(item.source.name) is None
  }
  return (note_untold(sorted(untold)),) if untold else ()
