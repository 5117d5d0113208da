"""The plan by which the state of one optimizer becomes that of another.

A plan names the source, scale and offset of each slot; `kinds` has the formulas. Some
optimizers update weights by formulas that no stored value can reconcile. Their plan is
refused, unless the user allows an approximation.
"""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Collection
from typing import Any, Callable

from estimator_ckpt import errors
from estimator_ckpt.checkpoint.optimizers import CONVERTED, family
from estimator_ckpt.keras.slot_formulas import (
  KERAS_EPSILON,
  Flavor,
  Optimizer,
)

# An epsilon is negligible if it changes a step by at most this part of its size.
_NEGLIGIBLE = 1e-6
_SGD = {"Momentum", "GradientDescent"}
# The correction of Adam's slots may be missing where it changes steps by less.
_CORRECTED = 1e-5
# Optimizers of TensorFlow 1 whose steps do not correct the slots for their start at zero.
_UNCORRECTED = ("AdamWeightDecay", "LAMB")


class Exactness(enum.Enum):
  """How exactly a conversion keeps what state means."""

  SAME = "same"
  CONVERTED = "converted"
  APPROXIMATE = "approximate"


@dataclasses.dataclass(frozen=True)
class SlotMove:
  """How a slot of the target is made of a slot of the source.

  Attributes:
    source: the source's name of its slot, or "" for the variable itself.
    target: the target's name of its slot.
    scale: the factor of the values.
    offset: the number that is added after scaling.
  """

  source: str
  target: str
  scale: float = 1.0
  offset: float = 0.0

  @property
  def is_copy(self) -> bool:
    """Whether the values stay the same."""
    return self.scale == 1.0 and self.offset == 0.0

  def apply(self, value: Any) -> Any:
    """Scales values and adds the offset.

    Args:
      value: the source's slot: a number, or an array of any shape.

    Returns:
      The target's slot, of the same shape and data type.
    """
    if self.is_copy:
      return value
    result = value * self.scale + self.offset
    # A float32 scalar of NumPy times a Python number would be a float64.
    return result.astype(value.dtype) if hasattr(value, "dtype") else result


@dataclasses.dataclass(frozen=True)
class StatePlan:
  """How the state of one optimizer becomes that of another.

  Attributes:
    source: the optimizer that the state is of.
    target: the optimizer that continues with the state.
    moves: one move for each slot of the target that gets values.
    zeros: slots of the target that start as zeros.
    unused: slots of the source that the target does not need.
    exactness: how exactly the state keeps its meaning.
    reasons: why the state is approximate, and other notes for the user.
  """

  source: Optimizer
  target: Optimizer
  moves: tuple[SlotMove, ...]
  zeros: tuple[str, ...] = ()
  unused: tuple[str, ...] = ()
  exactness: Exactness = Exactness.SAME
  reasons: tuple[str, ...] = ()


