"""How what a save writes becomes a checkpoint that readers find.

in place    TensorFlow writes at the prefix, then the index gets its further keys
replacing   readers may have opened what is there: TensorFlow writes aside, and what
            it wrote takes the other's place (`overwrite`)
in a pair   TensorFlow writes aside, and two bundles are made of it (`separate`)
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

from estimator_ckpt.bundle import files
from estimator_ckpt.bundle.index import Index
from estimator_ckpt.bundle.recurring import RecurringIndex
from estimator_ckpt.checkpoint.key_plan import SavePlan
from estimator_ckpt.training import dual_index, overwrite, separate


class Publisher:
  """Publishes the checkpoints of one saver.

  Attributes:
    in_pairs: whether each checkpoint is kept as two bundles.

  Args:
    plan: what they are written by; a dual one where they are kept in pairs.
    in_pairs: as the attribute.
    durable: whether what is published is on the disk, and survives a power cut.
  """

  def __init__(self, plan: SavePlan, in_pairs: bool, durable: bool = False):
    self._plan = plan
    self._durable = durable
    self.in_pairs = in_pairs
    self._recurring = RecurringIndex()
    # Data files of a checkpoint that was replaced. Who opened it may still read them.
    self._replaced: list[str] = []

  @contextlib.contextmanager
  def target(
    self, prefix: str, replaces: bool, meta_graph_suffix: str
  ) -> Iterator[str]:
    """Where to write a checkpoint; it is published if the block ends without error.

    Args:
      prefix: the checkpoint.
      replaces: whether one is there that readers may have opened.
      meta_graph_suffix: the suffix of the MetaGraph that is written beside it.

    Yields:
      The prefix to write.

    Raises:
      CheckpointIOError: the file system refused.
      CorruptCheckpointError: what was written is not as planned.
    """
    overwrite.remove(self._replaced)
    self._replaced = []
    if not replaces and not self.in_pairs:
      yield prefix
      if dual_index.are_needed(self._plan):
        dual_index.add_aliases(prefix, self._plan, self._recurring)
      self._sync(prefix)
      return
    with overwrite.aside(prefix) as written:
      yield written
      self._sync(written)
      if self.in_pairs:
        self._replaced = separate.publish(prefix, written, self._plan, self._durable)
      else:
        index = Index.read(written)
        dual_index.add_to_index(index, self._plan)
        self._replaced = overwrite.replace(prefix, written, index, self._durable)
      if files.exists(f"{written}.{meta_graph_suffix}"):
        files.rename(f"{written}.{meta_graph_suffix}", f"{prefix}.{meta_graph_suffix}")
    if self._durable:
      files.sync_dir(os.path.dirname(prefix))

  def _sync(self, prefix: str) -> None:
    """Waits until the files of a bundle and their names are on the disk."""
    if self._durable:
      for path in files.glob_prefix(prefix + "."):
        if not files.is_dir(path):
          files.sync(path)
      files.sync_dir(os.path.dirname(prefix))
