from __future__ import annotations

import random
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from estimator_ckpt.bundle import checksum, coding, table, table_writer
from estimator_ckpt.errors import CheckpointError, CorruptCheckpointError

_MAGIC = struct.pack("<Q", 0xDB4775248B80FB57)


def _block(entries, restarts=(0,), kind=0, contents=None):
  """A block with its trailer, from raw parts."""
  if contents is None:
    contents = b"".join(entries) + struct.pack(
      f"<{len(restarts) + 1}I", *restarts, len(restarts)
    )
  typed = contents + bytes((kind,))
  return typed + struct.pack("<I", checksum.mask(checksum.crc32c(typed)))


def _entry(shared, suffix, value=b"v", unshared=None, value_size=None):
  unshared = len(suffix) if unshared is None else unshared
  value_size = len(value) if value_size is None else value_size
  sizes = map(coding.encode_varint, (shared, unshared, value_size))
  return b"".join(sizes) + suffix + value


def _handle(offset, size):
  return coding.encode_varint(offset) + coding.encode_varint(size)


def _table(*blocks, separators=None, index=None, handles=None):
  """A table from raw blocks, each with its trailer."""
  file = b""
  entries = []
  restarts = []
  for number, block in enumerate(blocks):
    separator = separators[number] if separators else bytes((0x61 + number,)) * 9
    handle = handles[number] if handles else _handle(len(file), len(block) - 5)
    restarts.append(sum(map(len, entries)))
    entries.append(_entry(0, separator, handle))
    file += block
  metaindex = _handle(len(file), 8)
  file += _block([])
  index = index or _block(entries, restarts or [0])
  footer = (metaindex + _handle(len(file), len(index) - 5)).ljust(40, b"\0") + _MAGIC
  return file + index + footer


def _write(items, *options, **more_options):
  keys, values = [key for key, _ in items], [value for _, value in items]
  return table_writer.write_table(keys, values, *options, **more_options)


def _raises(data, problem):
  with pytest.raises(CorruptCheckpointError, match=problem) as caught:
    table.read_table(data, "model.ckpt-3.index")
  assert str(caught.value).startswith("model.ckpt-3.index: ")


def test_a_table_has_known_bytes():
  blocks = _block([_entry(0, b"alpha", b"1"), _entry(2, b"t", b"2")])
  expected = _table(blocks, separators=[b"b"])
  assert _write([(b"alpha", b"1"), (b"alt", b"2")]) == expected


def test_an_empty_table_round_trips():
  assert table.read_table(_write([]), "x") == []


@pytest.mark.parametrize("restart_interval", [1, 2, 16, 1024])
@pytest.mark.parametrize("block_size", [1, 64, 256, 4096, 262144])
@pytest.mark.parametrize("seed", range(4))
def test_a_table_holds_what_a_dict_holds(block_size, restart_interval, seed):
  rng = random.Random(f"{block_size} {restart_interval} {seed}")
  model = {}
  for _ in range(rng.choice([1, 17, 300])):
    alphabet = rng.choice([b"ab", b"\x00\xff/", bytes(range(256))])
    key = bytes(rng.choices(alphabet, k=rng.choice([0, 1, 5, 30, 200])))
    sizes = [0, 3, 20, 127, 128, 2 * block_size if block_size < 5000 else 900]
    size = rng.choice(sizes)
    # Python 3.7 has neither randbytes nor getrandbits(0).
    model[key] = rng.getrandbits(8 * size + 8).to_bytes(size + 1, "little")[1:]
  items = sorted(model.items())
  data = _write(items, block_size, restart_interval)
  assert table.read_table(data, "x") == items


@given(
  st.dictionaries(
    st.binary(max_size=12) | st.text("ab/", max_size=8).map(str.encode),
    st.binary(max_size=300),
    max_size=40,
  ),
  st.sampled_from([1, 40, 200, 262144]),
  st.integers(1, 20),
)
def test_any_items_round_trip(model, block_size, restart_interval):
  items = sorted(model.items())
  data = _write(items, block_size, restart_interval)
  assert table.read_table(data, "x") == items


