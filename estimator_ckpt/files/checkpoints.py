"""Lists the checkpoints of a directory, and says which one readers follow.

Of each checkpoint the index is read, and of its tensors only the step.
"""

from __future__ import annotations

import os

from estimator_ckpt import value_classes
from estimator_ckpt.bundle import files, paths
from estimator_ckpt.bundle.file_names import INDEX_SUFFIX, index_path
from estimator_ckpt.checkpoint import leftovers
from estimator_ckpt.checkpoint import prefix as prefix_lib
from estimator_ckpt.checkpoint import state_file as state_lib
from estimator_ckpt.checkpoint.model_dir import KEPT_APART, ModelDir
from estimator_ckpt.errors import CheckpointError, CheckpointNotFoundError
from estimator_ckpt.files.best_directories import BestDirectory, find_best_directories
from estimator_ckpt.files.summary import inspect_checkpoint

TYPE_CHECKING = False
if TYPE_CHECKING:
  from typing import Any


@value_classes.dataclass(frozen=True)
class FoundCheckpoint:
  """One checkpoint of a directory.

  Attributes:
    prefix: its path.
    saved: when its index was written, in seconds since 1970.
    format: `tf1`, `tf2` or `dual`; None if it cannot be read.
    step: the training step; None when no tensor is known to be it.
    size: the bytes of its files.
    is_latest: whether the state file names it as the one to restore.
    is_listed: whether the state file lists it, so that retention counts it.
    problems: what is wrong with it, as far as the index and the files' sizes tell.
  """

  prefix: str
  saved: float
  format: str | None
  step: int | None
  size: int
  is_latest: bool
  is_listed: bool
  problems: tuple[str, ...] = ()


@value_classes.dataclass(frozen=True)
class CheckpointList:
  """The checkpoints of a directory, and what is wrong there.

  Attributes:
    directory: its path.
    checkpoints: oldest first.
    gone: prefixes that the state file lists, and that are not there.
    leftovers: names of files and directories that an interrupted save or conversion
      left, or that a running one is writing.
    problems: what is wrong with the state file, or with a `best.json`.
    best: where the job's best checkpoints are kept.
  """

  directory: str
  checkpoints: tuple[FoundCheckpoint, ...]
  gone: tuple[str, ...]
  leftovers: tuple[str, ...]
  problems: tuple[str, ...] = ()
  best: tuple[BestDirectory, ...] = ()

  def ranks(self, checkpoint: FoundCheckpoint) -> list[tuple[BestDirectory, int]]:
    """Where a checkpoint is among the best, and which of them it is, from 1."""
    ranks = [(place, place.rank(checkpoint.prefix)) for place in self.best]
    return [(place, rank) for place, rank in ranks if rank is not None]

  def as_dict(self) -> dict[str, Any]:
    """The list as lists, dicts, texts and numbers."""
    return {
      "path": self.directory,
      "checkpoints": [
        {
          "path": checkpoint.prefix,
          "step": checkpoint.step,
          "format": checkpoint.format,
          "saved": checkpoint.saved,
          "bytes": checkpoint.size,
          "latest": checkpoint.is_latest,
          "listed": checkpoint.is_listed,
          "problems": list(checkpoint.problems),
          "best": [
            {"path": place.path, "rank": rank} for place, rank in self.ranks(checkpoint)
          ],
        }
        for checkpoint in self.checkpoints
      ],
      "gone": list(self.gone),
      "leftovers": list(self.leftovers),
      "problems": list(self.problems),
      "best": [place.as_dict() for place in self.best],
    }


