"""How a stored array is rearranged before it becomes a weight: rows, axes, shape.

A form moves numbers and changes none, so an optimizer's slots take the form of their
variable. Only a reshape leaves the bytes where they are.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from estimator_ckpt import errors
from estimator_ckpt.checkpoint import partition_strategy
from estimator_ckpt.checkpoint.name_map import Rule
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


def inverse_axes(axes: Sequence[int]) -> tuple[int, ...]:
  """The transposition that undoes another.

  Args:
    axes: for each axis of the result the axis of the array.

  Example:
    >>> inverse_axes((1, 2, 0))
    (2, 0, 1)
  """
  return tuple(axes.index(axis) for axis in range(len(axes)))


def form_between(stored: tuple[int, ...], shape: tuple[int, ...]) -> str:
  """Finds the only simple form by which shapes that differ can be of one variable.

  Args:
    stored: the dimensions of a variable.
    shape: those of a weight.

  Returns:
    `"transpose=1,0"` for a matrix; `"reshape"` where neighbouring axes are joined or
    split, or axes of size 1 come or go; "" for all else.

  Example:
    >>> form_between((2, 32), (32, 2)), form_between((32, 32), (32, 4, 8))
    ('transpose=1,0', 'reshape')
  """
  if len(stored) == len(shape) == 2 and stored != shape and stored == shape[::-1]:
    return "transpose=1,0"
  long, short = (n for n in sorted((stored, shape), key=len, reverse=True))
  if len(long) == len(short) or not short:
    return ""
  left = list(long)
  for size in short:
    product = 1
    while left and (product < size or left[0] == 1):
      product *= left.pop(0)
    if product != size:
      return ""
  return "reshape" if not left else ""


def variable_forms(
  variables: Mapping[str, Variable],
  given: PartitionStrategyLike = None,
  rules: Mapping[str, Rule] | None = None,
  backwards: bool = False,
) -> dict[str, Form]:
  """Finds how the variables of a checkpoint are rearranged.

  Args:
    variables: all variables of a TF1 checkpoint, by name.
    given: the argument `partition_strategy=`.
    rules: rules of a name map that rearrange, by the names of variables.
    backwards: whether the rules lead from the weights to the variables.

  Returns:
    Forms by the names of variables. A variable that stays as it is has none.

  Raises:
    OptionError: `partition_strategy=` does not fit the checkpoint; a transposition has
      another number of axes than its variable.
  """
  parts = {v.copy_of or name: v.parts for name, v in variables.items() if v.parts}
  by_original = PartitionStrategy.parse(given).mod_parts(parts)
  olds = {name: variable.copy_of or name for name, variable in variables.items()}
  told = {name: by_original[old] for name, old in olds.items() if old in by_original}
  forms = {name: Form(mod_parts=rows) for name, rows in told.items()}
  for name, rule in (rules or {}).items():
    if name not in variables:
      continue
    axes, shape = rule.axes, variables[name].shape
    if axes and len(axes) != len(shape):
      raise errors.OptionError(
        f"{rule.source}: {str(rule)!r}: {name} has the shape {list(shape)}, and so "
        f"{len(shape)} axes, not {len(axes)}"
      )
    if axes and backwards:
      axes = inverse_axes(axes)
    forms[name] = Form(told.get(name, ()), axes, rule.reshape)
  return forms


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
    if variable.parts and len(variable.shape) > 1 and not variable.copy_of
    if strategy.of(variable.name) is None
  ]
  return [partition_strategy.note_untold(untold)] if untold else []
