"""The state file of a directory, as one training job reads and writes it.

A save reads the file once, before anything is written. A job remembers what it wrote last,
so it notices when another program writes the file too.
"""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Sequence

from estimator_ckpt import errors
from estimator_ckpt.bundle import files
from estimator_ckpt.checkpoint import leftovers
from estimator_ckpt.checkpoint import state_file as state_lib
from estimator_ckpt.training import model_dir_checks

_SHOWN = 100
_logger = logging.getLogger(__name__)


class JobState:
  """The state file of one directory.

  Args:
    directory: a model_dir, or the directory tf2/ in one.
    name: the file's name; None for `checkpoint`.

  Attributes:
    is_this_jobs: whether this job has entered a checkpoint of its own.
  """

  def __init__(self, directory: str, name: str | None = None):
    self.is_this_jobs = False
    self._directory = directory
    self._name = name or state_lib.STATE_FILE
    self._path = os.path.join(directory, self._name)
    self._is_cleaned = False
    # What `read` found in the file, and what this job wrote into it last.
    self._found: bytes | None = None
    self._state: state_lib.CheckpointState | None = None
    self._written: bytes | None = None

  @property
  def exists(self) -> bool:
    """Whether `read` found the file."""
    return self._found is not None

  def read(self) -> state_lib.CheckpointState | None:
    """Reads the file.

    Returns:
      What the file says, with paths as they stand in it. None if there is no file, or a
      damaged one in a directory without checkpoints.

    Raises:
      CorruptCheckpointError: the file is damaged, and there are checkpoints.
      CheckpointIOError: the file system refused.
    """
    self._state = None
    try:
      self._found = files.read(self._path)
    except errors.CheckpointNotFoundError:
      self._found = None
      return None
    try:
      self._state = state_lib.parse_state(self._found, self._path)
    except errors.CorruptCheckpointError as error:
      model_dir_checks.check_damaged(self._directory, error)
    return self._state

  def say_if_another_writes(self) -> None:
    """Warns if `read` found a file that this job did not write."""
    if self._written is None or self._found in (None, self._written):
      return
    _logger.warning(
      "%s is not as this job left it: another program writes it too. It named %s, and it "
      "names %s now. Two jobs in one model_dir overwrite and delete each other's "
      "checkpoints; give each a model_dir of its own.",
      self._path,
      _latest(self._written),
      _latest(self._found),
    )

  def clean(self, beside: Sequence[str], before: float) -> frozenset[str] | None:
    """Removes what interrupted jobs left, once, and logs what it removed.

    Nothing is removed while there is no state file, which says what is still needed.

    Args:
      beside: where to look besides; each has a state file of the same name.
      before: when this job began, in seconds since 1970; newer files stay.

    Returns:
      What the directory has then, if this call looked for leftovers; None otherwise.
    """
    if self._is_cleaned or not self.exists:
      return None
    self._is_cleaned = True
    names = _names(self._directory)
    state = self._state
    if state is not None:
      state = state_lib.joined_state(self._directory, state)
    left = leftovers.clean(self._directory, before, state, names)
    for directory in beside:
      with contextlib.suppress(errors.CheckpointError):
        state = state_lib.read_state(directory, self._name)
        left += leftovers.clean(directory, before, state, _names(directory))
    if left:
      _logger.warning("Removed what an interrupted save left: %s", listed(left))
    return names.difference(map(os.path.basename, left))

  def write(
    self, latest: str, kept: Sequence[str], relative: bool, durable: bool = False
  ) -> None:
    """Writes the file; a reader sees the old one or the new one.

    Args:
      latest: the prefix of the latest checkpoint.
      kept: the prefixes of all checkpoints that are kept, the latest last.
      relative: whether absolute paths are written relative to the directory.
      durable: whether to wait until the file is on the disk. TensorFlow does not.

    Raises:
      CheckpointIOError: the file system refused.
    """
    state = state_lib.CheckpointState(
      self._stored(latest, relative),
      tuple(self._stored(prefix, relative) for prefix in kept),
    )
    # If writing fails half way, what is found next is not another program's work.
    self._written = None
    data = state_lib.format_state(state)
    files.write_atomic(self._path, data, sync=durable)
    self._written = data

  def _stored(self, prefix: str, relative: bool) -> str:
    """A prefix as `tf.compat.v1.train.update_checkpoint_state` writes it."""
    if os.path.isabs(prefix):
      return os.path.relpath(prefix, self._directory) if relative else prefix
    if os.path.isabs(self._directory):
      return prefix
    return os.path.relpath(prefix, self._directory)


def _names(directory: str) -> frozenset[str]:
  """What a directory has; nothing where that cannot be told."""
  try:
    return frozenset(files.list_dir(directory))
  except errors.CheckpointError:
    return frozenset()


def _latest(data: bytes | None) -> str:
  try:
    return state_lib.parse_state(data or b"", "it").model_checkpoint_path
  except errors.CorruptCheckpointError:
    return "nothing"


def listed(names: Sequence[str]) -> str:
  """Joins names for a message; of many, it shows only the first."""
  return ", ".join(errors.shorten(names, _SHOWN))
