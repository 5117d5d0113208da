"""A dry run: what writing a bundle would link, copy and write, without a write.

`BundleRehearsal` has the methods of `commit.BundleWriter` that add files. It makes the
same checks and counts bytes where the other writes them.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

from estimator_ckpt import value_classes
from estimator_ckpt.bundle import copies, files, paths, shards
from estimator_ckpt.bundle.commit import check_replaceable
from estimator_ckpt.bundle.file_names import index_path
from estimator_ckpt.bundle.index import Index

TYPE_CHECKING = False
if TYPE_CHECKING:
  from typing import IO


class BundleRehearsal:
  """Counts what one bundle would take; a context manager, as `BundleWriter` is.

  Attributes:
    prefix: the checkpoint's path.
    placed: for each data file, `link`, `reflink`, `copy`, `server copy` or `write`.
    cleaned: nothing, since nothing is removed.
    data_bytes: the size of all data files.
    bytes_by: how many bytes would be linked, shared, copied through this machine, copied
      by the object store, and written; those of the index are among the written ones.

  Example:
    >>> with BundleRehearsal("rehearsed/model.ckpt-3", num_shards=1) as bundle:
    ...   shard = bundle.add_bytes(b"tensors")
    ...   bundle.commit(Index())
    >>> bundle.data_bytes, files.exists("rehearsed")
    (7, False)
  """

  def __init__(self, prefix: str, num_shards: int, *, overwrite: bool = False):
    """Writes nothing, now and later.

    Args:
      prefix: the checkpoint's path.
      num_shards: how many data files would be added.
      overwrite: whether a bundle that is there may be replaced.
    """
    self.prefix = prefix
    self.placed: list[str] = []
    self.cleaned: list[str] = []
    self.data_bytes = 0
    self.bytes_by = dict.fromkeys(
      ("link", "reflink", "copy", "server copy", "write"), 0
    )
    self._num_shards = num_shards
    self._overwrite = overwrite

  def __enter__(self) -> BundleRehearsal:
    """Looks at what is there.

    Raises:
      CheckpointExistsError: there is a bundle and it may not be replaced, or another
        process is writing it.
      CheckpointNotFoundError: the store has no such bucket.
    """
    files.check_bucket(index_path(self.prefix))
    check_replaceable(self.prefix, self._overwrite)
    return self

  def __exit__(self, *unused: object) -> None:
    """Removes nothing: nothing was written."""

  def add_file(
    self, path: str, how: str = "auto", progress: copies.Progress | None = None
  ) -> int:
    """Counts a data file that is there already.

    Args:
      path: the data file.
      how: `auto`, `link`, `reflink` or `copy`; see `shards.place`.
      progress: is not called, since nothing is copied.

    Returns:
      The shard's number.

    Raises:
      CheckpointIOError: the two file systems differ, and a link is insisted on.
    """
    placed = expected_placement(path, self.prefix, how)
    self._count(placed, files.size(path))
    return len(self.placed) - 1

  def add_bytes(self, data: bytes) -> int:
    """Counts a small data file.

    Args:
      data: its bytes.

    Returns:
      The shard's number.
    """
    self._count("write", len(data))
    return len(self.placed) - 1

  @contextlib.contextmanager
  def add_stream(self) -> Iterator[IO[bytes]]:
    """Counts a data file that would be written piece by piece.

    Yields:
      A file object with `write`, which keeps nothing.
    """
    counter = _Counting()
    yield counter  # type: ignore[misc]
    self._count("write", counter.size)

  def add_compacted(self, index: Index) -> Index:
    """Counts data files that are written anew, without reading any.

    Args:
      index: the index of the files that are there; see `compaction.plan_compaction`.

    Returns:
      An index for the new files.
    """
    from estimator_ckpt.bundle.compaction import plan_compaction

    plan = plan_compaction(index)
    for size in plan.sizes:
      self._count("write", size)
    return plan.index

  def commit(self, index: Index) -> None:
    """Counts the index.

    Args:
      index: which tensors there are, and where. The number of data files is set in
        its header.
    """
    index.header = value_classes.replace(index.header, num_shards=self._num_shards)
    self.bytes_by["write"] += len(index.serialize())

  def _count(self, how: str, size: int) -> None:
    self.placed.append(how)
    self.data_bytes += size
    self.bytes_by[how] += size


def expected_placement(path: str, target: str, how: str = "auto") -> str:
  """What `shards.place` would do, as far as that is known without a try.

  Two paths on one local device are taken to be able to share a file. A file system
  without links, or another owner's file, shows itself only in the attempt.

  Args:
    path: the data file that is there.
    target: the new one, or its checkpoint's prefix.
    how: `auto`, `link`, `reflink` or `copy`.

  Returns:
    `link`, `reflink`, `copy` or `server copy`.

  Raises:
    CheckpointIOError: a link is insisted on, between two file systems.
    OptionError: `how` is none of these.
  """
  shards.check_placement(how)
  if how == "copy":
    return _expected_copy(path, target)
  if not (files.is_local(path) and files.is_local(target)):
    together = False
  else:
    source = os.stat(os.path.realpath(files.local_path(path)))
    together = source.st_dev == os.stat(_nearest_directory(target)).st_dev
  if together:
    return "reflink" if how == "reflink" else "link"
  if how == "auto":
    return _expected_copy(path, target)
  raise shards.cannot_place(path, target, how)


def _expected_copy(path: str, target: str) -> str:
  """Whether the object store that both are in would copy, as far as that is known."""
  scheme, remote, _ = path.partition("://")
  is_one_store = bool(remote) and scheme == target.partition("://")[0]
  if files.is_local(path) or not is_one_store:
    return "copy"
  import importlib.util

  # TensorFlow's file systems cannot; those of fsspec can.
  return "server copy" if importlib.util.find_spec("fsspec") else "copy"


def _nearest_directory(target: str) -> str:
  """The directory of a path, or the nearest above it that there is."""
  directory = files.local_path(paths.parent(target)) or "."
  while not os.path.isdir(directory):
    directory = os.path.dirname(directory) or "."
  return directory


class _Counting:
  """A file that forgets what is written to it, but not how much that was."""

  def __init__(self) -> None:
    self.size = 0

  def write(self, data: bytes) -> int:
    self.size += len(data)
    return len(data)
