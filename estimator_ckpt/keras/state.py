"""Loading a checkpoint's optimizer state into a Keras optimizer."""

from __future__ import annotations

import collections
import logging
from collections.abc import Sequence
from typing import Any

import numpy as np

from estimator_ckpt import errors
from estimator_ckpt.keras import source as keras_source
from estimator_ckpt.keras.model import (
  KerasOptimizer,
  after_build,
  assign,
  dtype_name,
  variable_path,
)
from estimator_ckpt.keras.recipes import Recipe
from estimator_ckpt.keras.report import OptimizerReport
from estimator_ckpt.keras.slot_formulas import Optimizer
from estimator_ckpt.keras.state_plan import SlotMove, plan_state
from estimator_ckpt.keras.weights import WeightLoader

_logger = logging.getLogger(__name__)


class StateLoader:
  """Loads the state of an optimizer.

  Args:
    optimizer: the optimizer that gets the state.
    weights: the loader of the weights of the model that the optimizer trains.
    given_iterations: the number of steps that the optimizer has made, or the name of
      its source; None where both sources must agree.
    allow_approximate: whether state that cannot mean exactly the same is loaded.
    strict: whether every trainable variable must get all its slots.
  """

  def __init__(
    self,
    optimizer: KerasOptimizer,
    weights: WeightLoader,
    given_iterations: int | str | None,
    allow_approximate: bool,
    strict: bool,
  ):
    self._optimizer = optimizer
    self._weights = weights
    self._contents = weights.contents
    self._reader = weights.reader
    self._given = given_iterations
    self._allow_approximate = allow_approximate
    self._strict = strict

  def plan(self) -> None:
    """Finds the state and plans its conversion.

    Raises:
      UnsupportedCheckpointError: the checkpoint has no state of such an optimizer, or
        its state cannot mean the same.
      VariableMismatchError: several states could be meant, the number of steps is not
        certain, or a trainable variable has no slots.
    """
    target = self._optimizer.describe()
    state = keras_source.choose_state(self._contents, target)
    self._state = state
    self._iterations = keras_source.read_iterations(
      self._contents, state, self._reader, target, self._given
    )
    rate = self._optimizer.rate_after(self._iterations.value)
    if rate is not None:
      target = Optimizer(
        target.kind, target.flavor, {**target.settings, "learning_rate": rate}
      )
    source = keras_source.source_optimizer(state, self._reader, target)
    present = tuple(state.slots) if state is not None else ()
    self._plan = plan_state(
      source,
      target,
      present,
      sparse=self._sparse(),
      smallest=keras_source.smallest_of(state, self._reader),
      steps=self._iterations.value,
      allow_approximate=self._allow_approximate,
    )
    trainable = self._weights.model.trainable_variables()
    if trainable is not None and self._strict:
      # Raises before any weight is assigned. A model that is not built has to wait.
      self._check_slots(trainable)

  def _check_slots(self, trainable: Sequence[Any]) -> None:
    missing = self._missing_slots(trainable)
    if missing:
      raise errors.VariableMismatchError(
        f"{self._weights.report.checkpoint}: the state of {self._plan.source} lacks "
        "slots of these variables, as if they had not been trained:\n"
        + "".join(f"  {line}\n" for line in missing)
        + "Freeze these variables (trainable=False), or pass strict=False, which leaves "
        "their slots as they are."
      )

  def _missing_slots(self, trainable: Sequence[Any]) -> list[str]:
    """One line for each variable that does not get all its slots."""
    missing = []
    for variable in trainable:
      recipe = self._weights.recipes.get(id(variable))
      moves = self._plan.moves
      problems = dict.fromkeys(self._problem(move, recipe) for move in moves)
      problems.pop("", None)
      if problems:
        missing.append(f"{variable_path(variable)}: {'; '.join(problems)}")
    return missing

  def _problem(self, move: SlotMove, recipe: Recipe | None) -> str:
    """Why a variable of this recipe gets no slot by this move; "" if it gets one."""
    if recipe is None:
      return "the variable itself got no value"
    if not move.source:
      return ""
    assert self._state is not None
    return recipe.missing_slot(move.source, self._state.slots[move.source])

  def _sparse(self) -> list[str]:
    return [
      path
      for layer in self._weights.model.layers()
      if layer.info.kind == "Embedding"
      for path in layer.variables
    ]

  def load(self) -> None:
    """Assigns the optimizer's variables, now or as soon as the optimizer makes them."""
    optimizer = self._optimizer
    trainable = self._weights.model.trainable_variables()
    if trainable is None:
      self._weights.report.optimizer_pending = True
      after_build(optimizer.optimizer, optimizer.build_method, self._assign)
    else:
      getattr(optimizer.optimizer, optimizer.build_method)(trainable)
      self._assign()

  def _assign(self) -> None:
    report = self._weights.report
    trainable = list(self._weights.model.model.trainable_variables)
    if self._strict:
      self._check_slots(trainable)
    else:
      missing = self._missing_slots(trainable)
      if missing:
        _logger.warning("Slots that keep the values they have: %s", "; ".join(missing))
    values = self._values(trainable)
    for variable, value in values:
      assign(variable, value)
    count = self._optimizer.iterations
    steps = self._plan.target.settings.get("gradient_accumulation_steps") or 1
    assign(count, np.array(self._iterations.value * steps, dtype_name(count)))
    report.optimizer_pending = False
    report.optimizer = OptimizerReport.of_plan(
      self._plan, self._iterations, self._left_slots()
    )

  def _values(self, trainable: Sequence[Any]) -> list[tuple[Any, Any]]:
    values: list[tuple[Any, Any]] = []
    used: dict[str, set[str]] = collections.defaultdict(set)
    for variable in trainable:
      recipe = self._weights.recipes.get(id(variable))
      if recipe is None:
        continue
      for move in self._plan.moves:
        slot = self._optimizer.slot(variable, move.target)
        if slot is not None and not self._problem(move, recipe):
          values.append((slot, self._slot_value(move, recipe)))
          used[move.source].update(recipe.sources)
      for name in self._plan.zeros:
        slot = self._optimizer.slot(variable, name)
        if slot is not None:
          values.append((slot, np.zeros(tuple(slot.shape), dtype_name(slot))))
    used.pop("", None)
    self._used = used
    return values

  def _slot_value(self, move: SlotMove, recipe: Recipe) -> Any:
    if not move.source:
      return recipe.make(*map(self._weights.value, recipe.sources))
    assert self._state is not None and recipe.make_slot is not None
    keys = self._state.slots[move.source]
    arrays = [self._reader[keys[name]] for name in recipe.sources]
    return move.apply(recipe.make_slot(*arrays))

  def _left_slots(self) -> list[str]:
    notes = []
    for name, used in self._used.items():
      left = sorted(set(self._state.slots[name]) - used) if self._state else []
      if left:
        notes.append(f"not loaded: slot {name!r} of frozen {', '.join(left)}")
    return notes
