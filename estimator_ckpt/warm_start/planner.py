"""Makes a WarmStartPlan: matches a graph's variables with a checkpoint's tensors.

A variable gets, in this order: what the assignment map gives it; for an optimizer's slot or
a moving average, the one of the tensor that its variable gets; the tensor of its name.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from estimator_ckpt import errors
from estimator_ckpt.checkpoint import roles as roles_lib
from estimator_ckpt.checkpoint.partition_strategy import check_mod
from estimator_ckpt.checkpoint.roles import Role, RoleKind
from estimator_ckpt.warm_start import assignment_map as assignment_map_lib
from estimator_ckpt.warm_start import embedding_parts
from estimator_ckpt.warm_start.assignment_map import Candidate, Entry
from estimator_ckpt.warm_start.matches import (
  LeftOut,
  Problem,
  Started,
  Target,
  mismatch,
)
from estimator_ckpt.warm_start.nearest import NearestNames
from estimator_ckpt.warm_start.options import SKIP, USE, WarmStartOptions
from estimator_ckpt.warm_start.source_tensors import (
  SourceTensor,
  SourceTensors,
  distinct,
  wholes,
)
from estimator_ckpt.warm_start.vocabulary import VocabularyChange
from estimator_ckpt.warm_start.warm_start_plan import WarmStartPlan

_BY_NAME = "same name"
_BY_PATH = "object path"
# The object paths of the step in code without variable names.
_STEP_PATHS = (roles_lib.GLOBAL_STEP, "step")


def make_plan(
  source: SourceTensors, targets: Sequence[Target], options: WarmStartOptions
) -> WarmStartPlan:
  """Plans a warm start.

  Args:
    source: what the checkpoint has.
    targets: the graph's variables.
    options: what was asked for.

  Returns:
    What is started, from what, and what is left out. It may have problems.
  """
  return _Planner(source, targets, options).plan()


class _Planner:
  """The state of making one plan."""

  def __init__(
    self, source: SourceTensors, targets: Sequence[Target], options: WarmStartOptions
  ):
    self._source = source
    self._options = options
    self._targets = {target.name: target for target in targets}
    self._roles = roles_lib.classify(
      self._targets, {t.name: t.shape for t in targets if t.shape is not None}
    )
    self._mapped = self._candidates()
    self._started: dict[str, Started] = {}
    # The tensor that a variable would get without moving_averages="use".
    self._origin: dict[str, SourceTensor] = {}
    self._left: dict[str, LeftOut] = {}
    self._problems: list[Problem] = []
    # Variables of a mapped scope that its other side lacks.
    self._missing: list[tuple[str, Entry]] = []

  def plan(self) -> WarmStartPlan:
    order = sorted(
      self._targets.values(), key=lambda t: (self._is_decided_later(t), t.name)
    )
    for target in order:
      self._decide(target)
    self._free = NearestNames(self._free_names())
    self._check_missing()
    self._check_entries()
    self._check_variables()
    self._check_state()
    self._check_vocabularies()
    strategy = self._options.partition_strategy
    in_parts = [tensor.name for tensor in self._source.tensors if tensor.row_parts]
    for text in strategy.unused(in_parts):
      self._problem("partition_strategy", text)
    if not self._started and not self._problems:
      self._problem(
        "",
        f"nothing would be started: of {len(self._targets)} variables in the graph and "
        f"{len(self._source.tensors)} tensors in the checkpoint, no two that may be "
        f"started match{self._example()}",
      )
    return WarmStartPlan(
      self._source.prefix,
      tuple(self._started[name] for name in sorted(self._started)),
      tuple(self._left[name] for name in sorted(self._left)),
      self._left_in_checkpoint(),
      tuple(self._problems),
      embedding_parts.strategy_notes(strategy, self._started.values()),
      self._options.strict,
      self._source,
      self._working_entries(),
      self._again,
    )

  def _again(self, entries: Sequence[Entry]) -> WarmStartPlan:
    options = dataclasses.replace(self._options, entries=tuple(entries))
    return make_plan(self._source, list(self._targets.values()), options)

  def _working_entries(self) -> tuple[Entry, ...]:
    working = {c.entry for name in self._started for c in self._mapped.get(name, ())}
    return tuple(entry for entry in self._options.entries if entry in working)

  def _candidates(self) -> dict[str, list[Candidate]]:
    """For each variable, the candidates of the best rank that the map gives it."""
    self._expanded = assignment_map_lib.expand(self._options.entries, self._source)
    by_target: dict[str, list[Candidate]] = {}
    for candidate in self._expanded:
      if candidate.target in self._targets and candidate.tensor.is_variable:
        by_target.setdefault(candidate.target, []).append(candidate)
    for name, candidates in by_target.items():
      best = min(candidate.rank for candidate in candidates)
      by_target[name] = [c for c in candidates if c.rank == best]
    return by_target

  def _role(self, target: Target) -> Role:
    role = self._roles[target.name]
    # A variable that an optimizer trains is not the optimizer's state, whatever its name.
    return Role(RoleKind.VARIABLE) if target.trainable else role

  def _is_decided_later(self, target: Target) -> bool:
    role = self._role(target)
    return role.of is not None or role.kind is RoleKind.NON_SLOT

  def _is_asked_for(self, role: Role) -> bool:
    """Whether an argument of its own asks for a variable, in place of `variables`."""
    if role.kind is RoleKind.NON_SLOT and self._options.optimizer_state:
      # It belongs to all slots of its optimizer. No name tells which slots these are, so
      # all slots have to be started.
      roles = map(self._role, self._targets.values())
      return all(r.of in self._started for r in roles if r.kind is RoleKind.SLOT)
    return role.kind is RoleKind.GLOBAL_STEP and self._options.global_step

  def _decide(self, target: Target) -> None:
    candidates = self._mapped.get(target.name, [])
    explicit = any(candidate.is_exact for candidate in candidates)
    reason = None if explicit else self._unwanted(target)
    if reason is not None:
      self._leave(target, reason)
      return
    if candidates:
      tensors = distinct([candidate.tensor for candidate in candidates])
      if len(tensors) > 1:
        entries = " and ".join(dict.fromkeys(str(c.entry) for c in candidates))
        self._conflict(target, tensors, f" by {entries}")
        return
      self._start(target, tensors[0], f"map {candidates[0].entry}")
      return
    role = self._role(target)
    if role.of is not None:
      found = self._follow(target, role)
      if found is not None:
        self._start(target, *found)
        return
    entry = self._mentioned(target)
    if entry is not None and role.of is None and not role.is_optimizer_state:
      self._missing_below(target, entry)
      return
    is_meant = role.of in self._started or not self._options.only_mapped
    if not is_meant and not self._is_asked_for(role):
      self._leave(target, "not in the map, and only_mapped=True", is_open=True)
      return
    self._by_name(target, role)

  def _unwanted(self, target: Target) -> str | None:
    """Why a variable is not to be started, whatever the checkpoint has."""
    role = self._role(target)
    options = self._options
    if role.of is not None and role.of in self._targets:
      if role.of not in self._started:
        return "it belongs to a variable that is not started"
    elif not self._is_selected(target.name) and not self._is_asked_for(role):
      return "not selected by variables="
    if role.kind is RoleKind.GLOBAL_STEP and not options.global_step:
      return "the step; global_step=True starts it"
    if role.is_optimizer_state and not options.optimizer_state:
      return "optimizer state; optimizer_state=True starts it"
    if role.unclear and not options.optimizer_state:
      return (
        f"it may be optimizer state ({role.unclear}); optimizer_state=True or an entry of "
        "the map for its name starts it"
      )
    if role.kind is RoleKind.MOVING_AVERAGE and options.moving_averages == SKIP:
      return 'a moving average, and moving_averages="skip"'
    return None

  def _is_selected(self, name: str) -> bool:
    patterns = self._options.variables
    return patterns is None or any(pattern.match(name) for pattern in patterns)

  def _follow(self, target: Target, role: Role) -> tuple[SourceTensor, str] | None:
    """The slot or moving average of the tensor that the variable gets."""
    origin = self._origin.get(role.of or "")
    if origin is None:
      return None
    if role.kind is RoleKind.SLOT:
      slots = [
        slot
        for slot in self._source.slots_of(origin)
        if _same_slot(slot.role, role) and slot.is_variable
      ]
      slots = distinct(slots)
      return (slots[0], f"slot of {origin.name!r}") if len(slots) == 1 else None
    average = self._source.average_of(origin)
    if not _is_average(target.name):
      return None
    if average is not None:
      return average, f"moving average of {origin.name!r}"
    # A moving average begins as the variable itself.
    return origin, f"no moving average in the checkpoint; that of {role.of!r} itself"

  def _mentioned(self, target: Target) -> Entry | None:
    """The entry for a scope that has a variable for which the checkpoint has nothing."""
    for entry in self._options.entries:
      # An entry for the root means only those variables that the checkpoint has.
      if entry.is_scope and entry.target_scope and not self._source.find(entry.text):
        if target.name.startswith(entry.target_scope):
          return entry
    return None

  def _missing_below(self, target: Target, entry: Entry) -> None:
    self._missing.append((target.name, entry))
    wanted = _below(target.name, entry)
    self._leave(target, f"{wanted!r} is not in the checkpoint", is_open=True)

  def _check_missing(self) -> None:
    for name, entry in self._missing:
      wanted = _below(name, entry)
      text = f"{name!r} is mapped to {wanted!r} by {entry}, which is not there"
      text += _hint(self._free.to(wanted))
      if self._source.find(name):
        text += f"; there is {name!r}: map that, {name!r}: {name!r}"
      self._problem(name, text)

  def _by_name(self, target: Target, role: Role) -> None:
    tensors = [t for t in self._source.find(target.name) if t.is_variable]
    if not tensors and role.kind is RoleKind.GLOBAL_STEP:
      for path in _STEP_PATHS:
        tensors = tensors or [t for t in self._source.find(path) if t.shape == ()]
    origin = self._origin.get(role.of or "")
    if role.of is not None and origin is not None and origin.name != role.of:
      # It belongs to another variable, and has the same name by chance.
      tensors = []
    if len(tensors) > 1:
      self._conflict(target, tensors, "")
    elif tensors:
      how = _BY_NAME if tensors[0].name == target.name else _BY_PATH
      self._start(target, tensors[0], how)
    elif role.of is not None:
      self._leave(target, "the checkpoint has none for its variable")
    else:
      is_open = role.kind is RoleKind.VARIABLE
      self._leave(target, "not in the checkpoint", is_open)

  def _start(self, target: Target, tensor: SourceTensor, how: str) -> None:
    tensor = tensor.joined_to(target.shape)
    role = self._role(target)
    self._origin[target.name] = tensor
    if self._options.moving_averages == USE and role.kind is RoleKind.VARIABLE:
      average = self._source.average_of(tensor)
      if average is not None:
        tensor, how = average.joined_to(target.shape), f"{how}, its moving average"
    change = self._vocabulary(target, role)
    if change is None:
      problem = mismatch(target, tensor)
    elif tensor.dtype != target.dtype:
      problem = mismatch(dataclasses.replace(target, shape=tensor.shape), tensor)
    else:
      problem = change.problem(target.shape, tensor.shape)
      problem = f"cannot take the {change}: {problem}" if problem else None
    if problem is not None:
      self._problem(target.name, f"{target.name!r} {problem}")
      self._leave(target, problem)
      return
    if change is not None:
      how = f"{how}, {change}"
    rows = embedding_parts.mod_parts(self._options.partition_strategy, tensor)
    if rows:
      check_mod(tensor.name, rows)
      how = f"{how}, {len(rows)} parts put together as 'mod'"
    self._started[target.name] = Started(target, tensor, how, change, rows)

  def _vocabulary(self, target: Target, role: Role) -> VocabularyChange | None:
    change = self._options.vocabularies.get(target.name)
    if change is None and role.of is not None:
      of = self._started.get(role.of)
      if of is not None and of.vocabulary and of.target.shape == target.shape:
        # An optimizer may begin with other values than zeros.
        return dataclasses.replace(of.vocabulary, keeps_initial=True)
    return change

  def _conflict(
    self, target: Target, tensors: Sequence[SourceTensor], by_whom: str
  ) -> None:
    names = ", ".join(repr(tensor.name) for tensor in tensors)
    if len({tensor.name for tensor in tensors}) == 1:
      names = ", ".join(repr(tensor.key) for tensor in tensors)
    self._problem(
      target.name,
      f"{target.name!r} would be started from {len(tensors)} tensors{by_whom}: {names}; "
      f"map one of them to it: 'its name': {target.name!r}",
    )
    self._leave(target, f"{len(tensors)} tensors of the checkpoint are meant: {names}")

  def _leave(self, target: Target, reason: str, is_open: bool = False) -> None:
    self._left[target.name] = LeftOut(
      target.name, reason, target.dtype, target.shape, is_open
    )

  def _problem(self, name: str, text: str) -> None:
    self._problems.append(Problem(name, text))

  def _free_names(self) -> list[str]:
    used = {item.source.location for item in self._started.values()}
    return [
      spelling.text
      for spelling in self._source.spellings()
      if spelling.tensor.is_variable and spelling.tensor.location not in used
    ]

  def _check_entries(self) -> None:
    """Reports entries of the map that give nothing to any variable."""
    hit: dict[Entry, list[Candidate]] = {}
    for candidate in self._expanded:
      hit.setdefault(candidate.entry, []).append(candidate)
    names = NearestNames(self._source.names())
    variables = NearestNames(self._targets)
    for entry in self._options.entries:
      candidates = hit.get(entry, [])
      if not candidates:
        kind = "nothing below" if entry.is_scope else "nothing called"
        near = names.to(entry.text)
        if entry.is_scope:
          near = errors.nearest(entry.text, self._scopes())
        self._problem(
          str(entry),
          f"map {entry}: the checkpoint has {kind} {entry.text!r}{_hint(near)}",
        )
      elif not any(candidate.target in self._targets for candidate in candidates):
        made = candidates[0].target
        what = f"no variable {made!r}"
        if len(candidates) > 1:
          what = f"none of the {len(candidates)} variables it makes, such as {made!r}"
        hint = _hint(variables.to(made))
        self._problem(str(entry), f"map {entry}: the graph has {what}{hint}")

  def _scopes(self) -> list[str]:
    scopes: dict[str, None] = {}
    for name in self._source.names():
      end = name.find("/") + 1
      while end:
        scopes[name[:end]] = None
        end = name.find("/", end) + 1
    return list(scopes)

  def _check_variables(self) -> None:
    """Reports entries of variables= that start nothing."""
    for pattern in self._options.variables or ():
      matched = [name for name in self._targets if pattern.match(name)]
      if any(name in self._started for name in matched):
        continue
      shown = f"variables={pattern.pattern!r}"
      if not matched:
        hint = _hint(errors.nearest(pattern.pattern, self._targets))
        self._problem(shown, f"{shown} matches no variable of the graph{hint}")
      elif not any(problem.name in matched for problem in self._problems):
        name = matched[0]
        more = f" and {len(matched) - 1} more" if len(matched) > 1 else ""
        hint = _hint(self._free.to(name))
        self._problem(
          shown,
          f"{shown} starts nothing: {name!r}{more}: {self._left[name].reason}{hint}",
        )

  def _check_state(self) -> None:
    """Reports optimizer state, or a step, that was asked for and is not there."""
    options = self._options
    kinds = {name: self._role(target).kind for name, target in self._targets.items()}
    if options.optimizer_state:
      slots = [name for name, kind in kinds.items() if kind is RoleKind.SLOT]
      started = [name for name in slots if name in self._started]
      if slots and not started and self._started:
        self._problem(
          "optimizer_state=True",
          f"optimizer_state=True: the checkpoint has no slots for the {len(slots)} of "
          f"this graph, such as {slots[0]!r}. Leave it out if they are another "
          f"optimizer's; map each if only their names are, 'its name': {slots[0]!r}",
        )
      for name, kind in kinds.items():
        if kind is RoleKind.NON_SLOT and started and name not in self._started:
          hint = _hint(self._free.to(name))
          self._problem(
            name,
            f"optimizer_state=True: {name!r} is left out ({self._left[name].reason}), and "
            "the slots that are started go with a later value of it than the initial "
            f"one. Map what has its value{hint}, 'its name': {name!r}, or leave "
            "optimizer_state=True out",
          )
    step = roles_lib.GLOBAL_STEP
    if options.global_step and step in self._targets and step not in self._started:
      if not any(problem.name == step for problem in self._problems):
        self._problem(
          step,
          f"global_step=True: the checkpoint has no step; map what it has, "
          f"'its name': {step!r}",
        )
    if options.moving_averages == USE and not self._source.has_averages:
      name, alone = "moving_averages", self._source.average_alone
      what = "no ExponentialMovingAverage of any variable"
      if alone is not None:
        what = (
          f"{alone!r}, but no variable that it is of. Leave it out, and map averages "
        )
        what += "to variables: '(.*)/ExponentialMovingAverage': r'\\1'"
      self._problem(name, f'{name}="use": the checkpoint has {what}')

  def _check_vocabularies(self) -> None:
    for name in self._options.vocabularies:
      if name in self._targets and name not in self._started:
        if not any(problem.name == name for problem in self._problems):
          self._problem(name, f"vocab_info of {name!r}: {self._left[name].reason}")
      elif name not in self._targets:
        hint = _hint(errors.nearest(name, self._targets))
        self._problem(name, f"vocab_info: the graph has no variable {name!r}{hint}")

  def _example(self) -> str:
    for name, left in self._left.items():
      if left.is_open:
        return f"; {name!r} is not there{_hint(self._free.to(name))}"
    return ""

  def _left_in_checkpoint(self) -> tuple[LeftOut, ...]:
    used = {key for item in self._started.values() for key in item.source.keys}
    locations = {item.source.location for item in self._started.values()}
    left = []
    for tensor in wholes(self._source.tensors):
      if tensor.location in locations or used.intersection(tensor.keys):
        continue
      reason = self._unused_reason(tensor)
      left.append(LeftOut(tensor.name, reason, tensor.dtype, tensor.shape))
    return tuple(left)

  def _unused_reason(self, tensor: SourceTensor) -> str:
    if not tensor.is_variable:
      return "not a variable's value"
    if tensor.role.kind is RoleKind.GLOBAL_STEP:
      return "the step"
    if tensor.role.is_optimizer_state:
      return "optimizer state"
    if tensor.role.kind is RoleKind.MOVING_AVERAGE:
      return "a moving average"
    left = self._left.get(tensor.name)
    if left is not None:
      return f"the graph's is left out: {left.reason}"
    return "nothing in the graph takes it"


def _hint(near: str | None) -> str:
  return f" (nearest: {near!r})" if near else ""


def _below(name: str, entry: Entry) -> str:
  """The name in the checkpoint that an entry for a scope gives to a variable."""
  return entry.source_scope + name[len(entry.target_scope) :]


def _is_average(name: str) -> bool:
  return name.rpartition("/")[2].startswith("ExponentialMovingAverage")


def _same_slot(one: Role, other: Role) -> bool:
  """Whether two slots are the same slot, of optimizers of one kind."""
  return (
    one.slot is not None
    and one.slot == other.slot
    and one.instance == other.instance
    and one.keras == other.keras
    and (None in (one.optimizer, other.optimizer) or one.optimizer == other.optimizer)
  )