def plan_state(
  source: Optimizer,
  target: Optimizer,
  present: Collection[str] | None = None,
  *,
  sparse: Collection[str] = (),
  smallest: Callable[[str], float] | None = None,
  steps: int = 0,
  allow_approximate: bool = False,
) -> StatePlan:
  """Plans how the state of one optimizer becomes that of another.

  Args:
    source: the optimizer that the state is of.
    target: the optimizer that continues with the state.
    present: the source's slots in the checkpoint; by default all of `source.slots`.
    sparse: names of variables with sparse gradients, such as embeddings.
    smallest: a function from a slot of the source to the smallest value in it. It is
      called only where epsilon matters; None stands for a smallest value of 0.
    steps: how many steps the source has made.
    allow_approximate: whether a plan is made for state that cannot mean exactly the
      same.

  Returns:
    The plan.

  Raises:
    UnsupportedCheckpointError: the state cannot mean the same in the target.
    OptionError: the conversion needs a setting that is not known.

  Example:
    >>> tf1 = Optimizer("Momentum", Flavor.TF1)
    >>> settings = {"learning_rate": 0.5, "momentum": 0.9}
    >>> keras = Optimizer("Momentum", Flavor.KERAS_3, settings)
    >>> plan_state(tf1, keras).moves
    (SlotMove(source='momentum', target='momentums', scale=-0.5, offset=0.0),)
  """
  if present is None:
    present = source.slots
  _check_kinds(source, target, present)
  problems = _state_problems(source, target, present)
  if not problems:
    problems += _formula_problems(source, target, sparse, smallest)
    problems += _correction_problems(source, target, steps)
  moves = _moves(source, target, present)
  extra_moves, extra_problems = _keras_extras(source, target)
  problems += extra_problems
  if problems and not allow_approximate:
    raise errors.UnsupportedCheckpointError(
      f"The state of {source} cannot mean the same in {target}:\n"
      + "".join(f"  - {problem}.\n" for problem in problems)
      + "Change the optimizer's settings, or allow an approximation "
      "(allow_approximate=True, --allow_approximate)."
    )
  exactness = Exactness.SAME
  if not all(move.is_copy for move in moves):
    exactness = Exactness.CONVERTED
  if problems:
    exactness = Exactness.APPROXIMATE
  given = {move.target for move in moves}
  used = {move.source for move in moves}
  return StatePlan(
    source,
    target,
    tuple(moves + extra_moves),
    tuple(slot for slot in target.slots if slot not in given),
    tuple(slot for slot in present if slot not in used),
    exactness,
    tuple(problems + _notes(source, target)),
  )


def _check_kinds(
  source: Optimizer, target: Optimizer, present: Collection[str]
) -> None:
  if family(source.kind) != family(target.kind):
    raise errors.UnsupportedCheckpointError(
      f"The state of {source} is no state of {target}. Make keras.optimizers."
      f"{source.keras_class}, which continues from it, or load the model without an "
      "optimizer."
    )
  flavors = CONVERTED[target.kind].flavors
  if target.flavor is not Flavor.TF1 and target.flavor.value not in flavors:
    raise errors.UnsupportedCheckpointError(
      f"{target.flavor.title} has no {target.keras_class}, which continues from "
      f"{source}. Keras {' and '.join(flavors)} {'have' if len(flavors) > 1 else 'has'} it."
    )
  optional = set(CONVERTED[source.kind].optional)
  missing = [
    s for s in source.kept if s not in optional if source.own_name(s) not in present
  ]
  if missing and {source.kind, target.kind} != _SGD:
    raise errors.UnsupportedCheckpointError(
      f"The checkpoint lacks slots of {source}: {', '.join(map(repr, missing))}. Load "
      "the model without an optimizer."
    )


def _moves(
  source: Optimizer, target: Optimizer, present: Collection[str]
) -> list[SlotMove]:
  if {source.kind, target.kind} == _SGD:
    return []
  moves = []
  for slot in target.kept:
    name = source.own_name(slot)
    if name in present:
      scale, offset = source.relation(slot)
      target_scale, target_offset = target.relation(slot)
      ratio = target_scale / scale
      own = target.own_name(slot)
      moves.append(SlotMove(name, own, ratio, target_offset - offset * ratio))
  return moves


def _state_problems(
  source: Optimizer, target: Optimizer, present: Collection[str]
) -> list[str]:
  """Lists the slots that only one of the two optimizers has."""
  if {source.kind, target.kind} == _SGD:
    keeps, lacks = (source, target) if source.kind == "Momentum" else (target, source)
    return [
      f"{keeps} has momentum and {lacks} has none"
      + (
        ", so the checkpoint's would be lost; give it the momentum= of the training"
        if keeps is source
        else "; give it momentum=0.0"
      )
    ]
  if source.kind != "RMSProp":
    return []
  problems = []
  centered = source.own_name("mg") in present
  if centered != ("mg" in target.kept):
    problems.append(
      f"the state {'is' if centered else 'is not'} that of a centered RMSProp, and "
      f"{target} has centered={not centered}; set centered={centered}"
    )
  if (
    target.flavor is not Flavor.TF1
    and "momentum" in target.kept
    and source.own_name("momentum") not in present
  ):
    problems.append(f"the state has no momentum, and {target} has; set momentum=0.0")
  return problems


