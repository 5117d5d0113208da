"""The entries that have bytes, and whether the data files are long enough for them."""

from __future__ import annotations

from collections.abc import Iterator

from estimator_ckpt.bundle.entry_columns import EntryColumns
from estimator_ckpt.bundle.index import Index
from estimator_ckpt.bundle.messages import BundleEntry, TensorSlice
from estimator_ckpt.bundle.shards import Shards


def stored_entries(
  index: Index, aliases: bool = True
) -> Iterator[tuple[str, TensorSlice | None, BundleEntry]]:
  """Iterates over the entries that point at bytes, of tensors and of slices.

  Args:
    index: which tensors there are.
    aliases: whether an entry comes again for each further key of the same bytes.

  Yields:
    The tensor's key, the slice if it is one, and the entry.
  """
  found = index.locations()
  if not aliases:
    first: dict[tuple[bytes, ...], str] = {}
    for key, location in found.items():
      first.setdefault(location, key)
    found = dict(zip(first.values(), first))
  keys = list(found)
  values = [location[0] for location in found.values()]
  for key, entry in zip(keys, index.entries_at(values, keys)):
    if not entry.slices:
      yield key, None, entry
      continue
    for tensor_slice, slice_entry in index.slice_entries(key):
      yield key, tensor_slice, slice_entry


def used_shards(index: Index) -> list[int]:
  """The numbers of the data files that an index points at."""
  return sorted({entry.shard_id for _, _, entry in stored_entries(index, False)})


def check_sizes(index: Index, shards: Shards) -> list[int]:
  """Checks that the data files reach as far as the index says.

  Args:
    index: which tensors there are.
    shards: the data files.

  Returns:
    The files' sizes.

  Raises:
    CheckpointNotFoundError: a data file is missing.
    CorruptCheckpointError: a data file is too short.
  """
  sizes = [shards.size(shard_id) for shard_id in range(shards.num_shards)]
  ends = _ends(index)
  if ends is not None and max(ends, default=0) < len(sizes):
    if all(end <= sizes[shard_id] for shard_id, end in ends.items()):
      return sizes
  for key, _, entry in stored_entries(index, aliases=False):
    if (
      entry.shard_id >= len(sizes) or entry.offset + entry.size > sizes[entry.shard_id]
    ):
      shards.check_bounds(entry, key)
  return sizes


def _ends(index: Index) -> dict[int, int] | None:
  """How far the tensors reach in each data file; None where each has to be looked at."""
  if index.has_slices:
    return None
  found: dict[int, int] = {}
  # In their order in memory, which a set would not keep.
  for columns in EntryColumns.in_batches(list(dict.fromkeys(index.all_values()))):
    if columns is None:
      return None
    for shard_id, end in columns.ends().items():
      found[shard_id] = max(end, found.get(shard_id, 0))
  return found
