"""What is read of a table as columns is what is read of it entry by entry."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from estimator_ckpt.bundle import checksum, coding, table, table_columns, table_writer
from estimator_ckpt.bundle.table import UnusualTable
from estimator_ckpt.errors import CorruptCheckpointError

# Keys that have much in common.
_KEYS = st.binary(max_size=12) | st.text("ab\0\xe9", max_size=40).map(str.encode)
_VALUES = st.binary(max_size=300)


def _read(data):
  columns, batches = table_columns.read(data)
  keys = [key for batch in batches for key in batch.keys()]
  places = zip(columns.value_ends.tolist(), columns.value_sizes.tolist())
  values = [columns.data[end - size : end] for end, size in places]
  assert columns.blocks == [handle for handle, _ in table.read_blocks(data, "it")]
  return list(zip(keys, values))


@given(
  st.dictionaries(_KEYS, _VALUES, min_size=1, max_size=60),
  st.sampled_from([1, 100, 1000, 262144]),
  st.sampled_from([1, 2, 16]),
)
def test_any_table_is_read(model, block_size, restart_interval):
  keys = sorted(model)
  values = list(map(model.__getitem__, keys))
  data = table_writer.write_table(keys, values, block_size, restart_interval)
  assert _read(data) == list(zip(keys, values))


def test_many_blocks():
  keys = [b"scope/%06d/%s" % (i, b"x" * (i % 150)) for i in range(20000)]
  values = [b"v" * (i % 140) for i in range(20000)]
  data = table_writer.write_table(keys, values, block_size=20000)
  columns, _ = table_columns.read(data)
  assert len(columns.blocks) > 100
  assert _read(data) == list(zip(keys, values))


def test_no_damaged_table_is_read():
  keys = [b"%03d" % i for i in range(40)]
  data = table_writer.write_table(keys, keys, block_size=100)
  items = _read(data)
  for position in range(len(data)):
    damaged = bytearray(data)
    damaged[position] ^= 1
    try:
      table.read_table(bytes(damaged), "it")
    except CorruptCheckpointError:
      with pytest.raises(UnusualTable):
        _read(bytes(damaged))
    else:  # Nobody reads the end of the footer.
      assert _read(bytes(damaged)) == items


@pytest.mark.parametrize("size", [0, 47, 48, 100])
def test_what_is_no_table_is_not_read(size):
  with pytest.raises(UnusualTable):
    table_columns.read(b"x" * size)


def test_very_long_keys_are_not_read():
  data = table_writer.write_table([b"k" * 2000], [b"v"])
  with pytest.raises(UnusualTable):
    _read(data)


def test_very_long_runs_are_not_read():
  keys = [b"%03d" % i for i in range(200)]
  for interval in (64, 65):
    data = table_writer.write_table(keys, keys, restart_interval=interval)
    if interval == 64:
      assert _read(data) == list(zip(keys, keys))
    else:
      with pytest.raises(UnusualTable):
        _read(data)


def _sealed(contents):
  """A block with a checksum that holds."""
  typed = contents + b"\0"
  return typed + struct.pack("<I", checksum.mask(checksum.crc32c(typed)))


def _table(blocks, separators):
  """A table of blocks' contents."""
  file, entries, restarts = b"", b"", []
  for contents, separator in zip(blocks, separators):
    handle = b"".join(map(coding.encode_varint, (len(file), len(contents))))
    restarts.append(len(entries))
    sizes = map(coding.encode_varint, (0, len(separator), len(handle)))
    entries += b"".join([*sizes, separator, handle])
    file += _sealed(contents)
  handles = [len(file), 8]
  file += _sealed(struct.pack("<2I", 0, 1))
  index = entries + struct.pack(f"<{len(restarts) + 1}I", *restarts, len(restarts))
  handles += [len(file), len(index)]
  file += _sealed(index)
  footer = b"".join(map(coding.encode_varint, handles)).ljust(40, b"\0")
  return file + footer + table.MAGIC


_NUMBERS = st.integers(0, 3) | st.sampled_from([0, 1, 127, 128, 200, 300, 20000])
_ENTRIES = st.lists(
  st.tuples(_NUMBERS, _NUMBERS, _NUMBERS, st.text("abc", max_size=4).map(str.encode)),
  max_size=6,
)


@given(st.data())
def test_what_is_read_is_a_sound_table(data):
  blocks = []
  for entries in data.draw(st.lists(_ENTRIES, min_size=1, max_size=3)):
    contents, starts = b"", []
    for *sizes, rest in entries:
      starts.append(len(contents))
      if data.draw(st.booleans()):  # an entry that may be right
        shared, size = sizes[0], len(rest)
        contents += b"".join(map(coding.encode_varint, (shared % 4, size, 0))) + rest
      else:
        contents += b"".join(map(coding.encode_varint, sizes)) + rest
    restarts = data.draw(st.lists(st.sampled_from(starts or [0]), max_size=4))
    if data.draw(st.booleans()):
      restarts = sorted({0, *restarts})
    ends = struct.pack(f"<{len(restarts) + 1}I", *restarts, len(restarts))
    blocks.append(contents + ends)
  separators = st.text("abc", min_size=1, max_size=4).map(str.encode)
  size = len(blocks)
  drawn = sorted(data.draw(st.sets(separators, min_size=size, max_size=size)))
  file = _table(blocks, drawn)
  try:
    found = _read(file)
  except UnusualTable:
    return
  assert found == table.read_table(file, "it")
