"""What TensorFlow calls the parts of partitioned variables, and the parts of slots."""

from __future__ import annotations

import re

from estimator_ckpt.value_classes import NamedTuple

_PART = re.compile(r"(?P<before>.+)/part_(?P<number>\d+)(?P<after>(/.*)?)", re.DOTALL)
_SLOT_PART = re.compile(r"(?:^|/)(?:(?:part|art|rt|t)?_)?\d+/")


class PartName(NamedTuple):
  """A part's name, taken apart.

  Attributes:
    whole: what it would be called if there were no parts.
    number: which part it is.
  """

  whole: str
  number: int


def split_part(name: str) -> PartName | None:
  """Takes the name of a part, or of a part of a slot, apart.

  Args:
    name: the name of a part's own variable.

  Returns:
    The whole's name and the part's number, or None if it is not that of a part.

  Example:
    >>> split_part("net/embedding/part_2/Momentum")
    PartName(whole='net/embedding/Momentum', number=2)
  """
  match = _PART.fullmatch(name)
  if match is None:
    return None
  return PartName(match["before"] + match["after"], int(match["number"]))


def without_part(name: str) -> str | None:
  """What a part, or a part of a slot, would be called if there were no parts.

  Args:
    name: the name of a part's own variable.

  Returns:
    The name, or None if it is not that of a part.

  Example:
    >>> without_part("net/embedding/part_0/Momentum")
    'net/embedding/Momentum'
  """
  part = split_part(name)
  return None if part is None else part.whole


def is_slot_part(key: str, name: str) -> bool:
  """Whether a key is that of a part of a slot, made by an optimizer within a scope.

  TensorFlow cuts as many letters off a part's `scope/` + `net/emb/part_0/` + `Adam` as
  `net/emb/part_0/` has, and puts `net/emb/` before what is left.

  Args:
    key: a key of a name-based checkpoint.
    name: what the slot is called where the variable is not partitioned.

  Example:
    >>> is_slot_part("dnn/emb/t_0/Adam", "dnn/dnn/emb/Adam")
    True
    >>> is_slot_part("dnn/emb/t_0/Adam", "dnn/dnn/emb/Adam_1")
    False
  """
  for slash in (i for i, letter in enumerate(key) if letter == "/"):
    variable, end = key[:slash], key[slash + 1 :]
    at = name.find(variable + "/")
    slot = name[at + len(variable) + 1 :]
    if at < 1 or len(end) != at + len(slot) or not end.endswith(slot):
      continue
    match = re.fullmatch(r"(.*?)(\d*)(/?)", end[:at], re.DOTALL)
    assert match is not None  # The expression matches any text.
    letters, number, _ = match.groups()
    if number and f"/{name[:at]}{variable}/part_".endswith(letters):
      return True
  return False


def may_be_slot_part(key: str) -> bool:
  """Whether `is_slot_part` can be true of a key, by a quick look.

  Args:
    key: a key of a checkpoint.

  Example:
    >>> may_be_slot_part("dnn/emb/t_0/Adam"), may_be_slot_part("layer_0/kernel/Adam")
    (True, False)
  """
  return _SLOT_PART.search(key) is not None
