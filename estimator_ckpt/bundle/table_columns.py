"""A large table as columns: where the value of each entry stands, and the keys.

NumPy walks from entry to entry in all runs of a table at once. A run begins where a key
is whole, at a restart, and has 16 entries in TensorFlow's files. That takes a third of
the time of `table.read_table`. Only tables that are spelled as TensorFlow does are read
here, and nothing of a damaged one is told but that: `table` reads all, and says what is
wrong.

Training has NumPy anyway. To import it would take longer than a command on a small
checkpoint.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from estimator_ckpt.bundle import table, varint_arrays
from estimator_ckpt.bundle.key_rows import (
  WIDEST,
  KeyRows,
  masks,
  row_width,
  windows,
)
from estimator_ckpt.bundle.table import UnusualTable
from estimator_ckpt.errors import CorruptCheckpointError

# The keys of so many blocks are made at once.
_BATCH = 8
# Each further entry of a run is a step for all runs.
_LONGEST_RUN = 64
# Sizes of keys and values have two bytes at most.
_MAX_BITS = 14
# Places in a file are numbers of 32 bits.
LARGEST = 2**31 - 1


class TableColumns(NamedTuple):
  """A table in a file, and where its parts stand.

  Attributes:
    data: the file's bytes.
    value_ends: the position behind the value of each entry.
    value_sizes: how many bytes it has.
    blocks: offset and size of each data block, the trailer not counted.
  """

  data: bytes
  value_ends: np.ndarray
  value_sizes: np.ndarray
  blocks: Sequence[table.Handle]

  def values(self, rows: np.ndarray) -> np.ndarray:
    """The values of some entries, with whatever follows them in the file.

    Args:
      rows: the numbers of the entries.

    Returns:
      A row of bytes for each, as wide as the largest.

    Raises:
      UnusualTable: that is very wide.
    """
    sizes = self.value_sizes[rows]
    return windows(self.data, self.value_ends[rows] - sizes, int(sizes.max()))


def read(data: bytes) -> tuple[TableColumns, Iterator[KeyRows]]:
  """Reads a table.

  Args:
    data: the file's bytes.

  Returns:
    The columns; and the keys, thousands at a time. A table is sound if all were taken.

  Raises:
    UnusualTable: the table cannot be read here. The keys may raise it, too.
  """
  separators, starts, stops, runs = [], [], [], [0]
  blocks = []
  try:
    for handle, contents, separator in table.read_contents(data):
      restarts, limit = _restarts(contents)
      if data[sum(handle)] != table.PLAIN:
        raise UnusualTable
      blocks.append(handle)
      separators.append(separator)
      starts.append(restarts + handle[0])
      stops.append(np.append(restarts[1:], limit) + handle[0])
      runs.append(runs[-1] + len(restarts))
  except CorruptCheckpointError:
    raise UnusualTable from None
  if not blocks or len(data) > LARGEST:
    raise UnusualTable
  entries = _walk(data, np.concatenate(starts), np.concatenate(stops))
  cost = int(entries.shared.sum()) + table.ENTRY_COST * len(entries.shared)
  if cost > table.entries_budget(data):
    raise UnusualTable
  value_ends = entries.suffixes + entries.unshared + entries.value_sizes
  columns = TableColumns(data, value_ends, entries.value_sizes, blocks)
  return columns, _checked_keys(data, entries, runs, separators)


class _Entries(NamedTuple):
  """The entries of a table, each a row.

  Attributes:
    first: the row that each run begins with.
    counts: how many rows each run has.
    shared: how many bytes each key has in common with the one before.
    unshared: how many other bytes it has.
    suffixes: where these stand in the file.
    value_sizes: how many bytes the value has, which stands behind them.
  """

  first: np.ndarray
  counts: np.ndarray
  shared: np.ndarray
  unshared: np.ndarray
  suffixes: np.ndarray
  value_sizes: np.ndarray


def _restarts(contents: bytes) -> tuple[np.ndarray, int]:
  """Where runs begin in a block, and where the last of them ends."""
  count = int.from_bytes(contents[-4:], "little")
  limit = len(contents) - 4 - 4 * count
  if count < 1 or limit < 1:
    raise UnusualTable
  restarts = np.frombuffer(contents, "<u4", count, limit).astype(np.int64)
  if restarts[0] != 0 or restarts[-1] >= limit or (np.diff(restarts) <= 0).any():
    raise UnusualTable
  return restarts, limit


def _walk(data: bytes, starts: np.ndarray, stops: np.ndarray) -> _Entries:
  """Finds all entries, the first of each run, then the second of each, and so on."""
  file = np.frombuffer(data, np.uint8)
  counts = np.zeros(len(starts), np.int64)
  rounds: list[tuple[np.ndarray, ...]] = []
  runs, positions = np.arange(len(starts)), starts
  sizes = np.zeros(len(starts), np.int64)
  while len(runs):
    # There are at least 48 bytes behind the last entry, so all of these exist.
    shared, position = _varints(file, positions)
    unshared, position = _varints(file, position)
    value_sizes, position = _varints(file, position)
    ends = position + unshared + value_sizes
    if (ends > stops[runs]).any() or (shared > sizes[runs]).any():
      raise UnusualTable
    if len(rounds) == _LONGEST_RUN:
      raise UnusualTable
    sizes[runs] = shared + unshared
    rounds.append((runs, shared, unshared, position, value_sizes))
    counts[runs] += 1
    goes_on = ends < stops[runs]
    runs, positions = runs[goes_on], ends[goes_on]
  if int(sizes.max()) > WIDEST:
    raise UnusualTable
  first = np.cumsum(counts) - counts
  columns = [np.empty(int(counts.sum()), np.int32) for _ in range(4)]
  for number, (runs, *found) in enumerate(rounds):
    for column, values in zip(columns, found):
      column[first[runs] + number] = values
  return _Entries(first, counts, *columns)


def _varints(file: np.ndarray, positions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """Numbers of one or two bytes, and the positions behind them."""
  numbers, behind = varint_arrays.read(file, positions, _MAX_BITS, -1)
  if (numbers < 0).any():
    raise UnusualTable
  return numbers, behind


def _checked_keys(
  data: bytes, entries: _Entries, runs: Sequence[int], separators: Sequence[bytes]
) -> Iterator[KeyRows]:
  """The keys of all entries, some blocks at a time.

  Args:
    data: the file's bytes.
    entries: its entries.
    runs: the first run of each block, and how many runs there are.
    separators: the key of each block in the index block.
  """
  lower: list[bytes] = []
  first = [*entries.first.tolist(), len(entries.shared)]
  for block in range(0, len(separators), _BATCH):
    bounds = [first[run] for run in runs[block : block + _BATCH + 1]]
    part = slice(runs[block], runs[min(block + _BATCH, len(separators))])
    keys = _keys(data, entries, part, slice(bounds[0], bounds[-1]))
    keys.shared_sizes()  # so they are in order
    for start, end, separator in zip(bounds, bounds[1:], separators[block:]):
      start, end = start - bounds[0], end - bounds[0]
      if keys.key(end - 1) > separator or lower >= [keys.key(start)]:
        raise UnusualTable
      lower = [separator]
    yield keys


def _keys(data: bytes, entries: _Entries, runs: slice, rows: slice) -> KeyRows:
  """The keys of some runs, which are some rows."""
  first, counts = entries.first[runs] - rows.start, entries.counts[runs]
  shared = entries.shared[rows]
  sizes = shared + entries.unshared[rows]
  width = row_width(int(sizes.max()))
  mask = masks(width).view(np.uint64)
  # What the file has before a suffix stands where the shared bytes are to be.
  found = windows(data, entries.suffixes[rows] - shared, width)
  key_words = found.view(np.uint64)
  key_words &= mask[sizes] & ~mask[shared]
  for number in range(1, int(counts.max())):
    later = first[counts > number] + number
    key_words[later] |= key_words[later - 1] & mask[shared[later]]
  return KeyRows(found, sizes)
