"""What a warm start was asked for, checked and parsed."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping

from estimator_ckpt.checkpoint.partition_strategy import PartitionStrategy
from estimator_ckpt.warm_start.assignment_map import Entry
from estimator_ckpt.warm_start.vocabulary import VocabularyChange

MATCH = "match"
USE = "use"
SKIP = "skip"
MOVING_AVERAGES = (MATCH, USE, SKIP)


@dataclasses.dataclass(frozen=True)
class WarmStartOptions:
  """The arguments of `WarmStart`, but for the checkpoint.

  Attributes:
    variables: expressions that select variables of the graph; None for all of them.
    entries: those of the assignment map.
    only_mapped: whether variables that the map does not mention are left alone.
    optimizer_state: whether slots and beta powers are started too.
    global_step: whether the step is started too.
    moving_averages: one of `MOVING_AVERAGES`.
    vocabularies: changed vocabularies, by the name of the variable.
    partition_strategy: how the checkpoint's partitioned embeddings were looked up.
    strict: whether a problem is an error.
  """

  variables: tuple[re.Pattern[str], ...] | None = None
  entries: tuple[Entry, ...] = ()
  only_mapped: bool = False
  optimizer_state: bool = False
  global_step: bool = False
  moving_averages: str = MATCH
  vocabularies: Mapping[str, VocabularyChange] = dataclasses.field(default_factory=dict)
  partition_strategy: PartitionStrategy = PartitionStrategy()
  strict: bool = True
