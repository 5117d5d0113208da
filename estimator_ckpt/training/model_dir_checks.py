"""Checks of a model_dir, before a job trains in it.

TensorFlow passes over a `checkpoint` file that it cannot read. Training then begins at
step 0 in a model_dir that is full of checkpoints, and predictions come from random weights.
Both look like success.
"""

from __future__ import annotations

import glob

from estimator_ckpt import errors
from estimator_ckpt.bundle.file_names import index_path
from estimator_ckpt.checkpoint import prefix as prefix_lib
from estimator_ckpt.checkpoint import state_file as state_lib


def check_name(directory: str) -> None:
  """Checks that TensorFlow can find and delete checkpoints by a directory's name.

  TensorFlow looks for the files of a checkpoint by a pattern. With `[` or a backslash in
  the path, it does not find them again. With `*` or `?`, it also finds, and deletes, the
  files of other directories that match.

  Args:
    directory: the path of a model_dir.

  Raises:
    OptionError: TensorFlow would lose checkpoints, or delete those of other directories.
  """
  lost = [character for character in "[\\" if character in directory]
  if lost:
    raise errors.OptionError(
      f"The model_dir {directory!r} has {' and '.join(map(repr, lost))} in its path. "
      "TensorFlow takes that for a pattern of file names, and would not find the "
      "checkpoints again. Choose another directory."
    )
  others = [path for path in glob.glob(directory) if path != directory]
  if others:
    raise errors.OptionError(
      f"TensorFlow takes the model_dir {directory!r} for a pattern of file names, and "
      f"{others[0]!r} matches it too: its checkpoints would be deleted with those of "
      "this one. Choose another directory."
    )


def check_state(directory: str) -> state_lib.CheckpointState | None:
  """Checks that the state file of a directory with checkpoints can be read.

  Args:
    directory: the path of a model_dir, which need not exist.

  Returns:
    What the file says; None without one, and where it is damaged and there are no
    checkpoints to lose.

  Raises:
    CorruptCheckpointError: the directory has checkpoints, and its state file is damaged.
  """
  try:
    return state_lib.read_state(directory)
  except errors.CorruptCheckpointError as error:
    check_damaged(directory, error)
    return None


def check_damaged(directory: str, error: errors.CorruptCheckpointError) -> None:
  """Checks that a directory whose state file is damaged has no checkpoints.

  Args:
    directory: the path of a model_dir.
    error: what is wrong with the file.

  Raises:
    CorruptCheckpointError: the directory has checkpoints.
  """
  there = _checkpoints(directory)
  if there:
    raise errors.CorruptCheckpointError(f"{error}. {_advice(there)}") from None


def check_latest(directory: str) -> None:
  """Checks that the state file of a directory leads to a checkpoint, if there are any.

  Args:
    directory: the path of a model_dir, which need not exist.

  Raises:
    CorruptCheckpointError: the directory has checkpoints, and its state file is damaged.
    CheckpointNotFoundError: the state file names a checkpoint that is not there, while
      others are.
  """
  current = check_state(directory)
  if current is None or prefix_lib.is_checkpoint(current.model_checkpoint_path):
    return
  there = _checkpoints(directory)
  if there:
    raise errors.CheckpointNotFoundError(
      f"{directory}/{state_lib.STATE_FILE}: it names {current.model_checkpoint_path}, and "
      f"{index_path(current.model_checkpoint_path)} is not there. {_advice(there)}"
    )


def _checkpoints(directory: str) -> list[str]:
  try:
    return prefix_lib.checkpoints_in(directory)
  except errors.CheckpointNotFoundError:
    return []


def _advice(there: list[str]) -> str:
  latest = there[-1].rpartition("/")[2]
  names = ", ".join(path.rpartition("/")[2] for path in there[-3:])
  return (
    f"The directory has {len(there)} checkpoints (the last: {names}), and TensorFlow would "
    "begin anew in it. To go on from one, write a line like "
    f'`model_checkpoint_path: "{latest}"` into the file; to begin anew, use another '
    "directory or remove the file."
  )
