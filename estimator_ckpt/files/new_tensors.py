"""Tensors whose bytes stand nowhere yet, to be written beside those of a checkpoint.

They are made one by one when they are written, so that only one is in memory.
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
    dtype: the number of its type.
    shape: its shape.
    make: a function that makes its bytes.
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
      dtype: the number of its type.
      shape: its shape.
      make: a function that makes it; it is asked for once, and late.

    Returns:
      The tensor.
    """
    kind = dtypes.to_numpy(dtype)
    return cls(dtype, shape, lambda: make().astype(kind, copy=False).tobytes())
