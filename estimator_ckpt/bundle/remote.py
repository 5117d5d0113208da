"""Files whose path has a scheme, such as `gs://`.

`file_system` chooses who reads and writes a path:

1. TensorFlow's file systems, where TensorFlow is loaded and knows the scheme: training
   and this library then use the same credentials.
2. fsspec, where it is installed.
3. TensorFlow's file systems, where TensorFlow is installed; it is loaded for them.

This package imports no TensorFlow. The facade hands TensorFlow's file systems over
(`offer_tensorflow_files`). Errors are those of `open` and the os module;
`estimator_ckpt.bundle.files` words them.
"""

from __future__ import annotations

import contextlib
import errno
import os
import sys
from collections.abc import Callable, Iterator, Mapping

from estimator_ckpt.errors import MissingDependencyError

TYPE_CHECKING = False
if TYPE_CHECKING:
  from typing import IO, Any, Protocol
else:
  Protocol = object  # to what runs, a class as any other


class RemoteFiles(Protocol):
  """The operations of a file system. Paths come with their schemes."""

  def open(self, path: str) -> IO[bytes]:
    """Opens a file for writing."""

  def read_range(self, path: str, offset: int, size: int | None) -> bytes:
    """A part of a file, or the rest of it; less where it ends. Threads may call it."""

  def size(self, path: str) -> int:
    """A file's size."""

  def modified_time(self, path: str) -> float:
    """When a file was changed last, or 0."""

  def exists(self, path: str) -> bool:
    """Whether there is a file or directory."""

  def is_dir(self, path: str) -> bool:
    """Whether there is a directory."""

  def list_dir(self, path: str) -> list[str]:
    """The names in a directory."""

  def mkdirs(self, path: str) -> None:
    """Makes a directory and those above it."""

  def replace(self, path: str, data: bytes) -> bool:
    """Writes a file in one step, in place of what is there; whether it can do that."""

  def rename(self, path: str, to: str) -> None:
    """Moves a file in place of another."""

  def remove(self, path: str) -> None:
    """Removes a file."""

  def remove_tree(self, path: str) -> None:
    """Removes a directory and what is in it."""


class TensorFlowFiles(RemoteFiles, Protocol):
  """TensorFlow's file systems, as the training half hands them over."""

  def knows(self, scheme: str) -> bool:
    """Whether one of the file systems is for a scheme."""


_load_tensorflow_files: Callable[[], TensorFlowFiles] | None = None


def offer_tensorflow_files(load: Callable[[], TensorFlowFiles]) -> None:
  """Makes TensorFlow's file systems available to `file_system`.

  Args:
    load: imports TensorFlow and returns its file systems. It is called when a path
      needs them, and only where TensorFlow is installed.
  """
  global _load_tensorflow_files
  _load_tensorflow_files = load


def file_system(path: str) -> RemoteFiles:
  """Chooses the file system of a path that has a scheme.

  Args:
    path: a path with a scheme, such as `gs://bucket/model_dir`.

  Returns:
    The file system.

  Raises:
    MissingDependencyError: nothing that is installed knows the scheme.
  """
  scheme = path.partition("://")[0]
  has_fsspec = _is_installed("fsspec")
  load = _load_tensorflow_files
  if load is not None and "tensorflow" in sys.modules:
    tensorflow_files = load()
    if not has_fsspec or tensorflow_files.knows(scheme):
      return tensorflow_files
  if has_fsspec:
    return FsspecFiles()
  if load is not None and _is_installed("tensorflow"):
    return load()
  raise MissingDependencyError(
    f"{path}: paths with {scheme}:// need the package fsspec"
    f" (pip install fsspec, and its package for {scheme}) or TensorFlow"
  )


def _is_installed(package: str) -> bool:
  import importlib.util

  return importlib.util.find_spec(package) is not None


def copy_on_server(path: str, to: str) -> bool:
  """Has an object store copy a file, so that its bytes do not pass through this machine.

  Args:
    path: the file.
    to: the new one, in the same store.

  Returns:
    Whether it was done: fsspec is installed, knows the store, and may write to it.
    TensorFlow's file systems have no such call.

  Raises:
    FileNotFoundError: no such file.
  """
  if not _is_installed("fsspec"):
    return False
  try:
    with _fsspec(path) as (system, inner):
      system.cp_file(inner, system._strip_protocol(to))
  except FileNotFoundError:
    # Where TensorFlow has the file, fsspec looks at another store of that name.
    if file_system(path).exists(path):
      return False
    raise
  except (MissingDependencyError, OSError, NotImplementedError):
    return False
  return True


