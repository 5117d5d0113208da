"""Rewriting a checkpoint, or all checkpoints of a model_dir.

A model_dir is rewritten one checkpoint after the other, and its state file last. Readers
follow the state file, so they see a whole directory or none. Event files, graphs and
`.meta` files are left out: an Estimator writes them again, and a `.meta` file names the
keys of the checkpoint that it was written with.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator, Sequence

from estimator_ckpt import errors, value_classes
from estimator_ckpt.bundle import files, locks, paths
from estimator_ckpt.bundle.commit import check_no_writer, clean_leftovers
from estimator_ckpt.bundle.file_names import index_path, parse_data_path
from estimator_ckpt.bundle.shards import check_placement
from estimator_ckpt.bundle.target_directory import TargetDirectory
from estimator_ckpt.checkpoint import prefix as prefix_lib
from estimator_ckpt.checkpoint import state_file as state_lib
from estimator_ckpt.checkpoint.model_dir import ModelDir
from estimator_ckpt.files import write as write_lib

TYPE_CHECKING = False
if TYPE_CHECKING:
  from typing import Any

_SAVED_MODEL_FILES = ("saved_model.pb", "saved_model.pbtxt")
# Lists the checkpoints of a directory that is being written; see `_Unfinished`.
_UNFINISHED = "checkpoint.unfinished"


@value_classes.dataclass(frozen=True)
class RewriteReport:
  """What was written.

  Attributes:
    checkpoints: a report for each checkpoint.
    state_file: the `checkpoint` file that was written, if the source was a directory.
    notes: what a user should know of the whole.
    cleaned: files of an interrupted run that were removed. Those of a checkpoint are in
      its own report.
  """

  checkpoints: tuple[write_lib.CheckpointReport, ...]
  state_file: str | None = None
  notes: tuple[str, ...] = ()
  cleaned: tuple[str, ...] = ()

  def __str__(self) -> str:
    lines = [str(checkpoint) for checkpoint in self.checkpoints]
    if self.state_file is not None:
      count = len(self.checkpoints)
      lists = "lists" if self.rehearsed is None else "would list"
      lines.append(
        f"{self.state_file}: {lists} {count} checkpoint" + "s" * (count != 1)
      )
    lines += [f"note: {note}" for note in self.notes]
    lines += [f"cleaned up after an interrupted run: {path}" for path in self.cleaned]
    if self.rehearsed is not None:
      total = write_lib.rehearsed_text(self.rehearsed)
      lines.append(f"Nothing was written. In all this {total}.")
    return "\n".join(lines)

  @property
  def rehearsed(self) -> dict[str, int] | None:
    """Of a dry run, the bytes that would be linked, shared, copied and written."""
    total: dict[str, int] = {}
    for checkpoint in self.checkpoints:
      if checkpoint.rehearsed is None:
        return None
      for how, count in checkpoint.rehearsed.items():
        total[how] = total.get(how, 0) + count
    return total

  def as_dict(self) -> dict[str, Any]:
    """The report as lists, dicts, texts and numbers."""
    rehearsed = {} if self.rehearsed is None else {"would": self.rehearsed}
    return {
      **rehearsed,
      "checkpoints": [checkpoint.as_dict() for checkpoint in self.checkpoints],
      "state_file": self.state_file,
      "notes": list(self.notes),
      "cleaned": list(self.cleaned),
    }


def rewrite_path(
  source: str | os.PathLike[str],
  target: str | os.PathLike[str],
  make_plan: write_lib.PlanMaker,
  *,
  data: str = "auto",
  overwrite: bool = False,
  compact: bool = False,
  dry_run: bool = False,
  progress: write_lib.Progress | None = None,
) -> RewriteReport:
  """Rewrites one checkpoint, or all of a model_dir.

  Args:
    source: a directory with checkpoints, for all of them; anything else that
      `prefix.resolve` takes, for one.
    target: the prefix to write, or a directory. For all of a directory, a directory.
    make_plan: plans what is written for a checkpoint.
    data: how data files get there: `auto`, `link`, `reflink` or `copy`.
    overwrite: whether checkpoints that are there may be replaced.
    compact: whether data files are written anew, without what no key needs.
    dry_run: whether to count what would be written, and write nothing.
    progress: is called with the bytes that are done and those there are in all.

  Returns:
    What was done.

  Raises:
    CheckpointError: any of this package's errors; nothing was written if a plan could
      not be made.
  """
  source, target = os.fspath(source), os.fspath(target)
  check_placement(data)
  options: dict[str, Any] = {
    "data": data,
    "overwrite": overwrite,
    "compact": compact,
    "dry_run": dry_run,
  }
  model_dir = read_model_dir(source)
  if model_dir is None:
    prefix = prefix_lib.resolve(source)
    to = write_lib.target_prefix(target, prefix)
    write_lib.check_target(to, [prefix])
    check_free([to], overwrite, clean=not dry_run)
    read = write_lib.SourceCheckpoint.read(prefix)
    plan = make_plan(read)
    read.release()
    return RewriteReport(
      (write_lib.write(read, to, plan, progress=progress, **options),)
    )
  return _rewrite_directory(model_dir, target, make_plan, progress, options)


def read_model_dir(path: str) -> ModelDir | None:
  """Reads a directory with checkpoints.

  Args:
    path: any path.

  Returns:
    The directory; None where the path is something else, such as a SavedModel.

  Raises:
    CheckpointIOError: the directory cannot be listed.
  """
  # TensorFlow's ram:// has a directory for every beginning of a file's path.
  is_prefix = not path.endswith("/") and files.exists(index_path(path))
  if is_prefix or not files.is_dir(path):
    return None
  found = ModelDir.read(path)
  if any(name in _SAVED_MODEL_FILES for name in found.names):
    return None
  has_state = state_lib.STATE_FILE in found.names
  return found if has_state or found.checkpoints else None


def _rewrite_directory(
  source: ModelDir,
  target: str,
  make_plan: write_lib.PlanMaker,
  progress: write_lib.Progress | None,
  options: dict[str, Any],
) -> RewriteReport:
  if source.state_error is not None:
    raise source.state_error
  prefixes, gone = _all_checkpoints(source)
  if not prefixes:
    prefix = prefix_lib.resolve(source.path)  # Says what is there instead.
    raise errors.CheckpointNotFoundError(
      f"{source.path}: no checkpoint in the directory; pass {prefix} for that one"
    )
  target = paths.as_directory(target)
  targets = [
    paths.join(target, prefix_lib.base(prefix).rpartition("/")[2])
    for prefix in prefixes
  ]
  for prefix, to in zip(prefixes, targets):
    write_lib.check_target(to, [prefix])
  if files.exists(target) and not files.is_dir(target):
    raise errors.OptionError(f"{target}: the source is a directory, and this is a file")
  state_file = paths.join(target, state_lib.STATE_FILE)
  unfinished = _Unfinished(target, targets, state_file, options["overwrite"])
  dry_run = options["dry_run"]
  unfinished.look(clean=not dry_run)
  # Every plan is made before the first file is written.
  planned = []
  for prefix in prefixes:
    read = write_lib.SourceCheckpoint.read(prefix)
    planned.append((read, make_plan(read)))
    read.release()
  total = sum(read.data_bytes for read, _ in planned)
  reports: list[write_lib.CheckpointReport] = []
  done = 0
  with contextlib.nullcontext() if dry_run else unfinished.writing():
    for (read, plan), to in zip(planned, targets):
      ours = dict(options, overwrite=options["overwrite"] or to in unfinished.targets)
      with unfinished.making(to):
        reports.append(
          write_lib.write(
            read, to, plan, progress=_shifted(progress, done, total), **ours
          )
        )
      done += read.data_bytes
    if not dry_run:
      with unfinished.making(state_file):
        state_lib.write_state(target, _new_state(source.state, prefixes, targets))
  return RewriteReport(
    tuple(reports), state_file, _notes(source, gone), tuple(unfinished.cleaned)
  )


def _all_checkpoints(directory: ModelDir) -> tuple[list[str], list[str]]:
  """The checkpoints that are there, oldest first; and those that are listed and gone."""
  names = {prefix.rpartition("/")[2] for prefix in directory.checkpoints}
  elsewhere: list[str] = []
  gone: list[str] = []
  for prefix in directory.listed:
    # The state of a copied directory may name the original one's checkpoints.
    if prefix.rpartition("/")[2] in names:
      continue
    names.add(prefix.rpartition("/")[2])
    (elsewhere if prefix_lib.is_checkpoint(prefix) else gone).append(prefix)
  return [*elsewhere, *directory.checkpoints], gone


def _new_state(
  state: state_lib.CheckpointState | None,
  prefixes: Sequence[str],
  targets: Sequence[str],
) -> state_lib.CheckpointState:
  """The state of the new directory: the old one's, for the checkpoints it has."""
  by_name = {prefix.rpartition("/")[2]: to for prefix, to in zip(prefixes, targets)}
  if state is None:
    return state_lib.CheckpointState(targets[-1], tuple(targets))
  latest = by_name.get(state.model_checkpoint_path.rpartition("/")[2], targets[-1])
  paths, timestamps = [], []
  times: Sequence[float | None] = state.all_model_checkpoint_timestamps
  if len(times) != len(state.all_model_checkpoint_paths):
    times = [None] * len(state.all_model_checkpoint_paths)
  for prefix, timestamp in zip(state.all_model_checkpoint_paths, times):
    to = by_name.get(prefix.rpartition("/")[2])
    if to is not None:
      paths.append(to)
      timestamps.append(timestamp)
  return state_lib.CheckpointState(
    latest,
    tuple(paths),
    tuple(t for t in timestamps if t is not None),
    state.last_preserved_timestamp,
  )


