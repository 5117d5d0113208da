"""From the path a user has to the prefix of a checkpoint."""

from __future__ import annotations

import os
import re
import struct
from collections.abc import Collection

from estimator_ckpt.bundle import files, paths, v1_files
from estimator_ckpt.bundle.file_names import (
  INDEX_SUFFIX,
  data_path,
  index_path,
  parse_data_path,
)
from estimator_ckpt.checkpoint import state_file as state_lib
from estimator_ckpt.errors import (
  CheckpointError,
  CheckpointNotFoundError,
  CorruptCheckpointError,
  nearest,
)

_META_SUFFIX = ".meta"
_SAVED_MODEL_VARIABLES = "variables/variables"
_SAVED_MODEL_FILES = ("saved_model.pb", "saved_model.pbtxt")
_STEP = r"(?s)(?P<stem>.*)-(?P<step>\d+)"
_TABLE_MAGIC = struct.pack("<Q", 0xDB4775248B80FB57)
_PASS = "pass the prefix of a checkpoint (as model_dir/model.ckpt-300) or its directory"

# What files begin with, and what they are.
_HDF5 = (
  "an HDF5 file, which Keras saves weights or a model to; load it with Keras and save"
  " it with tf.train.Checkpoint"
)
_ZIP = (
  "a zip archive, as a Keras .keras model, numpy's .npz or PyTorch's .pt is; load it"
  " with what wrote it and save it with tf.train.Checkpoint"
)
_SIGNATURES = (
  (0, b"\x89HDF\r\n\x1a\n", _HDF5),
  (0, b"PK\x03\x04", _ZIP),
  (0, b"\x93NUMPY", "a numpy array"),
  (4, b"TFL3", "a TensorFlow Lite model, which has no variables left"),
)


def resolve(path: str | os.PathLike[str]) -> str:
  """The prefix of the checkpoint that a path means.

  Args:
    path: a prefix; one of a checkpoint's files (`.index`, `.data-00000-of-00001`,
      `.meta`); the `checkpoint` file of a directory; a directory with checkpoints, for
      the latest one; a SavedModel's directory, its `variables` or its `saved_model.pb`.

  Returns:
    The prefix. `PREFIX.index` is there, or the one file of a checkpoint of the format
    V1, whose prefix is its path.

  Raises:
    CheckpointNotFoundError: nothing is there, or no checkpoint.
    CorruptCheckpointError: the path is of something else; the message says of what and
      what to pass.
  """
  path = os.fspath(path)
  if isinstance(path, bytes):
    path = os.fsdecode(path)
  if not path:
    raise CheckpointNotFoundError(f"the path is empty; {_PASS}")
  if not path.endswith("/") and is_checkpoint(path):
    return path
  if files.is_dir(path):
    return _resolve_directory(paths.as_directory(path))
  if files.exists(path):
    return _resolve_file(path)
  # A file of a checkpoint that is gone still says which one is meant.
  prefix = _prefix_of_file(path)
  if prefix is not None and is_checkpoint(prefix):
    return prefix
  raise CheckpointNotFoundError(_missing(prefix or path))


def checkpoints_in(directory: str) -> list[str]:
  """The prefixes of all checkpoints in a directory, oldest first.

  Args:
    directory: a path; not those below it.

  Returns:
    The prefixes, by step where all have one behind the same name, else by time.

  Raises:
    CheckpointNotFoundError: no such directory.
    CheckpointIOError: the file system refused.
  """
  return checkpoints_among(directory, files.list_dir(directory))


