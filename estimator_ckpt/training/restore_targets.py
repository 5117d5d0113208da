"""What a restore wants, and where a checkpoint has it: the values of a restore plan."""

from __future__ import annotations

import dataclasses
from typing import NamedTuple


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
