"""A dual checkpoint as two bundles over the same data.

    model_dir/checkpoint                  model_dir/tf2/checkpoint
    model_dir/model.ckpt-5.index          model_dir/tf2/model.ckpt-5.index
    model_dir/model.ckpt-5.data-...   =   model_dir/tf2/model.ckpt-5.data-...   (hard links)

The bundle in model_dir has TF1 names only; the one in tf2/ has what a TF2 checkpoint has.
The TF2 bundle is made first, then the TF1 bundle. Then the state files are written, and old
bundles are removed. So after a crash, the state files name whole bundles, and the old pair
stays until the new one is whole.
"""

from __future__ import annotations

import contextlib
import logging
import os
import time
from collections.abc import Iterable

from estimator_ckpt import errors
from estimator_ckpt.bundle import files
from estimator_ckpt.bundle.commit import BundleWriter
from estimator_ckpt.bundle.file_names import data_path, index_path
from estimator_ckpt.bundle.index import Index
from estimator_ckpt.bundle.shards import Shards
from estimator_ckpt.checkpoint import state_file as state_lib
from estimator_ckpt.checkpoint.key_plan import SavePlan
from estimator_ckpt.checkpoint.model_dir import KEPT_APART
from estimator_ckpt.checkpoint.roles import GLOBAL_STEP
from estimator_ckpt.training import dual_index, overwrite

_logger = logging.getLogger(__name__)
_said: set[str] = set()


def tf2_prefix(prefix: str) -> str:
  """The path of the TF2 bundle of a pair.

  Args:
    prefix: the path of the TF1 bundle.

  Returns:
    The same name in the directory tf2/.

  Example:
    >>> tf2_prefix("model_dir/model.ckpt-5")
    'model_dir/tf2/model.ckpt-5'
  """
  directory, name = os.path.split(prefix)
  return os.path.join(directory, KEPT_APART, name)


def publish(
  prefix: str, written: str, plan: SavePlan, durable: bool = False
) -> list[str]:
  """Makes two bundles of one that was written aside.

  Args:
    prefix: the path of the TF1 bundle.
    written: the path of the bundle that was written, on the same file system.
    plan: the bundle was written by it; its format is dual.
    durable: whether the bundles are synced to the disk. The data files are there already.

  Returns:
    Data files of an older bundle at `prefix`, as `overwrite.replace` returns them.

  Raises:
    CheckpointIOError: the file system refused.
  """
  tf1, tf2 = split(written, plan)
  count = tf2.header.num_shards
  with BundleWriter(tf2_prefix(prefix), count, overwrite=True) as bundle:
    for shard in range(count):
      bundle.add_file(data_path(written, shard, count))
    bundle.commit(tf2)
  if "copy" in bundle.placed:
    _say_copied(os.path.dirname(prefix))
  if files.exists(index_path(prefix)):
    return overwrite.replace(prefix, written, tf1, durable)
  for shard in range(count):
    files.rename(data_path(written, shard, count), data_path(prefix, shard, count))
  tf1.write(prefix, sync=durable)
  return []


def split(written: str, plan: SavePlan) -> tuple[Index, Index]:
  """Makes the indexes of two bundles from that of one.

  Args:
    written: the path of a bundle that has the keys of the plan, without the aliases.
    plan: says which keys are TF1 names, and which of them a TF2 checkpoint has.

  Returns:
    The TF1 index and the TF2 index.

  Raises:
    CorruptCheckpointError: the bundle is not as planned.
  """
  both = Index.read(written)
  dual_index.add_to_index(both, plan)
  tf1 = Index.parse(both.serialize(), both.name)
  names = plan.tf1_names
  _remove(tf1, (key for key in both if key not in names))
  removed = (names | set(plan.aliases)) - plan.tf2_names
  _remove(both, (key for key in both if key in removed))
  return tf1, both


def _remove(index: Index, keys: Iterable[str]) -> None:
  for key in list(keys):
    index.remove(key)


