"""One TF1 variable of which a Keras model has several weights, such as a tied table.

TF1 code looks words up in the table by which it multiplies later; a Keras model may hold
it twice, in an Embedding and, transposed, in a Dense layer. In the name map, such a
variable has a rule for each weight. The second weight's rule then is of a copy, which
has a name of its own.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
from collections.abc import Collection, Iterable, Mapping
from typing import TypeVar

from estimator_ckpt import errors, value_classes
from estimator_ckpt.bundle.new_tensors import BLOCK_SIZE, NewTensor
from estimator_ckpt.checkpoint.file_array import file_array
from estimator_ckpt.checkpoint.name_map import NameMap
from estimator_ckpt.checkpoint.reader import CheckpointReader
from estimator_ckpt.keras.source import Contents

_T = TypeVar("_T")


def with_copies(contents: Contents, name_map: NameMap) -> tuple[Contents, NameMap]:
  """Gives a variable with several rules of its own a copy for each rule but the first.

  Args:
    contents: the variables and optimizers of a checkpoint.
    name_map: rules from the checkpoint's names to the model's.

  Returns:
    The contents with the copies and their slots, and the rules of which each is of one
    variable. Where no variable has several rules, both as they are.
  """
  first: dict[str, str] = {}
  copies: dict[str, str] = {}
  rules = []
  for rule in name_map.rules:
    if (
      rule.old in contents.variables
      and first.setdefault(rule.old, rule.new) != rule.new
    ):
      name = f"{rule.old} as {rule.new}"
      copies[name] = rule.old
      rule = value_classes.replace(rule, old=name)
    rules.append(rule)
  if not copies:
    return contents, name_map
  return add_copies(contents, copies), NameMap(rules)


def add_copies(contents: Contents, copies: Mapping[str, str]) -> Contents:
  """Adds copies of variables, with their slots and moving averages.

  Args:
    contents: the variables and optimizers of a checkpoint.
    copies: for the name of each copy that of the variable.

  Returns:
    Contents in which the copies have the keys of the variables.
  """
  variables = dict(contents.variables)
  for name, of in copies.items():
    variables[name] = dataclasses.replace(variables[of], name=name, copy_of=of)
  states = [
    dataclasses.replace(
      state, slots={slot: _copied(keys, copies) for slot, keys in state.slots.items()}
    )
    for state in contents.states
  ]
  averages = _copied(contents.averages, copies)
  return dataclasses.replace(
    contents, variables=variables, states=states, averages=averages
  )


def _copied(items: Mapping[str, _T], copies: Mapping[str, str]) -> dict[str, _T]:
  found = {name: items[of] for name, of in copies.items() if of in items}
  return {**items, **found}


def with_targets(
  like: Contents, name_map: NameMap, names: Collection[str]
) -> tuple[Contents, NameMap]:
  """Gives a TF1 variable that several weights become a copy for each but the first.

  Args:
    like: the variables and optimizers of a checkpoint of TF1 code.
    name_map: rules from the model's names to TF1's.
    names: the names of the model's weights.

  Returns:
    The contents with the copies and their slots, and rules that lead to one name each.
    Where no variable is of several weights, both as they are.
  """
  first: dict[str, str] = {}
  copies: dict[str, str] = {}
  rules = []
  for rule in name_map.rules:
    new = rule.new.replace("\\:", ":")
    both = rule.old in names and new in like.variables
    if both and first.setdefault(new, rule.old) != rule.old:
      name = f"{new} as {rule.old}"
      copies[name] = new
      rule = value_classes.replace(rule, new=name)
    rules.append(rule)
  return (add_copies(like, copies), NameMap(rules)) if copies else (like, name_map)


class Supplies:
  """What TF1's names get, of which each may come from several weights.

  Args:
    prefix: the checkpoint of the weights, for errors.
  """

  def __init__(self, prefix: str):
    self._prefix = prefix
    self._by_name: dict[str, tuple[str, NewTensor]] = {}

  def add(self, name: str, weight: str, tensor: NewTensor) -> bool:
    """Adds what a name gets.

    Args:
      name: the name of a TF1 variable or slot.
      weight: the weight that the values come from.
      tensor: the values.

    Returns:
      Whether it is the first that the name gets.

    Raises:
      VariableMismatchError: the name got other values before.
    """
    first, known = self._by_name.setdefault(name, (weight, tensor))
    if known is tensor:
      return True
    if _digest(known) != _digest(tensor):
      raise errors.VariableMismatchError(
        f"{self._prefix}: {first!r} and {weight!r} both become {name!r}, and their values "
        "differ, so one of the two would be lost: TensorFlow 1 has one variable for "
        "both. Train them as one weight in Keras; or leave out the rule of one and say "
        f"ignore=[{weight!r}] (--ignore), which drops its values."
      )
    return False


def stored_tensor(
  reader: CheckpointReader, key: str, shape: tuple[int, ...]
) -> NewTensor:
  """A tensor of a checkpoint as it is.

  Args:
    reader: the checkpoint.
    key: the tensor's key.
    shape: the dimensions that it gets.
  """
  dtype = reader.index.entry(key).dtype

  def make() -> Iterable[bytes]:
    # Not before: the bytes of a type that NumPy lacks may stay where they are.
    array = functools.partial(file_array, reader, key, BLOCK_SIZE)
    return NewTensor.of_array(dtype, shape, array).make()

  return NewTensor(dtype, shape, make)


def _digest(tensor: NewTensor) -> tuple[int, bytes]:
  digest = hashlib.blake2b()
  for piece in tensor.make():
    digest.update(piece)
  return tensor.dtype, digest.digest()
