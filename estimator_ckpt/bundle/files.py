"""Files: everything this package does to a file system passes through here.

A path is local, or it has a scheme (`gs://`, `s3://`, `memory://`) and is handed to
`estimator_ckpt.bundle.remote`. Errors are those of `estimator_ckpt.bundle.file_errors`.
Whole files are linked and copied by `estimator_ckpt.bundle.copies`.

New files get the mode that the umask leaves, as those of TensorFlow do. What is not
complete yet has a name that `is_temporary` recognises.
"""

from __future__ import annotations

import collections
import contextlib
import errno
import functools
import os
from collections.abc import Callable, Iterable, Iterator

from estimator_ckpt.bundle import locks, remote
from estimator_ckpt.bundle.file_errors import file_errors
from estimator_ckpt.bundle.paths import is_local as is_local
from estimator_ckpt.bundle.paths import is_temporary as is_temporary
from estimator_ckpt.bundle.paths import local_path as local_path
from estimator_ckpt.bundle.paths import parent
from estimator_ckpt.bundle.paths import temporary_path as temporary_path
from estimator_ckpt.errors import CheckpointNotFoundError

TYPE_CHECKING = False
if TYPE_CHECKING:
  from typing import IO

CHUNK_SIZE = 4 << 20
# How many parts of a file in a store are read at once.
_AT_ONCE = 8


def read(path: str) -> bytes:
  """A file's bytes.

  Raises:
    CheckpointNotFoundError: no such file.
    CheckpointIOError: the file system refused.
  """
  with file_errors(path, "read"):
    if not is_local(path):
      return remote.file_system(path).read_range(path, 0, None)
    with open(local_path(path), "rb") as file:
      return file.read()


def read_range(path: str, offset: int, size: int) -> bytes:
  """A part of a file; less than asked for where the file ends.

  Args:
    path: the file.
    offset: where the part starts.
    size: how many bytes.

  Returns:
    The bytes.

  Raises:
    CheckpointNotFoundError: no such file.
    CheckpointIOError: the file system refused.
  """
  with file_errors(path, "read"):
    if not is_local(path):
      return remote.file_system(path).read_range(path, offset, size)
    with open(local_path(path), "rb", buffering=0) as file:
      # What is asked for may come from a damaged file: it is not allocated unseen.
      size = min(size, os.fstat(file.fileno()).st_size - offset)
      # A read may return less than it was asked for, without being at the end.
      parts = []
      while size > 0:
        part = os.pread(file.fileno(), size, offset)
        if not part:
          break
        parts.append(part)
        offset += len(part)
        size -= len(part)
      return parts[0] if len(parts) == 1 else b"".join(parts)


def read_chunks(path: str, offset: int, size: int) -> Iterator[bytes]:
  """Iterates over a part of a file, a few megabytes at a time.

  Args:
    path: the file.
    offset: where the part starts.
    size: how many bytes; it ends earlier where the file does.

  Yields:
    The bytes.

  Raises:
    CheckpointNotFoundError: no such file.
    CheckpointIOError: the file system refused.
  """
  if not is_local(path):
    sizes = (part_size for _, part_size in split(offset, size))
    for read_part, expected in zip(read_parts(path, split(offset, size)), sizes):
      chunk = read_part()
      if chunk:
        yield chunk
      # The next part begins where this one should have ended.
      if len(chunk) < expected:
        return
    return
  with file_errors(path, "read"):
    with open(local_path(path), "rb") as file:
      file.seek(offset)
      while size > 0:
        chunk = file.read(min(size, CHUNK_SIZE))
        if not chunk:
          return
        yield chunk
        size -= len(chunk)


def split(offset: int, size: int) -> Iterator[tuple[int, int]]:
  """Cuts a part of a file into parts of a few megabytes.

  Args:
    offset: where the part starts.
    size: how many bytes.

  Yields:
    Where each part starts, and how many bytes it has.

  >>> list(split(10, CHUNK_SIZE + 1))
  [(10, 4194304), (4194314, 1)]
  """
  for start in range(offset, offset + size, CHUNK_SIZE):
    yield start, min(CHUNK_SIZE, offset + size - start)