def _formula_problems(
  source: Optimizer,
  target: Optimizer,
  sparse: Collection[str],
  smallest: Callable[[str], float] | None,
) -> list[str]:
  """Lists why the two make different steps from state that means the same."""
  problems = []
  if source.kind == "Momentum" and source.flavor != target.flavor:
    problems += [
      f"the learning rate of {optimizer} varies, and its momentum includes that of each "
      "step, so it can be converted only while the learning rate is constant"
      for optimizer in (source, target)
      if optimizer.flavor is not Flavor.TF1
      and optimizer.settings.get("learning_rate_varies")
    ]
  if source.epsilon_outside_root != target.epsilon_outside_root:
    problems += _epsilon_problem(source, target, smallest)
  if sparse and source.leaves_rows_alone != target.leaves_rows_alone:
    one, other = (source, target) if source.leaves_rows_alone else (target, source)
    what = "changes it in every step"
    if source.kind == "Ftrl":
      what = "sets the weights to 0 if no step has looked them up yet"
    problems.append(
      f"for rows of {_few(sparse)} that a step does not look up, {one} leaves its state "
      f"as it is, and {other} {what}"
    )
  if sparse and source.squares_parts != target.squares_parts:
    one, other = (source, target) if source.squares_parts else (target, source)
    problems.append(
      f"for rows of {_few(sparse)} that a batch looks up several times, {one} sums the "
      f"squares of their gradients, and {other} squares their sum. Pass the optimizer "
      "through estimator_ckpt.keras.sum_sparse_gradients(optimizer), so that Keras 3 "
      "squares their sum too"
    )
  return problems


def correction(steps: int, beta_1: float, beta_2: float) -> float:
  """Bounds how much Adam's correction for the start at zero changes a step.

  Args:
    steps: how many steps were made.
    beta_1: the decay of the first moment.
    beta_2: that of the second.

  Returns:
    The largest part of the size of a step by which the next one, or any later one, is
    larger or smaller without the correction.

  Example:
    >>> round(correction(9, 0.9, 0.999), 2), correction(20000, 0.9, 0.999) < 1e-8
    (0.9, True)
  """
  first, second = beta_1 ** (steps + 1), beta_2 ** (steps + 1)
  if first >= 1.0 or second >= 1.0:
    return 1.0
  return max(first / (1.0 - first), 1.0 - (1.0 - second) ** 0.5)


def _correction_problems(source: Optimizer, target: Optimizer, steps: int) -> list[str]:
  """Lists what BERT's and ALBERT's optimizers do in another way than Keras'."""
  uncorrected = [o for o in (source, target) if _is_uncorrected(o)]
  if len(uncorrected) != 1:
    return []
  [one] = uncorrected
  other = target if one is source else source
  problems = []
  if one.kind == "LAMB":
    problems.append(
      f"{one} adds weight decay to the step that it scales by norms, and {other} decays "
      "weights apart from it"
    )
    problems.append(
      f"{one} scales no variable that it excludes, such as a bias, and {other} scales "
      "every variable"
    )
  betas = [float(other.settings.get(f"beta_{n}") or b) for n, b in _BETAS.items()]
  size = correction(steps, *betas)
  if size >= _CORRECTED:
    problems.append(
      f"{other} corrects its slots for their start at zero, and {one} does not: after "
      f"{steps} steps, with beta_1={betas[0]:g} and beta_2={betas[1]:g}, that changes "
      f"steps by up to {size:.2g} of their size, and is negligible below {_CORRECTED:g}"
    )
  return problems


# Keras' defaults.
_BETAS = {1: 0.9, 2: 0.999}


