"""Writing a bundle: readers find the old one or the new one, never a mixture.

    1. PREFIX.index.tmp-eckpt-of-NNNNN-xxxxxxxx   a file tells what is coming, and whose
    2. PREFIX.data-00000-of-NNNNN ...             the data files, synced
    3. PREFIX.index                               written beside, synced, renamed
    4. data files of a bundle that was replaced, and the file of 1, are removed

The rename of step 3 is the commit. To replace a bundle, NNNNN is made one that it does
not have, with empty data files if need be, so that the old index keeps its data until
then. Where the file system has links, the steps are then done once more, for the number
of data files without the empty ones.

The file of 1 is locked while its writer lives, and says which process that is. Without a
writer it tells the next one which files an interrupted run left. Two writers look at
what is there, and write that file, one after the other: in their turns
(`estimator_ckpt.bundle.target_directory`).
"""

from __future__ import annotations

import contextlib
import errno
import re
from collections.abc import Collection, Iterator, Mapping, Sequence

from estimator_ckpt import value_classes
from estimator_ckpt.bundle import copies, files, locks, paths, shards
from estimator_ckpt.bundle.file_names import (
  INDEX_SUFFIX,
  data_path,
  index_path,
  parse_data_path,
)
from estimator_ckpt.bundle.index import Index
from estimator_ckpt.bundle.target_directory import TargetDirectory
from estimator_ckpt.errors import (
  CheckpointError,
  CheckpointExistsError,
  CheckpointIOError,
  CheckpointNotFoundError,
  CorruptCheckpointError,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
  from typing import IO

_INTENT = r"\.tmp-eckpt-of-(\d{5})-[0-9a-f]{8}$"


class BundleWriter:
  """Writes one bundle; a context manager that leaves nothing behind when it fails.

  Attributes:
    prefix: the checkpoint's path.
    num_shards: how many data files there will be. More than asked for while a bundle
      is being replaced that has as many, and where the file system has no links; the
      others are empty.
    cleaned: files of an interrupted run that were removed.
    placed: what was done for each data file: `link`, `reflink`, `copy` or `write`.
    bytes_by: None; of a rehearsal, what `BundleRehearsal` counted.

  Example:
    >>> with BundleWriter("example/model.ckpt-3", num_shards=1) as bundle:
    ...   shard = bundle.add_bytes(b"tensors")
    ...   bundle.commit(Index())
    >>> files.list_dir("example")
    ['model.ckpt-3.data-00000-of-00001', 'model.ckpt-3.index']
  """

  def __init__(
    self,
    prefix: str,
    num_shards: int,
    *,
    overwrite: bool = False,
    sync: bool = True,
  ):
    """Writes nothing yet.

    Args:
      prefix: the checkpoint's path.
      num_shards: how many data files will be added.
      overwrite: whether a bundle that is there may be replaced.
      sync: whether to wait until the files are on the disk. Without, the bundle does not
        survive a power cut, as those that TensorFlow writes.
    """
    self.prefix = prefix
    self.num_shards = num_shards
    self.cleaned: list[str] = []
    self.placed: list[str] = []
    self.bytes_by: Mapping[str, int] | None = None
    self._asked = num_shards
    self._overwrite = overwrite
    self._sync = sync
    self._directory = TargetDirectory(paths.parent(prefix))
    self._intent = ""
    self._stack = contextlib.ExitStack()
    self._written: list[str] = []
    self._replaced: list[str] = []
    self._is_index_sent = False
    self._index_data = b""
    self._committed = False

  @property
  def data_bytes(self) -> int:
    """The size of all data files."""
    count = self.num_shards
    return sum(files.size(data_path(self.prefix, n, count)) for n in range(count))

  def __enter__(self) -> BundleWriter:
    """Looks at what is there, and says on disk what will be written.

    Raises:
      CheckpointExistsError: there is a bundle and it may not be replaced, or another
        process is writing it.
      CheckpointIOError: the file system refused.
    """
    try:
      with self._directory.turn() as is_alone:
        self._claim()
        if not is_alone:
          check_no_writer(self.prefix, self._intent)
    except BaseException:
      self.__exit__(None, None, None)
      raise
    return self

  def _claim(self) -> None:
    """Looks at what is there, and writes the file that says what is coming."""
    found = _files_of(self.prefix)
    _check_no_index(self.prefix, self._overwrite, found)
    self.cleaned = _clean_leftovers(self.prefix, found)
    if self.cleaned:
      # What looked like a leftover may be of a writer that ended in between.
      found = _files_of(self.prefix)
      _check_no_index(self.prefix, self._overwrite, found)
    self._replaced = _replaced_files(self.prefix, self._overwrite, found, self.cleaned)
    taken = {_count(path) for path in self._replaced}
    while self.num_shards in taken:
      self.num_shards += 1
    path = files.temporary_path(index_path(self.prefix), f"{self.num_shards:05d}")
    with contextlib.ExitStack() as stack:
      file = stack.enter_context(files.create(path, sync=False))
      self._intent = path
      files.write_now(file, locks.owner_line(), path)
      if files.is_local(path):
        # It stays open, and so locked, until the end.
        self._stack = stack.pop_all()

  def __exit__(self, kind: object, error: object, trace: object) -> None:
    """Removes what was written, if `commit` did not get as far as the index."""
    removed = not (self._committed and self._replaced)
    # A store may have done what it did not answer in time: the index may be there.
    is_unsure = self._is_index_sent and not files.is_local(self.prefix)
    if is_unsure and not self._committed and self._replaced:
      removed = False  # The next writer sees whose the index is, and removes the rest.
    elif not self._committed:
      # Data files go only when no index needs them.
      first = [index_path(self.prefix)] if is_unsure else []
      for path in first + self._written:
        try:
          files.remove(path)
        except CheckpointNotFoundError:
          pass
        except CheckpointError:
          removed = False
          if path in first:
            break
    if removed and self._intent:
      with contextlib.suppress(CheckpointError):
        files.remove(self._intent)
    self._stack.close()
    if not self._committed:
      self._directory.remove_made()

  def add_file(
    self, path: str, how: str = "auto", progress: copies.Progress | None = None
  ) -> int:
    """Adds a data file that is there already, of another bundle or this one.

    Args:
      path: the data file.
      how: `auto`, `link`, `reflink` or `copy`; see `shards.place`.
      progress: is called with the number of bytes of each part that is copied.

    Returns:
      The shard's number.

    Raises:
      CheckpointNotFoundError: no such data file.
      CheckpointIOError: the file system refused.
    """
    target = self._next()
    with self._writing(target):
      self.placed.append(shards.place(path, target, how, progress))
    return len(self.placed) - 1

  def add_bytes(self, data: bytes) -> int:
    """Adds a small data file.

    Args:
      data: its bytes.

    Returns:
      The shard's number.

    Raises:
      CheckpointIOError: the file system refused.
    """
    with self.add_stream(has_bytes=bool(data)) as file:
      file.write(data)
    return len(self.placed) - 1

  @contextlib.contextmanager
  def add_stream(self, has_bytes: bool = True) -> Iterator[IO[bytes]]:
    """Adds a data file that is written piece by piece.

    Args:
      has_bytes: whether there are bytes to wait for; names are synced all together.

    Yields:
      A file object with `write`. The shard's number is `len(placed)` before.

    Raises:
      CheckpointIOError: the file system refused.
    """
    target = self._next()
    with self._writing(target):
      with files.create(target, sync=self._sync and has_bytes) as file:
        yield file
    self.placed.append("write")

  def commit(self, index: Index) -> None:
    """Writes the index. From then on the bundle is there.

    Args:
      index: which tensors there are, and where. The number of data files is set in
        its header.

    Raises:
      CheckpointIOError: the file system refused. What was there before is there, or
        the new bundle, if all that failed is to make sure that it stays.
    """
    while len(self.placed) < self.num_shards:
      self.add_bytes(b"")
    index.header = value_classes.replace(index.header, num_shards=self.num_shards)
    self._is_index_sent = True
    self._write_index(index)
    self._committed = True
    # Only when the new index is sure to stay may the data of the old one go.
    self._sync_names()
    # The new bundle is there; a file that cannot be removed now is a leftover.
    with contextlib.suppress(CheckpointError):
      while self._replaced:
        files.remove(self._replaced[-1])
        self._replaced.pop()
      if self.num_shards > self._asked and files.is_local(self.prefix):
        self._drop_empty(index)

  def _drop_empty(self, index: Index) -> None:
    """Commits the same bundle again, without the empty data files."""
    before, count = self.num_shards, self._asked
    old = [data_path(self.prefix, shard, before) for shard in range(before)]
    new = [data_path(self.prefix, shard, count) for shard in range(count)]
    intent = files.temporary_path(index_path(self.prefix), f"{count:05d}")
    with files.create(intent, sync=False):
      unneeded: list[str] = []
      with contextlib.suppress(CheckpointError):
        unneeded = new
        if all(copies.hard_link(path, to) for path, to in zip(old, new)):
          index.header = value_classes.replace(index.header, num_shards=count)
          self._write_index(index)
          self.num_shards, unneeded = count, []
          self._sync_names()
          unneeded = old
      index.header = value_classes.replace(index.header, num_shards=self.num_shards)
      del self.placed[self.num_shards :]
      is_clean = bool(unneeded)
      for path in unneeded:
        try:
          files.remove(path)
        except CheckpointNotFoundError:
          pass
        except CheckpointError:
          is_clean = False
    # A file that is left tells the next writer what else is.
    if is_clean:
      files.remove(intent)

  def _write_index(self, index: Index) -> None:
    # The data files' names have to be on the disk before the index that needs them.
    self._sync_names()
    path = index_path(self.prefix)
    if self._index_data:
      self._index_data = index.serialize_header(self._index_data)
    else:
      self._index_data = index.serialize()
    files.write_atomic(path, self._index_data, sync=self._sync, sync_name=False)

  def _sync_names(self) -> None:
    if self._sync:
      files.sync_dir(paths.parent(self.prefix))

  @contextlib.contextmanager
  def _writing(self, target: str) -> Iterator[None]:
    """Remembers a data file as this writer's, unless it is there already."""
    self._written.append(target)
    try:
      yield
    except CheckpointIOError as error:
      if error.errno == errno.EEXIST:
        self._written.remove(target)
      raise

  def _next(self) -> str:
    if len(self.placed) >= self.num_shards:
      raise ValueError(
        f"{self.prefix}: more data files than the {self.num_shards} planned"
      )
    return data_path(self.prefix, len(self.placed), self.num_shards)


def find_leftovers(prefix: str, found: Sequence[str] | None = None) -> list[str]:
  """Files of the bundle at a prefix that were not complete when their writer ended.

  Args:
    prefix: the checkpoint's path.
    found: the paths that begin with the prefix and a dot, where they have been listed.

  Returns:
    The temporary files of writers that do not live any more, and the data files that
    belong to them.

  Raises:
    CheckpointExistsError: a writer is at work.
  """
  found = _files_of(prefix) if found is None else found
  temporaries = check_no_writer(prefix, found=found)
  intents = [re.search(_INTENT, temporary) for temporary in temporaries]
  planned = {int(match[1]) for match in intents if match}
  if not planned:
    return temporaries
  try:
    current = Index.read(prefix).header.num_shards
  except CheckpointNotFoundError:
    current = 0
  except CheckpointError:
    # Nobody can say which data files a damaged index needs.
    return temporaries
  leftovers = list(temporaries)
  for path in _data_files(prefix, found):
    count = _count(path)
    # Before the commit the planned ones are too many, after it all others.
    if count != current and (count in planned or current in planned):
      leftovers.append(path)
  return leftovers


def check_replaceable(prefix: str, overwrite: bool) -> None:
  """Checks that a bundle may be written at a prefix, and changes nothing.

  Args:
    prefix: the checkpoint's path.
    overwrite: whether a bundle that is there may be replaced.

  Raises:
    CheckpointExistsError: there is a bundle that may not be replaced, or a writer is at
      work.
  """
  found = _files_of(prefix)
  _check_no_index(prefix, overwrite, found)
  _replaced_files(prefix, overwrite, found, find_leftovers(prefix, found))


def check_no_writer(
  prefix: str, own: str = "", found: Sequence[str] | None = None
) -> list[str]:
  """Checks that no process is writing the bundle at a prefix.

  Args:
    prefix: the checkpoint's path.
    own: a temporary file that this process holds.
    found: what is in its directory, where that has been listed.

  Returns:
    The temporary files beside the index whose writers have ended.

  Raises:
    CheckpointExistsError: a process is writing it.
  """
  found = _files_of(prefix) if found is None else found
  start = index_path(prefix) + ".tmp-"
  temporaries = [
    path
    for path in found
    if path.startswith(start) and files.is_temporary(path) and path != own
  ]
  for path in temporaries:
    if locks.is_in_use(path):
      raise CheckpointExistsError(
        f"{prefix}: {locks.owner(path)} is writing this checkpoint ({path} is locked)"
      )
  return temporaries


def clean_leftovers(prefix: str) -> list[str]:
  """Removes what `find_leftovers` finds.

  Args:
    prefix: the checkpoint's path.

  Returns:
    What was removed.

  Raises:
    CheckpointExistsError: a writer is at work.
    CheckpointIOError: the file system refused.
  """
  directory = paths.parent(prefix)
  with contextlib.ExitStack() as stack:
    if files.is_local(prefix) and files.is_dir(directory or "."):
      stack.enter_context(locks.turn(files.local_path(directory) or "."))
    return _clean_leftovers(prefix, _files_of(prefix))


def _clean_leftovers(prefix: str, found: Sequence[str]) -> list[str]:
  leftovers = find_leftovers(prefix, found)
  # The files that say what is left go last, so that this too may be interrupted.
  leftovers.sort(key=files.is_temporary)
  for path in leftovers:
    with contextlib.suppress(CheckpointNotFoundError):  # Its writer may remove it too.
      files.remove(path)
  return leftovers


def clean_directory(directory: str) -> list[str]:
  """Removes what interrupted runs left of any bundle in a directory.

  Bundles that are being written are left alone.

  Args:
    directory: where bundles are written; it may hold other files.

  Returns:
    What was removed.

  Raises:
    CheckpointNotFoundError: no such directory.
    CheckpointIOError: the file system refused.
  """
  prefixes = set()
  for name in files.list_dir(directory):
    if files.is_temporary(name) and f"{INDEX_SUFFIX}.tmp-" in name:
      prefixes.add(paths.join(directory, name.rpartition(INDEX_SUFFIX + ".tmp-")[0]))
  removed = []
  for prefix in sorted(prefixes):
    with contextlib.suppress(CheckpointExistsError):
      removed += clean_leftovers(prefix)
  return removed


def _check_no_index(prefix: str, overwrite: bool, found: Sequence[str]) -> None:
  path = index_path(prefix)
  if not overwrite and path in found and files.exists(path):
    raise CheckpointExistsError(
      f"{prefix}: there is a checkpoint already; choose another destination, or"
      " ask for it to be overwritten (--overwrite)"
    )


def _replaced_files(
  prefix: str, overwrite: bool, found: Sequence[str], leftovers: Collection[str]
) -> list[str]:
  """Data files that a new bundle replaces; an error where that was not asked for."""
  replaced = [path for path in _data_files(prefix, found) if path not in leftovers]
  if replaced and not overwrite:
    raise CheckpointExistsError(
      f"{replaced[0]}: there is a data file of a checkpoint without index; it"
      " is being saved, or its saving was interrupted. Remove the file, choose"
      " another destination, or ask for it to be overwritten (--overwrite)"
    )
  return replaced


def _files_of(prefix: str) -> list[str]:
  """What is there of the bundle at a prefix, and of its writers, by one listing."""
  return files.glob_prefix(prefix + ".")


def _data_files(prefix: str, found: Sequence[str]) -> list[str]:
  start = prefix + ".data-"
  return [path for path in found if path.startswith(start) and parse_data_path(path)]


def _count(path: str) -> int:
  name = parse_data_path(path)
  if name is None:
    raise CorruptCheckpointError(f"{path}: not the name of a data file")
  return name.num_shards