def record(prefix: str, state_file: str | None = None) -> None:
  """Enters a pair into the state file of tf2/, and removes bundles without a TF1 bundle.

  Args:
    prefix: the path of the TF1 bundle. The state file beside it is written, and old TF1
      bundles are removed already.
    state_file: the name of both state files; None for `checkpoint`.

  Raises:
    CheckpointIOError: the file system refused.
  """
  latest = tf2_prefix(prefix)
  directory = os.path.dirname(latest)
  name = state_file or state_lib.STATE_FILE
  listed: dict[str, float] = {}
  with contextlib.suppress(errors.CorruptCheckpointError):
    before = state_lib.read_state(directory, name)
    if before is not None:
      times = before.all_model_checkpoint_timestamps
      paths = before.all_model_checkpoint_paths
      listed.update(zip(paths, (*times, *[time.time()] * len(paths))))
  listed.pop(latest, None)
  listed[latest] = time.time()
  # A bundle stays listed until it is removed. So a job that is killed leaves none unlisted.
  _write(directory, latest, listed, name)
  for path in [path for path in listed if _lost_its_pair(path)]:
    del listed[path]
    # An absolute path in a copied state file leads to another job's bundle.
    if os.path.dirname(path) == directory:
      _remove_bundle(path)
  _write(directory, latest, listed, name)


def left_behind(prefix: str, state_file: str | None = None) -> str | None:
  """Finds the TF2 bundle of an earlier job, which readers of tf2/ go on to read.

  Args:
    prefix: the path of a checkpoint that is about to be written, without a pair.
    state_file: the name of the state file in tf2/; None for `checkpoint`.

  Returns:
    The path of the latest TF2 bundle; None if no pair was ever written.
  """
  directory = os.path.dirname(tf2_prefix(prefix))
  with contextlib.suppress(errors.CheckpointError):
    current = state_lib.read_state(directory, state_file or state_lib.STATE_FILE)
    # A checkpoint that eager code saved there has no name.
    if current and GLOBAL_STEP in Index.read(current.model_checkpoint_path):
      return current.model_checkpoint_path
  return None


def _lost_its_pair(path: str) -> bool:
  directory, name = os.path.split(path)
  if files.exists(index_path(os.path.join(os.path.dirname(directory), name))):
    return False
  try:
    # A checkpoint that eager code saved there is no half of a pair, and has no name.
    return GLOBAL_STEP in Index.read(path)
  except errors.CheckpointNotFoundError:
    return True
  except errors.CheckpointError:
    return False


def _write(directory: str, latest: str, listed: dict[str, float], name: str) -> None:
  state_lib.write_state(
    directory,
    state_lib.CheckpointState(latest, tuple(listed), tuple(listed.values())),
    name,
  )


def _remove_bundle(prefix: str) -> None:
  for path in [index_path(prefix), *files.glob_prefix(prefix + ".data-")]:
    with contextlib.suppress(errors.CheckpointNotFoundError):
      files.remove(path)


def whole(prefix: str) -> str:
  """Chooses the bundle of a pair to restore: the TF2 one if only that is whole.

  Args:
    prefix: the path of the TF1 bundle.

  Returns:
    The path of one of the bundles; the given one if neither is whole.
  """
  other = tf2_prefix(prefix)
  if _is_whole(prefix) or not _is_whole(other):
    return prefix
  _logger.warning("%s is not whole; restoring %s instead.", prefix, other)
  return other


def _is_whole(prefix: str) -> bool:
  try:
    index = Index.read(prefix)
    shards = Shards.of(prefix, index)
    for key in index.keys():
      parts = [entry for _, entry in index.slice_entries(key)]
      for entry in parts or [index.entry(key)]:
        shards.check_bounds(entry, key)
  except errors.CheckpointError:
    return False
  return True


def _say_copied(directory: str) -> None:
  if directory not in _said:
    _said.add(directory)
    _logger.warning(
      "The file system of %s has no hard links, so the data of each checkpoint is "
      "copied to %s/. That takes twice the space, and saves take longer.",
      directory,
      KEPT_APART,
    )
