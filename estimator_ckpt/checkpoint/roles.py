"""What a variable's name says it is: a weight, an optimizer's slot, a moving average.

TensorFlow 1 names what an optimizer keeps of a variable after the variable and the
optimizer: `dense/kernel/Adam`, and `dense/kernel/Adam_1` for the second slot (read
from TensorFlow 1.15's `slot_creator` and checked on the checkpoints it writes).
Between them may stand `part_0` or `t_0`, where the variable was partitioned or wrapped;
before them a variable scope the optimizer was used in. Keras 2 puts its optimizer
first: `Adam/dense/kernel/m`, since TensorFlow 2.11 `Adam/m/dense/kernel`.

This module reads names; `estimator_ckpt.checkpoint.object_roles`
says the same of what an object graph has. A checkpoint has names, a graph, or both, so
who asks needs one or the other: they are two modules, with one `Role`.

Only what is certain is said. A name that looks like a slot, but of no variable there
is, or with another shape, stays a variable whose role says what is unclear.
"""

from __future__ import annotations

import collections
import enum
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence

from estimator_ckpt.checkpoint.optimizers import OPTIMIZERS
from estimator_ckpt.value_classes import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
  from typing import TypeAlias

Shape: TypeAlias = "tuple[int, ...]"


# The step of an Estimator: its variable's name, and its key in every format.
GLOBAL_STEP = "global_step"

# What the optimizers of TensorFlow 1 and Keras 2 call their slots.
_SLOTS = {kind.tf1: kind.tf1_slots for kind in OPTIMIZERS if kind.tf1_slots}
_SPELLED_SLOTS = {
  word: (kind.tf1, slot) for kind in OPTIMIZERS for slot, word in kind.spelled
}
# Which of several optimizers a power is of, its name does not tell: Adam, the first.
_NON_SLOTS = {
  name: kind.tf1 for kind in reversed(OPTIMIZERS) for name, _, _ in kind.powers
}
_KERAS_SLOTS: dict[str, frozenset[str]] = {}
for _kind in OPTIMIZERS:
  if _kind.keras_2_words:
    _KERAS_SLOTS[_kind.keras] = (
      _KERAS_SLOTS.get(_kind.keras, frozenset()) | _kind.keras_2_words
    )
_KERAS_NON_SLOTS = frozenset(
  "iter iteration decay learning_rate current_learning_rate beta_1 beta_2 rho momentum"
  " epsilon l1_regularization_strength l2_regularization_strength beta"
  " learning_rate_power".split()
)

_KERAS_SCOPE = r"(?m)(?:^|/)(?:" + "|".join(_KERAS_SLOTS) + r")(?:_\d+)?/"
_MOVING_AVERAGE = "ExponentialMovingAverage"
# What a moving average keeps beside itself to correct its start.
_DEBIAS = frozenset(["biased", "local_step"])
# Names in a file may be of any length; what is looked up takes their length squared.
_MAX_LENGTH = 1000
_MAX_DIGITS = 9
_PART = r"/(?:part|t)_\d+$"

_MAX_SCOPES = 32
# Not from `layout`, as this module is about names alone.
_GRAPH_KEY = "_CHECKPOINTABLE_OBJECT_GRAPH"


class RoleKind(enum.Enum):
  """What a saved tensor is for."""

  VARIABLE = "variable"
  SLOT = "slot"
  NON_SLOT = "non_slot"
  MOVING_AVERAGE = "moving_average"
  GLOBAL_STEP = "global_step"
  OTHER = "other"


