"""What a restore wants, and where a checkpoint has it: the values of a restore plan."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from estimator_ckpt.bundle.messages import BundleEntry
from estimator_ckpt.training import parallel_reads

# The tags that may follow type and shape: shard, offset and size, which are varints, and
# the checksum. A varint of less than 64 bits has at most so many bytes before its last.
_NUMBERS = 0x18, 0x20, 0x28
_MOST_BYTES = 8
_CRC = 0x35
_CRC_SIZE = 5


@dataclasses.dataclass(frozen=True)
class RestoreTarget:
  """One tensor that a saver restores.

  Attributes:
    name: its key in a name-based checkpoint; of a variable, the variable's name.
    key: its key in an object-based checkpoint, or None if it has none.
    dtype: TensorFlow's DataType number.
    shape: the shape of the whole tensor, or None where the shape may vary. In a table,
      -1 is a dimension that may vary.
    slice_spec: the part of the whole that this target is, as SaveV2 takes it; "" for a
      whole.
    part_name: the own name of a part, where a name-based Saver stores each part of a
      partitioned variable under a name of its own; else None.
    part_shape: the shape of a part; None for a whole.
    of_whole: for a part with a name of its own, the same tensor as a part of its
      variable; else None.
  """

  name: str
  key: str | None
  dtype: int
  shape: tuple[int, ...] | None
  slice_spec: str = ""
  part_name: str | None = None
  part_shape: tuple[int, ...] | None = None
  of_whole: RestoreTarget | None = None

  @property
  def num_bytes(self) -> int:
    """How many bytes it has; 0 where type and shape do not tell."""
    shape = self.part_shape if self.slice_spec else self.shape
    if shape is None or -1 in shape:
      return 0
    return parallel_reads.num_bytes(self.dtype, shape)


class RestoreSource(NamedTuple):
  """Where a target is read: a key of the bundle and a slice of it.

  Attributes:
    key: names the tensor in the bundle.
    slice_spec: the slice, as RestoreV2 takes it; "" for the whole tensor.
    pieces: the keys of a tensor that is stored in pieces, in order. Each piece is a
      tensor of its own, or an incomplete tensor. `key` is the first.
    axis: the dimension in which pieces follow each other that are tensors.
    stand_in: a key and a slice spec, where RestoreV2 cannot read the source: it joins
      slices of some types only, and no pieces. RestoreV2 reads the stand-in, which is
      small and of the same type, and its output is fed the value.
  """

  key: str
  slice_spec: str
  pieces: tuple[str, ...] = ()
  axis: int = 0
  stand_in: tuple[str, str] | None = None


class FirstSources(NamedTuple):
  """Where many targets are read that stand whole under the key looked up first.

  Attributes:
    keys: the keys.
    sources: one for each key.
  """

  keys: list[str]
  sources: list[RestoreSource]


class RestoreTargets:
  """The targets of a saver, with what each restore needs of all of them.

  Attributes:
    targets: the targets, in order.
    names: their names.
    fixed: the numbers of those that are whole tensors of one shape.

  Args:
    targets: the targets, in order.
    reads: where the graph reads each of them, unless it is fed; none if that is not known.
  """

  def __init__(
    self, targets: Sequence[RestoreTarget], reads: Sequence[RestoreSource] = ()
  ):
    self.targets = tuple(targets)
    self._reads = reads
    self.names = frozenset([target.name for target in targets])
    kinds = [
      None if t.slice_spec or t.shape is None or -1 in t.shape else (t.dtype, t.shape)
      for t in targets
    ]
    self.fixed = [number for number, kind in enumerate(kinds) if kind is not None]
    begin = {k: BundleEntry(*k).serialize() for k in set(kinds) if k is not None}
    self._entries = WholeEntries([begin[kind] for kind in kinds if kind is not None])
    self._first: dict[bool, FirstSources] = {}

  def __len__(self) -> int:
    return len(self.targets)

  def first_sources(self, by_object: bool) -> FirstSources:
    """Where the `fixed` ones are read, if the checkpoint has them under their first key.

    Args:
      by_object: whether that is the object key, for those that have one.

    Returns:
      Keys and sources, made once.
    """
    if by_object not in self._first:
      fixed = [self.targets[number] for number in self.fixed]
      keys = [(t.key or t.name) if by_object else t.name for t in fixed]
      sources = list(map(RestoreSource, keys, itertools.repeat("")))
      if sources == self._reads:
        # The same objects need not be compared again in each restore.
        sources = list(self._reads)
      self._first[by_object] = FirstSources(keys, sources)
    return self._first[by_object]

  def fit(self, entries: Sequence[bytes | None]) -> list[bool]:
    """Whether entries have the types and shapes of the `fixed` ones.

    Args:
      entries: one for each of the `fixed`, as it stands in the index; None for none.

    Returns:
      Whether each is for certain that of such a tensor, whole. What TensorFlow would not
      write has to be parsed to tell.
    """
    return self._entries.begin([entry or b"" for entry in entries])


class WholeEntries:
  """Compares the types and shapes of many entries of an index, without parsing them.

  The entry of a tensor that is not partitioned begins with its type and shape. Then
  follow shard, offset, size and crc32c, in TensorFlow's order; what is 0 is left out.

  Args:
    beginnings: of each, the message with nothing but type and shape.
  """

  def __init__(self, beginnings: Sequence[bytes]):
    self._expected = np.frombuffer(b"".join(beginnings), np.uint8)
    self._sizes = _lengths(beginnings)
    self._starts = np.cumsum(self._sizes) - self._sizes

  def begin(self, entries: Sequence[bytes]) -> list[bool]:
    """Whether each entry has the type and shape of its beginning.

    Args:
      entries: one for each of the beginnings, as it stands in the index.

    Returns:
      Whether it has them for certain. What TensorFlow would not write has to be parsed
      to tell.

    >>> entry = BundleEntry(1, (2, 3), offset=500, size=24, crc32c=12345)
    >>> WholeEntries([BundleEntry(1, (2, 3)).serialize()]).begin([entry.serialize()])
    [True]
    """
    if not entries:
      return []
    # Behind the end, a damaged entry ends as well.
    data = np.frombuffer(
      b"".join(entries) + bytes(int(self._sizes.max()) + 64), np.uint8
    )
    sizes = _lengths(entries)
    ends = np.cumsum(sizes)
    starts = ends - sizes
    places = np.arange(self._expected.size)
    places += np.repeat(starts - self._starts, self._sizes)
    fits = np.logical_and.reduceat(data[places] == self._expected, self._starts)
    at = starts + self._sizes
    for tag in _NUMBERS:
      is_there = data[at] == tag
      at += is_there
      for _ in range(_MOST_BYTES):
        goes_on = is_there & (data[at] > 127)
        if not goes_on.any():
          break
        at += goes_on
      fits &= ~(is_there & (data[at] > 127))
      at += is_there
    return (fits & (data[at] == _CRC) & (at + _CRC_SIZE == ends)).tolist()


def _lengths(texts: Sequence[bytes]) -> np.ndarray:
  return np.fromiter(map(len, texts), np.int64, len(texts))
