"""Which checkpoints stay when a new one has been saved, and which are deleted.

The rules are those of `tf.compat.v1.train.Saver`: the `max_to_keep` latest stay, and of
the others one for every `keep_checkpoint_every_n_hours`. The plan is a value. Nothing is
read or deleted here.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from typing import NamedTuple


class ListedCheckpoint(NamedTuple):
  """A checkpoint that counts for retention.

  Attributes:
    prefix: its path.
    saved: when it was saved, in seconds since 1970.
  """

  prefix: str
  saved: float

  @property
  def directory(self) -> str:
    """The directory it is in."""
    return os.path.dirname(self.prefix)


@dataclasses.dataclass(frozen=True)
class RetentionPlan:
  """What happens to the checkpoints of a model_dir after a save.

  Attributes:
    kept: those that stay and count, oldest first. The new one is the last.
    deleted: the prefixes of those that are deleted, oldest first.
    preserved: the prefixes of those that stay for good, and do not count any more.
    preserve_after: the next one that is preserved was saved after this time.
  """

  kept: tuple[ListedCheckpoint, ...]
  deleted: tuple[str, ...]
  preserved: tuple[str, ...]
  preserve_after: float

  @property
  def prefixes(self) -> list[str]:
    """The prefixes that the state file lists in the end."""
    return [checkpoint.prefix for checkpoint in self.kept]

  @property
  def prefixes_before_deletion(self) -> list[str]:
    """The prefixes that it lists until the deletion is done.

    So a job that is killed in between leaves nothing that the next job would not find
    there and delete.
    """
    return [*self.deleted, *self.prefixes]


def plan_retention(
  listed: Sequence[ListedCheckpoint],
  saved: ListedCheckpoint,
  max_to_keep: int,
  preserve_after: float,
  keep_checkpoint_every_n_hours: float,
) -> RetentionPlan:
  """Plans which checkpoints stay.

  Args:
    listed: the checkpoints that counted so far, oldest first.
    saved: the new one, which may be among them.
    max_to_keep: how many stay; 0 keeps all, and the state file then lists the new one
      alone, as TensorFlow's does.
    preserve_after: see `RetentionPlan`.
    keep_checkpoint_every_n_hours: how many hours of training one is preserved for.

  Returns:
    The plan.

  >>> old = [ListedCheckpoint("model.ckpt-1", 10.0), ListedCheckpoint("model.ckpt-2", 20.0)]
  >>> new = ListedCheckpoint("model.ckpt-3", 30.0)
  >>> plan = plan_retention(old, new, 2, float("inf"), 10000.0)
  >>> plan.prefixes, plan.deleted
  (['model.ckpt-2', 'model.ckpt-3'], ('model.ckpt-1',))
  """
  if not max_to_keep:
    return RetentionPlan((saved,), (), (), preserve_after)
  kept = [each for each in listed if each.prefix != saved.prefix]
  kept.append(saved)
  # A job that was killed may have left more than one too many.
  deleted = []
  preserved = []
  for old in kept[:-max_to_keep]:
    if old.saved > preserve_after:
      preserved.append(old.prefix)
      preserve_after += keep_checkpoint_every_n_hours * 3600
    else:
      deleted.append(old.prefix)
  return RetentionPlan(
    tuple(kept[-max_to_keep:]), tuple(deleted), tuple(preserved), preserve_after
  )