class Role(NamedTuple):
  """What a saved tensor is for.

  Attributes:
    kind: see `RoleKind`.
    of: the variable's name, for a slot or a moving average.
    slot: the optimizer's own name for a slot (`"m"`) or for what is no slot
      (`"beta1_power"`); None where the names do not tell which slot it is.
    optimizer: the optimizer: `"Adam"`, `"Ftrl"`, ...; with `keras` one of Keras.
    instance: 0, or n where n optimizers of that name have slots of the variable before
      this one; for what is no slot, the number behind its name.
    keras: whether the name is one that Keras 2 gives.
    unclear: for a variable that looks like something else, what speaks against it.
  """

  kind: RoleKind
  of: str | None = None
  slot: str | None = None
  optimizer: str | None = None
  instance: int = 0
  keras: bool = False
  unclear: str = ""

  @property
  def is_optimizer_state(self) -> bool:
    """Whether it is a slot, or other state, of an optimizer."""
    return self.kind in (RoleKind.SLOT, RoleKind.NON_SLOT)


_VARIABLE = Role(RoleKind.VARIABLE)
_OTHER = Role(RoleKind.OTHER)


def classify(
  names: Iterable[str], shapes: Mapping[str, Sequence[int]] | None = None
) -> dict[str, Role]:
  """Tells the role of each name of a name-based checkpoint.

  Args:
    names: the names of one checkpoint's tensors, all of them: a slot is one only if its
      variable is there too.
    shapes: their shapes, as far as known. A slot has its variable's shape and a beta
      power none, so shapes rule out variables that only look like them.

  Returns:
    A role for each name, in the given order.

  Example:
    >>> roles = classify(["w", "w/Adam", "w/Adam_1", "beta1_power", "v/Adam"])
    >>> roles["w/Adam_1"].of, roles["w/Adam_1"].slot
    ('w', 'v')
    >>> roles["v/Adam"].kind.value, roles["v/Adam"].unclear
    ('variable', "there is no variable 'v'")
  """
  names = list(dict.fromkeys(names))
  roles = dict.fromkeys(names, _VARIABLE)
  roles.update(classify_others(names, shapes or {}))
  return roles


def classify_others(
  names: Sequence[str], shapes: Mapping[str, Sequence[int]]
) -> dict[str, Role]:
  """Tells the roles of those names that are not simply a variable's; see `classify`.

  Args:
    names: the names of one checkpoint's tensors, all of them, none twice.
    shapes: their shapes, as far as known.

  Returns:
    A role for each of these names.
  """
  return _Classifier(names, shapes).roles()


def mention_keras(names: Iterable[str]) -> bool:
  """Whether any of the names may be one that a Keras 2 optimizer gives.

  Args:
    names: names without line breaks.

  Returns:
    False if none can be; `classify` need not be asked then.
  """
  return _are_keras([name.rpartition("/")[0] for name in names])


def _are_keras(scopes: Iterable[str]) -> bool:
  """Whether any of the scopes of names may be one that a Keras 2 optimizer gives."""
  text = "/\n".join(scopes) + "/"
  # Without the time that the expression takes. Each of the words has capitals.
  if text == text.lower() or not any(word in text for word in _KERAS_SLOTS):
    return False
  return re.search(_KERAS_SCOPE, text) is not None


