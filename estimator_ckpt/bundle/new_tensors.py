"""Tensors that no checkpoint has yet, to be written beside those of one.

Each is made when it is written, so that only one at a time is in memory.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from estimator_ckpt import value_classes
from estimator_ckpt.bundle import checksum, dtypes
from estimator_ckpt.bundle.commit import BundleWriter
from estimator_ckpt.bundle.index import Index
from estimator_ckpt.bundle.messages import BundleEntry
from estimator_ckpt.bundle.rehearsal import BundleRehearsal

TYPE_CHECKING = False
if TYPE_CHECKING:
  import numpy as np


@value_classes.dataclass(frozen=True)
class NewTensor:
  """A tensor that is made when it is written.

  Attributes:
    dtype: TensorFlow's DataType number.
    shape: the dimensions.
    make: makes the bytes, in row-major order.
  """

  dtype: int
  shape: tuple[int, ...]
  make: Callable[[], bytes]

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
    return cls(dtype, shape, lambda: make().astype(kind, copy=False).tobytes())


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
      data = tensor.make()
      file.write(data)
      index.put(
        key,
        BundleEntry(
          dtype=tensor.dtype,
          shape=tensor.shape,
          shard_id=shard_id,
          offset=offset,
          size=len(data),
          crc32c=checksum.mask(checksum.crc32c(data)),
        ),
      )
      offset += len(data)