def read_parts(
  path: str, parts: Iterable[tuple[int, int]]
) -> Iterator[Callable[[], bytes]]:
  """Reads parts of a file in order; several at once where each is a round trip.

  Args:
    path: the file.
    parts: where each part starts, and how many bytes it has. A few of them are in
      memory at once.

  Yields:
    For each part a function that returns its bytes, and raises what `read_range` does.
  """
  if is_local(path):
    for offset, size in parts:
      yield functools.partial(read_range, path, offset, size)
    return
  # Imported here: local files do not need it, and it takes longer than reading one.
  from concurrent import futures

  waiting: collections.deque[futures.Future[bytes]] = collections.deque()
  with futures.ThreadPoolExecutor(_AT_ONCE) as pool:
    try:
      for offset, size in parts:
        waiting.append(pool.submit(read_range, path, offset, size))
        if len(waiting) == _AT_ONCE:
          yield waiting.popleft().result
      while waiting:
        yield waiting.popleft().result
    finally:
      for each in waiting:
        each.cancel()


def size(path: str) -> int:
  """A file's size in bytes.

  Raises:
    CheckpointNotFoundError: no such file.
    CheckpointIOError: the file system refused.
  """
  with file_errors(path, "read"):
    if is_local(path):
      return os.stat(local_path(path)).st_size
    return remote.file_system(path).size(path)


def modified_time(path: str) -> float:
  """When a file was changed last, in seconds since 1970; 0 where that is not known.

  Raises:
    CheckpointNotFoundError: no such file.
    CheckpointIOError: the file system refused.
  """
  with file_errors(path, "read"):
    if is_local(path):
      return os.stat(local_path(path)).st_mtime
    return remote.file_system(path).modified_time(path)


def settled_since(path: str) -> float:
  """When a file came to be as it is and where it is, in seconds since 1970.

  A copy or an archive may give a file the time at which another was written; nothing
  gives it an earlier one than this.

  Returns:
    The time; 0 where that is not known.

  Raises:
    CheckpointNotFoundError: no such file.
    CheckpointIOError: the file system refused.
  """
  if not is_local(path):
    return modified_time(path)
  with file_errors(path, "read"):
    status = os.stat(local_path(path))
  return max(status.st_mtime, status.st_ctime)


def exists(path: str) -> bool:
  """Whether there is a file or a directory at a path."""
  if is_local(path):
    return os.path.exists(local_path(path))
  with file_errors(path, "looked for"):
    return remote.file_system(path).exists(path)


def is_dir(path: str) -> bool:
  """Whether there is a directory at a path."""
  if is_local(path):
    return os.path.isdir(local_path(path))
  with file_errors(path, "looked for"):
    return remote.file_system(path).is_dir(path)


def list_dir(path: str) -> list[str]:
  """The names in a directory, sorted.

  Raises:
    CheckpointNotFoundError: no such directory.
    CheckpointIOError: the file system refused.
  """
  with file_errors(path, "listed"):
    if is_local(path):
      return sorted(os.listdir(local_path(path) or "."))
    return sorted(remote.file_system(path).list_dir(path))


def glob_prefix(prefix: str) -> list[str]:
  """The paths that begin with a prefix and have no `/` behind it, sorted.

  Args:
    prefix: a path; what stands behind the last `/` is the beginning of names.

  Returns:
    The paths; none where there is no such directory.
  """
  directory = parent(prefix)
  start = prefix[len(directory) :].lstrip("/")
  try:
    names = list_dir(directory or ".")
  except CheckpointNotFoundError:
    return []
  before = prefix[: len(prefix) - len(start)]
  return [before + name for name in names if name.startswith(start)]


def mkdirs(path: str) -> list[str]:
  """Makes a directory, and those above it, where there is none.

  Args:
    path: the directory.

  Returns:
    The local directories that were made, the outermost first.

  Raises:
    CheckpointIOError: the file system refused.
  """
  made: list[str] = []
  with file_errors(path, "made"):
    if not is_local(path):
      remote.file_system(path).mkdirs(path)
      return made
    missing = []
    directory = local_path(path) or "."
    while directory and not os.path.isdir(directory):
      missing.append(directory)
      directory = os.path.dirname(directory)
    for directory in reversed(missing):
      try:
        os.mkdir(directory)
      except FileExistsError:
        if not os.path.isdir(directory):
          raise
      else:
        made.append(directory)
  return made


def check_bucket(path: str) -> None:
  """Looks whether a store has the bucket of a file that would be written.

  TensorFlow's file systems do not tell buckets from directories, which are made.

  Args:
    path: the file.

  Raises:
    CheckpointNotFoundError: the store has no such bucket.
    CheckpointIOError: the file system refused.
  """
  if is_local(path):
    return
  with file_errors(path, "written"):
    system = remote.file_system(path)
    if isinstance(system, remote.FsspecFiles):
      system.check_bucket(path)


def remove_empty_dir(path: str) -> bool:
  """Removes a local directory if nothing is in it; returns whether it did."""
  try:
    os.rmdir(local_path(path))
  except OSError:
    return False
  return True


