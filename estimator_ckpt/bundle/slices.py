"""Slices of partitioned tensors: their keys, and whether they tile their tensor.

A partitioned tensor has an entry under its name that lists its slices, and for each
slice an entry with the bytes under a key in OrderedCode:

    num 0, string name, num rank, (signed start, signed length) for each dimension

A dimension that is not cut is (0, -1). As num 0 is a zero byte, these keys come before
every name.
"""

from __future__ import annotations

from collections.abc import Sequence

from estimator_ckpt.bundle import coding
from estimator_ckpt.bundle.messages import TensorSlice
from estimator_ckpt.errors import (
  CorruptCheckpointError,
  OptionError,
  UnsupportedCheckpointError,
)

_KIND = coding.encode_ordered_num(0)
# A grid of 100 by 100 slices takes a million; a file may cut such that all compare.
_MAX_COMPARISONS = 4_000_000


def slice_key(name: str, tensor_slice: TensorSlice) -> bytes:
  """The key a slice's entry stands under.

  Args:
    name: the tensor's key.
    tensor_slice: which part of the tensor.

  Returns:
    The key.

  >>> slice_key("w", TensorSlice(((4, 4), (0, -1)))).hex()
  '0077000101028484807f'
  """
  parts = [slice_key_prefix(name)]
  parts.append(coding.encode_ordered_num(len(tensor_slice.extents)))
  for start, length in tensor_slice.extents:
    parts.append(coding.encode_ordered_signed(start))
    parts.append(coding.encode_ordered_signed(length))
  return b"".join(parts)


def slice_key_prefix(name: str) -> bytes:
  """What the keys of all slices of a tensor begin with.

  Args:
    name: the tensor's key.

  Returns:
    The bytes; they end where the slice begins.
  """
  return _KIND + coding.encode_ordered_string(name.encode("utf-8", "surrogateescape"))


def check_tensor_key(key: str) -> None:
  """Checks that a key can be a tensor's.

  Args:
    key: the key as text.

  Raises:
    OptionError: it is the header's, or has the form of a slice's.
  """
  # The empty key is the header's, and those of slices start with a zero byte.
  if not key or key.startswith("\0"):
    raise OptionError(f"{key!r} cannot be a tensor's key")


def moved_keys(slice_keys: Sequence[bytes], old: str, new: str) -> dict[bytes, bytes]:
  """The keys that a tensor's slices get with its new key, by their present keys.

  Args:
    slice_keys: their present keys.
    old: the tensor's present key.
    new: its new key.
  """
  if not slice_keys:
    return {}
  old_size = len(slice_key_prefix(old))
  prefix = slice_key_prefix(new)
  return {slice_key: prefix + slice_key[old_size:] for slice_key in slice_keys}


def is_slice_key(key: bytes) -> bool:
  """Whether a key of the table is one of a slice."""
  return key.startswith(_KIND)


def parse_slice_name(key: bytes) -> tuple[str, int]:
  """The name within a slice's key.

  Args:
    key: a key of the table, as bytes.

  Returns:
    The tensor's key, and the position behind it.

  Raises:
    CorruptCheckpointError: it is no slice's key.
  """
  if not is_slice_key(key):
    raise CorruptCheckpointError(f"key {key!r} is no slice's key")
  try:
    name, position = coding.read_ordered_string(key, len(_KIND))
  except CorruptCheckpointError as error:
    raise CorruptCheckpointError(f"slice key {key!r}: {error}") from None
  return name.decode("utf-8", "surrogateescape"), position


def parse_slice_key(key: bytes) -> tuple[str, TensorSlice]:
  """Takes a slice's key apart, so that an error can name the slice.

  Args:
    key: a key of the table, as bytes.

  Returns:
    The tensor's key and the slice.

  Raises:
    CorruptCheckpointError: it is no slice's key.
  """
  name, position = parse_slice_name(key)
  try:
    rank, position = coding.read_ordered_num(key, position)
    # A dimension takes at least two bytes.
    if rank * 2 > len(key) - position:
      raise CorruptCheckpointError(f"{rank} dimensions in {len(key) - position} bytes")
    extents = []
    for _ in range(rank):
      start, position = coding.read_ordered_signed(key, position)
      length, position = coding.read_ordered_signed(key, position)
      if start < 0 or length < -1 or (length == -1 and start):
        raise CorruptCheckpointError(f"the extent ({start}, {length})")
      extents.append((start, length))
    if position != len(key):
      raise CorruptCheckpointError(f"{len(key) - position} bytes too many")
  except CorruptCheckpointError as error:
    raise CorruptCheckpointError(f"slice key {key!r}: {error}") from None
  return name, TensorSlice(tuple(extents))


