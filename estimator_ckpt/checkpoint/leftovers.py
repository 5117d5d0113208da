"""What an interrupted training job left in its model_dir.

A job that is killed while it saves, or while retention deletes, leaves files that no
reader opens and that the state file does not name:

    model.ckpt-5.index.tmp-eckpt-1a2b3c4d     this package's temporary files, and those
    model.ckpt-5_temp/  checkpoint.tmp5f...   of TensorFlow
    model.ckpt-5.data-00000-of-00001          data without an index, or of another count
    model.ckpt-5.index                        an index that ends in the middle

The next job removes them before its first save. A whole checkpoint is never one of
them, whether the state file names it or not.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterable

from estimator_ckpt import errors
from estimator_ckpt.bundle import files, locks, paths, table
from estimator_ckpt.bundle.file_names import INDEX_SUFFIX, index_path, parse_data_path
from estimator_ckpt.bundle.index import Index
from estimator_ckpt.checkpoint import state_file as state_lib

# Where TensorFlow writes the shards of a save, and the files that it renames.
_TENSORFLOWS = re.compile(
  r"-\d+_temp(?:_[0-9a-f]+)?$|\.tmp[0-9a-f]{32}$|\.tempstate\d+$"
)
# A conversion's, which says which checkpoints it has not finished.
_CONVERSIONS = "checkpoint.unfinished."


def is_tensorflows(name: str) -> bool:
  """Whether a name is one that TensorFlow gives to an incomplete file."""
  return _TENSORFLOWS.search(name) is not None


def find(
  directory: str,
  before: float,
  state: state_lib.CheckpointState | None,
  names: Collection[str],
) -> list[str]:
  """Finds what interrupted jobs left.

  Args:
    directory: the model_dir.
    before: only what is there unchanged since then, in seconds since 1970: what is
      newer may be another job's that is at work, or be copied here just now.
    state: what its state file says, with paths that can be opened; None without one.
    names: what the directory has.

  Returns:
    Paths of files and directories. None without a state file that names a whole
    checkpoint: then something is wrong, and all that is there may be needed.

  Raises:
    CheckpointIOError: the file system refused.
  """
  if state is None or not _is_there(state.model_checkpoint_path, directory, names):
    return []
  latest = os.path.basename(state.model_checkpoint_path)
  found = [name for name in names if _is_unfinished(name, latest)]
  torn = {name for name in names if _is_torn(directory, name, latest)}
  found += sorted(torn) + _without_index(directory, names, torn, latest)
  paths = [os.path.join(directory, name) for name in found]
  return [path for path in paths if _is_left(path, before)]


def _is_there(prefix: str, directory: str, names: Collection[str]) -> bool:
  """Whether there is a checkpoint; a listing of its directory need not be asked again."""
  parent, name = os.path.split(index_path(prefix))
  return name in names if parent == directory else files.exists(index_path(prefix))


def unfinished(
  directory: str, names: Iterable[str], complete: Collection[str]
) -> list[str]:
  """What looks like an unfinished save or conversion, also of one that is at work.

  Args:
    directory: where the files are.
    names: what it has.
    complete: the names of its checkpoints.

  Returns:
    Names of files and directories; of data files without an index, the checkpoint's
    name.
  """
  names = list(names)
  found = [
    name
    for name in names
    if is_tensorflows(name)
    or (files.is_temporary(name) and not locks.is_in_use(paths.join(directory, name)))
  ]
  return found + sorted(orphans(names, complete))


def orphans(names: Iterable[str], complete: Collection[str]) -> set[str]:
  """The names of checkpoints that have data files and no index.

  Args:
    names: what a directory has.
    complete: the names of its checkpoints.
  """
  data = filter(None, map(parse_data_path, names))
  return {each.prefix for each in data if each.prefix not in complete}


def clean(
  directory: str,
  before: float,
  state: state_lib.CheckpointState | None,
  names: Collection[str],
) -> list[str]:
  """Removes what `find` finds, as far as the file system lets it.

  Args:
    directory: see `find`.
    before: see `find`.
    state: see `find`.
    names: see `find`.

  Returns:
    What was removed.
  """
  removed = []
  try:
    left = find(directory, before, state, names)
  except errors.CheckpointError:
    return []
  for path in left:
    try:
      _remove(path)
    except errors.CheckpointError:
      # It is as harmless as before.
      continue
    removed.append(path)
  return removed


def _remove(path: str) -> None:
  if files.is_dir(path):
    files.remove_tree(path)
  else:
    files.remove(path)


def _is_left(path: str, before: float) -> bool:
  """Whether nobody writes what is there."""
  try:
    checked = [path]
    if files.is_dir(path):
      inner = [os.path.join(path, name) for name in files.list_dir(path)]
      # A store has no directories: what it shows as one has no time.
      checked = [path, *inner] if files.is_local(path) else inner
    times = [files.settled_since(each) for each in checked]
  except errors.CheckpointError:
    return False
  # 0 is a time that is not known.
  return all(0 < time < before for time in times) and not locks.is_in_use(path)


def _is_unfinished(name: str, latest: str) -> bool:
  """Whether a name is that of a file which gets another name when complete."""
  if files.is_temporary(name):
    return not name.startswith(_CONVERSIONS)
  if "_temp" in name:
    # A user's own directory may end like that.
    stem, step = _stem_and_step(name.rpartition("_temp")[0])
    return (
      is_tensorflows(name) and step is not None and stem == _stem_and_step(latest)[0]
    )
  return is_tensorflows(name)


def _is_torn(directory: str, name: str, latest: str) -> bool:
  """Whether a file is an index of a save that was cut short: newer, and without end.

  TensorFlow writes the index of a sharded save in place, its end last.
  """
  if not name.endswith(INDEX_SUFFIX):
    return False
  stem, step = _stem_and_step(name[: -len(INDEX_SUFFIX)])
  latest_stem, latest_step = _stem_and_step(latest)
  if stem != latest_stem or step is None or latest_step is None or step <= latest_step:
    return False
  try:
    return not table.has_end(files.read(os.path.join(directory, name)))
  except errors.CheckpointError:
    return False


def _stem_and_step(prefix: str) -> tuple[str, int | None]:
  stem, _, step = prefix.rpartition("-")
  return stem, int(step) if step.isascii() and step.isdigit() else None


def _without_index(
  directory: str, names: Iterable[str], torn: set[str], latest: str
) -> list[str]:
  """Data files of this job's that belong to no index, or not to the one that is there."""
  own_stem = _stem_and_step(latest)[0]
  by_prefix: dict[str, dict[str, int]] = {}
  for name in names:
    parsed = parse_data_path(name)
    if parsed is not None and _stem_and_step(parsed.prefix)[0] == own_stem:
      by_prefix.setdefault(parsed.prefix, {})[name] = parsed.num_shards
  present = set(names) - torn
  found = []
  for prefix, counts in by_prefix.items():
    if index_path(prefix) not in present:
      found += list(counts)
    elif len(set(counts.values())) > 1:
      try:
        own = Index.read(os.path.join(directory, prefix)).header.num_shards
      except errors.CheckpointError:
        # Nobody can say which data files a damaged index needs.
        continue
      found += [name for name, count in counts.items() if count != own]
  return found