def _count_blocks(data):
  """Follows the footer to the index block and counts its entries."""
  position = len(data) - 48
  for _ in range(2):
    _, position = coding.read_varint(data, position)
  offset, position = coding.read_varint(data, position)
  size, _ = coding.read_varint(data, position)
  return struct.unpack_from("<I", data, offset + size - 4)[0]


def test_a_block_ends_when_it_reaches_the_block_size():
  # 3 + 2 + 20 bytes each, and one restart and the count of them.
  items = [(b"%d_" % number, bytes(20)) for number in range(8)]
  assert _count_blocks(_write(items, block_size=4 * 25 + 8)) == 2
  assert _count_blocks(_write(items, block_size=4 * 25 + 9)) == 2
  assert _count_blocks(_write(items, block_size=3 * 25 + 8)) == 3


def test_an_entry_of_twice_the_block_size_ends_the_block_before_it():
  small, large = (b"a", b"1"), (b"b", bytes(199))
  assert _count_blocks(_write([small, large], block_size=100)) == 2
  assert _count_blocks(_write([small, (b"b", bytes(198))], 100)) == 1
  assert _count_blocks(_write([large, (b"c", b"1")], block_size=100)) == 2


@pytest.mark.parametrize(
  "keys",
  [
    [b"b", b"a"],
    [b"a", b"a"],
    [b"a\xff", b"a"],
    [b"", b""],
  ],
)
def test_writing_keys_out_of_order_is_an_error(keys):
  with pytest.raises(ValueError, match="keys out of order"):
    _write([(key, b"") for key in keys])


def test_snappy_blocks_are_read():
  plain = b"".join([_entry(0, b"k1", b"x" * 50), _entry(1, b"2")]) + struct.pack(
    "<2I", 0, 1
  )
  # A literal that ends in an x, a copy that repeats the x 49 times, and a literal.
  rest = plain[55:]
  compressed = (
    coding.encode_varint(len(plain))
    + bytes((5 << 2,))
    + plain[:6]
    + bytes((2 | 48 << 2, 1, 0))
    + bytes(((len(rest) - 1) << 2,))
    + rest
  )
  data = _table(_block(None, kind=1, contents=compressed), separators=[b"z"])
  assert table.read_table(data, "x") == [(b"k1", b"x" * 50), (b"k2", b"v")]


def test_a_snappy_block_that_declares_too_much_is_refused():
  bomb = b"\xff\xff\xff\xff\x0f" + b"\x00a"
  _raises(_table(_block(None, kind=1, contents=bomb)), "snappy: .* cannot hold")


def test_too_short():
  _raises(b"", "too short to be an index file: 0 bytes")
  _raises(_MAGIC, "too short to be an index file: 8 bytes")


def test_bad_magic_and_trailing_bytes():
  good = _write([(b"a", b"1")])
  _raises(good[:-1] + b"x", "not an index file, or a truncated one")
  _raises(good + b"\0", "not an index file, or a truncated one")
  _raises(b"hello, this is just some text" * 5, "not an index file")


