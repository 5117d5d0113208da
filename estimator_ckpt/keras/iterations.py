"""The number of steps that an optimizer has made, from the global step and beta powers.

After t steps, `beta1_power` of TensorFlow 1's Adam is beta1 ** (t + 1), a float32 that
each step multiplies by beta1. Keras keeps t. A power and its beta give t, up to
rounding, until the power underflows. The global step is usually the same number. It is
another one if training began with the weights of another model, or if several
optimizers share a step. Then the user has to choose: Adam's bias correction depends on
the beta powers, and a learning rate schedule on the global step.
"""

from __future__ import annotations

import dataclasses
import math
import struct
from collections.abc import Mapping
from typing import Tuple

from estimator_ckpt import errors
from estimator_ckpt.checkpoint.optimizers import CONVERTED
from estimator_ckpt.checkpoint.roles import GLOBAL_STEP

# Keras' settings and TF1's default betas, by the names of TF1's variables.
BETAS = {
  name: (setting, default)
  for kind in CONVERTED.values()
  for name, setting, default in kind.powers
}
# Below this a float32 is denormal, and kernels may flush it to zero.
_SMALLEST = 1.1754944e-38
_ROUNDING = 2.0**-24


@dataclasses.dataclass(frozen=True)
class Iterations:
  """The number of steps an optimizer has made.

  Attributes:
    value: the number of steps.
    source: the origin of the number, such as `"global_step"`, `"beta powers"` or
      `"given"`.
    note: a remark for the user, or "".
  """

  value: int
  source: str
  note: str = ""


def iterations(
  global_step: int | None,
  powers: Mapping[str, float] | None = None,
  betas: Mapping[str, float] | None = None,
  given: int | str | None = None,
) -> Iterations:
  """Finds the number of steps, and checks its sources against each other.

  Args:
    global_step: the checkpoint's global step, or None.
    powers: `beta1_power` and `beta2_power`, as far as the checkpoint has them.
    betas: `beta_1` and `beta_2`, as far as they are known. TF1's default replaces an
      unknown beta; its power is ignored if it is not a power of that default.
    given: the number of steps, or the source to use where the sources disagree:
      `"global_step"` or `"beta_powers"`.

  Returns:
    The number of steps and its source.

  Raises:
    VariableMismatchError: there is no source, the sources disagree, or the powers are
      not powers of the betas.
    OptionError: `given` is neither a number nor a source.

  Example:
    >>> iterations(3, {"beta1_power": 0.9 ** 4}).value
    3
  """
  if isinstance(given, bool) or not isinstance(given, (int, str, type(None))):
    raise errors.OptionError(f"iterations={given!r} is neither a number nor a source.")
  if isinstance(given, int):
    return Iterations(given, "given")
  if given not in (None, GLOBAL_STEP, "beta_powers"):
    raise errors.OptionError(
      f"iterations={given!r} is unknown. Pass a number, 'global_step' or 'beta_powers'."
    )
  span = _told_by_powers(powers or {}, betas or {}, global_step)
  if given == GLOBAL_STEP or span is None:
    if global_step is None:
      raise errors.VariableMismatchError(
        "The checkpoint does not tell how many steps the optimizer has made: it has no "
        f"{GLOBAL_STEP} and no usable beta powers. Pass the number as iterations=."
      )
    return Iterations(global_step, GLOBAL_STEP)
  low, high = span
  if given is None and global_step is not None:
    if low <= global_step <= high:
      return Iterations(global_step, GLOBAL_STEP, "the beta powers say the same")
    told = f"{low:g}" if low == high else f"from {low:g} to {high:g}"
    raise errors.VariableMismatchError(
      f"The global step is {global_step}, and by the beta powers the optimizer has "
      f"made {told} steps. Adam's bias correction depends on the beta powers, and a "
      "learning rate schedule on the global step. Pass iterations='beta_powers', "
      "'global_step', or a number."
    )
  if high == math.inf:
    raise errors.VariableMismatchError(
      f"The beta powers tell only that the optimizer has made at least {low:g} steps. "
      "Pass iterations= as a number."
    )
  value = round((low + high) / 2)
  slack = round(high - value)
  return Iterations(value, "beta powers", f"plus or minus {slack}" if slack else "")


