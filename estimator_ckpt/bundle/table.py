"""The sorted key-value table that an index file is, in LevelDB's layout.

    file     = data block*, metaindex block (empty), index block, footer
    block    = entry*, restart offset (fixed32)*, number of restarts (fixed32)
    trailer  = after each block: type (0 plain, 1 snappy), fixed32 masked crc32c of
               the block and the type
    entry    = varint shared, varint unshared, varint value length,
               the key's last `unshared` bytes, the value
    handle   = varint offset, varint size of a block, the trailer not counted
    footer   = metaindex handle, index handle, zeros up to 40 bytes, 8 bytes magic

A key shares its first bytes with the key before it, but for those at a restart. The
index block has one entry for each data block: a key that is at least the block's last
and less than the next one's first, and the block's handle.

Reading is here; `estimator_ckpt.bundle.table_writer` writes.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator

from estimator_ckpt.bundle import checksum, coding
from estimator_ckpt.errors import CorruptCheckpointError
from estimator_ckpt.value_classes import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
  from typing import TypeAlias

Items: TypeAlias = "list[tuple[bytes, bytes]]"
Handle: TypeAlias = "tuple[int, int]"
Data: TypeAlias = "bytes | LazyBytes"


FOOTER_SIZE = 48
HANDLES_SIZE = 40
MAGIC = 0xDB4775248B80FB57.to_bytes(8, "little")
TRAILER_SIZE = 5
PLAIN = 0
SNAPPY = 1

# What the entries take in memory, in bytes for each byte of the file. Keys are stored
# without what they share with the key before, so a small file can spell long ones;
# TensorFlow restarts every 16 keys, which keeps its own files far below this.
_MAX_EXPANSION = 64
_ALLOWANCE = 1 << 16
ENTRY_COST = 64


class UnusualTable(Exception):
  """A table that is damaged, or not spelled as TensorFlow does, or has very long keys."""


class LazyBytes:
  """A file's bytes, of which a slice is read when it is asked for."""

  def __init__(self, size: int, read: Callable[[int, int], bytes]):
    """Reads nothing yet.

    Args:
      size: how many bytes the file has.
      read: returns the bytes at an offset, so many.
    """
    self._size = size
    self._read = read

  def __len__(self) -> int:
    return self._size

  def __getitem__(self, part: slice) -> bytes:
    start, stop, _ = part.indices(self._size)
    return self._read(start, stop - start)


def read_table(data: bytes, name: str) -> Items:
  """Reads a whole table and checks everything that can be checked.

  Args:
    data: the file's bytes.
    name: the file's name, for errors.

  Returns:
    The (key, value) pairs, in strictly ascending order of keys.

  Raises:
    CorruptCheckpointError: the bytes are no table, or a damaged one.
  """
  return [item for _, items in read_blocks(data, name) for item in items]


class PlacedBlock(NamedTuple):
  """A data block, and where its parts stand in the file.

  Attributes:
    handle: offset and size, the trailer not counted.
    items: the (key, value) pairs.
    value_ends: the position behind each value. In a compressed block, it means nothing.
  """

  handle: Handle
  items: Items
  value_ends: list[int]


def read_placed_blocks(data: bytes, name: str) -> Iterator[PlacedBlock]:
  """As `read_blocks`, and says where everything is.

  Args:
    data: the file's bytes.
    name: the file's name, for errors.

  Yields:
    Each data block.

  Raises:
    CorruptCheckpointError: the bytes are no table, or a damaged one.
  """
  ends: list[int] = []
  try:
    for handle, keys, values in _read_blocks(data, ends):
      yield PlacedBlock(handle, list(zip(keys, values)), ends.copy())
      ends.clear()
  except CorruptCheckpointError as error:
    raise CorruptCheckpointError(f"{name}: {error}") from None


def read_blocks(data: Data, name: str) -> Iterator[tuple[Handle, Items]]:
  """As `read_table`, one data block at a time, for a table that is large.

  Args:
    data: the file's bytes; those of one block at a time are asked for.
    name: the file's name, for errors.

  Yields:
    Each data block's offset and size, and its (key, value) pairs.

  Raises:
    CorruptCheckpointError: the bytes are no table, or a damaged one.
  """
  for handle, keys, values in read_columns(data, name):
    yield handle, list(zip(keys, values))


def read_columns(
  data: Data, name: str
) -> Iterator[tuple[Handle, list[bytes], list[bytes]]]:
  """As `read_blocks`, and yields the keys of a block, and its values, as two lists."""
  try:
    yield from _read_blocks(data)
  except CorruptCheckpointError as error:
    raise CorruptCheckpointError(f"{name}: {error}") from None


