"""TensorFlow's file systems, for paths that have a scheme, such as `gs://`.

`estimator_ckpt.bundle.remote` says what a file system does, and when it uses these.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import IO

import tensorflow as tf

from estimator_ckpt.bundle.remote import TensorFlowFiles

_CHUNK_SIZE = 4 << 20
# An object is there when all of it has arrived. TensorFlow sends it when it is closed.
_OBJECT_STORES = ("gs", "s3")


def gfile_files() -> TensorFlowFiles:
  """TensorFlow's file systems, by `tf.io.gfile`.

  Returns:
    The file systems. Their errors are those of `open` and the os module.
  """
  return _GfileFiles()


class _GfileFiles(TensorFlowFiles):
  def knows(self, scheme: str) -> bool:
    if hasattr(tf.io.gfile, "get_registered_schemes"):
      return scheme in tf.io.gfile.get_registered_schemes()
    # 1.15.5 and 2.4.4 have no list. A file system that is there refuses a path without
    # a name in another way, before it asks anybody.
    try:
      tf.io.gfile.exists(f"{scheme}://")
    except tf.errors.UnimplementedError:
      return False
    except tf.errors.OpError:
      pass
    return True

  def open(self, path: str) -> IO[bytes]:
    return _GfileStream(path)  # type: ignore[return-value]

  def read_range(self, path: str, offset: int, size: int | None) -> bytes:
    with _gfile_errors(), tf.io.gfile.GFile(path, "rb") as file:
      if size == 0:
        file.size()  # GFile opens on first use, and a missing file should show.
        return b""
      file.seek(offset)
      if size is not None:
        return file.read(size)
      # To read the rest in one go, GFile asks the store for the size first.
      parts: list[bytes] = []
      while not parts or len(parts[-1]) == _CHUNK_SIZE:
        parts.append(file.read(_CHUNK_SIZE))
      return b"".join(parts)

  def size(self, path: str) -> int:
    with _gfile_errors():
      return tf.io.gfile.stat(path).length

  def modified_time(self, path: str) -> float:
    with _gfile_errors():
      return tf.io.gfile.stat(path).mtime_nsec / 1e9

  def exists(self, path: str) -> bool:
    with _gfile_errors():
      return tf.io.gfile.exists(path)

  def is_dir(self, path: str) -> bool:
    with _gfile_errors():
      return tf.io.gfile.isdir(path)

  def list_dir(self, path: str) -> list[str]:
    with _gfile_errors():
      return [name.rstrip("/") for name in tf.io.gfile.listdir(path)]

  def mkdirs(self, path: str) -> None:
    with _gfile_errors():
      tf.io.gfile.makedirs(path)

  def replace(self, path: str, data: bytes) -> bool:
    if path.partition("://")[0] not in _OBJECT_STORES:
      return False  # What GFile has written, a reader may see too early.
    with _gfile_errors(), tf.io.gfile.GFile(path, "wb") as file:
      file.write(data)
    return True

  def rename(self, path: str, to: str) -> None:
    with _gfile_errors():
      tf.io.gfile.rename(path, to, overwrite=True)

  def remove(self, path: str) -> None:
    with _gfile_errors():
      tf.io.gfile.remove(path)

  def remove_tree(self, path: str) -> None:
    with _gfile_errors():
      tf.io.gfile.rmtree(path)


class _GfileStream:
  """A `tf.io.gfile.GFile` to write to, whose errors are those of Python's files."""

  def __init__(self, path: str):
    with _gfile_errors():
      self._file = tf.io.gfile.GFile(path, "wb")
      # GFile opens on first use; an empty file has to be there, too.
      self._file.write(b"")

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


@contextlib.contextmanager
def _gfile_errors() -> Iterator[None]:
  try:
    yield
  except tf.errors.NotFoundError as error:
    raise FileNotFoundError(error.message) from error
  except tf.errors.OpError as error:
    raise OSError(error.message) from error
