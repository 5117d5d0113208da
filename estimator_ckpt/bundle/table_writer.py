"""Writes the table that an index file is; see `estimator_ckpt.bundle.table`."""

from __future__ import annotations

import io
import itertools
import operator
import struct
from collections.abc import Callable, Iterable, Sequence

from estimator_ckpt.bundle import checksum, coding, table
from estimator_ckpt.bundle.memo import Memo
from estimator_ckpt.value_classes import NamedTuple

BLOCK_SIZE = 262144
RESTART_INTERVAL = 16

# So many items are looked at for a block at first. Most blocks have 3,000 to 5,000.
_BATCH = 4096
# Longer keys are compared pair by pair.
_WIDEST = 512


def write_table(
  keys: Sequence[bytes],
  values: Sequence[bytes],
  block_size: int = BLOCK_SIZE,
  restart_interval: int = RESTART_INTERVAL,
) -> bytes:
  """Writes a table, byte for byte as TensorFlow does.

  Args:
    keys: in strictly ascending order.
    values: the value of each.
    block_size: a data block ends when it reaches this size. The default is
      TensorFlow's.
    restart_interval: every how many keys one is written whole. The default is
      TensorFlow's.

  Returns:
    The file's bytes.

  Raises:
    ValueError: keys out of order.

  >>> table.read_table(write_table([b"a", b"b"], [b"1", b"2"]), "example")
  [(b'a', b'1'), (b'b', b'2')]
  """
  _check_order(keys)

  def first_block(part: slice) -> FilledBlock:
    return _first_block(keys[part], values[part], block_size, restart_interval)

  return write_blocks(len(keys), keys.__getitem__, first_block)


def write_blocks(
  count: int, key: Callable[[int], bytes], first_block: Callable[[slice], FilledBlock]
) -> bytes:
  """Writes a table of blocks that somebody else fills.

  Args:
    count: how many items there are.
    key: returns the key of an item.
    first_block: called with a part of the items, returns a block of the first of them.

  Returns:
    The file's bytes.
  """
  file = _File()
  handles: table.Items = []
  start = 0
  wanted = _BATCH
  while start < count:
    block = first_block(slice(start, start + wanted))
    if block.num_items == wanted:
      wanted *= 2  # There may be room for more.
      continue
    handle = file.add_block(block.pieces, block.restarts)
    start += block.num_items
    last = key(start - 1)
    separator = _separator(last, key(start)) if start < count else _successor(last)
    handles.append((separator, handle))
    wanted = block.num_items + block.num_items // 16 + 1
  metaindex = file.add_block([], [0])
  index = file.add_block(*_index_entries(handles))
  file.written.write((metaindex + index).ljust(table.HANDLES_SIZE, b"\x00"))
  file.written.write(table.MAGIC)
  return file.written.getvalue()


class FilledBlock(NamedTuple):
  """A block that is to be written.

  Attributes:
    num_items: how many items it has.
    pieces: their bytes.
    restarts: where keys are whole.
  """

  num_items: int
  pieces: Iterable[bytes]
  restarts: Sequence[int]


class _File:
  """The blocks of a file so far.

  Attributes:
    written: the file's bytes.
  """

  def __init__(self) -> None:
    self.written = io.BytesIO()  # Joining blocks would take their size once more.

  def add_block(self, pieces: Iterable[bytes], restarts: Sequence[int]) -> bytes:
    """Adds a block and its trailer; returns its handle."""
    ends = struct.pack(f"<{len(restarts) + 1}I", *restarts, len(restarts))
    typed = b"".join([*pieces, ends, bytes((table.PLAIN,))])
    crc = checksum.mask(checksum.crc32c(typed)).to_bytes(4, "little")
    start = coding.encode_varint(self.written.tell())
    self.written.writelines((typed, crc))
    return start + coding.encode_varint(len(typed) - 1)


def _first_block(
  keys: Sequence[bytes],
  values: Sequence[bytes],
  block_size: int,
  restart_interval: int,
) -> FilledBlock:
  """The block that has the first of some items, as many as belong there."""
  key_sizes, value_sizes = list(map(len, keys)), list(map(len, values))
  shared = _shared_sizes(keys, key_sizes)
  shared[::restart_interval] = [0] * len(shared[::restart_interval])
  unshared = list(map(operator.sub, key_sizes, shared))
  heads = list(map(_HEAD.__getitem__, zip(shared, unshared, value_sizes)))
  tails = map(operator.add, unshared, value_sizes)
  ends = list(itertools.accumulate(map(operator.add, map(len, heads), tails)))
  count = count_items(ends, block_size, restart_interval)
  # An item of twice the size begins a block.
  if max(key_sizes) + max(value_sizes) >= 2 * block_size:
    whole = map(operator.add, key_sizes, value_sizes)
    large = [i for i, size in enumerate(whole) if i and size >= 2 * block_size]
    count = min([count, *large])
  suffixes = [key[size:] for key, size in zip(keys, shared)]
  pieces = itertools.chain.from_iterable(zip(heads[:count], suffixes, values))
  restarts = [0, *ends[restart_interval - 1 : count - 1 : restart_interval]]
  return FilledBlock(count, pieces, restarts)