@contextlib.contextmanager
def create(path: str, sync: bool = True) -> Iterator[IO[bytes]]:
  """Opens a new file for writing; one that cannot be completed is removed.

  Args:
    path: the file, which must not exist.
    sync: whether to wait until the file is on the disk.

  Yields:
    A file object with `write`.

  Raises:
    CheckpointIOError: the file system refused, or the file exists.
  """
  with file_errors(path, "written"):
    if is_local(path):
      flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY | getattr(os, "O_BINARY", 0)
      opened: IO[bytes] = open(os.open(local_path(path), flags, 0o666), "wb")
      locks.lock(opened)
    else:
      opened = remote.file_system(path).open(path)
    try:
      with opened as file:
        yield file
        if sync and is_local(path):
          _sync(file)
    except BaseException:
      with contextlib.suppress(OSError):
        remove(path)
      raise


def write_now(file: IO[bytes], data: bytes, path: str) -> None:
  """Writes to a file that `create` opened and that stays open, past all buffers.

  Raises:
    CheckpointIOError: the file system refused.
  """
  with file_errors(path, "written"):
    file.write(data)
    if is_local(path):
      file.flush()


def write_atomic(
  path: str, data: bytes | bytearray, sync: bool = True, sync_name: bool = True
) -> None:
  """Writes a file such that a reader sees the old one or the new one, never a part.

  Args:
    path: the file, which may exist.
    data: its bytes.
    sync: whether to wait until the file is on the disk.
    sync_name: whether to wait, then, until its name is.

  Raises:
    CheckpointIOError: the file system refused. There is what was there before, or the
      new file, if all that failed is to wait for its name.
  """
  temporary = temporary_path(path)
  with file_errors(path, "written", needed=len(data)):
    if not is_local(path):
      data = bytes(data)
      if remote.file_system(path).replace(path, data):
        return
    with create(temporary, sync=False) as file:
      file.write(data)
      if is_local(path):
        if sync:
          _sync(file)
        else:
          file.flush()
        # While it is open it is locked, and nobody takes it for a leftover.
        rename(temporary, path)
    if not is_local(path):
      rename(temporary, path)
  if sync and sync_name:
    sync_dir(parent(path))


def rename(path: str, to: str) -> None:
  """Gives a file another name, in place of what had that name.

  Raises:
    CheckpointNotFoundError: no such file.
    CheckpointIOError: the file system refused.
  """
  with file_errors(path, f"renamed to {to}"):
    if is_local(path):
      os.replace(local_path(path), local_path(to))
    else:
      remote.file_system(path).rename(path, to)


def remove(path: str) -> None:
  """Removes a file.

  Raises:
    CheckpointNotFoundError: no such file.
    CheckpointIOError: the file system refused.
  """
  with file_errors(path, "removed"):
    if is_local(path):
      os.remove(local_path(path))
    else:
      remote.file_system(path).remove(path)


def remove_tree(path: str) -> None:
  """Removes a directory and what is in it; what somebody else removes first, is gone.

  Raises:
    CheckpointIOError: the file system refused.
  """
  with file_errors(path, "removed"):
    if is_local(path):
      for name in list_dir(path):
        inner = f"{path}/{name}"
        with contextlib.suppress(CheckpointNotFoundError):
          if is_dir(inner) and not os.path.islink(local_path(inner)):
            remove_tree(inner)
          else:
            remove(inner)
      os.rmdir(local_path(path))
    else:
      remote.file_system(path).remove_tree(path)


def sync(path: str) -> None:
  """Waits until what was written to a file is on the disk, whoever wrote it.

  What is not local is as safe as its store makes it when it is written.

  Raises:
    CheckpointNotFoundError: no such file.
    CheckpointIOError: the file system refused.
  """
  if not is_local(path):
    return
  # Windows syncs only what is open for writing.
  with file_errors(path, "synced"), open(local_path(path), "rb+") as file:
    os.fsync(file.fileno())


def sync_dir(path: str) -> None:
  """Waits until the names in a local directory are on the disk.

  Raises:
    CheckpointIOError: the file system refused.
  """
  if not is_local(path) or os.name != "posix":
    return
  with file_errors(path, "synced"):
    descriptor = os.open(local_path(path) or ".", os.O_RDONLY)
    try:
      os.fsync(descriptor)
    except OSError as error:
      # Some file systems cannot sync a directory, and do not need it.
      if error.errno not in (errno.EINVAL, errno.ENOTSUP, errno.EBADF):
        raise
    finally:
      os.close(descriptor)


def _sync(file: IO[bytes]) -> None:
  file.flush()
  os.fsync(file.fileno())