def beta_power(beta: float, steps: int) -> float:
  """Computes the power of a beta that TF1's Adam keeps after a number of steps.

  Args:
    beta: the setting `beta_1` or `beta_2`; it is rounded to float32.
    steps: the number of steps that the optimizer has made.

  Returns:
    The power beta ** (steps + 1); 0 if it is too small for a float32.

  Example:
    >>> round(beta_power(0.9, 3), 4)
    0.6561
  """
  power = _float32(beta) ** (steps + 1)
  return power if power >= _SMALLEST else 0.0


def is_power(power: float, beta: float) -> bool:
  """Whether a number is a power of beta that TF1's Adam has after some steps.

  Args:
    power: the value of `beta1_power` or `beta2_power`.
    beta: the setting `beta_1` or `beta_2`.

  Returns:
    False if no number of steps gives the power; True also if the power has underflowed.

  Example:
    >>> is_power(0.9 ** 4, 0.9), is_power(0.8 ** 7, 0.9)
    (True, False)
  """
  return _span(power, beta) != _NONE


Span = Tuple[float, float]


def _told_by_powers(
  powers: Mapping[str, float], betas: Mapping[str, float], global_step: int | None
) -> Span | None:
  """The fewest and the most steps that fit all powers; None if any number does."""
  spans: dict[str, Span] = {}
  for name, power in powers.items():
    setting, default = BETAS[name]
    beta = betas.get(setting)
    span = _span(power, default if beta is None else beta)
    if beta is not None and span == _NONE:
      raise _not_a_power(name, power, setting, beta, global_step)
    if span not in (None, _NONE):
      spans[name] = span  # type: ignore[assignment]
  if not spans:
    return None
  low = max(span[0] for span in spans.values())
  high = min(span[1] for span in spans.values())
  if low > high:
    raise errors.VariableMismatchError(
      "By beta1_power and beta2_power the optimizer has made different numbers of "
      f"steps, {_listed(spans)}, so its betas were others. Give the optimizer the "
      "betas of the training, or pass iterations='global_step'."
    )
  return low, high


_NONE: Span = (math.inf, -math.inf)


def _span(power: float, beta: float) -> Span | None:
  """The fewest and the most steps that fit a power; None if any, `_NONE` if none does."""
  beta = _float32(beta)
  if not 0.0 < beta < 1.0:
    return None
  if power > 1.0 or power < 0.0:
    return _NONE
  if power < _SMALLEST:
    return math.floor(math.log(_SMALLEST) / math.log(beta)) - 1, math.inf
  steps = math.log(power) / math.log(beta) - 1
  # Each step multiplies, and so rounds once.
  slack = (steps + 3) * _ROUNDING / -math.log(beta) + 1e-6
  low, high = math.ceil(steps - slack), math.floor(steps + slack)
  return (low, high) if 0 <= high and low <= high else _NONE


def _not_a_power(
  name: str, power: float, setting: str, beta: float, global_step: int | None
) -> errors.VariableMismatchError:
  message = (
    f"The checkpoint's {name} is {power:.9g}, which is no power of the optimizer's "
    f"{setting}={beta:g}."
  )
  if global_step is not None and 0.0 < power < 1.0:
    fitting = power ** (1 / (global_step + 1))
    message += f" At global step {global_step} it is one of {setting}={fitting:.6g}."
  return errors.VariableMismatchError(
    message + f" Give the optimizer the {setting} of the training, or pass iterations=."
  )


def _listed(spans: Mapping[str, Span]) -> str:
  return " and ".join(f"{low:g} to {high:g}" for low, high in spans.values())


def _float32(value: float) -> float:
  return struct.unpack("<f", struct.pack("<f", value))[0]