@pytest.mark.parametrize(
  "data, problem",
  [
    (_table(_block([_entry(0, b"b"), _entry(0, b"a")])), "keys out of order"),
    (_table(_block([_entry(0, b"a"), _entry(1, b"")])), "keys out of order"),
    (_table(_block([_entry(1, b"a")])), "shares more than the key before"),
    (_table(_block([_entry(0, b"a"), _entry(2, b"a")])), "shares more than the key"),
    (
      _table(_block([_entry(0, b"a", unshared=99)])),
      "entry at byte 0 goes past the end",
    ),
    (_table(_block([_entry(0, b"a", value_size=3)])), "entry at byte 0 goes past"),
    (_table(_block([_entry(0, b"a", value_size=2**60)])), "entry at byte 0 goes past"),
    (_table(_block([b"\x00"])), "entry at byte 0 goes past"),
    (_table(_block([b"\x80"])), "truncated varint"),
    (_table(_block([_entry(0, b"a")], restarts=[1])), "restart is not where"),
    (_table(_block([_entry(0, b"a")], restarts=[])), "restart is not where"),
    (_table(_block([_entry(0, b"a")], restarts=[0, 0])), "restarts out of order"),
    (
      _table(_block([_entry(0, b"a"), _entry(1, b"b")], restarts=[0, 5])),
      "restart is not where",
    ),
    (
      _table(_block(None, contents=_entry(0, b"a") + struct.pack("<I", 2**31))),
      "2147483648 restarts do not fit",
    ),
    (_table(_block(None, contents=b"abc")), "truncated, 3 bytes"),
    (_table(_block([_entry(0, b"a")], kind=2)), "unknown compression 2"),
    (_table(_block([])), "data block 0 is empty"),
    (
      _table(_block([_entry(0, b"c")]), separators=[b"b"]),
      "ends with b'c', behind its index key b'b'",
    ),
    (
      _table(
        _block([_entry(0, b"a")]), _block([_entry(0, b"b")]), separators=[b"b", b"c"]
      ),
      "starts with b'b', which the block before covers",
    ),
    (
      _table(_block([_entry(0, b"a")]), handles=[_handle(2**40, 9)]),
      "data block 0: bytes 1099511627776 to",
    ),
    (
      _table(_block([_entry(0, b"a")]), handles=[_handle(0, 2**63)]),
      "data block 0: bytes 0 to 9223372036854775813 of a file that has",
    ),
    (
      _table(_block([_entry(0, b"a")]), handles=[_handle(0, 13) + b"x"]),
      "more bytes than a handle has",
    ),
    (_table(_block([_entry(0, b"a")]), handles=[b""]), "truncated varint"),
    (
      _table(
        *[_block([_entry(0, b"a")])] * 2,
        separators=[b"a", b"b"],
        handles=[_handle(0, 13)] * 2,
      ),
      "data block 1 overlaps the one before",
    ),
  ],
)
def test_damaged_tables_are_refused(data, problem):
  _raises(data, problem)


def test_keys_may_not_be_out_of_all_proportion_to_the_file():
  # Each entry of 6 bytes spells a key of 60,000.
  entries = [_entry(0, b"k" * 60000)]
  entries += [_entry(60000, b"%c" % number, b"") for number in range(1, 255)]
  data = _table(_block(entries), separators=[b"z"])
  assert len(data) < 65000
  _raises(data, "out of all proportion")


def test_every_bit_of_a_table_counts():
  items = [(b"net/%03d/kernel" % n, bytes((n,)) * (n % 7)) for n in range(20)]
  data = _write(items, block_size=120, restart_interval=3)
  for position in range(len(data)):
    for bit in range(8):
      damaged = bytearray(data)
      damaged[position] ^= 1 << bit
      try:
        read = table.read_table(bytes(damaged), "x")
      except CheckpointError:
        continue
      # The footer's padding has no meaning.
      assert read == items
      assert len(data) - 48 <= position < len(data) - 8


def test_every_truncation_is_refused():
  data = _write([(b"a%d" % n, b"v" * 9) for n in range(9)], block_size=40)
  for size in range(len(data)):
    with pytest.raises(CorruptCheckpointError):
      table.read_table(data[:size], "x")


@given(st.binary(max_size=80))
def test_any_block_is_entries_or_a_checkpoint_error(contents):
  for data in (
    _table(_block(None, contents=contents), separators=[b"\xff" * 90]),
    _table(index=_block(None, contents=contents)),
    contents,
  ):
    try:
      items = table.read_table(data, "x")
    except CorruptCheckpointError:
      continue
    assert items == sorted(dict(items).items())


@given(st.binary(min_size=1, max_size=6), st.binary(min_size=1, max_size=6))
def test_the_first_value_of_a_table_is_replaced(old, new):
  items = [(b"", old), *((b"key %03d" % n, b"v" * n) for n in range(99))]
  wanted = _write([(b"", new), *items[1:]], 512)
  found = table_writer.replace_first(_write(items, 512), new)
  assert found == (wanted if len(new) == len(old) else None)
