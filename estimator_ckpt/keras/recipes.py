"""Recipes: how a weight is made of a checkpoint's variables.

Most weights are one variable, perhaps in another form. The module `layers` has those of
recurrent cells, which are made of several.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Callable, Tuple

from estimator_ckpt.bundle.shards import num_elements
from estimator_ckpt.keras.forms import Form

if TYPE_CHECKING:
  import numpy as np

Shape = Tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class Recipe:
  """How a weight is made of a checkpoint's variables.

  Attributes:
    sources: the names of the checkpoint's variables.
    how: the conversion in words, for a report; "" for a copy.
    make: a function from the variables' arrays to the weight's array.
    make_slot: a function from the arrays of the variables' slots to the weight's slot;
      None where slots cannot be converted.
    no_slot: the reason, where `make_slot` is None.
    forget_bias: for the bias of an LSTM cell what is added to the forget gate, or None.
    form: how the array of a single variable is rearranged.
  """

  sources: tuple[str, ...]
  how: str = ""
  make: Callable[..., np.ndarray] = lambda array: array
  make_slot: Callable[..., np.ndarray] | None = lambda array: array
  no_slot: str = ""
  forget_bias: float | None = None
  form: Form = Form()

  @property
  def keeps_bytes(self) -> bool:
    """Whether the weight has the bytes of the variable, if need be in another shape."""
    return not self.how or self.form == Form(reshape=True)

  @property
  def transposes(self) -> bool:
    """Whether the weight is the variable transposed, if need be in another shape."""
    return bool(self.form.axes) and not self.form.mod_parts

  def missing_slot(self, slot: str, stored: Collection[str]) -> str:
    """Says why the weight gets no slot variable.

    Args:
      slot: the name of the slot in the checkpoint.
      stored: the names of the variables that have this slot in the checkpoint.

    Returns:
      The reason, or "" if the weight gets one.

    Example:
      >>> Recipe(("a", "b")).missing_slot("m", {"a"})
      "no slot 'm' of b"
    """
    if self.make_slot is None:
      return self.no_slot
    lacking = [name for name in self.sources if name not in stored]
    return f"no slot {slot!r} of {', '.join(lacking)}" if lacking else ""


@dataclasses.dataclass(frozen=True)
class Refusal:
  """The answer that a layer's weights cannot be made of a scope's variables.

  Attributes:
    reason: the words of an error: what differs, and how to make the layer instead.
  """

  reason: str


@dataclasses.dataclass(frozen=True)
class Stored:
  """A variable of a checkpoint.

  Attributes:
    name: what the checkpoint calls it, before a name map.
    shape: its dimensions, after the transposition of its form.
    form: how its array is rearranged.
  """

  name: str
  shape: Shape
  form: Form = Form()

  @classmethod
  def in_form(cls, name: str, shape: Shape, form: Form) -> Stored:
    """A variable that is to be rearranged.

    Args:
      name: what the checkpoint calls the variable.
      shape: the dimensions that are stored.
      form: how its array is rearranged.
    """
    return cls(name, form.transposed(shape), form)

  def recipe(self, shape: Shape) -> Recipe | None:
    """Makes a weight of this variable alone.

    Args:
      shape: the weight's dimensions.

    Returns:
      The recipe, or None where the variable does not have that shape.
    """
    if self.shape == shape:
      plain = dataclasses.replace(self.form, reshape=False)
      return rearranged(self.name, plain, shape)
    same_size = num_elements(self.shape) == num_elements(shape)
    if not self.form.reshape or not same_size:
      return None
    return rearranged(self.name, self.form, shape)


def rearranged(name: str, form: Form, shape: Shape) -> Recipe:
  """A recipe that rearranges one variable.

  Args:
    name: the variable's name in the checkpoint.
    form: how its array is rearranged.
    shape: the weight's dimensions.
  """
  if not form:
    return Recipe((name,))
  make = functools.partial(form.apply, shape=shape)
  return Recipe((name,), form.words(shape), make, make, form=form)


def with_forms(recipe: Recipe, stored: Mapping[str, Stored]) -> Recipe:
  """Rearranges the variables of a recipe before they are used.

  Args:
    recipe: the recipe of a cell's weight.
    stored: variables with their forms, those of the recipe among them.

  Returns:
    The recipe, or one that rearranges first.
  """
  known = {variable.name: variable for variable in stored.values()}
  variables = [known[name] for name in recipe.sources]
  if not any(variable.form for variable in variables):
    return recipe

  def after(make: Callable[..., np.ndarray]) -> Callable[..., np.ndarray]:
    def rearrange_and_make(*arrays: np.ndarray) -> np.ndarray:
      pairs = zip(variables, arrays)
      return make(*(v.form.apply(array, v.shape) for v, array in pairs))

    return rearrange_and_make

  words = [v.form.words(v.shape) for v in variables if v.form]
  return dataclasses.replace(
    recipe,
    how=", ".join([*words, recipe.how]),
    make=after(recipe.make),
    make_slot=None if recipe.make_slot is None else after(recipe.make_slot),
  )