def checkpoints_among(directory: str, names: Collection[str]) -> list[str]:
  """The prefixes of all checkpoints in a directory that has been listed.

  Args:
    directory: the one that has these names.
    names: what is in it.

  Returns:
    The prefixes, in the order of `checkpoints_in`.

  Raises:
    CheckpointIOError: the file system refused.
  """
  prefixes = [
    paths.join(directory, name[: -len(INDEX_SUFFIX)])
    for name in names
    if name.endswith(INDEX_SUFFIX) and len(name) > len(INDEX_SUFFIX)
  ]
  bundles = set(prefixes)
  # Data files end in a number, as files of the format V1 do. Each of those is opened.
  data = {name: parse_data_path(paths.join(directory, name)) for name in names}
  others = [
    name for name, each in data.items() if not each or each.prefix not in bundles
  ]
  v1 = set(v1_files.prefixes_among(directory, others)) - bundles
  prefixes += sorted(v1)
  steps = {prefix: re.fullmatch(_STEP, base(prefix)) for prefix in prefixes}
  if all(steps.values()) and len({m["stem"] for m in steps.values() if m}) == 1:
    return sorted(prefixes, key=lambda prefix: int(base(prefix).rpartition("-")[2]))
  return sorted(
    prefixes, key=lambda prefix: (modified_time(prefix, prefix in v1), prefix)
  )


def modified_time(prefix: str, is_v1: bool) -> float:
  """When a checkpoint was completed, in seconds since 1970; 0 where nobody knows.

  Args:
    prefix: the checkpoint.
    is_v1: whether it is of the format V1, which has no index.

  Raises:
    CheckpointNotFoundError: it is gone.
    CheckpointIOError: the file system refused.
  """
  if is_v1:
    return v1_files.modified_time(prefix)
  return files.modified_time(index_path(prefix))


def base(prefix: str) -> str:
  """A prefix as a bundle would have it: without the mark of a sharded V1 checkpoint.

  >>> base("model_dir/model.ckpt-7-?????-of-00002"), base("model_dir/model.ckpt-7")
  ('model_dir/model.ckpt-7', 'model_dir/model.ckpt-7')
  """
  return v1_files.base(prefix)


def v1_paths(prefix: str) -> tuple[str, ...]:
  """The files of a checkpoint of the format V1; none where there is no such one."""
  if not v1_files.is_v1(prefix):
    return ()
  return v1_files.paths(prefix)


def is_checkpoint(prefix: str) -> bool:
  """Whether there is a checkpoint at a prefix: its index, or a file of the format V1."""
  return files.exists(index_path(prefix)) or v1_files.is_v1(prefix)


def _prefix_of_file(path: str) -> str | None:
  """The prefix a checkpoint's file belongs to, by its name."""
  data = parse_data_path(path)
  if data is not None:
    return data.prefix
  for suffix in (INDEX_SUFFIX, _META_SUFFIX):
    if path.endswith(suffix):
      return path[: -len(suffix)]
  return None


def _resolve_directory(directory: str) -> str:
  state = state_lib.read_state(directory)
  if state is not None:
    return _resolve_state(directory, state)
  prefixes = checkpoints_in(directory)
  if prefixes:
    return prefixes[-1]
  saved_model = paths.join(directory, _SAVED_MODEL_VARIABLES)
  if is_checkpoint(saved_model):
    return saved_model
  names = files.list_dir(directory)
  if not names:
    raise CheckpointNotFoundError(f"{directory}: the directory is empty; {_PASS}")
  if any(name in _SAVED_MODEL_FILES for name in names):
    raise CheckpointNotFoundError(
      f"{directory}: a SavedModel without variables"
      f" ({index_path(_SAVED_MODEL_VARIABLES)} is not there), so it has nothing to"
      " read; its weights may be constants of its graph"
    )
  for name in names:
    data = parse_data_path(name)
    if data is not None:
      raise CheckpointNotFoundError(_without_index(paths.join(directory, data.prefix)))
  shown = ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")
  raise CheckpointNotFoundError(
    f"{directory}: no checkpoint in the directory; it has {shown}; {_PASS}"
  )


