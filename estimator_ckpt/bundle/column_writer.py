"""Writes a large table that has values of another, without a step for each entry.

The bytes are those of `table_writer.write_table`, in half of its time. Each entry is
a row of three parts: the sizes, the key, and the value. Each part is as wide as the
widest in the block, and a mask says which bytes of a row are the entry's.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from estimator_ckpt.bundle import table, table_writer, varint_arrays
from estimator_ckpt.bundle.key_rows import KeyRows, joined, masks
from estimator_ckpt.bundle.table import UnusualTable
from estimator_ckpt.bundle.table_columns import LARGEST, TableColumns

_INTERVAL = table_writer.RESTART_INTERVAL
# Of a restart, and of the number of restarts.
_RESTART_SIZE = 4


def write_table(
  keys: TableKeys,
  columns: TableColumns,
  rows: np.ndarray,
  block_size: int = table_writer.BLOCK_SIZE,
) -> TableColumns:
  """Writes a table with values of another.

  Args:
    keys: in strictly ascending order.
    columns: the other table.
    rows: for each key, the number of the other table's entry whose value it gets.
    block_size: a data block ends when it reaches this size, which is at least 4096.

  Returns:
    The new table.

  Raises:
    UnusualTable: keys out of order, or very long keys or values.
  """
  blocks = _Blocks(keys, columns, rows, block_size)
  data = table_writer.write_blocks(len(keys), keys.key, blocks.first)
  handles, ends = blocks.places()
  return TableColumns(data, ends, columns.value_sizes[rows], handles)


def write_values(
  special: Sequence[bytes], texts: Sequence[str], values: Sequence[bytes]
) -> bytes:
  """Writes a table whose values are in memory.

  Args:
    special: the keys that come first and are no texts.
    texts: the others; all are in strictly ascending order.
    values: the value of each.

  Returns:
    The file's bytes.

  Raises:
    UnusualTable: keys out of order, or very long keys or values.

  >>> write_values([b""], ["a", "b"], [b"0", b"1", b"2"]) == table_writer.write_table(
  ...   [b"", b"a", b"b"], [b"0", b"1", b"2"]
  ... )
  True
  """
  data = b"".join(values)
  sizes = np.fromiter(map(len, values), np.int64, len(values))
  columns = TableColumns(data, np.cumsum(sizes), sizes, [])
  return write_table(TableKeys(special, texts), columns, np.arange(len(values))).data


class TableKeys:
  """Keys in a table's order, which become bytes when they are asked for."""

  def __init__(self, special: Sequence[bytes], texts: Sequence[str]):
    """Takes the keys.

    Args:
      special: those that come first and are no texts, of the header and of slices.
      texts: the others.
    """
    self._special = special
    self._texts = texts

  def __len__(self) -> int:
    return len(self._special) + len(self._texts)

  def key(self, number: int) -> bytes:
    """One of the keys."""
    return self.rows(slice(number, number + 1)).key(0)

  def rows(self, part: slice) -> KeyRows:
    """Some of the keys."""
    start, stop, _ = part.indices(len(self))
    count = len(self._special)
    texts = self._texts[max(start - count, 0) : max(stop - count, 0)]
    return KeyRows.of(self._special[start:stop], texts)


class _Blocks:
  """The blocks of a table."""

  def __init__(
    self,
    keys: TableKeys,
    columns: TableColumns,
    rows: np.ndarray,
    block_size: int,
  ):
    self._keys = keys
    self._columns = columns
    self._rows = rows
    self._block_size = block_size
    # Where the entries of each block end in it, by its first entry.
    self._ends: dict[int, np.ndarray] = {}

  def first(self, part: slice) -> table_writer.FilledBlock:
    """The block that has the first of some entries, as many as belong there."""
    rows = self._rows[part]
    values = self._columns.values(rows)
    # Also the key before, so that the order of all keys is checked.
    first = min(part.start, 1)
    keys = self._keys.rows(slice(part.start - first, part.stop))
    shared = keys.shared_sizes()[first:]
    shared[::_INTERVAL] = 0
    key_rows, sizes = keys.rows[first:], keys.sizes[first:]
    value_sizes = self._columns.value_sizes[rows]
    numbers = (shared, sizes - shared, value_sizes)
    ends = np.cumsum(sum(map(varint_arrays.sizes, numbers), numbers[1] + value_sizes))
    count = table_writer.count_items(ends, self._block_size)  # type: ignore[arg-type]
    ends = self._ends[part.start] = ends[:count].astype(np.int32)
    mask = masks(key_rows.shape[1]).view(bool)
    in_keys = mask.take(sizes[:count], 0) ^ mask.take(shared[:count], 0)
    in_values = masks(values.shape[1]).view(bool).take(value_sizes[:count], 0)
    heads = [varint_arrays.encode(column[:count]) for column in numbers]
    block = joined([*heads, (key_rows[:count], in_keys), (values[:count], in_values)])
    restarts = [0, *ends[_INTERVAL - 1 : count - 1 : _INTERVAL].tolist()]
    return table_writer.FilledBlock(count, [block], restarts)

  def places(self) -> tuple[list[table.Handle], np.ndarray]:
    """The blocks' handles, and the position behind each value of the file."""
    handles, places = [], []
    offset = 0
    for ends in self._ends.values():
      restarts = -(-len(ends) // _INTERVAL)
      size = int(ends[-1]) + _RESTART_SIZE * (restarts + 1)
      if offset + size > LARGEST:
        raise UnusualTable
      handles.append((offset, size))
      places.append(ends + np.int32(offset))
      offset += size + table.TRAILER_SIZE
    return handles, np.concatenate(places)
