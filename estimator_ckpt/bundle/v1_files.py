"""The files of checkpoints of TF1's format V1, which have no index, by their names.

`v1_checkpoint` reads what is in them.
"""

from __future__ import annotations

import re

from estimator_ckpt.bundle import files, table
from estimator_ckpt.bundle import paths as paths_lib
from estimator_ckpt.errors import CheckpointError

_SHARD = r"(?s)(?P<stem>.*)-(?:\d{5}|\?{5})-of-(?P<count>\d{5})"
# How a checkpoint's file may be called: model.ckpt-300, model-300, model.ckpt.
_NAME = r"(?s)(?!events\.out\.).*(?:-\d+|\.ckpt)"


def is_v1(prefix: str) -> bool:
  """Whether there is a checkpoint of the format V1 at a prefix, sound or damaged.

  Args:
    prefix: a path; for a sharded one with `?????` in place of the number.

  Returns:
    Whether its first file is there, and is a table other than a bundle's index.
  """
  if prefix_of(prefix) != prefix:
    return False  # One file of several.
  path = paths(prefix)[0]
  try:
    if files.is_dir(path) or not files.exists(path):
      return False
    data = read_lazily(path)
    return table.has_end(data) and not _begins_as_index(data[:4])
  except CheckpointError:
    return False


def _begins_as_index(head: bytes) -> bool:
  # An index begins with the empty key and a short value, the bundle's header, whose
  # first field is a number. In the format V1 a message stands there.
  return head[:2] == b"\0\0" and head[3:4] == b"\x08"


def prefix_of(path: str) -> str:
  """The prefix of the checkpoint that a file belongs to: its own path unless sharded.

  >>> prefix_of("model.ckpt-3"), prefix_of("model.ckpt-3-00001-of-00002")
  ('model.ckpt-3', 'model.ckpt-3-?????-of-00002')
  """
  match = re.fullmatch(_SHARD, path)
  return f"{match['stem']}-?????-of-{match['count']}" if match else path


def base(prefix: str) -> str:
  """A prefix without the mark of a sharded checkpoint, as a bundle has it.

  >>> base("model.ckpt-7-?????-of-00002"), base("model.ckpt-7")
  ('model.ckpt-7', 'model.ckpt-7')
  """
  match = re.fullmatch(_SHARD, prefix) if "?" in prefix else None
  return match["stem"] if match else prefix


def prefixes_among(directory: str, names: list[str]) -> list[str]:
  """The checkpoints of the format V1 among the files of a directory.

  Looks only into files that are named as checkpoints: with a step or `.ckpt` at the end.

  Args:
    directory: where the files are.
    names: what is in it.

  Returns:
    The prefixes.
  """
  candidates = dict.fromkeys(
    prefix_of(paths_lib.join(directory, name))
    for name in names
    if re.fullmatch(_NAME, name)
  )
  return [prefix for prefix in candidates if is_v1(prefix)]


def modified_time(prefix: str) -> float:
  """When the last of a checkpoint's files was changed, in seconds since 1970.

  Raises:
    CheckpointNotFoundError: one is missing.
    CheckpointIOError: the file system refused.
  """
  return max(map(files.modified_time, paths(prefix)))


def paths(prefix: str) -> tuple[str, ...]:
  """The files that a checkpoint at a prefix has."""
  match = re.fullmatch(_SHARD, prefix)
  if match is None or "?" not in prefix:
    return (prefix,)
  count = int(match["count"])
  return tuple(f"{match['stem']}-{i:05d}-of-{count:05d}" for i in range(max(count, 1)))


def read_lazily(path: str) -> table.LazyBytes:
  """A file of which what is asked for is read.

  Raises:
    CheckpointNotFoundError: no such file.
    CheckpointIOError: the file system refused.
  """
  return table.LazyBytes(
    files.size(path), lambda offset, size: files.read_range(path, offset, size)
  )
