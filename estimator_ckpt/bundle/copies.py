"""Links and copies of whole files, from the cheapest that a file system offers.

    hard link   a second name for the same bytes; both change together
    reflink     a new file that shares blocks until one changes; XFS, Btrfs and others
    on server   an object store copies within itself
    copy        the bytes are read and written

`estimator_ckpt.bundle.shards` chooses among them.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable

from estimator_ckpt.bundle import files, remote
from estimator_ckpt.bundle.file_errors import file_errors
from estimator_ckpt.bundle.paths import is_local, local_path
from estimator_ckpt.errors import CheckpointIOError

TYPE_CHECKING = False
if TYPE_CHECKING:
  from typing import TypeAlias

Progress: TypeAlias = "Callable[[int], None]"


try:
  import fcntl
except ImportError:  # Not a POSIX system: no reflinks.
  fcntl = None  # type: ignore[assignment]


# Linux: make a file share another's blocks.
_FICLONE = 0x40049409
# What file systems answer to a link that they cannot make.
_CANNOT_LINK = frozenset(
  (
    errno.EXDEV,
    errno.EPERM,
    errno.EACCES,
    errno.EMLINK,
    errno.ENOSYS,
    errno.EOPNOTSUPP,
    errno.ENOTSUP,
    errno.ENOTTY,
    errno.EINVAL,
  )
)


def hard_link(path: str, to: str) -> bool:
  """Makes a second name for a file's bytes.

  Args:
    path: the file; behind a symbolic link, the file that it leads to.
    to: the new name, which must not exist.

  Returns:
    Whether the file system could do that.

  Raises:
    CheckpointNotFoundError: no such file.
    CheckpointIOError: another error than that it cannot.
  """
  if not (is_local(path) and is_local(to)):
    return False
  with file_errors(path, f"linked as {to}"):
    try:
      os.link(os.path.realpath(local_path(path)), local_path(to))
    except OSError as error:
      if error.errno not in _CANNOT_LINK:
        raise
      return False
  return True


def reflink(path: str, to: str) -> bool:
  """Makes a file that shares another's blocks until one of them changes.

  Args:
    path: the file.
    to: the new file, which must not exist.

  Returns:
    Whether the file system could do that.

  Raises:
    CheckpointNotFoundError: no such file.
    CheckpointIOError: another error than that it cannot.
  """
  if fcntl is None or not (is_local(path) and is_local(to)):
    return False
  with file_errors(path, "read"):
    source = open(local_path(path), "rb")
  with source, files.create(to) as target:
    try:
      fcntl.ioctl(target.fileno(), _FICLONE, source.fileno())
      return True
    except OSError as error:
      if error.errno not in _CANNOT_LINK:
        raise
  files.remove(to)
  return False


def copy_on_server(path: str, to: str) -> bool:
  """Has the object store that a file is in copy it.

  Args:
    path: the file.
    to: the new file, which must not exist.

  Returns:
    Whether it could do that; False for local files too.

  Raises:
    CheckpointNotFoundError: no such file.
  """
  if is_local(path) or path.partition("://")[0] != to.partition("://")[0]:
    return False
  with file_errors(path, f"copied to {to}"):
    return remote.copy_on_server(path, to)


def copy(path: str, to: str, progress: Progress | None = None) -> None:
  """Copies a file's bytes; a copy that cannot be completed is removed.

  Args:
    path: the file.
    to: the new file, which must not exist.
    progress: is called with the number of bytes of each part that was copied.

  Raises:
    CheckpointNotFoundError: no such file.
    CheckpointIOError: the file system refused, or gave fewer bytes than the file has.
  """
  needed = files.size(path)
  copied = 0
  with file_errors(to, f"copied from {path}", needed):
    with files.create(to) as target:
      for chunk in files.read_chunks(path, 0, needed):
        target.write(chunk)
        copied += len(chunk)
        if progress is not None:
          progress(len(chunk))
      if copied != needed:
        raise CheckpointIOError(
          f"{to} cannot be copied from {path}: it gave {copied:,} bytes of {needed:,}."
          " Was it replaced meanwhile? Run the command again"
        )