def list_checkpoints(directory: str | os.PathLike[str]) -> CheckpointList:
  """Lists the checkpoints of a directory.

  Args:
    directory: a model_dir, or any directory with checkpoints in it.

  Returns:
    The list. A damaged checkpoint is in it, with the problem.

  Raises:
    CheckpointNotFoundError: there is no such directory, or no checkpoint in it.
    CheckpointIOError: the file system refused.

  Example:
    for checkpoint in list_checkpoints("model_dir").checkpoints:
      print(checkpoint.step, checkpoint.format, checkpoint.size)
  """
  path = paths.as_directory(os.fspath(directory))
  if not files.is_dir(path):
    raise CheckpointNotFoundError(
      f"{path}: no directory; `ls` lists the checkpoints of one, and `inspect` shows a"
      " checkpoint"
    )
  found = ModelDir.read(path)
  complete = {prefix.rpartition("/")[2] for prefix in found.checkpoints}
  # The state file of a copied directory may name the original's checkpoints.
  gone = [p for p in found.listed if p.rpartition("/")[2] not in complete]
  gone = [p for p in gone if not prefix_lib.is_checkpoint(p)]
  left = leftovers.unfinished(path, sorted(found.names), complete)
  if not (found.checkpoints or gone or left):
    prefix_lib.resolve(path)  # says what is there instead
  best, problems = find_best_directories(path, found.names)
  if found.state_error is not None:
    problems.insert(0, str(found.state_error))
  return CheckpointList(
    path,
    tuple(_found(prefix, found) for prefix in found.checkpoints),
    tuple(gone),
    tuple(left),
    tuple(problems),
    tuple(best),
  )


def checkpoint_directories(directory: str | os.PathLike[str]) -> list[str]:
  """The directories with checkpoints in a tree.

  Args:
    directory: the root of the tree. Links to directories are not followed.

  Returns:
    Paths, parents first. `tf2/`, which `separate=True` keeps beside its checkpoints, is
    part of the directory it is in.

  Raises:
    CheckpointNotFoundError: there is no such directory, or no checkpoint below it.
    CheckpointIOError: the file system refused.
  """
  root = os.fspath(directory).rstrip("/") or "/"
  if not files.is_dir(root):
    raise CheckpointNotFoundError(f"{root}: no directory to look for checkpoints in")
  found = []
  pending = [root]
  for path in pending:
    names = files.list_dir(path)
    has_checkpoints = any(name.endswith(INDEX_SUFFIX) for name in names)
    if has_checkpoints or state_lib.STATE_FILE in names:
      found.append(path)
    for name in names:
      below = f"{path.rstrip('/')}/{name}"
      is_kept_apart = has_checkpoints and name == KEPT_APART
      is_link = files.is_local(below) and os.path.islink(files.local_path(below))
      if not is_kept_apart and not is_link and files.is_dir(below):
        pending.append(below)
  if not found:
    raise CheckpointNotFoundError(f"{root}: no checkpoint in it or below it")
  return found


def _found(prefix: str, directory: ModelDir) -> FoundCheckpoint:
  name = prefix.rpartition("/")[2]
  format_name, step = None, None
  problems: tuple[str, ...] = ()
  sizes: dict[str, int] = {}
  is_v1 = name + INDEX_SUFFIX not in directory.names
  try:
    summary = inspect_checkpoint(prefix, directory.names)
  except CheckpointError as error:
    problems = (str(error),)
  else:
    format_name, step = str(summary.format.value), summary.step
    missing = [file.path for file in summary.data_files if file.size is None]
    # What cannot be read follows from that.
    problems = tuple(f"{path}: missing" for path in missing) or summary.problems
    if not is_v1:
      sizes = {f.path: f.size for f in summary.data_files if f.size is not None}
      sizes[index_path(prefix)] = summary.index_size
  own = (index_path(prefix), *directory.data_files(prefix))
  if is_v1:
    own = prefix_lib.v1_paths(prefix)
  return FoundCheckpoint(
    prefix,
    prefix_lib.modified_time(prefix, is_v1),
    format_name,
    step,
    sum(sizes[path] if path in sizes else files.size(path) for path in own),
    directory.latest is not None and name == directory.latest.rpartition("/")[2],
    name in {listed.rpartition("/")[2] for listed in directory.listed},
    problems,
  )
