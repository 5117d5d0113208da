"""A table of columns has the bytes of one that is written entry by entry."""

from __future__ import annotations

import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from estimator_ckpt.bundle import column_writer, table, table_columns, table_writer
from estimator_ckpt.bundle.column_writer import TableKeys
from estimator_ckpt.bundle.key_rows import WIDEST
from estimator_ckpt.bundle.table import UnusualTable

_KEYS = st.binary(max_size=12) | st.text("ab\0\xe9", max_size=200).map(str.encode)


def _columns(values):
  keys = [b"%06d" % i for i in range(len(values))]
  columns, _ = table_columns.read(table_writer.write_table(keys, values))
  return columns


def _check(keys, values, rows, block_size):
  table_keys = TableKeys(keys, [])
  written = column_writer.write_table(
    table_keys, _columns(values), np.array(rows, np.int32), block_size
  )
  expected = table_writer.write_table(keys, [values[row] for row in rows], block_size)
  assert written.data == expected
  blocks = table.read_placed_blocks(expected, "it")
  handles, _, ends = zip(*blocks)
  assert list(written.blocks) == list(handles)
  assert written.value_ends.tolist() == [end for some in ends for end in some]
  assert written.value_sizes.tolist() == [len(values[row]) for row in rows]


@given(st.data())
def test_any_keys(data):
  values = data.draw(st.lists(st.binary(max_size=200), min_size=40, max_size=60))
  keys = sorted(data.draw(st.sets(_KEYS, min_size=1, max_size=60)))
  rows = [data.draw(st.integers(0, len(values) - 1)) for _ in keys]
  _check(keys, values, rows, block_size=4096)


@pytest.mark.parametrize("block_size", [4096, 262144])
@pytest.mark.parametrize("longest", [40, 126, 129, 1000])
def test_many_keys(block_size, longest):
  rng = random.Random(f"{block_size} {longest}")
  values = [b"%d" % i * rng.randrange(longest // 4) for i in range(3000)]
  keys = {
    b"scope_%d/" % rng.randrange(9) + rng.choice([b"a", b"w"]) * rng.randrange(longest)
    + b"%d" % rng.randrange(10**9)
    for _ in range(9000)
  }  # fmt: skip
  keys = sorted(key[:WIDEST] for key in keys)
  _check(keys, values, [rng.randrange(3000) for _ in keys], block_size)


@pytest.mark.parametrize(
  "keys", [[b"b", b"a"], [b"a", b"a"], [b"a", b"a\0", b"a\0"], [b"k" * 2000]]
)
def test_what_cannot_be_written(keys):
  with pytest.raises(UnusualTable):
    _check(keys, [b"v"] * 40, [0] * len(keys), 4096)


def test_keys_out_of_order_between_blocks():
  keys = [b"%06d" % i for i in range(3000)]
  for place in range(1, 3000, 37):
    wrong = keys.copy()
    wrong[place] = wrong[place - 1]
    with pytest.raises(UnusualTable):
      _check(wrong, [b"v"] * 40, [0] * 3000, 4096)
