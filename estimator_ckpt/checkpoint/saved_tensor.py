"""The tensors of a checkpoint, each with its name, whatever keys it has.

`estimator_ckpt.checkpoint.listing` finds them. A checkpoint may have a million, so they
are kept as columns, and each one is made when somebody asks for it.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator

from estimator_ckpt.bundle import dtypes
from estimator_ckpt.bundle.entry_columns import EntryColumns, taken
from estimator_ckpt.bundle.messages import BundleEntry, TensorSlice
from estimator_ckpt.checkpoint import layout
from estimator_ckpt.checkpoint.object_paths import ObjectPaths
from estimator_ckpt.value_classes import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
  from typing import Sequence, TypeAlias

  _Tensors = Sequence["SavedTensor"]
else:
  from collections.abc import Sequence

  _Tensors = Sequence

_Paths: TypeAlias = "tuple[str, ...] | ObjectPaths"


class StoredPart(NamedTuple):
  """A piece of a tensor that has bytes of its own.

  Attributes:
    tensor_slice: where it stands in a partitioned tensor; None for a whole one.
    entry: where its bytes are, with its type and shape.
  """

  tensor_slice: TensorSlice | None
  entry: BundleEntry


class SavedTensor(NamedTuple):
  """One tensor of a checkpoint.

  Attributes:
    name: its name in a name-based checkpoint; see `estimator_ckpt.checkpoint.tensor_names`.
    keys: every key that its bytes have; those that are names come first.
    entry: where its bytes are, with its type and shape.
    slices: of a partitioned tensor, its parts.
    paths: its `object_paths`, or what finds them by its keys when they are asked for.
  """

  name: str
  keys: tuple[str, ...]
  entry: BundleEntry
  slices: tuple[StoredPart, ...] = ()
  paths: _Paths = ()

  @property
  def object_paths(self) -> tuple[str, ...]:
    """Where it stands in the object graph, the plainest path first.

    Components are escaped as they are in keys.
    """
    if isinstance(self.paths, tuple):
      return self.paths
    found = map(self.paths.of_value, object_keys(self.keys))
    return tuple(itertools.chain.from_iterable(found))

  @property
  def parts(self) -> tuple[StoredPart, ...]:
    """What has bytes: the tensor itself, or its slices."""
    return self.slices or (StoredPart(None, self.entry),)

  @property
  def key(self) -> str:
    """The first of its keys."""
    return self.keys[0]

  @property
  def dtype(self) -> str:
    """The type's name, as `tf.DType.name` says it."""
    return dtypes.name(self.entry.dtype)

  @property
  def shape(self) -> tuple[int, ...]:
    """The dimensions."""
    return self.entry.shape

  @property
  def size(self) -> int:
    """How many bytes it takes in the data files."""
    if not self.slices:
      return self.entry.size
    return sum(part.entry.size for part in self.slices)

  @property
  def shards(self) -> tuple[int, ...]:
    """The numbers of the data files it is in."""
    if not self.slices:
      return (self.entry.shard_id,)
    return tuple(sorted({part.entry.shard_id for part in self.slices}))


class SavedTensors(_Tensors):
  """The tensors of a checkpoint, or some of them.

  Attributes:
    names: the name of each.
    keys: the keys of each; see `SavedTensor`.
    entries: what the entry of each says, as columns.
    paths: what finds the object paths of each; see `SavedTensor`.
    partitioned: those with an entry that is more than its columns, by their places.
  """

  def __init__(
    self,
    names: Sequence[str],
    keys: Sequence[tuple[str, ...]],
    entries: EntryColumns,
    paths: Sequence[_Paths],
    partitioned: dict[int, SavedTensor] | None = None,
  ):
    """Tensors by their columns, which have one length; see the attributes."""
    self.names = names
    self.keys = keys
    self.entries = entries
    self.paths = paths
    self.partitioned = partitioned or {}

  @classmethod
  def of(cls, tensors: Iterable[SavedTensor]) -> SavedTensors:
    """The columns of tensors.

    Args:
      tensors: any tensors.
    """
    tensors = list(tensors)
    return cls(
      [tensor.name for tensor in tensors],
      [tensor.keys for tensor in tensors],
      EntryColumns.of_entries([tensor.entry for tensor in tensors]),
      [tensor.paths for tensor in tensors],
      {
        row: tensor
        for row, tensor in enumerate(tensors)
        if tensor.slices or tensor.entry.slices or tensor.entry.unknown
      },
    )

  @property
  def sizes(self) -> Sequence[int]:
    """How many bytes each takes in the data files."""
    if not self.partitioned:
      return self.entries.sizes
    sizes = list(self.entries.sizes)
    for row, tensor in self.partitioned.items():
      sizes[row] = tensor.size
    return sizes

  @property
  def shards(self) -> list[tuple[int, ...]]:
    """The numbers of the data files that each is in."""
    shards: list[tuple[int, ...]] = list(zip(self.entries.shard_ids))
    for row, tensor in self.partitioned.items():
      shards[row] = tensor.shards
    return shards

  @property
  def parts(self) -> EntryColumns:
    """The entries of all that has bytes, those of slices behind the others."""
    if not self.partitioned:
      return self.entries
    whole = [row for row in range(len(self)) if row not in self.partitioned]
    parts = [part for tensor in self.partitioned.values() for part in tensor.parts]
    own = EntryColumns.of_entries([part.entry for part in parts])
    return self.entries.take(whole).followed_by(own)

  def __len__(self) -> int:
    return len(self.names)

  def __getitem__(self, place):  # type: ignore[no-untyped-def]
    """The tensor at a place, or those of a slice of places."""
    if isinstance(place, slice):
      return [self[row] for row in range(len(self))[place]]
    row = range(len(self))[place]
    known = self.partitioned.get(row)
    if known is not None:
      return known
    entry = self.entries.entry(row)
    return SavedTensor(self.names[row], self.keys[row], entry, (), self.paths[row])

  def __iter__(self) -> Iterator[SavedTensor]:
    if self.partitioned:
      return map(self.__getitem__, range(len(self)))
    entries = self.entries.entries()
    fields = zip(self.names, self.keys, entries, itertools.repeat(()), self.paths)
    return map(SavedTensor._make, fields)

  def followed_by(self, others: SavedTensors) -> SavedTensors:
    """These tensors, and others behind them."""
    partitioned = {len(self) + row: t for row, t in others.partitioned.items()}
    return SavedTensors(
      [*self.names, *others.names],
      [*self.keys, *others.keys],
      self.entries.followed_by(others.entries),
      [*self.paths, *others.paths],
      {**self.partitioned, **partitioned},
    )

  def take(self, rows: Sequence[int]) -> SavedTensors:
    """Some of the tensors.

    Args:
      rows: the place of each; in this order they are in the result.
    """
    return SavedTensors(
      taken(self.names, rows),
      taken(self.keys, rows),
      self.entries.take(rows),
      taken(self.paths, rows),
      {
        place: self.partitioned[row]
        for place, row in enumerate(rows if self.partitioned else ())
        if row in self.partitioned
      },
    )

  def by_name(self) -> SavedTensors:
    """The tensors in the order of their names."""
    names = self.names
    if sorted(names) == names:  # It takes a fraction of the time.
      return self
    return self.take(sorted(range(len(self)), key=names.__getitem__))


def object_keys(keys: tuple[str, ...]) -> tuple[str, ...]:
  """Those of a tensor's keys that are objects', where its paths are found by them."""
  if len(keys) < 3:
    return keys[-1:]
  return tuple(key for key in keys if layout.ATTRIBUTES in key)
