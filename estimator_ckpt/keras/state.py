"""Loading a checkpoint's optimizer state into a Keras optimizer."""

from __future__ import annotations

import collections
import logging
from collections.abc import Sequence
from typing import Any

import numpy as np

from estimator_ckpt import errors
from estimator_ckpt.keras import source as keras_source
from estimator_ckpt.keras.layers import Recipe
from estimator_ckpt.keras.model import (
  KerasOptimizer,
  after_build,
  assign,
  dtype_name,
  variable_path,
)
from estimator_ckpt.keras.report import OptimizerReport
from estimator_ckpt.keras.weights import WeightLoader
from estimator_ckpt.optimizers.kinds import Optimizer
from estimator_ckpt.optimizers.state import SlotMove, plan_state

_logger = logging.getLogger(__name__)


class StateLoader:
  """Loads the state of an optimizer.

  Args:
    optimizer: the optimizer.
    weights: what loads the weights of the model it trains.
    given_iterations: see `estimator_ckpt.keras.load`, as for the other arguments.
    allow_approximate: as said.
    strict: as said.
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
      UnsupportedCheckpointError: there is none, or it cannot mean the same.
      VariableMismatchError: it cannot be told which, or how many steps were made.
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
      allow_approximate=self._allow_approximate,
    )

  def _sparse(self) -> list[str]:
    return [
      path
      for layer in self._weights.model.layers()
      if layer.info.kind == "Embedding"
      for path in layer.variables
    ]

  def load(self) -> None:
    """Gives the optimizer's variables their values, now or when it makes them."""
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
    values, missing = self._values(trainable)
    if missing and self._strict:
      raise errors.VariableMismatchError(
        f"{report.checkpoint}: the state of {self._plan.source} lacks slots of "
        f"{len(missing)} variables, as if they had not been trained:\n"
        + "".join(f"  {line}\n" for line in missing)
        + "Freeze them (trainable=False), or pass strict=False to start theirs anew."
      )
    if missing:
      _logger.warning("Slots that start anew: %s", "; ".join(missing))
    for variable, value in values:
      assign(variable, value)
    count = self._optimizer.iterations
    steps = self._plan.target.settings.get("gradient_accumulation_steps") or 1
    assign(count, np.array(self._iterations.value * steps, dtype_name(count)))
    report.optimizer_pending = False
    report.optimizer = OptimizerReport.of_plan(
      self._plan, self._iterations, self._left_slots()
    )

  def _values(
    self, trainable: Sequence[Any]
  ) -> tuple[list[tuple[Any, Any]], list[str]]:
    values: list[tuple[Any, Any]] = []
    missing: list[str] = []
    used: dict[str, set[str]] = collections.defaultdict(set)
    for variable in trainable:
      recipe = self._weights.recipes.get(id(variable))
      if recipe is None:
        if self._plan.moves:
          missing.append(f"{variable_path(variable)}: it got no value itself")
        continue
      for move in self._plan.moves:
        slot = self._optimizer.slot(variable, move.target)
        if slot is None:
          continue
        value, problem = self._slot_value(move, recipe, used)
        if problem:
          missing.append(f"{variable_path(variable)}: {problem}")
        else:
          values.append((slot, value))
      for name in self._plan.zeros:
        slot = self._optimizer.slot(variable, name)
        if slot is not None:
          values.append((slot, np.zeros(tuple(slot.shape), dtype_name(slot))))
    self._used = used
    return values, missing

  def _slot_value(
    self, move: SlotMove, recipe: Recipe, used: dict[str, set[str]]
  ) -> tuple[Any, str]:
    if not move.source:
      return recipe.make(*map(self._weights.value, recipe.sources)), ""
    if recipe.make_slot is None:
      return None, recipe.no_slot
    assert self._state is not None
    keys = self._state.slots[move.source]
    lacking = [name for name in recipe.sources if name not in keys]
    if lacking:
      return None, f"no slot {move.source!r} of {', '.join(lacking)}"
    used[move.source].update(recipe.sources)
    arrays = [self._reader[keys[name]] for name in recipe.sources]
    return move.apply(recipe.make_slot(*arrays)), ""

  def _left_slots(self) -> list[str]:
    notes = []
    for name, used in self._used.items():
      left = sorted(set(self._state.slots[name]) - used) if self._state else []
      if left:
        notes.append(f"{name!r} of what is not trained is left: {', '.join(left)}")
    return notes