def _notes(source: ModelDir, gone: Sequence[str]) -> tuple[str, ...]:
  notes = []
  if gone:
    notes.append(f"{source.state_file} lists {', '.join(gone)}, which is not there")
  metas = sum(name.endswith(".meta") for name in source.names)
  if metas:
    notes.append(
      f"{metas} .meta files were left out: they name the keys of the source's"
      " checkpoints"
    )
  return tuple(notes)


def check_free(targets: Sequence[str], overwrite: bool, clean: bool = True) -> None:
  """Checks that there is no checkpoint at a destination, before anything is read.

  Args:
    targets: prefixes.
    overwrite: whether checkpoints that are there may be replaced.
    clean: whether to remove what an interrupted run left beside one that is there.

  Raises:
    CheckpointExistsError: there is a checkpoint that may not be replaced.
  """
  taken = []
  if not overwrite:
    # One listing for each directory, where each index would be asked for twice.
    listed = {
      directory: set(files.glob_prefix(paths.join(directory, "")))
      for directory in {paths.parent(to) for to in targets}
    }
    taken = [
      to
      for to in targets
      if index_path(to) in listed[paths.parent(to)] and files.exists(index_path(to))
    ]
  if taken:
    for to in taken if clean else ():
      # A run may have been interrupted when its checkpoint was whole already.
      with contextlib.suppress(errors.CheckpointError):
        clean_leftovers(to)
    raise errors.CheckpointExistsError(
      f"{taken[0]}: there is a checkpoint already; choose another destination, or ask"
      " for it to be overwritten (--overwrite)"
    )


