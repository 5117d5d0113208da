"""Saving again over a checkpoint that others may be reading.

A job that resumes first saves the step it starts from once more, over the checkpoint
that the state file names. TensorFlow replaces its files one after the other, so an
evaluator that follows the state file may meet a mixture, and a job that is killed then
leaves one behind. Here what is written first stands aside:

    model.ckpt-5.tmp-eckpt-1a2b3c4d/model.ckpt-5.*

If its index is the one that is there, checksum for checksum, and the data files are as
long, nothing is replaced. If not, its data files get names that the old ones do not
have, then the index is replaced, and the old data files are kept for those who have
opened the old index.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
from collections.abc import Iterator, Sequence

from estimator_ckpt import errors
from estimator_ckpt.bundle import files, locks
from estimator_ckpt.bundle.file_names import data_path, index_path, parse_data_path
from estimator_ckpt.bundle.index import Index
from estimator_ckpt.checkpoint import state_file as state_lib


def is_listed(prefix: str, state: state_lib.CheckpointState | None) -> bool:
  """Whether a checkpoint is there and its directory's state file names it.

  Args:
    prefix: the checkpoint.
    state: what the state file says; None if there is none.

  Returns:
    Whether readers may follow the state file to it.
  """
  if state is None:
    return False
  listed = (state.model_checkpoint_path, *state.all_model_checkpoint_paths)
  name = os.path.basename(prefix)
  return name in map(os.path.basename, listed) and files.exists(index_path(prefix))


@contextlib.contextmanager
def aside(prefix: str) -> Iterator[str]:
  """A directory beside a checkpoint for what may replace it; it is removed again.

  Args:
    prefix: the checkpoint.

  Yields:
    The prefix to write.

  Raises:
    CheckpointIOError: the file system refused.
  """
  # A job that was killed leaves its own, and saves the same step again.
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

  No tensor is read or written. There is the old checkpoint or the new one at any time.

  Args:
    prefix: the checkpoint that is there.
    written: the one that was written aside.
    index: the index that it is to have.
    durable: whether the data files are on the disk, and the index is to be.

  Returns:
    Data files of the old one that nobody needs who opens it from now on.

  Raises:
    CheckpointIOError: the file system refused. The old checkpoint is there.
  """
  own = index.header.num_shards
  present = files.glob_prefix(prefix + ".data-")
  names = {path: name for path in present if (name := parse_data_path(path))}
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
    # The new names of the data files, before an index that needs them.
    files.sync_dir(os.path.dirname(prefix))
  # TensorFlow does not sync what it writes either.
  index.write(prefix, sync=durable)
  return list(names)


def _are_as_long(prefix: str, written: str, num_shards: int) -> bool:
  """Whether a checkpoint's data files are there, and none was truncated."""
  for shard in range(num_shards):
    path = data_path(prefix, shard, num_shards)
    if not files.exists(path):
      return False
    if files.size(path) != files.size(data_path(written, shard, num_shards)):
      return False
  return True


def remove(paths: Sequence[str]) -> None:
  """Removes data files that `replace` returned; some may have been removed meanwhile.

  Args:
    paths: the files.

  Raises:
    CheckpointIOError: the file system refused.
  """
  for path in paths:
    with contextlib.suppress(errors.CheckpointNotFoundError):
      files.remove(path)