def _is_uncorrected(optimizer: Optimizer) -> bool:
  return optimizer.flavor is Flavor.TF1 and optimizer.kind in _UNCORRECTED


def _few(names: Collection[str]) -> str:
  return ", ".join(sorted(names)[:3]) + (", ..." if len(names) > 3 else "")


def _epsilon_problem(
  source: Optimizer, target: Optimizer, smallest: Callable[[str], float] | None
) -> list[str]:
  outside, inside = (
    (source, target) if source.epsilon_outside_root else (target, source)
  )
  if source.kind == "RMSProp":
    problem = (
      f"without momentum, {outside} adds epsilon to a root, and {inside} takes the "
      "root of a sum with epsilon. Pass momentum=1e-30: it changes no weight, and "
      "Keras 2 legacy then uses TensorFlow 1's formula"
    )
    return [problem]
  # Accumulators only grow, so an epsilon that is negligible now stays so.
  epsilon = float(outside.settings.get("epsilon", KERAS_EPSILON))
  least = smallest(source.own_name("accumulator")) if smallest else 0.0
  change = epsilon / least**0.5 if least > 0 else float("inf")
  if change <= _NEGLIGIBLE:
    return []
  problem = (
    f"{outside} adds epsilon={epsilon:g} to the root of the accumulator, whose "
    f"smallest value is {least:g}, and so changes steps by up to {change:.1g} of their "
    "size. Pass epsilon=1e-30"
  )
  return [problem]


def _keras_extras(
  source: Optimizer, target: Optimizer
) -> tuple[list[SlotMove], list[str]]:
  """The moves of slots that only Keras has, and why they are approximate."""
  moves, problems = [], []
  if target.settings.get("amsgrad") and not source.settings.get("amsgrad"):
    legacy = target.flavor is Flavor.KERAS_2_LEGACY
    moves.append(SlotMove(source.own_name("v"), "vhat" if legacy else "_velocity_hats"))
    problems.append(
      f"with amsgrad=True, {target} keeps the largest v so far, which the checkpoint "
      "does not have; it would start from the present v"
    )
  if target.settings.get("use_ema"):
    moves.append(SlotMove("", "_model_variables_moving_average"))
    problems.append(
      f"with use_ema=True, {target} keeps moving averages of the weights; they would "
      "start from the present weights"
    )
  return moves, problems


def _notes(source: Optimizer, target: Optimizer) -> list[str]:
  notes = []
  tf1, keras = (source, target) if source.flavor is Flavor.TF1 else (target, source)
  # A checkpoint does not store it.
  default = CONVERTED[tf1.kind].tf1_epsilon
  epsilon = keras.settings.get("epsilon")
  if tf1.flavor is Flavor.TF1 and default is not None and "epsilon" not in tf1.settings:
    if epsilon is not None and epsilon != default:
      notes.append(
        f"{keras} has epsilon={epsilon:g}; {tf1} has {default:g} by default, and its "
        "checkpoints do not store it"
      )
  if tf1.flavor is Flavor.TF1 and family(tf1.kind) == "Adam":
    notes += _decay_notes(tf1, keras)
  return notes


def _decay_notes(tf1: Optimizer, keras: Optimizer) -> list[str]:
  """What a program has to set, since no checkpoint stores how weights decay."""
  decay = keras.settings.get("weight_decay")
  note = ""
  if tf1.kind == "AdamWeightDecay":
    note = (
      f"{tf1} decays weights by its weight_decay_rate, but not those that it excludes, and "
      f"BERT clips gradients: give {keras} the same, with weight_decay=, "
      "exclude_from_weight_decay() and global_clipnorm="
    )
  elif tf1.kind == "AdamW":
    note = (
      f"{tf1} subtracts weight_decay times the weights, and {keras} multiplies that by the "
      "learning rate too: pass weight_decay=weight_decay / learning_rate"
    )
  elif decay:
    note = f"{keras} decays weights by weight_decay={decay:g}, and {tf1} does not"
  return [note] if note else []