class BlockContents(NamedTuple):
  """A data block as bytes, whose checksum was verified.

  Attributes:
    handle: offset and size in the file, the trailer not counted.
    contents: its entries and restarts, uncompressed.
    separator: its key in the index block: no key of the block is greater, and those of
      the next one are.
  """

  handle: Handle
  contents: bytes
  separator: bytes


def read_contents(data: Data) -> Iterator[BlockContents]:
  """Iterates over the data blocks of a table, and takes none of them apart.

  Args:
    data: the file's bytes.

  Yields:
    Each data block.

  Raises:
    CorruptCheckpointError: the bytes are no table, or a damaged one. The file's name is
      left out.
  """
  if len(data) < FOOTER_SIZE:
    raise CorruptCheckpointError(
      f"too short to be an index file: {len(data)} bytes, and its footer alone has"
      f" {FOOTER_SIZE}"
    )
  footer = data[-FOOTER_SIZE:]
  if footer[HANDLES_SIZE:] != MAGIC:
    raise CorruptCheckpointError(
      "not an index file, or a truncated one: it does not end with the magic number"
      f" {MAGIC.hex()} but with {footer[HANDLES_SIZE:].hex()}"
    )
  metaindex, position = _read_handle(footer, 0, HANDLES_SIZE)
  index, _ = _read_handle(footer, position, HANDLES_SIZE)
  body_size = len(data) - FOOTER_SIZE
  # TensorFlow leaves the metaindex empty and does not read it; its checksum counts.
  _read_block(data, metaindex, body_size, "metaindex block")
  separators: list[bytes] = []
  handles: list[bytes] = []
  block = _read_block(data, index, body_size, "index block")
  _read_entries(block, separators, handles, entries_budget(data), "index block")
  behind = 0
  for number, (separator, value) in enumerate(zip(separators, handles)):
    what = f"data block {number}"
    handle, end = _read_handle(value, 0, len(value))
    if end != len(value):
      raise CorruptCheckpointError(f"handle of {what}: more bytes than a handle has")
    # Blocks stand one behind the other. Overlapping ones could make a small file
    # spell out a huge table.
    if handle[0] < behind:
      raise CorruptCheckpointError(f"{what} overlaps the one before")
    behind = handle[0] + handle[1] + TRAILER_SIZE
    yield BlockContents(handle, _read_block(data, handle, body_size, what), separator)


def read_block(data: Data, handle: Handle, name: str) -> Items:
  """The (key, value) pairs of one data block.

  Args:
    data: the file's bytes.
    handle: the block's offset and size, as `read_blocks` yields them.
    name: the file's name, for errors.

  Returns:
    The pairs.

  Raises:
    CorruptCheckpointError: the block is damaged.
  """
  try:
    keys: list[bytes] = []
    values: list[bytes] = []
    what = f"data block at byte {handle[0]}"
    block = _read_block(data, handle, len(data) - FOOTER_SIZE, what)
    _read_entries(block, keys, values, entries_budget(data), what)
    return list(zip(keys, values))
  except CorruptCheckpointError as error:
    raise CorruptCheckpointError(f"{name}: {error}") from None


def has_end(data: Data) -> bool:
  """Whether a file ends as a table does. A table that was cut short does not."""
  return len(data) >= FOOTER_SIZE and data[-len(MAGIC) :] == MAGIC


def has_plain_footer(data: bytes) -> bool:
  """Whether the footer of a sound table is spelled as writers spell it.

  Readers do not notice other spellings: they skip what stands behind the handles, and
  accept longer forms of the numbers.
  """
  footer = data[-FOOTER_SIZE : -len(MAGIC)]
  metaindex, position = _read_handle(footer, 0, HANDLES_SIZE)
  index, _ = _read_handle(footer, position, HANDLES_SIZE)
  handles = b"".join(map(coding.encode_varint, (*metaindex, *index)))
  return footer == handles.ljust(HANDLES_SIZE, b"\x00")


def entries_budget(data: Data) -> int:
  """What the entries of a table may take in memory; see `_MAX_EXPANSION`."""
  return _MAX_EXPANSION * len(data) + _ALLOWANCE


