"""Transposing a tensor of any size in memory of a fixed size.

The result is made in blocks, in the order in which it is written. For each block, the
array is read in the order in which it is stored, in tiles that a processor's cache holds.
An array that the page cache does not hold is read from its file once a block.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Callable

from estimator_ckpt.bundle.blocks import plan_blocks
from estimator_ckpt.bundle.new_tensors import BLOCK_SIZE, NewTensor
from estimator_ckpt.checkpoint.file_array import file_array
from estimator_ckpt.checkpoint.reader import CheckpointReader
from estimator_ckpt.keras.forms import Form, inverse_axes

if TYPE_CHECKING:
  import numpy as np

_TILE_SIZE = 128 << 10


def transposed_blocks(
  array: np.ndarray,
  axes: Sequence[int],
  block_size: int,
  tile_size: int = _TILE_SIZE,
) -> Iterator[np.ndarray]:
  """Transposes an array block by block.

  Args:
    array: the array; it may be in a file.
    axes: for each axis of the result the axis of the array.
    block_size: how many bytes a block has, at most, if one element is not more.
    tile_size: how many bytes are moved at once.

  Yields:
    Arrays whose bytes, one after the other, are those of the result in row-major order.
  """
  import numpy as np

  result, stored = array.transpose(axes), inverse_axes(axes)
  for block in plan_blocks(result.shape, max(block_size // array.itemsize, 1)):
    region = result[block]
    made = np.empty(region.shape, array.dtype)
    source, target = region.transpose(stored), made.transpose(stored)
    for tile in plan_blocks(source.shape, max(tile_size // array.itemsize, 1)):
      target[tile] = source[tile]
    yield made


def transposed_tensor(
  reader: CheckpointReader,
  key: str,
  form: Form,
  shape: tuple[int, ...],
  change: Callable[[Any], Any] | None = None,
) -> NewTensor:
  """A tensor that is another, transposed.

  Args:
    reader: the checkpoint of the other.
    key: the other's key.
    form: its transposition, and whether it is reshaped then.
    shape: the dimensions of the tensor.
    change: what is done to the values, each alone; it keeps their type. By default
      nothing.

  Returns:
    The tensor. The other is read when it is written.
  """
  # Behind the transposition, a reshape leaves the bytes as they are.
  return _tensor(reader, key, None, form.axes, shape, change)


def transposed_back(
  reader: CheckpointReader,
  key: str,
  form: Form,
  shape: tuple[int, ...],
  change: Callable[[Any], Any] | None = None,
) -> NewTensor:
  """A tensor of which a transposition would make another.

  Args:
    reader: the checkpoint of the other.
    key: the other's key.
    form: the transposition that makes the other, and whether it is reshaped then.
    shape: the dimensions of the tensor.
    change: what is done to the values, each alone; it keeps their type. By default
      nothing.

  Returns:
    The tensor. The other is read when it is written.
  """
  stored = form.transposed(shape)
  return _tensor(reader, key, stored, inverse_axes(form.axes), shape, change)


def _tensor(
  reader: CheckpointReader,
  key: str,
  stored: tuple[int, ...] | None,
  axes: Sequence[int],
  shape: tuple[int, ...],
  change: Callable[[Any], Any] | None,
) -> NewTensor:
  def make() -> Iterator[bytes]:
    array = file_array(reader, key, BLOCK_SIZE)
    if stored is not None:
      array = array.reshape(stored)
    for block in transposed_blocks(array, axes, BLOCK_SIZE):
      yield (block if change is None else change(block)).tobytes()

  return NewTensor(reader.index.entry(key).dtype, shape, make)
