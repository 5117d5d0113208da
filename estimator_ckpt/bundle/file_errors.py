"""Errors of file systems, said with the path, what was being done, and the space left."""

from __future__ import annotations

import errno
import os

from estimator_ckpt.bundle.paths import is_local, local_path
from estimator_ckpt.errors import CheckpointIOError, CheckpointNotFoundError


class file_errors:
  """A context that turns the operating system's errors into this package's.

  Raises:
    CheckpointNotFoundError: no such file, or no bucket to write to.
    CheckpointIOError: any other error. It has the `errno` of the original.

  Example:
    with file_errors("model_dir/checkpoint", "read"):
      ...
  """

  def __init__(self, path: str, done: str, needed: int | None = None):
    """Takes what an error is to say.

    Args:
      path: the file or directory.
      done: what is done to it, as in "it cannot be read".
      needed: how many bytes that takes, to be named where the disk is full.
    """
    self._path = path
    self._done = done
    self._needed = needed

  def __enter__(self) -> None:
    pass

  def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
    if not isinstance(error, OSError) or isinstance(error, CheckpointNotFoundError):
      return
    if isinstance(error, CheckpointIOError) and (
      self._needed is None or error.errno != errno.ENOSPC
    ):
      return
    if isinstance(error, FileNotFoundError):
      if self._done == "written" and not is_local(self._path):
        raise CheckpointNotFoundError(_no_bucket(self._path)) from error
      raise CheckpointNotFoundError(
        f"{self._path}: no such file or directory"
      ) from error
    reason = os.strerror(error.errno) if error.errno else str(error)
    message = f"{self._path} cannot be {self._done}: {reason}"
    if error.errno == errno.ENOSPC and self._needed is not None:
      message += f"; it needs {self._needed:,} bytes{_free_space(self._path)}"
    translated = CheckpointIOError(message)
    translated.errno = error.errno
    raise translated from error


def _no_bucket(path: str) -> str:
  """Why a file in a store cannot be written: directories are made where there are any."""
  scheme, _, rest = path.partition("://")
  bucket, slash, _ = rest.partition("/")
  if not slash:
    return f"{path} cannot be written: a destination there is {scheme}://BUCKET/NAME"
  return (
    f"{scheme}://{bucket}: there is no such bucket, so {path} cannot be written. Make"
    " the bucket first, or choose another destination"
  )


def _free_space(path: str) -> str:
  try:
    space = os.statvfs(os.path.dirname(local_path(path)) or ".")
  except (OSError, AttributeError):
    return ""
  return f", and {space.f_bavail * space.f_frsize:,} are free"
