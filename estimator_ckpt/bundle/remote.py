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
import importlib.util
import sys
from collections.abc import Callable, Iterator
from typing import IO, Any, Protocol

from estimator_ckpt.errors import MissingDependencyError


class RemoteFiles(Protocol):
  """The operations of a file system. Paths come with their schemes."""

  def open(self, path: str, mode: str) -> IO[bytes]:
    """Opens a file, mode `rb` or `wb`."""

  def read_range(self, path: str, offset: int, size: int) -> bytes:
    """A part of a file; less where it ends."""

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
  has_fsspec = importlib.util.find_spec("fsspec") is not None
  load = _load_tensorflow_files
  if load is not None and "tensorflow" in sys.modules:
    tensorflow_files = load()
    if not has_fsspec or tensorflow_files.knows(scheme):
      return tensorflow_files
  if has_fsspec:
    return FsspecFiles()
  if load is not None and importlib.util.find_spec("tensorflow") is not None:
    return load()
  raise MissingDependencyError(
    f"{path}: paths with {scheme}:// need the package fsspec"
    f" (pip install fsspec, and its package for {scheme}) or TensorFlow"
  )


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
  if importlib.util.find_spec("fsspec") is None:
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

  def open(self, path: str, mode: str) -> IO[bytes]:
    """Opens a file, mode `rb` or `wb`."""
    with _fsspec(path) as (system, inner):
      return system.open(inner, mode)

  def read_range(self, path: str, offset: int, size: int) -> bytes:
    """A part of a file; less where it ends."""
    with _fsspec(path) as (system, inner):
      with system.open(inner, "rb") as file:
        file.seek(offset)
        return file.read(size)

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
      return system.exists(inner)

  def is_dir(self, path: str) -> bool:
    """Whether there is a directory."""
    with _fsspec(path) as (system, inner):
      return system.isdir(inner)

  def list_dir(self, path: str) -> list[str]:
    """The names in a directory."""
    with _fsspec(path) as (system, inner):
      # Others write to the same directory; a cached listing would miss it.
      system.invalidate_cache(inner)
      names = system.ls(inner, detail=False)
      return [name.rstrip("/").rpartition("/")[2] for name in names]

  def mkdirs(self, path: str) -> None:
    """Makes a directory and those above it."""
    with _fsspec(path) as (system, inner):
      system.makedirs(inner, exist_ok=True)

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


@contextlib.contextmanager
def _fsspec(path: str) -> Iterator[tuple[Any, str]]:
  """The file system and the path in it; each back end brings errors of its own."""
  import fsspec

  scheme = path.partition("://")[0]
  try:
    system, inner = fsspec.core.url_to_fs(path)
  except (ImportError, ValueError) as error:
    raise MissingDependencyError(
      f"{path}: fsspec cannot open {scheme}://: {error}"
    ) from error
  try:
    yield system, inner
  except OSError:
    raise
  except Exception as error:
    raise OSError(f"{type(error).__name__}: {error}") from error
