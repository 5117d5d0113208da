"""A directory of checkpoints, as one listing and one reading of its state file show it.

On an object store each listing is a round trip. Whoever works on a directory reads it
once and asks this value.
"""

from __future__ import annotations

from collections.abc import Mapping

from estimator_ckpt import value_classes
from estimator_ckpt.bundle import files, paths
from estimator_ckpt.bundle.file_names import parse_data_path
from estimator_ckpt.checkpoint import prefix as prefix_lib
from estimator_ckpt.checkpoint import state_file as state_lib
from estimator_ckpt.errors import CheckpointError
from estimator_ckpt.older_pythons import cached_property

# Where a job with separate=True keeps the TF2 half of its pairs, in its model_dir.
KEPT_APART = "tf2"


@value_classes.dataclass(frozen=True)
class ModelDir:
  """What is in a directory of checkpoints.

  Attributes:
    path: the directory, without a slash at its end.
    names: its files and directories.
    checkpoints: the prefixes of its checkpoints, oldest first.
    state: what its state file says; None without one, and where that cannot be read.
    state_error: why the state file cannot be read.
  """

  path: str
  names: frozenset[str]
  checkpoints: tuple[str, ...]
  state: state_lib.CheckpointState | None
  state_error: CheckpointError | None = None

  @classmethod
  def read(cls, path: str) -> ModelDir:
    """Reads a directory.

    Args:
      path: the directory; it need not have checkpoints.

    Raises:
      CheckpointNotFoundError: there is no such directory.
      CheckpointIOError: the file system refused.
    """
    path = paths.as_directory(path)
    names = frozenset(files.list_dir(path))
    state, state_error = None, None
    if state_lib.STATE_FILE in names:
      try:
        state = state_lib.read_state(path)
      except CheckpointError as error:
        state_error = error
    checkpoints = prefix_lib.checkpoints_among(path, names)
    return cls(path, names, tuple(checkpoints), state, state_error)

  @classmethod
  def of(cls, prefix: str) -> ModelDir | None:
    """Reads the directory that a checkpoint is in; None where it may not be listed."""
    try:
      return cls.read(paths.parent(prefix) or ".")
    except CheckpointError:
      return None

  @property
  def state_file(self) -> str:
    """The path of the state file, whether it is there or not."""
    return paths.join(self.path, state_lib.STATE_FILE)

  @property
  def latest(self) -> str | None:
    """The prefix that the state file names as the latest; None where it names none."""
    return self.state.model_checkpoint_path if self.state is not None else None

  @property
  def listed(self) -> tuple[str, ...]:
    """The prefixes that the state file lists, once each, the latest among them."""
    if self.state is None:
      return ()
    listed = (*self.state.all_model_checkpoint_paths, self.state.model_checkpoint_path)
    return tuple(dict.fromkeys(listed))

  @cached_property
  def _data_names(self) -> Mapping[str, list[str]]:
    found: dict[str, list[str]] = {}
    for name in sorted(self.names):
      parsed = parse_data_path(name)
      if parsed is not None:
        found.setdefault(parsed.prefix, []).append(name)
    return found

  def data_files(self, prefix: str) -> tuple[str, ...]:
    """The paths of the data files that a checkpoint has, those of no use among them.

    Args:
      prefix: a checkpoint of the directory.
    """
    names = self._data_names.get(prefix_lib.base(prefix).rpartition("/")[2], ())
    return tuple(paths.join(self.path, name) for name in names)