def _shifted(
  progress: write_lib.Progress | None, before: int, total: int
) -> write_lib.Progress | None:
  if progress is None:
    return None
  callback = progress
  return lambda done, _: callback(before + done, total)


class _Unfinished:
  """A file that lists the checkpoints of a directory that is being written.

  It is removed when the state file is there. After an interrupted run it stays, and says
  which checkpoints are that run's, so that the next run may replace them.

  Args:
    directory: what is written.
    wanted: the prefixes of the checkpoints that are to be written there.
    state_file: the path of the directory's state file.
    overwrite: whether what is there may be replaced.

  Attributes:
    targets: the checkpoints of an interrupted run; also the state file, if that run was
      to write the first one.
    cleaned: the lists of interrupted runs that were removed.
  """

  def __init__(
    self, directory: str, wanted: Sequence[str], state_file: str, overwrite: bool
  ):
    self._directory = directory
    self._wanted = wanted
    self._state_file = state_file
    self._overwrite = overwrite
    self._found: list[str] = []
    self._there: list[str] = []
    self._new: set[str] = set()
    self._made: list[str] = []
    self.targets: set[str] = set()
    self.cleaned: list[str] = []

  def look(self, clean: bool = True) -> None:
    """Looks at what is in the directory.

    Args:
      clean: see `check_free`. False while this process has its turn, which cleaning would
        wait for.

    Raises:
      CheckpointExistsError: something is there that may not be replaced, or another
        process is writing the directory.
    """
    while not self._read_lists():
      pass
    wanted = [to for to in self._wanted if to not in self.targets]
    check_free(wanted, self._overwrite, clean)
    ours_to_replace = self._overwrite or self._state_file in self.targets
    if self._state_file in self._there and not ours_to_replace:
      raise errors.CheckpointExistsError(
        f"{self._state_file}: there is a model_dir already; choose another destination,"
        " or ask for it to be overwritten (--overwrite)"
      )

  def _read_lists(self) -> bool:
    """Reads the lists of interrupted runs; returns whether none vanished meanwhile."""
    self._found, self.targets = [], set()
    start = paths.join(self._directory, _UNFINISHED)
    # A state file that was not completed is found too, and removed with the list.
    self._there = files.glob_prefix(paths.join(self._directory, ""))
    for path in self._there:
      of_state = path.startswith(self._state_file + ".")
      if not (of_state and files.is_temporary(path)):
        continue
      is_list = path.startswith(start)
      if locks.is_in_use(path):
        if not is_list:
          continue
        raise errors.CheckpointExistsError(
          f"{self._directory}: {locks.owner(path)} is writing this directory ({path} is"
          " locked)"
        )
      self._found.append(path)
      if not is_list:
        continue
      try:
        lines = files.read(path).decode("utf-8", "surrogateescape").splitlines()
      except errors.CheckpointNotFoundError:
        # The process that had it has ended, and left the directory in another state.
        return False
      # Whatever the file says, only names of this directory count.
      self.targets.update(
        paths.join(self._directory, name) for name in lines if name and "/" not in name
      )
    return True

  @contextlib.contextmanager
  def writing(self) -> Iterator[None]:
    """Keeps the list while a directory is written; an error removes what is new."""
    directory = TargetDirectory(self._directory)
    path = files.temporary_path(paths.join(self._directory, _UNFINISHED))
    closing = contextlib.ExitStack()
    is_listed = False
    clean = True
    try:
      with directory.turn():
        self.look(clean=False)
        self._new = {
          to
          for to in (self._state_file, *self._wanted)
          if to in self.targets or _path_of(to) not in self._there
        }
        for to in self._wanted:
          check_no_writer(to, found=self._there)
        file = closing.enter_context(files.create(path, sync=False))
        is_listed = True
        names = "".join(to.rpartition("/")[2] + "\n" for to in sorted(self._new))
        line = locks.owner_line()
        files.write_now(file, line + names.encode("utf-8", "surrogateescape"), path)
      if not files.is_local(path):
        closing.close()
      yield
    except BaseException:
      removed = [_remove(to) for to in reversed(self._made)]
      clean = all(removed)
      raise
    finally:
      # The list stays open, and so locked, until the end.
      if clean and is_listed:
        with contextlib.suppress(errors.CheckpointError):
          files.remove(path)
      closing.close()
      if sys.exc_info()[0] is not None:
        directory.remove_made()
    for path in self._found:
      # Another process may have removed it.
      with contextlib.suppress(errors.CheckpointNotFoundError):
        files.remove(path)
        self.cleaned.append(path)

  @contextlib.contextmanager
  def making(self, target: str) -> Iterator[None]:
    """Remembers what is written meanwhile as this run's, unless another has it."""
    if target in self._new:
      self._made.append(target)
    try:
      yield
    except errors.CheckpointExistsError:
      if target in self._made:
        self._made.remove(target)
      raise


def _path_of(target: str) -> str:
  """The file that makes a checkpoint, or a state file, be there."""
  is_state = target.rpartition("/")[2] == state_lib.STATE_FILE
  return target if is_state else index_path(target)


def _remove(target: str) -> bool:
  """Removes a state file, or a checkpoint with the index first.

  Args:
    target: the state file, or the checkpoint's prefix.

  Returns:
    Whether all of it is gone.
  """
  own = [target]
  if target.rpartition("/")[2] != state_lib.STATE_FILE:
    data = files.glob_prefix(target + ".data-")
    own = [index_path(target), *(path for path in data if parse_data_path(path))]
  gone = True
  for path in own:
    try:
      files.remove(path)
    except errors.CheckpointNotFoundError:
      continue
    except errors.CheckpointError:
      gone = False
  return gone
