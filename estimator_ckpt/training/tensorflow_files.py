"""TensorFlow's file systems, for paths that have a scheme, such as `gs://`.

`estimator_ckpt.bundle.remote` says what a file system does, and when it uses these.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import IO

import tensorflow as tf

from estimator_ckpt.bundle.remote import TensorFlowFiles


def gfile_files() -> TensorFlowFiles:
  """TensorFlow's file systems, by `tf.io.gfile`.

  Returns:
    The file systems. Their errors are those of `open` and the os module.
  """
  return _GfileFiles()


class _GfileFiles(TensorFlowFiles):
  def knows(self, scheme: str) -> bool:
    return scheme in tf.io.gfile.get_registered_schemes()

  def open(self, path: str) -> IO[bytes]:
    return _GfileStream(path)  # type: ignore[return-value]

  def read_range(self, path: str, offset: int, size: int | None) -> bytes:
    with _gfile_errors(), tf.io.gfile.GFile(path, "rb") as file:
      # GFile opens on first use; a missing file should show also without bytes to read.
      file.size()
      file.seek(offset)
      return file.read(-1 if size is None else size)

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
    del path, data  # What GFile has written, a reader may see too early.
    return False

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