def _resolve_state(directory: str, state: state_lib.CheckpointState) -> str:
  """The checkpoint that a directory's state file names."""
  latest = state.model_checkpoint_path
  candidates = [latest]
  if not latest.startswith(paths.join(directory, "")):
    # An absolute path may be that of the directory this one was copied from.
    candidates.insert(0, paths.join(directory, latest.rpartition("/")[2]))
  for prefix in candidates:
    if is_checkpoint(prefix):
      return prefix
  others = checkpoints_in(directory)
  if others:
    hint = f"it has {', '.join(others[-3:])}; pass one of these"
  else:
    hint = f"the directory has no other; {_PASS}"
  raise CheckpointNotFoundError(
    f"{paths.join(directory, state_lib.STATE_FILE)}: the latest checkpoint it names is {latest},"
    f" and {index_path(latest)} is not there; {hint}"
  )


def _resolve_file(path: str) -> str:
  directory, name = paths.parent(path), path.rpartition("/")[2]
  prefix = _prefix_of_file(path)
  if prefix is not None and is_checkpoint(prefix):
    return prefix
  if is_checkpoint(v1_files.prefix_of(path)):
    return v1_files.prefix_of(path)
  if name == state_lib.STATE_FILE:
    state = state_lib.read_state(directory)
    if state is not None:
      return _resolve_state(directory or ".", state)
  if name in _SAVED_MODEL_FILES:
    return _resolve_directory(directory or ".")
  if prefix is not None and parse_data_path(path) is not None:
    raise CheckpointNotFoundError(_without_index(prefix))
  raise CorruptCheckpointError(f"{path}: {_describe(path)}")


def _describe(path: str) -> str:
  """What a file is that is no part of a checkpoint, and what to do."""
  size = files.size(path)
  if size == 0:
    return f"an empty file; {_PASS}"
  head = files.read_range(path, 0, 16)
  for offset, signature, description in _SIGNATURES:
    if head.startswith(signature, offset):
      return f"{description}. It is no checkpoint: {_PASS}"
  tail = files.read_range(path, max(size - 8, 0), 8)
  if tail == _TABLE_MAGIC:
    # A table that is no index is a checkpoint of the format V1, and found before.
    return (
      f"the index file of a checkpoint under another name; it has to be called"
      f" PREFIX{INDEX_SUFFIX}, beside {data_path('PREFIX', 0, 1)}"
    )
  if path.endswith(_META_SUFFIX):
    return (
      "a graph (MetaGraphDef) without its checkpoint:"
      f" {index_path(path[: -len(_META_SUFFIX)])} is not there; {_PASS}"
    )
  if path.endswith((".pb", ".pbtxt")):
    return (
      "a graph (frozen, or without its variables), which is no checkpoint; pass the"
      " checkpoint it was frozen from"
    )
  if "tfevents" in path.rpartition("/")[2]:
    return f"summaries for TensorBoard; {_PASS}"
  if files.is_temporary(path):
    return f"left by an interrupted write, and never completed; {_PASS}"
  return f"no file of a checkpoint; {_PASS}"


def _without_index(prefix: str) -> str:
  return (
    f"{prefix}: there are data files, but no {index_path(prefix)}. The checkpoint is"
    " being saved, its saving was interrupted, or the index was lost; use an earlier"
    " one"
  )


def _missing(path: str) -> str:
  if files.glob_prefix(path + ".data-"):
    return _without_index(path)
  directory = paths.parent(path)
  if directory and not files.is_dir(directory):
    return f"{path}: no checkpoint there, as there is no directory {directory}"
  try:
    others = checkpoints_in(directory or ".")
  except CheckpointError:
    others = []
  if not directory:
    others = [other[2:] for other in others]
  message = f"{path}: no checkpoint there: {index_path(path)} does not exist"
  by_name = {other.rpartition("/")[2]: other for other in others}
  near = nearest(path.rpartition("/")[2], by_name)
  if near is not None:
    return f"{message}; did you mean {by_name[near]}?"
  if others:
    return f"{message}; the directory has {', '.join(others[-3:])}"
  return f"{message}; {_PASS}"
