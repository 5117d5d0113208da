"""Files whose path has a scheme: through fsspec, or through TensorFlow's tf.io.gfile.

TensorFlow's is taken where TensorFlow is loaded already and knows the scheme, since
what reads and writes the same paths should agree on credentials; else fsspec, where it
is installed; else TensorFlow's, which then is loaded. Errors are those of `open` and
the os module; `estimator_ckpt.bundle.files` words them.
"""

from __future__ import annotations

import contextlib
import importlib.util
import sys
from collections.abc import Iterator
from typing import IO, Any, Protocol

from estimator_ckpt.errors import MissingDependencyError


class RemoteFiles(Protocol):
  """What a file system has to do; each path comes with its scheme."""

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


def file_system(path: str) -> RemoteFiles:
  """What reads and writes a path that has a scheme.

  Args:
    path: the path.

  Returns:
    The file system.

  Raises:
    MissingDependencyError: nothing that is installed knows the scheme.
  """
  scheme = path.partition("://")[0]
  has_fsspec = importlib.util.find_spec("fsspec") is not None
  if "tensorflow" in sys.modules and (
    not has_fsspec or scheme in _gfile().get_registered_schemes()
  ):
    return GfileFiles()
  if has_fsspec:
    return FsspecFiles()
  if importlib.util.find_spec("tensorflow") is not None:
    return GfileFiles()
  raise MissingDependencyError(
    f"{path}: paths with {scheme}:// need the package fsspec"
    f" (pip install fsspec, and its package for {scheme}) or TensorFlow"
  )


class FsspecFiles:
  """Files through fsspec."""

  def open(self, path: str, mode: str) -> IO[bytes]:
    """See `RemoteFiles`."""
    with _fsspec(path) as (system, inner):
      return system.open(inner, mode)

  def read_range(self, path: str, offset: int, size: int) -> bytes:
    """See `RemoteFiles`."""
    with _fsspec(path) as (system, inner):
      with system.open(inner, "rb") as file:
        file.seek(offset)
        return file.read(size)

  def size(self, path: str) -> int:
    """See `RemoteFiles`."""
    with _fsspec(path) as (system, inner):
      return system.size(inner)

  def modified_time(self, path: str) -> float:
    """See `RemoteFiles`."""
    with _fsspec(path) as (system, inner):
      try:
        return system.modified(inner).timestamp()
      except NotImplementedError:
        return 0.0

  def exists(self, path: str) -> bool:
    """See `RemoteFiles`."""
    with _fsspec(path) as (system, inner):
      return system.exists(inner)

  def is_dir(self, path: str) -> bool:
    """See `RemoteFiles`."""
    with _fsspec(path) as (system, inner):
      return system.isdir(inner)

  def list_dir(self, path: str) -> list[str]:
    """See `RemoteFiles`."""
    with _fsspec(path) as (system, inner):
      # Others write to the same directory; a cached listing would miss it.
      system.invalidate_cache(inner)
      names = system.ls(inner, detail=False)
      return [name.rstrip("/").rpartition("/")[2] for name in names]

  def mkdirs(self, path: str) -> None:
    """See `RemoteFiles`."""
    with _fsspec(path) as (system, inner):
      system.makedirs(inner, exist_ok=True)

  def rename(self, path: str, to: str) -> None:
    """See `RemoteFiles`."""
    with _fsspec(path) as (system, inner):
      target = system._strip_protocol(to)
      try:
        system.mv(inner, target)
      except FileExistsError:
        system.rm_file(target)
        system.mv(inner, target)

  def remove(self, path: str) -> None:
    """See `RemoteFiles`."""
    with _fsspec(path) as (system, inner):
      system.rm_file(inner)

  def remove_tree(self, path: str) -> None:
    """See `RemoteFiles`."""
    with _fsspec(path) as (system, inner):
      system.rm(inner, recursive=True)


class GfileFiles:
  """Files through tf.io.gfile."""

  def open(self, path: str, mode: str) -> IO[bytes]:
    """See `RemoteFiles`."""
    return _GfileStream(path, mode)  # type: ignore[return-value]

  def read_range(self, path: str, offset: int, size: int) -> bytes:
    """See `RemoteFiles`."""
    with self.open(path, "rb") as file:
      file.seek(offset)
      return file.read(size)

  def size(self, path: str) -> int:
    """See `RemoteFiles`."""
    with _gfile_errors():
      return _gfile().stat(path).length

  def modified_time(self, path: str) -> float:
    """See `RemoteFiles`."""
    with _gfile_errors():
      return _gfile().stat(path).mtime_nsec / 1e9

  def exists(self, path: str) -> bool:
    """See `RemoteFiles`."""
    with _gfile_errors():
      return _gfile().exists(path)

  def is_dir(self, path: str) -> bool:
    """See `RemoteFiles`."""
    with _gfile_errors():
      return _gfile().isdir(path)

  def list_dir(self, path: str) -> list[str]:
    """See `RemoteFiles`."""
    with _gfile_errors():
      return [name.rstrip("/") for name in _gfile().listdir(path)]

  def mkdirs(self, path: str) -> None:
    """See `RemoteFiles`."""
    with _gfile_errors():
      _gfile().makedirs(path)

  def rename(self, path: str, to: str) -> None:
    """See `RemoteFiles`."""
    with _gfile_errors():
      _gfile().rename(path, to, overwrite=True)

  def remove(self, path: str) -> None:
    """See `RemoteFiles`."""
    with _gfile_errors():
      _gfile().remove(path)

  def remove_tree(self, path: str) -> None:
    """See `RemoteFiles`."""
    with _gfile_errors():
      _gfile().rmtree(path)


class _GfileStream:
  """A `tf.io.gfile.GFile` whose errors are those of Python's files."""

  def __init__(self, path: str, mode: str):
    with _gfile_errors():
      self._file = _gfile().GFile(path, mode)
      # GFile opens on first use; a missing file should show here, and an empty one has
      # to be there.
      if mode == "rb":
        self._file.size()
      else:
        self._file.write(b"")

  def read(self, size: int = -1) -> bytes:
    with _gfile_errors():
      return self._file.read(size)

  def seek(self, offset: int) -> None:
    with _gfile_errors():
      self._file.seek(offset)

  def write(self, data: bytes) -> None:
    with _gfile_errors():
      self._file.write(data)

  def flush(self) -> None:
    with _gfile_errors():
      self._file.flush()

  def __enter__(self) -> _GfileStream:
    return self

  def __exit__(self, *unused: object) -> None:
    with _gfile_errors():
      self._file.close()


def _gfile() -> Any:
  import tensorflow as tf

  return tf.io.gfile


@contextlib.contextmanager
def _gfile_errors() -> Iterator[None]:
  import tensorflow as tf

  try:
    yield
  except tf.errors.NotFoundError as error:
    raise FileNotFoundError(error.message) from error
  except tf.errors.OpError as error:
    raise OSError(error.message) from error


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
