"""Locks that show other processes of this machine what is in use.

They are advisory locks (flock) of open files and directories. A lock ends with the
process that holds it, however that ends. Remote file systems have none, nor have some
network file systems; nobody can see there who is at work.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator

from estimator_ckpt.bundle.paths import is_local, local_path
from estimator_ckpt.errors import CheckpointExistsError

TYPE_CHECKING = False
if TYPE_CHECKING:
  from typing import IO

try:
  import fcntl
except ImportError:  # Not a POSIX system.
  fcntl = None  # type: ignore[assignment]

# How long one process may keep others out of a directory, and how often they look.
_PATIENCE_SECONDS = 60.0
_LOOK_SECONDS = 0.002
_OWNER = "process/"
_MAX_OWNER_SIZE = 4096


def lock(file: IO[bytes] | int) -> bool:
  """Locks an open file or directory until it is closed.

  Args:
    file: what is open; nobody else holds it for longer than a look at it takes.

  Returns:
    Whether the file system has locks.
  """
  if fcntl is None:
    return False
  try:
    fcntl.flock(file, fcntl.LOCK_EX)
  except OSError:
    return False
  return True


@contextlib.contextmanager
def lock_dir(path: str) -> Iterator[None]:
  """Shows `is_in_use` that a directory is needed, until the end of the context."""
  if not is_local(path):
    yield
    return
  descriptor = os.open(local_path(path), os.O_RDONLY)
  try:
    lock(descriptor)
    yield
  finally:
    os.close(descriptor)


def is_in_use(path: str) -> bool:
  """Whether a process holds the lock of a local file or directory."""
  if fcntl is None or not is_local(path):
    return False
  path = local_path(path)
  try:
    # Over NFS, only a file that is open for writing can be locked.
    is_dir = os.path.isdir(path)
    descriptor = os.open(path, os.O_RDONLY if is_dir else os.O_RDWR)
    try:
      fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
      return False
    finally:
      os.close(descriptor)
  except BlockingIOError:
    return True
  except OSError:
    return False


@contextlib.contextmanager
def turn(directory: str) -> Iterator[bool]:
  """Waits until no other process is within this context, for the same directory.

  Args:
    directory: a local directory.

  Yields:
    Whether the process is alone there; False where directories cannot be locked.

  Raises:
    FileNotFoundError: the directory is not there, or was removed in the meantime.
    CheckpointExistsError: another process keeps the directory for a minute.
  """
  descriptor = _open_dir(directory)
  if descriptor is None:
    yield False
    return
  try:
    is_alone = _wait_for(descriptor, directory)
    there, own = os.stat(directory), os.fstat(descriptor)
    if (there.st_dev, there.st_ino) != (own.st_dev, own.st_ino):
      raise FileNotFoundError(directory)
    yield is_alone
  finally:
    os.close(descriptor)


def _open_dir(directory: str) -> int | None:
  if fcntl is None:
    return None
  try:
    return os.open(directory, os.O_RDONLY)
  except FileNotFoundError:
    raise
  except OSError:
    return None


def _wait_for(descriptor: int, directory: str) -> bool:
  end = time.monotonic() + _PATIENCE_SECONDS
  while True:
    try:
      fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
      return True
    except BlockingIOError:
      if time.monotonic() > end:
        raise CheckpointExistsError(
          f"{directory}: another process has locked the directory for"
          f" {_PATIENCE_SECONDS:.0f} seconds"
        ) from None
      time.sleep(_LOOK_SECONDS)
    except OSError:
      return False


def owner_line() -> bytes:
  """A line for a file that a process holds, which says whose it is."""
  # Most commands lock nothing, and the import takes a twentieth of their time.
  # As socket.gethostname says, without a module that takes longer than the lock.
  host = os.uname().nodename

  return f"{_OWNER}{os.getpid()}/{host}\n".encode()


def owner(path: str) -> str:
  """Who holds a file that begins with an `owner_line`, in words."""
  try:
    with open(local_path(path), "rb") as file:
      line = file.readline(_MAX_OWNER_SIZE).decode("utf-8", "replace").strip()
  except OSError:
    line = ""
  number, _, host = line[len(_OWNER) :].partition("/")
  if not line.startswith(_OWNER) or not number.isdigit():
    return "another process"
  return f"process {number} on {host}"