class _Classifier:
  """Classifies the names of one checkpoint."""

  def __init__(self, names: Sequence[str], shapes: Mapping[str, Sequence[int]]):
    self._names = names
    self._known = set(names)
    self._shapes = shapes
    split = [name.rpartition("/") for name in names]
    self._scopes = [scope for scope, _, _ in split]
    self._lasts = [last for _, _, last in split]
    self._has_keras = _are_keras(self._scopes)

  def roles(self) -> dict[str, Role]:
    slots: dict[tuple[str, str, str], list[tuple[int, str]]] = collections.defaultdict(
      list
    )
    roles = {}
    # Of 100,000 names most have a few last words in common.
    words = {last: _number(last) for last in set(self._lasts)}
    known, shape = self._known, self._shapes.get
    for name, scope, last in self._candidates():
      base, number = words[last]
      if scope and base in _SLOTS and len(name) <= _MAX_LENGTH:
        of: str | None = scope
        if scope not in known or shape(name) != shape(scope):
          of, problem = self._owner(name, scope)
        if of is None:
          roles[name] = _unclear(problem)
        else:
          # Which slot it is, all those of the variable tell.
          slots[scope, of, base].append((number, name))
        continue
      role = self._role(name, scope, last)
      if role is not _VARIABLE:
        roles[name] = role
    places: dict[tuple[str, tuple[int, ...]], list[tuple[str | None, int]]] = {}
    for (_, of, optimizer), members in slots.items():
      members.sort()
      numbers = tuple([number for number, _ in members])
      if (optimizer, numbers) not in places:
        places[optimizer, numbers] = _slot_places(optimizer, numbers)
      of_numbers = places[optimizer, numbers]
      for (_, name), (slot, instance) in zip(members, of_numbers):
        roles[name] = Role(RoleKind.SLOT, of, slot, optimizer, instance)
    return roles

  def _candidates(self) -> Iterator[tuple[str, str, str]]:
    """Names that may be something else than a variable's; scopes; and last words."""
    others = {
      last for last in set(self._lasts) if self._has_keras or not _is_plain(last)
    }
    # Variables with something below them.
    held = self._known.intersection(self._scopes)
    if others or held:
      for name, scope, last in zip(self._names, self._scopes, self._lasts):
        if last in others or scope in held:
          yield name, scope, last

  def _role(self, name: str, stem: str, last: str) -> Role:
    """The role of a name, unless it is called after an optimizer."""
    if name == GLOBAL_STEP:
      return Role(RoleKind.GLOBAL_STEP)
    if len(name) > _MAX_LENGTH:
      return _VARIABLE
    base, number = _number(last)
    if base in _NON_SLOTS:
      if self._shape(name) not in (None, ()):
        return _unclear(
          f"it has the shape {list(self._shapes[name])}, not that of a scalar"
        )
      return Role(RoleKind.NON_SLOT, None, base, _NON_SLOTS[base], number)
    if stem and (last in _SPELLED_SLOTS or base == _MOVING_AVERAGE):
      of, problem = self._owner(name, stem)
      if of is None:
        return _unclear(problem)
      if last not in _SPELLED_SLOTS:
        return Role(RoleKind.MOVING_AVERAGE, of)
      optimizer, slot = _SPELLED_SLOTS[last]
      return Role(RoleKind.SLOT, of, slot, optimizer)
    if last in _DEBIAS and _number(stem.rpartition("/")[2])[0] == _MOVING_AVERAGE:
      of = self._variable(stem.rpartition("/")[0])
      if of is not None:
        return Role(RoleKind.MOVING_AVERAGE, of)
    if self._is_other(name):
      return _OTHER
    keras = self._keras(name) if self._has_keras else None
    return keras or self._below_variable(name, stem, last)

  def _owner(self, name: str, stem: str) -> tuple[str | None, str]:
    """The variable that a slot or an average is of; or None, and why there is none."""
    of = self._variable(stem)
    if of is None:
      return None, f"there is no variable {stem!r}"
    problem = self._shape_problem(name, of)
    return (None, problem) if problem else (of, "")

  def _shape_problem(self, name: str, of: str) -> str:
    own, its = self._shapes.get(name), self._shapes.get(of)
    if own is None or its is None or tuple(own) == tuple(its):
      return ""
    return f"it has the shape {list(own)}, and {of!r} has {list(its)}"

  def _is_other(self, name: str) -> bool:
    if name.startswith(_GRAPH_KEY):
      return True
    # A lookup table's two tensors; an iterator's state.
    for own, other in (("-keys", "-values"), ("-values", "-keys")):
      if name.endswith(own) and name[: -len(own)] + other in self._known:
        return True
    return name.endswith("-state") and ":" in name

  def _keras(self, name: str) -> Role | None:
    parts = name.split("/")
    for i, part in enumerate(parts[:-1]):
      optimizer, number = _number(part)
      slots = _KERAS_SLOTS.get(optimizer)
      if slots is None:
        continue
      rest = parts[i + 1 :]
      if (
        len(rest) == 1
        and rest[0] in _KERAS_NON_SLOTS
        and self._shape(name) in (None, ())
      ):
        return Role(RoleKind.NON_SLOT, None, rest[0], optimizer, number, keras=True)
      if len(rest) > 1:
        for slot, of in ((rest[-1], rest[:-1]), (rest[0], rest[1:])):
          variable = self._variable("/".join(of)) if slot in slots else None
          if variable is not None and not self._shape_problem(name, variable):
            return Role(RoleKind.SLOT, variable, slot, optimizer, number, keras=True)
    return None

  def _below_variable(self, name: str, stem: str, last: str) -> Role:
    """A variable; below one of its shape it may be a slot of an unknown optimizer."""
    if (
      stem in self._known
      and last not in _DEBIAS
      and not self._shape_problem(name, stem)
      and _number(stem.rpartition("/")[2])[0] not in _SLOTS
    ):
      return _unclear(
        f"it stands below the variable {stem!r}, as a slot would of an optimizer, or a"
        f" moving average, that is called {_number(last)[0]!r}"
      )
    return _VARIABLE

  def _variable(self, stem: str) -> str | None:
    """The variable that a slot belongs to, from the text before the slot's own name."""
    if stem in self._known:  # most often
      return stem
    for candidate in _scopes_dropped(stem):
      if candidate in self._known:
        return candidate
      whole = re.sub(_PART, "", candidate)
      if whole != candidate and whole in self._known:
        return whole
    return None

  def _shape(self, name: str) -> Shape | None:
    shape = self._shapes.get(name)
    return None if shape is None else tuple(shape)


