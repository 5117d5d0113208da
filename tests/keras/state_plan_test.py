"""Plans that turn one optimizer's state into another's, and the number of steps made."""

from __future__ import annotations

import numpy as np
import pytest

from estimator_ckpt import errors
from estimator_ckpt.keras.iterations import beta_power, iterations
from estimator_ckpt.keras.slot_formulas import Flavor, Optimizer
from estimator_ckpt.keras.state_plan import Exactness, plan_state

_KERAS = [Flavor.KERAS_2_LEGACY, Flavor.KERAS_2, Flavor.KERAS_3]


def _tf1(kind, **settings):
  return Optimizer(kind, Flavor.TF1, settings)


@pytest.mark.parametrize("flavor", _KERAS)
def test_momentum_takes_the_learning_rate_with_its_sign(flavor):
  keras = Optimizer("Momentum", flavor, {"learning_rate": 0.25, "momentum": 0.9})
  plan = plan_state(_tf1("Momentum"), keras)
  assert [move.scale for move in plan.moves] == [-0.25]
  assert plan.exactness is Exactness.CONVERTED
  back = plan_state(keras, _tf1("Momentum"))
  assert [move.scale for move in back.moves] == [-4.0]


def test_momentum_without_a_learning_rate_is_an_error():
  keras = Optimizer("Momentum", Flavor.KERAS_3, {"momentum": 0.9})
  with pytest.raises(errors.OptionError, match="learning rate"):
    plan_state(_tf1("Momentum"), keras)


def test_momentum_under_a_schedule_is_refused_unless_asked_for():
  settings = {"learning_rate": 0.1, "learning_rate_varies": True, "momentum": 0.9}
  keras = Optimizer("Momentum", Flavor.KERAS_2, settings)
  with pytest.raises(errors.UnsupportedCheckpointError, match="constant"):
    plan_state(_tf1("Momentum"), keras)
  plan = plan_state(_tf1("Momentum"), keras, allow_approximate=True)
  assert plan.exactness is Exactness.APPROXIMATE


@pytest.mark.parametrize("flavor", [Flavor.KERAS_2, Flavor.KERAS_3])
def test_the_epsilon_of_adagrad_goes_into_its_accumulator(flavor):
  keras = Optimizer("Adagrad", flavor, {"epsilon": 0.25})
  (move,) = plan_state(_tf1("Adagrad"), keras).moves
  value = move.apply(np.array([1.0], np.float32))
  assert value.dtype == np.float32
  np.testing.assert_array_equal(value, [0.75])


def test_another_optimizers_state_is_refused():
  with pytest.raises(errors.UnsupportedCheckpointError, match="no state of"):
    plan_state(_tf1("Adam"), Optimizer("Ftrl", Flavor.KERAS_3))


@pytest.mark.parametrize("beta", [0.5, 0.9, 0.999])
def test_a_beta_power_tells_the_steps_as_float32_multiplies_them(beta):
  power = np.float32(beta)
  for steps in range(3000):
    if float(power) > 1e-37:
      name = "beta1_power"
      assert iterations(None, {name: float(power)}, {"beta_1": beta}).value == steps
    power = np.float32(power * np.float32(beta))


def test_steps_that_disagree_are_an_error_that_says_how_to_choose():
  powers = {"beta1_power": beta_power(0.9, 5), "beta2_power": beta_power(0.999, 5)}
  with pytest.raises(errors.VariableMismatchError, match="iterations='beta_powers'"):
    iterations(100, powers)
  assert iterations(100, powers, given="beta_powers").value == 5
  assert iterations(100, powers, given="global_step").value == 100


def test_a_beta_that_is_not_the_checkpoints_is_named():
  powers = {"beta1_power": beta_power(0.8, 5)}
  with pytest.raises(errors.VariableMismatchError, match="beta_1=0.8"):
    iterations(5, powers, {"beta_1": 0.9})
