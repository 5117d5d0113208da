"""Tensors that no checkpoint has yet, to be written beside those of one.

Each is made when it is written, block by block, so that one at most is in memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping

from estimator_ckpt import value_classes
from estimator_ckpt.bundle import checksum, dtypes
from estimator_ckpt.bundle.blocks import plan_blocks
from estimator_ckpt.bundle.commit import BundleWriter
from estimator_ckpt.bundle.index import Index
from estimator_ckpt.bundle.messages import BundleEntry
from estimator_ckpt.bundle.rehearsal import BundleRehearsal
from estimator_ckpt.bundle.shards import num_elements

TYPE_CHECKING = False
if TYPE_CHECKING:
  import numpy as np

# The bytes of a tensor that are made at once, if that is not all.
BLOCK_SIZE = 32 << 20


@value_classes.dataclass(frozen=True)
class NewTensor:
  """A tensor that is made when it is written.

  Attributes:
    dtype: TensorFlow's DataType number.
    shape: the dimensions.
    make: makes the bytes, in row-major order, in pieces of any size.
  """

  dtype: int
  shape: tuple[int, ...]
  make: Callable[[], Iterable[bytes]]

  @classmethod
  def of_array(
    cls, dtype: int, shape: tuple[int, ...], make: Callable[[], np.ndarray]
  ) -> NewTensor:
    """A tensor that is made as an array.

    Args:
      dtype: TensorFlow's DataType number.
      shape: the dimensions.
      make: makes the array. It is called once, when the tensor is written.
    """
    kind = dtypes.to_numpy(dtype)

    def make_bytes() -> Iterator[bytes]:
      array = make()
      for block in plan_blocks(array.shape, BLOCK_SIZE // kind.itemsize):
        yield array[block].astype(kind, copy=False).tobytes()

    return cls(dtype, shape, make_bytes)

  @classmethod
  def zeros(cls, dtype: int, shape: tuple[int, ...]) -> NewTensor:
    """A tensor of zeros.

    Args:
      dtype: TensorFlow's DataType number, of a type of fixed size.
      shape: the dimensions.
    """
    kind = dtypes.to_numpy(dtype)

    def make_bytes() -> Iterator[bytes]:
      size = num_elements(shape) * kind.itemsize
      for start in range(0, size, BLOCK_SIZE):
        yield bytes(min(BLOCK_SIZE, size - start))

    return cls(dtype, shape, make_bytes)


def add_tensors(
  index: Index, bundle: BundleWriter | BundleRehearsal, tensors: Mapping[str, NewTensor]
) -> None:
  """Writes new tensors into a data file of their own, and adds them to the index.

  Args:
    index: is changed.
    bundle: a bundle that is being written, which has room for one more data file.
    tensors: by key. Without any, there is no data file.

  Raises:
    CheckpointIOError: the file system refused.
  """
  if not tensors:
    return
  shard_id = len(bundle.placed)
  offset = 0
  with bundle.add_stream() as file:
    for key, tensor in tensors.items():
      size = crc = 0
      for piece in tensor.make():
        file.write(piece)
        size += len(piece)
        crc = checksum.extend(crc, piece)
      index.put(
        key,
        BundleEntry(
          dtype=tensor.dtype,
          shape=tensor.shape,
          shard_id=shard_id,
          offset=offset,
          size=size,
          crc32c=checksum.mask(crc),
        ),
      )
      offset += size
