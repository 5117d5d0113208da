"""The data files of a bundle: tensors' bytes, and data files made of others."""

from __future__ import annotations

from collections.abc import Iterator

from estimator_ckpt.bundle import checksum, dtypes, files, strings
from estimator_ckpt.bundle.file_names import data_path
from estimator_ckpt.bundle.index import Index
from estimator_ckpt.bundle.messages import BundleEntry
from estimator_ckpt.errors import (
  CheckpointIOError,
  CheckpointNotFoundError,
  CorruptCheckpointError,
  OptionError,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
  from estimator_ckpt.bundle import copies
  from estimator_ckpt.bundle.v1_checkpoint import V1Checkpoint

PLACEMENTS = ("auto", "link", "reflink", "copy")


def num_elements(shape: tuple[int, ...]) -> int:
  """How many elements a tensor of a shape has.

  >>> num_elements((2, 3)), num_elements(())
  (6, 1)
  """
  count = 1
  for size in shape:
    count *= size
  return count


class Shards:
  """Reads tensors' bytes; believes no entry until the file's size bears it out.

  Attributes:
    prefix: the checkpoint's path.
    num_shards: how many data files its header says there are.
    v1: the checkpoint, if it is one of the format V1; each of its files then stands
      for a data file.
  """

  def __init__(self, prefix: str, num_shards: int, v1: V1Checkpoint | None = None):
    """Opens nothing yet.

    Args:
      prefix: the checkpoint's path.
      num_shards: as the index's header says.
      v1: as the index says.
    """
    self.prefix = prefix
    self.num_shards = num_shards
    self.v1 = v1
    self._sizes: dict[int, int] = {}

  @classmethod
  def of(cls, prefix: str, index: Index) -> Shards:
    """The data files of a checkpoint.

    Args:
      prefix: the checkpoint's path.
      index: its index, as it was read.
    """
    return cls(prefix, index.header.num_shards, index.v1)

  def path(self, shard_id: int) -> str:
    """The path of a data file."""
    if self.v1 is not None:
      return self.v1.paths[shard_id]
    return data_path(self.prefix, shard_id, self.num_shards)

  def size(self, shard_id: int) -> int:
    """The size of a data file.

    Raises:
      CheckpointNotFoundError: the file is missing.
    """
    if self.v1 is not None:
      return self.v1.sizes[shard_id]
    known = self._sizes.get(shard_id)
    if known is None:
      path = self.path(shard_id)
      try:
        known = files.size(path)
      except CheckpointNotFoundError as error:
        raise CheckpointNotFoundError(
          f"{path}: a data file of the checkpoint is missing; its index says that there"
          f" are {self.num_shards}. Copy it there too, or use another checkpoint"
        ) from error
      self._sizes[shard_id] = known
    return known

  def check_bounds(self, entry: BundleEntry, key: str) -> None:
    """Checks an entry against its type, its shape and the size of its data file.

    Args:
      entry: the entry of a tensor or of a slice.
      key: the tensor's key, for errors.

    Raises:
      CheckpointNotFoundError: the data file is missing.
      CorruptCheckpointError: they do not agree.
      UnsupportedCheckpointError: the type is not known here.
    """
    item_size = dtypes.item_size(entry.dtype)
    if item_size is not None and entry.size != item_size * num_elements(entry.shape):
      raise CorruptCheckpointError(
        f"{self.prefix}: {key!r} has {entry.size} bytes; {dtypes.name(entry.dtype)} of"
        f" shape {list(entry.shape)} takes {item_size * num_elements(entry.shape)}"
      )
    if entry.shard_id >= self.num_shards:
      raise CorruptCheckpointError(
        f"{self.prefix}: {key!r} is in data file number {entry.shard_id}, and there are"
        f" {self.num_shards}"
      )
    size = self.size(entry.shard_id)
    if entry.offset + entry.size > size:
      raise CorruptCheckpointError(
        f"{self.path(entry.shard_id)}: {key!r} is at bytes {entry.offset} to"
        f" {entry.offset + entry.size}, and the file has {size}; it is truncated, or of"
        " another checkpoint"
      )

  def read(self, entry: BundleEntry, key: str, verify: bool = True) -> bytes:
    """The bytes an entry points at.

    Args:
      entry: the entry of a tensor or of a slice.
      key: the tensor's key, for errors.
      verify: whether to check them against the entry's checksum. That of strings is
        not one of their bytes; see `read_strings`.

    Returns:
      The bytes.

    Raises:
      CheckpointNotFoundError: the data file is missing.
      CorruptCheckpointError: the file is shorter, or the checksum does not match.
    """
    self.check_bounds(entry, key)
    path = self.path(entry.shard_id)
    if self.v1 is None:
      data = files.read_range(path, entry.offset, entry.size)
    else:
      data = b"".join(self.read_chunks(entry.shard_id, entry.offset, entry.size))
    if len(data) != entry.size:
      raise CorruptCheckpointError(f"{path}: truncated while {key!r} was read")
    if verify and checksum.mask(checksum.crc32c(data)) != entry.crc32c:
      raise _damaged(path, key)
    return data

  def verify(self, entry: BundleEntry, key: str) -> None:
    """Checks the bytes of an entry against its checksum, a few megabytes at a time.

    Args:
      entry: the entry of a tensor or of a slice, not of strings.
      key: the tensor's key, for errors.

    Raises:
      CheckpointNotFoundError: the data file is missing.
      CorruptCheckpointError: the file is shorter, or the checksum does not match.
    """
    self.check_bounds(entry, key)
    path = self.path(entry.shard_id)
    crc = 0
    for chunk in self.read_chunks(entry.shard_id, entry.offset, entry.size):
      crc = checksum.extend(crc, chunk)
    if checksum.mask(crc) != entry.crc32c:
      raise _damaged(path, key)

  def read_strings(
    self, entry: BundleEntry, key: str, verify: bool = True
  ) -> list[bytes]:
    """The elements of a string tensor, in row-major order.

    Args:
      entry: the entry of a tensor or of a slice.
      key: the tensor's key, for errors.
      verify: whether to check the elements against the entry's checksum.

    Returns:
      The elements.

    Raises:
      CheckpointNotFoundError: the data file is missing.
      CorruptCheckpointError: the bytes are no string tensor of that shape.
    """
    data = self.read(entry, key, verify=False)
    try:
      count = num_elements(entry.shape)
      return strings.decode(data, count, entry.crc32c if verify else None)
    except CorruptCheckpointError as error:
      path = self.path(entry.shard_id)
      raise CorruptCheckpointError(f"{path}: {key!r}: {error}") from None

  def read_chunks(self, shard_id: int, offset: int, size: int) -> Iterator[bytes]:
    """Iterates over a part of a data file, a few megabytes at a time.

    Args:
      shard_id: the data file.
      offset: where the part starts.
      size: how many bytes; it ends earlier where the file does.

    Yields:
      The bytes.

    Raises:
      CheckpointNotFoundError: the file is missing.
      CheckpointIOError: the file system refused.
    """
    if self.v1 is not None:
      return self.v1.read_chunks(shard_id, offset, size)
    return files.read_chunks(self.path(shard_id), offset, size)


def read_scalar_string(
  prefix: str, index: Index, key: str, shards: Shards | None = None
) -> bytes:
  """The value of a scalar string tensor, such as the object graph.

  Args:
    prefix: the checkpoint's path.
    index: lists the tensors of the checkpoint.
    key: the tensor's key.
    shards: its data files, where they have been opened.

  Returns:
    The bytes.

  Raises:
    CheckpointKeyError: no such tensor.
    CheckpointNotFoundError: the data file is missing.
    CorruptCheckpointError: it is no scalar string, or damaged.
  """
  entry = index.entry(key)
  if entry.dtype != dtypes.STRING or entry.shape or entry.slices:
    raise CorruptCheckpointError(
      f"{index.name}: {key!r} is {dtypes.name(entry.dtype)} of shape"
      f" {list(entry.shape)}, expected a scalar string"
    )
  return (shards or Shards.of(prefix, index)).read_strings(entry, key)[0]


def place(
  path: str, to: str, how: str = "auto", progress: copies.Progress | None = None
) -> str:
  """Makes a data file out of another one, which stays as it is.

  Args:
    path: the data file that is there.
    to: the new one, which must not exist.
    how: `link` (two names for the same bytes), `reflink` (shared until changed),
      `copy` (done by the object store itself where it can), or `auto`: the first of
      these that the file system can do.
    progress: is called with the number of bytes of each part that is copied.

  Returns:
    What was done: `link`, `reflink`, `copy`, or `server copy` for that by the store.

  Raises:
    OptionError: `how` is none of these.
    CheckpointNotFoundError: no such data file.
    CheckpointIOError: the file system refused, or cannot do what was asked for.
  """
  from estimator_ckpt.bundle import copies

  check_placement(how)
  if how in ("auto", "link") and copies.hard_link(path, to):
    return "link"
  if how in ("auto", "reflink") and copies.reflink(path, to):
    return "reflink"
  if how in ("auto", "copy"):
    if copies.copy_on_server(path, to):
      if progress is not None:
        progress(files.size(to))
      return "server copy"
    copies.copy(path, to, progress)
    return "copy"
  raise cannot_place(path, to, how)


def cannot_place(path: str, to: str, how: str) -> CheckpointIOError:
  """The error for a file system that cannot do what the user asked for.

  Args:
    path: the data file that is there.
    to: the new one.
    how: `link` or `reflink`.
  """
  return CheckpointIOError(
    f"{to}: the file system cannot {how} {path}; the two are on different file systems,"
    " or it has no such links. Ask for copy, or for auto"
  )


def check_placement(how: str) -> str:
  """Returns `how` if `place` knows it, before anything is written.

  Raises:
    OptionError: it does not.
  """
  if how not in PLACEMENTS:
    raise OptionError(f"data={how!r} is unknown; choose one of {', '.join(PLACEMENTS)}")
  return how


def _damaged(path: str, key: str) -> CorruptCheckpointError:
  return CorruptCheckpointError(
    f"{path}: the checksum of {key!r} does not match its bytes; the file is damaged, or"
    " of another checkpoint"
  )
