"""How a stored array is rearranged before it becomes a weight: rows, axes, shape.

A form moves numbers and changes none, so an optimizer's slots take the form of their
variable. Only a reshape leaves the bytes where they are.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import TYPE_CHECKING

from estimator_ckpt.checkpoint import partition_strategy
from estimator_ckpt.checkpoint.partition_strategy import (
  PartitionStrategy,
  PartitionStrategyLike,
)

if TYPE_CHECKING:
  import numpy as np

  from estimator_ckpt.keras.source import Variable


@dataclasses.dataclass(frozen=True)
class Form:
  """What is done to a stored array, in the order of the attributes.

  Attributes:
    mod_parts: for an embedding that was looked up with `"mod"`, the rows of each part;
      its rows are put into the order of ids.
    axes: a transposition: for each axis of the result the axis of the array; or ().
    reshape: whether the array takes the shape of the weight.
  """

  mod_parts: tuple[int, ...] = ()
  axes: tuple[int, ...] = ()
  reshape: bool = False

  def __bool__(self) -> bool:
    return bool(self.mod_parts or self.axes or self.reshape)

  def transposed(self, shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape of an array after the transposition.

    Args:
      shape: the stored array's dimensions; as many as there are axes.

    Example:
      >>> Form(axes=(1, 0)).transposed((2, 3))
      (3, 2)
    """
    return tuple(shape[axis] for axis in self.axes) if self.axes else shape

  def apply(self, array: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Rearranges an array.

    Args:
      array: the stored array, or a slot of it.
      shape: the weight's dimensions.

    Returns:
      An array of that shape.
    """
    if self.mod_parts:
      array = array[partition_strategy.stored_rows(self.mod_parts)]
    if self.axes:
      array = array.transpose(self.axes)
    return array.reshape(shape) if self.reshape else array

  def words(self, shape: tuple[int, ...]) -> str:
    """Words the form for a report.

    Args:
      shape: the weight's dimensions.

    Returns:
      Such as `"reshaped to [32, 4, 8]"`; "" for an array that stays as it is.
    """
    done = []
    if self.mod_parts:
      done.append(f"{len(self.mod_parts)} parts put together as 'mod'")
    if self.axes:
      done.append(f"axes transposed to {','.join(map(str, self.axes))}")
    if self.reshape:
      done.append(f"reshaped to {list(shape)}")
    return ", ".join(done)


def mod_forms(
  variables: Iterable[Variable], given: PartitionStrategyLike
) -> dict[str, Form]:
  """Finds the embeddings whose rows are to be put into the order of ids.

  Args:
    variables: all variables of a checkpoint.
    given: the argument `partition_strategy=`.

  Returns:
    Forms by the names of these embeddings.

  Raises:
    OptionError: the argument does not fit the checkpoint.
  """
  parts = {variable.name: variable.parts for variable in variables if variable.parts}
  told = PartitionStrategy.parse(given).mod_parts(parts)
  return {name: Form(mod_parts=rows) for name, rows in told.items()}


def untold_notes(
  variables: Iterable[Variable], given: PartitionStrategyLike
) -> list[str]:
  """Says that parts of embeddings are joined, and that nobody said how.

  Args:
    variables: the variables of a checkpoint that are taken.
    given: the argument `partition_strategy=`.

  Returns:
    A note, or nothing.
  """
  strategy = PartitionStrategy.parse(given)
  untold = [
    variable.name
    for variable in variables
    if variable.parts and len(variable.shape) > 1 and strategy.of(variable.name) is None
  ]
  return [partition_strategy.note_untold(untold)] if untold else []
