"""Saving again over a checkpoint that others may be reading.

A job that resumes saves the step that it starts from once more, over the checkpoint
that the state file names. TensorFlow replaces the files one after the other. Meanwhile, an
evaluator that follows the state file may read a mixture, and a job that is killed leaves
one. So the new checkpoint is written aside first:

    model.ckpt-5.tmp-eckpt-1a2b3c4d/model.ckpt-5.*

If both indexes are the same, checksum for checksum, and the data files have the same
lengths, nothing is replaced. If not, the new data files get names that the old ones do not
have, and the index is replaced. The old data files stay for readers of the old index.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
from collections.abc import Collection, Iterator, Sequence

from estimator_ckpt import errors
from estimator_ckpt.bundle import files, locks
from estimator_ckpt.bundle.file_names import data_path, index_path, parse_data_path
from estimator_ckpt.bundle.index import Index
from estimator_ckpt.checkpoint import state_file as state_lib


def is_listed(
  prefix: str,
  state: state_lib.CheckpointState | None,
  names: Collection[str] | None = None,
) -> bool:
  """Whether readers of the state file may find a checkpoint.

  Args:
    prefix: the path of the checkpoint.
    state: what the state file of its directory says; None if there is no such file.
    names: what the directory has, where that is known.

  Returns:
    Whether the state file names the checkpoint, and the checkpoint is there.
  """
  if state is None:
    return False
  listed = (state.model_checkpoint_path, *state.all_model_checkpoint_paths)
  index = index_path(prefix)
  if os.path.basename(prefix) not in map(os.path.basename, listed):
    return False
  return os.path.basename(index) in names if names else files.exists(index)


@contextlib.contextmanager
def aside(prefix: str) -> Iterator[str]:
  """Makes a directory beside a checkpoint, for what replaces it; removes it at the end.

  Args:
    prefix: the path of the checkpoint that may be replaced.

  Yields:
    The prefix to write.

  Raises:
    CheckpointIOError: the file system refused.
  """
  # A job that was killed while it saved this step has left its own directory.
  for path in files.glob_prefix(prefix + "."):
    if files.is_temporary(path) and files.is_dir(path) and not locks.is_in_use(path):
      files.remove_tree(path)
  directory = files.temporary_path(prefix)
  files.mkdirs(directory)
  try:
    with locks.lock_dir(directory):
      yield os.path.join(directory, os.path.basename(prefix))
  finally:
    files.remove_tree(directory)


def replace(
  prefix: str, written: str, index: Index, durable: bool = False
) -> list[str]:
  """Puts a checkpoint in the place of another, unless both are the same.

  No tensor is read or written. At any time, there is the old checkpoint or the new one.

  Args:
    prefix: the path of the checkpoint that is replaced.
    written: the path of the checkpoint that was written aside.
    index: the index that the new checkpoint gets.
    durable: whether the index is synced to the disk. The data files are there already.

  Returns:
    Data files of the old checkpoint, which only readers of its index still need.

  Raises:
    CheckpointIOError: the file system refused. The old checkpoint is there.
  """
  own = index.header.num_shards
  present = files.glob_prefix(prefix + ".data-")
  parsed = {path: parse_data_path(path) for path in present}
  names = {path: name for path, name in parsed.items() if name}
  taken = {name.num_shards for name in names.values()}
  is_same = index.serialize() == files.read(index_path(prefix))
  if is_same and _are_as_long(prefix, written, own):
    return [path for path, name in names.items() if name.num_shards != own]
  count = own
  while count in taken:
    count += 1
  for shard in range(count):
    path = data_path(prefix, shard, count)
    if shard < own:
      files.rename(data_path(written, shard, own), path)
    else:
      with files.create(path, sync=False):
        pass
  index.header = dataclasses.replace(index.header, num_shards=count)
  if durable:
    # The data files get their names on the disk before an index that needs them.
    files.sync_dir(os.path.dirname(prefix))
  # Without durable, TensorFlow's data is not synced either.
  index.write(prefix, sync=durable)
  return list(names)


def _are_as_long(prefix: str, written: str, num_shards: int) -> bool:
  """Whether all data files of a checkpoint are there, and none was truncated."""
  for shard in range(num_shards):
    new = files.size(data_path(written, shard, num_shards))
    try:
      old = files.size(data_path(prefix, shard, num_shards))
    except errors.CheckpointNotFoundError:
      return False
    if old != new:
      return False
  return True


def remove(paths: Sequence[str]) -> None:
  """Removes data files that `replace` returned.

  Args:
    paths: the files; some may have been removed meanwhile.

  Raises:
    CheckpointIOError: the file system refused.
  """
  for path in paths:
    with contextlib.suppress(errors.CheckpointNotFoundError):
      files.remove(path)
