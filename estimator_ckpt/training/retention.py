"""Which checkpoints stay when a new one has been saved, and which are deleted.

The rules are those of `tf.compat.v1.train.Saver`: the latest `max_to_keep` checkpoints
stay, and of the older ones, one for every `keep_checkpoint_every_n_hours`. The plan is a
value. Nothing is read or deleted here.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from typing import NamedTuple


class ListedCheckpoint(NamedTuple):
  """A checkpoint that counts for retention.

  Attributes:
    prefix: its path without `.index`.
    saved: when it was saved, in seconds since 1970.
  """

  prefix: str
  saved: float

  @property
  def directory(self) -> str:
    """The directory that holds it."""
    return os.path.dirname(self.prefix)


@dataclasses.dataclass(frozen=True)
class RetentionPlan:
  """What happens to the checkpoints of a model_dir after a save.

  Attributes:
    kept: checkpoints that stay and count, oldest first. The new one is the last.
    deleted: prefixes of checkpoints that are deleted, oldest first.
    preserved: prefixes of checkpoints that stay for good, and no longer count.
    preserve_after: only a checkpoint that was saved after this time is preserved next,
      in seconds since 1970.
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
    """The prefixes that the state file lists until the deletion is done.

    If a job is killed in between, the next job finds there what is left to delete.
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
    saved: the new checkpoint, which may be among them.
    max_to_keep: how many stay. With 0 all stay, and the state file lists the new one
      alone, as TensorFlow's does.
    preserve_after: the time from which on one is preserved, in seconds since 1970.
    keep_checkpoint_every_n_hours: hours of training for which one is preserved.

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
  # A job that was killed may have left several too many.
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