def _read_blocks(
  data: Data, ends: list[int] | None = None
) -> Iterator[tuple[Handle, list[bytes], list[bytes]]]:
  budget = entries_budget(data)
  lower = b""
  is_first = True
  for number, block in enumerate(read_contents(data)):
    what = f"data block {number}"
    keys: list[bytes] = []
    values: list[bytes] = []
    start = block.handle[0]
    budget = _read_entries(block.contents, keys, values, budget, what, ends, start)
    if not keys:
      raise CorruptCheckpointError(f"{what} is empty")
    if not is_first and keys[0] <= lower:
      raise CorruptCheckpointError(
        f"{what} starts with {keys[0]!r}, which the block before covers"
      )
    is_first = False
    if keys[-1] > block.separator:
      raise CorruptCheckpointError(
        f"{what} ends with {keys[-1]!r}, behind its index key {block.separator!r}"
      )
    lower = block.separator
    yield block.handle, keys, values


def _read_handle(data: bytes, position: int, end: int) -> tuple[Handle, int]:
  offset, position = coding.read_varint(data, position, end)
  size, position = coding.read_varint(data, position, end)
  return (offset, size), position


def _read_block(data: Data, handle: Handle, body_size: int, what: str) -> bytes:
  """A block's contents, checksum verified and uncompressed."""
  offset, size = handle
  end = offset + size
  if end + TRAILER_SIZE > body_size:
    raise CorruptCheckpointError(
      f"{what}: bytes {offset} to {end + TRAILER_SIZE} of a file that has"
      f" {body_size} before its footer"
    )
  stored = data[offset : end + TRAILER_SIZE]
  crc = checksum.unmask(int.from_bytes(stored[size + 1 :], "little"))
  if checksum.crc32c(stored[: size + 1]) != crc:
    raise CorruptCheckpointError(f"{what}: checksum does not match, it is damaged")
  block = stored[:size]
  kind = stored[size]
  if kind == SNAPPY:
    from estimator_ckpt.bundle import snappy

    return snappy.decompress(block)
  if kind != PLAIN:
    raise CorruptCheckpointError(f"{what}: unknown compression {kind}")
  return block


def _read_entries(
  block: bytes,
  keys: list[bytes],
  values: list[bytes],
  budget: int,
  what: str,
  ends: list[int] | None = None,
  offset: int = 0,
) -> int:
  """Appends a block's entries to two new lists; returns what is left of the budget.

  Args:
    block: the block's contents.
    keys: where to append the keys.
    values: where to append the values.
    budget: what the entries may take in memory.
    what: the block's name, for errors.
    ends: where to append the positions behind the values, if anywhere.
    offset: where the block stands in its file.
  """
  size = len(block)
  if size < 4:
    raise CorruptCheckpointError(f"{what}: truncated, {size} bytes")
  num_restarts = int.from_bytes(block[-4:], "little")
  if num_restarts > (size - 4) // 4:
    raise CorruptCheckpointError(
      f"{what}: {num_restarts} restarts do not fit into {size} bytes"
    )
  limit = size - 4 - 4 * num_restarts
  read_varint = coding.read_varint
  append_key, append_value = keys.append, values.append
  whole_keys = set()
  key = b""
  first = True
  position = 0
  while position < limit:
    start = position
    # There are at least four bytes behind `limit`, so these three exist.
    shared = block[position]
    unshared = block[position + 1]
    value_size = block[position + 2]
    if shared < 128 and unshared < 128 and value_size < 128:
      position += 3
    else:
      shared, position = read_varint(block, position, limit)
      unshared, position = read_varint(block, position, limit)
      value_size, position = read_varint(block, position, limit)
    key_end = position + unshared
    end = key_end + value_size
    if end > limit:
      raise CorruptCheckpointError(f"{what}: entry at byte {start} goes past the end")
    budget -= shared + ENTRY_COST
    if budget < 0:
      raise CorruptCheckpointError(
        f"{what}: its entries are out of all proportion to the file's size"
      )
    if shared:
      if shared > len(key) or start == 0:
        raise CorruptCheckpointError(
          f"{what}: entry at byte {start} shares more than the key before it has"
        )
      next_key = key[:shared] + block[position:key_end]
    else:
      whole_keys.add(start)
      next_key = block[position:key_end]
    if next_key <= key and not first:
      raise CorruptCheckpointError(
        f"{what}: keys out of order, {next_key!r} after {key!r}"
      )
    first = False
    key = next_key
    append_key(key)
    append_value(block[key_end:end])
    if ends is not None:
      ends.append(offset + end)
    position = end
  restarts = struct.unpack_from(f"<{num_restarts}I", block, limit)
  # TensorFlow looks keys up through the restarts, so a wrong one loses keys.
  if limit and not (restarts and restarts[0] == 0 and whole_keys.issuperset(restarts)):
    raise CorruptCheckpointError(f"{what}: a restart is not where a whole key is")
  if any(a >= b for a, b in zip(restarts, restarts[1:])):
    raise CorruptCheckpointError(f"{what}: restarts out of order")
  return budget
