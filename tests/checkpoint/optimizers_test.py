"""The table of optimizers: every consumer reads it."""

from __future__ import annotations

import pytest

from estimator_ckpt import errors
from estimator_ckpt.checkpoint import roles
from estimator_ckpt.checkpoint.optimizers import CONVERTED, OPTIMIZERS, OptimizerKind
from estimator_ckpt.keras.slot_formulas import Flavor, Optimizer, parse_kind
from estimator_ckpt.keras.state_plan import plan_state


def test_no_name_stands_for_two():
  for attribute in ("tf1", "keras"):
    names = [getattr(kind, attribute) for kind in OPTIMIZERS]
    # Several may continue in one class of Keras: SGD is Momentum too.
    shared = {"SGD", "Adam", "AdamW"} if attribute == "keras" else set()
    names = [name for name in names if name and name not in shared]
    assert len(set(names)) == len(names)
  words = [word for kind in OPTIMIZERS for _, word in kind.spelled]
  assert len(set(words)) == len(words)


@pytest.mark.parametrize("kind", OPTIMIZERS, ids=lambda kind: kind.tf1 or kind.keras)
def test_the_slots_of_each_are_recognised_by_their_names(kind: OptimizerKind):
  suffixes = dict(kind.spelled)
  for number, slot in enumerate(kind.tf1_slots):
    suffixes[slot] = f"{kind.tf1}_{number}" if number else kind.tf1
  names = {slot: f"net/w/{suffix}" for slot, suffix in suffixes.items()}
  found = roles.classify(["net/w", *names.values()])
  for slot, name in names.items():
    assert (found[name].optimizer, found[name].slot) == (kind.tf1, slot)
    assert found[name].of == "net/w"
  for word in kind.keras_2_words:
    name = f"{kind.keras}/{word}/net/w"
    role = roles.classify(["net/w", name])[name]
    assert (role.keras, role.optimizer, role.slot) == (True, kind.keras, word)


@pytest.mark.parametrize("kind", CONVERTED.values(), ids=lambda kind: kind.tf1)
@pytest.mark.parametrize(
  "flavor", [Flavor.KERAS_2_LEGACY, Flavor.KERAS_2, Flavor.KERAS_3]
)
def test_the_state_of_each_that_converts_becomes_keras_and_comes_back(kind, flavor):
  assert parse_kind(kind.tf1, []) == kind.tf1
  settings = {"learning_rate": 0.5, "momentum": 0.9, "centered": True}
  tf1 = Optimizer(kind.tf1, Flavor.TF1, {"centered": True})
  keras = Optimizer(kind.tf1, flavor, {**settings, "sums_sparse_gradients": True})
  assert keras.keras_class == kind.keras
  if flavor.value not in kind.flavors:
    with pytest.raises(errors.UnsupportedCheckpointError, match=f"no {kind.keras}, "):
      plan_state(tf1, keras, tf1.slots)
    return
  assert set(tf1.slots) == {slot.tf1 for slot in kind.slots}
  # ALBERT's LAMB always differs in its formula; the slots are the same.
  options = {"smallest": _one, "steps": 20000, "allow_approximate": kind.tf1 == "LAMB"}
  there = {m.target: m for m in plan_state(tf1, keras, tf1.slots, **options).moves}
  back = {m.target: m for m in plan_state(keras, tf1, keras.slots, **options).moves}
  for slot in kind.slots:
    moved = there[keras.own_name(slot.tf1)]
    assert moved.source == slot.tf1
    assert back[slot.tf1].apply(moved.apply(0.25)) == pytest.approx(0.25)


def _one(slot: str) -> float:
  """The smallest value of every slot."""
  del slot
  return 1.0