def count_items(
  ends: Sequence[int],
  block_size: int = BLOCK_SIZE,
  restart_interval: int = RESTART_INTERVAL,
) -> int:
  """How many items a block has, by the size of the entries up to each of them."""
  low, high = 0, len(ends)
  while low < high:
    middle = (low + high) // 2
    restarts = middle // restart_interval + 1
    if ends[middle] + 4 * restarts + 4 >= block_size:
      high = middle
    else:
      low = middle + 1
  return min(low + 1, len(ends))


def _head(sizes: tuple[int, int, int]) -> bytes:
  """What stands in front of a key: the sizes of what it shares, the rest and the value."""
  return b"".join(map(coding.encode_varint, sizes))


_HEAD = Memo(_head)


def _shared_sizes(keys: Sequence[bytes], sizes: Sequence[int]) -> list[int]:
  """How many bytes each key has in common with the one before."""
  width = max(sizes)
  if width > _WIDEST or b"\0" in b"".join(keys):
    return [0, *map(_shared_size, keys, keys[1:])]
  # All at once, as two numbers: where keys are the same, zeros are left.
  rows = f"{width}s" * len(keys)
  padded = struct.pack(rows, *keys)
  before = int.from_bytes(bytes(width) + padded[:-width], "big")
  differing = (int.from_bytes(padded, "big") ^ before).to_bytes(len(padded), "big")
  left = map(bytes.lstrip, struct.unpack(rows, differing), itertools.repeat(b"\0"))
  shared = [width - size for size in map(len, left)]
  shared[0] = 0
  return shared


def _shared_size(a: bytes, b: bytes) -> int:
  size = min(len(a), len(b))
  differing = int.from_bytes(a[:size], "big") ^ int.from_bytes(b[:size], "big")
  return size - ((differing.bit_length() + 7) >> 3)


def _check_order(keys: Sequence[bytes]) -> None:
  following = itertools.islice(keys, 1, None)
  if not all(map(operator.lt, keys, following)):
    a, b = next((a, b) for a, b in zip(keys, keys[1:]) if a >= b)
    raise ValueError(f"keys out of order: {b!r} after {a!r}")


def replace_first(data: bytes, value: bytes) -> bytes | None:
  """Gives a table another value under its first key.

  Args:
    data: what `write_table` returned.
    value: the new value.

  Returns:
    What `write_table` would return; None if the new value has another size than the old
    one, or if one of the sizes takes more than a byte.

  >>> file = write_table([b"a", b"b"], [b"1", b"2"])
  >>> table.read_table(replace_first(file, b"3"), "example")
  [(b'a', b'3'), (b'b', b'2')]
  """
  (_, size), [(key, old), *_] = next(table.read_blocks(data, "table"))
  if len(value) != len(old) or max(len(key), len(old)) > 127:
    return None
  start = 3 + len(key)  # Three sizes of one byte each, and the key.
  typed = data[:start] + value + data[start + len(value) : size + 1]
  crc = checksum.mask(checksum.crc32c(typed)).to_bytes(4, "little")
  return typed + crc + data[len(typed) + 4 :]


def _index_entries(handles: table.Items) -> tuple[list[bytes], list[int]]:
  """The entries of the index block; every key in it is whole."""
  entries = []
  restarts = []
  size = 0
  for key, handle in handles:
    entry = b"".join(
      (
        b"\x00",
        coding.encode_varint(len(key)),
        coding.encode_varint(len(handle)),
        key,
        handle,
      )
    )
    restarts.append(size)
    entries.append(entry)
    size += len(entry)
  return entries, restarts or [0]


def _separator(last: bytes, following: bytes) -> bytes:
  """A short key that is at least `last` and less than `following`."""
  for index, (a, b) in enumerate(zip(last, following)):
    if a != b:
      if a + 1 < b:
        return last[:index] + bytes((a + 1,))
      return last
  return last


def _successor(last: bytes) -> bytes:
  """A short key that is at least `last`."""
  for index, byte in enumerate(last):
    if byte != 255:
      return last[:index] + bytes((byte + 1,))
  return last