def bounds(
  tensor_slice: TensorSlice, shape: Sequence[int]
) -> tuple[tuple[int, int], ...]:
  """Where a slice begins and ends in each dimension.

  Args:
    tensor_slice: which part of the tensor.
    shape: the whole tensor's shape.

  Returns:
    A (start, end) pair for each dimension.

  Raises:
    CorruptCheckpointError: the slice does not lie in the tensor.

  >>> bounds(TensorSlice(((4, 4), (0, -1))), (10, 3))
  ((4, 8), (0, 3))
  """
  extents = tensor_slice.extents
  if len(extents) != len(shape):
    raise CorruptCheckpointError(
      f"slice {tensor_slice} has {len(extents)} dimensions, its tensor {list(shape)}"
      f" has {len(shape)}"
    )
  pairs = []
  for (start, length), size in zip(extents, shape):
    end = size if length == -1 else start + length
    if end > size:
      raise CorruptCheckpointError(
        f"slice {tensor_slice} lies outside its tensor {list(shape)}"
      )
    pairs.append((start, end))
  return tuple(pairs)


def check_tiling(tensor_slices: Sequence[TensorSlice], shape: Sequence[int]) -> None:
  """Checks that slices cover a tensor, each element once.

  Args:
    tensor_slices: which parts of the tensor there are.
    shape: of the whole tensor.

  Raises:
    CorruptCheckpointError: a slice lies outside, two overlap, or a part is missing.
    UnsupportedCheckpointError: see `count_covered`.

  >>> check_tiling([TensorSlice(((0, 6),)), TensorSlice(((6, 4),))], [10])
  """
  covered = count_covered(tensor_slices, shape)
  total = 1
  for size in shape:
    total *= size
  if covered != total:
    raise CorruptCheckpointError(
      f"{len(tensor_slices)} slices hold {covered} of the {total} elements of a tensor"
      f" of shape {list(shape)}"
    )


def count_covered(tensor_slices: Sequence[TensorSlice], shape: Sequence[int]) -> int:
  """Counts the elements that slices cover, and checks that they cover none twice.

  Args:
    tensor_slices: which parts of the tensor there are.
    shape: of the whole tensor.

  Returns:
    How many elements are in a slice.

  Raises:
    CorruptCheckpointError: a slice lies outside, or two overlap.
    UnsupportedCheckpointError: there are very many, cut as no partitioner cuts.

  >>> count_covered([TensorSlice(((0, 6),)), TensorSlice(((8, 1),))], [10])
  7
  """
  covered = 0
  boxes = []
  for tensor_slice in tensor_slices:
    box = bounds(tensor_slice, shape)
    volume = 1
    for start, end in box:
      volume *= end - start
    covered += volume
    if volume:
      boxes.append(box)
  if not shape and len(boxes) > 1:
    raise CorruptCheckpointError(f"{len(boxes)} slices of a scalar")
  # Sweep along the dimension that is cut most, so that few boxes are open at a time.
  axis = max(
    range(len(shape)),
    key=lambda axis: len({box[axis][0] for box in boxes}),
    default=0,
  )
  if shape:
    boxes.sort(key=lambda box: box[axis])
  compared = 0
  open_boxes: list[tuple[tuple[int, int], ...]] = []
  for box in boxes if shape else ():
    begin = box[axis][0]
    open_boxes = [other for other in open_boxes if other[axis][1] > begin]
    compared += len(open_boxes)
    if compared > _MAX_COMPARISONS:
      raise UnsupportedCheckpointError(
        f"{len(boxes)} slices that are cut too intricately to be checked"
      )
    for other in open_boxes:
      if all(a[0] < b[1] and b[0] < a[1] for a, b in zip(box, other)):
        raise CorruptCheckpointError(
          f"slices {_box_text(other)} and {_box_text(box)} overlap"
        )
    open_boxes.append(box)
  return covered


def _box_text(box: Sequence[tuple[int, int]]) -> str:
  return "[" + ", ".join(f"{start}:{end}" for start, end in box) + "]"
