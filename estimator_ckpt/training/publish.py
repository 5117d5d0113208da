"""Makes the files of a save a checkpoint that readers find, in one of three ways.

in place    TensorFlow writes at the prefix; then the index gets further keys
replacing   readers may have opened an old checkpoint there: TensorFlow writes aside, and
            the new checkpoint takes the place of the old one (`overwrite`)
in a pair   TensorFlow writes aside, and two bundles are made of one (`separate`)
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
    in_pairs: whether each checkpoint is written as two bundles.

  Args:
    plan: has the keys that are written; its format is dual if `in_pairs`.
    in_pairs: whether each checkpoint is written as two bundles.
    durable: whether checkpoints are synced to the disk, so that they survive a power cut.
  """

  def __init__(self, plan: SavePlan, in_pairs: bool, durable: bool = False):
    self._plan = plan
    self._durable = durable
    self.in_pairs = in_pairs
    self._recurring = RecurringIndex()
    # Data files of a checkpoint that was replaced, for readers that have opened it. The
    # next save removes them.
    self._replaced: list[str] = []

  @contextlib.contextmanager
  def target(
    self, prefix: str, replaces: bool, meta_graph_suffix: str
  ) -> Iterator[str]:
    """Says where to write a checkpoint; publishes it if the block ends without error.

    Args:
      prefix: the path of the checkpoint.
      replaces: whether there is one already that readers may have opened.
      meta_graph_suffix: what follows the dot in the name of the MetaGraph's file.

    Yields:
      The prefix to write.

    Raises:
      CheckpointIOError: the file system refused.
      CorruptCheckpointError: the files that were written are not as planned.
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
    """With durable, waits until the files of a bundle and their names are on the disk."""
    if self._durable:
      for path in files.glob_prefix(prefix + "."):
        if not files.is_dir(path):
          files.sync(path)
      files.sync_dir(os.path.dirname(prefix))