def _slot_places(
  optimizer: str, numbers: tuple[int, ...]
) -> list[tuple[str | None, int]]:
  """Which slots those are that one variable has of one kind of optimizer.

  Args:
    optimizer: what the slots are called after.
    numbers: those behind their names, in ascending order.

  Returns:
    For each number, the optimizer's name for the slot, or None where the numbers do not
    tell; and how many optimizers of that name come before.
  """
  slots: Sequence[str] = _SLOTS[optimizer]
  if optimizer == "RMSProp" and len(numbers) % 2 == 0:
    slots = tuple(slot for slot in slots if slot != "mg")
  complete = numbers == tuple(range(len(numbers))) and len(numbers) % len(slots) == 0
  # Six are three plain RMSProps or two centered ones.
  if not complete or (optimizer == "RMSProp" and len(numbers) % 6 == 0):
    return [(None, 0)] * len(numbers)
  return [(slots[n % len(slots)], n // len(slots)) for n in numbers]


def _scopes_dropped(stem: str) -> Iterator[str]:
  """`a/b/c`, then `b/c`, then `c`."""
  yield stem
  start = 0
  # No optimizer is used in more scopes, and a hostile name has thousands.
  for _ in range(_MAX_SCOPES):
    start = stem.find("/", start) + 1
    if not start:
      return
    yield stem[start:]


def _number(last: str) -> tuple[str, int]:
  """Takes the number off a name that TensorFlow made distinct: `Adam_1` is Adam, 1."""
  base, line, digits = last.rpartition("_")
  is_number = digits.isascii() and digits.isdecimal() and digits[0] != "0"
  if line and is_number and len(digits) <= _MAX_DIGITS:
    return base, int(digits)
  return last, 0


def _is_plain(last: str) -> bool:
  """Whether a name's last word says that it is a variable, unless a variable is above."""
  base, _ = _number(last)
  return not (
    last == GLOBAL_STEP
    or base in _NON_SLOTS
    or base in _SLOTS
    or last in _SPELLED_SLOTS
    or base == _MOVING_AVERAGE
    or last in _DEBIAS
    or last.endswith(("-keys", "-values", "-state"))
    or last.startswith(_GRAPH_KEY)
  )


def _unclear(reason: str) -> Role:
  return _VARIABLE._replace(unclear=reason)
