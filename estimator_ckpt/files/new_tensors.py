"""Tensors that no checkpoint has yet, to be written beside those of one.

Each is made when it is written, so that only one at a time is in memory.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING

from estimator_ckpt.bundle import dtypes

if TYPE_CHECKING:
  import numpy as np


@dataclasses.dataclass(frozen=True)
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