class FsspecFiles:
  """Files through fsspec."""

  def open(self, path: str) -> IO[bytes]:
    """Opens a file for writing."""
    with _fsspec(path) as (system, inner):
      return _FsspecStream(system.open(inner, "wb"))  # type: ignore[return-value]

  def read_range(self, path: str, offset: int, size: int | None) -> bytes:
    """A part of a file, or the rest of it; less where it ends. Threads may call it."""
    with _fsspec(path) as (system, inner):
      end = None if size is None else offset + size
      if end is not None and end <= offset:
        return b""
      try:
        # One request for these bytes. A file that is opened reads ahead.
        return system.cat_file(inner, start=offset, end=end)
      except FileNotFoundError:
        raise
      except Exception:
        # Stores refuse a range that begins where the file ends.
        there = system.size(inner)
        if there is None or offset < there:
          raise
        return b""

  def size(self, path: str) -> int:
    """A file's size."""
    with _fsspec(path) as (system, inner):
      return system.size(inner)

  def modified_time(self, path: str) -> float:
    """When a file was changed last, or 0."""
    with _fsspec(path) as (system, inner):
      try:
        return system.modified(inner).timestamp()
      except NotImplementedError:
        return 0.0

  def exists(self, path: str) -> bool:
    """Whether there is a file or directory."""
    with _fsspec(path) as (system, inner):
      return _info(system, inner) is not None

  def is_dir(self, path: str) -> bool:
    """Whether there is a directory."""
    with _fsspec(path) as (system, inner):
      return _is_dir(system, inner)

  def list_dir(self, path: str) -> list[str]:
    """The names in a directory."""
    with _fsspec(path) as (system, inner):
      # Others write to the same directory; a cached listing would miss it.
      system.invalidate_cache(inner)
      names = system.ls(inner, detail=False)
      if names == [inner] and not _is_dir(system, inner):
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), path)
      return [name.rstrip("/").rpartition("/")[2] for name in names]

  def mkdirs(self, path: str) -> None:
    """Makes a directory and those above it."""
    with _fsspec(path) as (system, inner):
      # A store of buckets has no directories. It would make the bucket.
      if not _is_in_bucket(inner):
        system.makedirs(inner, exist_ok=True)

  def check_bucket(self, path: str) -> None:
    """Looks whether a file could be written, and writes nothing.

    Raises:
      FileNotFoundError: the store has no such bucket.
    """
    with _fsspec(path) as (system, inner):
      bucket, slash, _ = inner.partition("/")
      if _is_in_bucket(inner) and not (slash and _is_dir(system, bucket)):
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)

  def replace(self, path: str, data: bytes) -> bool:
    """Writes a file in one step, in place of what is there; whether it can do that."""
    with _fsspec(path) as (system, inner):
      # An object is there when all of it has arrived.
      if not _is_in_bucket(inner):
        return False
      system.pipe_file(inner, data)
      return True

  def rename(self, path: str, to: str) -> None:
    """Moves a file in place of another."""
    with _fsspec(path) as (system, inner):
      target = system._strip_protocol(to)
      try:
        system.mv(inner, target)
      except FileExistsError:
        system.rm_file(target)
        system.mv(inner, target)

  def remove(self, path: str) -> None:
    """Removes a file."""
    with _fsspec(path) as (system, inner):
      system.rm_file(inner)

  def remove_tree(self, path: str) -> None:
    """Removes a directory and what is in it."""
    with _fsspec(path) as (system, inner):
      system.rm(inner, recursive=True)


def _info(system: Any, inner: str) -> Mapping[str, Any] | None:
  """What there is at a path; None where there is nothing.

  The methods `exists` and `isdir` of fsspec say so too where a request is refused.
  """
  try:
    return system.info(inner)
  except (FileNotFoundError, NotADirectoryError):
    return None


def _is_dir(system: Any, inner: str) -> bool:
  found = _info(system, inner)
  return found is not None and found["type"] == "directory"


def _is_in_bucket(inner: str) -> bool:
  """Whether a path of fsspec begins with a bucket, as in `bucket/object`.

  The paths of file systems with directories begin with a slash.
  """
  return not inner.startswith("/")


class _FsspecStream:
  """A file of fsspec to write to. Most of it is sent when it is closed."""

  def __init__(self, file: Any):
    self._file = file

  def write(self, data: bytes) -> None:
    with _fsspec_errors():
      self._file.write(data)

  def flush(self) -> None:
    with _fsspec_errors():
      self._file.flush()

  def __enter__(self) -> _FsspecStream:
    return self

  def __exit__(self, *unused: object) -> None:
    with _fsspec_errors():
      self._file.close()


@contextlib.contextmanager
def _fsspec(path: str) -> Iterator[tuple[Any, str]]:
  """The file system and the path in it."""
  import fsspec

  scheme = path.partition("://")[0]
  try:
    system, inner = fsspec.core.url_to_fs(path)
  except (ImportError, ValueError) as error:
    raise MissingDependencyError(
      f"{path}: fsspec cannot open {scheme}://: {error}"
    ) from error
  with _fsspec_errors():
    yield system, inner


@contextlib.contextmanager
def _fsspec_errors() -> Iterator[None]:
  """Turns the errors that each back end has of its own into those of Python's files."""
  try:
    yield
  except OSError:
    raise
  except Exception as error:
    raise OSError(f"{type(error).__name__}: {error}") from error
