"""Writes the table that an index file is; see `estimator_ckpt.bundle.table`."""

from __future__ import annotations

import struct
from collections.abc import Iterable

from estimator_ckpt.bundle import checksum, coding, table

BLOCK_SIZE = 262144
RESTART_INTERVAL = 16


def write_table(
  items: Iterable[tuple[bytes, bytes]],
  block_size: int = BLOCK_SIZE,
  restart_interval: int = RESTART_INTERVAL,
) -> bytes:
  """Writes a table, byte for byte as TensorFlow does.

  Args:
    items: (key, value) pairs in strictly ascending order of keys.
    block_size: a data block ends when it reaches this size. The default is
      TensorFlow's.
    restart_interval: every how many keys one is written whole. The default is
      TensorFlow's.

  Returns:
    The file's bytes.

  Raises:
    ValueError: keys out of order.

  >>> table.read_table(write_table([(b"a", b"1"), (b"b", b"2")]), "example")
  [(b'a', b'1'), (b'b', b'2')]
  """
  file: list[bytes] = []
  file_size = 0
  handles: table.Items = []
  block: list[bytes] = []
  small = bytes
  from_bytes = int.from_bytes
  large = 2 * block_size
  restarts = [0]
  size = 0
  until_restart = restart_interval
  key = b""
  first = True
  pending: bytes | None = None

  def end_block() -> bytes:
    nonlocal file_size
    handle = _append_block(file, file_size, block, restarts)
    file_size += size + 4 * len(restarts) + 4 + table.TRAILER_SIZE
    return handle

  for next_key, value in items:
    if next_key <= key and not first:
      raise ValueError(f"keys out of order: {next_key!r} after {key!r}")
    first = False
    key_size = len(next_key)
    value_size = len(value)
    if size and key_size + value_size >= large:
      pending = end_block()
      block, restarts, size, until_restart = [], [0], 0, restart_interval
    if pending is not None:
      handles.append((_separator(key, next_key), pending))
      pending = None
    shared = 0
    if until_restart == 0:
      restarts.append(size)
      until_restart = restart_interval
    elif next_key.startswith(key):
      shared = len(key) if size else 0
    elif size:
      # The first bit in which the keys, cut to one length, differ.
      shared = min(len(key), key_size)
      differing = from_bytes(key[:shared], "big") ^ from_bytes(next_key[:shared], "big")
      shared -= (differing.bit_length() + 7) >> 3
    until_restart -= 1
    unshared = key_size - shared
    if shared < 128 and unshared < 128 and value_size < 128:
      entry = small((shared, unshared, value_size)) + next_key[shared:] + value
    else:
      entry = b"".join(
        (
          *map(coding.encode_varint, (shared, unshared, value_size)),
          next_key[shared:],
          value,
        )
      )
    block.append(entry)
    size += len(entry)
    key = next_key
    if size + 4 * len(restarts) + 4 >= block_size:
      pending = end_block()
      block, restarts, size, until_restart = [], [0], 0, restart_interval
  if size:
    pending = end_block()
  if pending is not None:
    handles.append((_successor(key), pending))

  metaindex = _append_block(file, file_size, [], [0])
  file_size += 8 + table.TRAILER_SIZE
  index_block, index_restarts = _index_entries(handles)
  index = _append_block(file, file_size, index_block, index_restarts)
  file.append((metaindex + index).ljust(table.HANDLES_SIZE, b"\x00") + table.MAGIC)
  return b"".join(file)


def replace_first(data: bytes, value: bytes) -> bytes | None:
  """Gives a table another value under its first key.

  Args:
    data: what `write_table` returned.
    value: the new value.

  Returns:
    What `write_table` would return; None if the new value has another size than the old
    one, or if one of the sizes takes more than a byte.

  >>> file = write_table([(b"a", b"1"), (b"b", b"2")])
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


def _append_block(
  file: list[bytes], offset: int, entries: list[bytes], restarts: list[int]
) -> bytes:
  """Appends a block and its trailer to the file; returns its handle."""
  contents = b"".join(entries) + struct.pack(
    f"<{len(restarts) + 1}I", *restarts, len(restarts)
  )
  typed = contents + bytes((table.PLAIN,))
  file.append(typed + checksum.mask(checksum.crc32c(typed)).to_bytes(4, "little"))
  return coding.encode_varint(offset) + coding.encode_varint(len(contents))


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
