"""The values of the variables of `jobs` at a step. No TensorFlow needed."""

from __future__ import annotations

import os
from collections.abc import Mapping

import numpy as np

from estimator_ckpt import open_checkpoint
from estimator_ckpt.checkpoint import layout

PARTITIONED = frozenset({"net/rows"})
# Whole numbers, so that sums are exact for millions of steps.
EACH_STEP = {
  "net/w": np.array([1, 2, 3, 5], np.float32),
  "net/w/Momentum": np.array([7, -1, 4, 2], np.float32),
  "net/rows": np.arange(10, dtype=np.float32).reshape(5, 2) + 1,
  "net/count": np.array(3, np.int64),
}


def at(step: int) -> dict[str, np.ndarray]:
  """Every variable by name, at a step."""
  found: dict[str, np.ndarray] = {"global_step": np.array(step, np.int64)}
  for name, each in EACH_STEP.items():
    found[name] = (each * (step + 1)).astype(each.dtype)
  return found


def check(found: Mapping[str, np.ndarray]) -> int:
  """Fails unless all variables exist and have, bit for bit, the values of the step.

  Args:
    found: variables by name.

  Returns:
    The step.
  """
  step = int(found["global_step"])
  expected = at(step)
  assert sorted(found) == sorted(expected)
  for name, value in expected.items():
    assert found[name].dtype == value.dtype, name
    np.testing.assert_array_equal(found[name], value, err_msg=f"{name} at step {step}")
  return step


def check_checkpoint(prefix: str | os.PathLike[str]) -> int:
  """Runs `check` on a checkpoint, for each kind of key it has; returns the step."""
  named: dict[str, np.ndarray] = {}
  objects: dict[str, np.ndarray] = {}
  with open_checkpoint(prefix) as reader:
    for key in reader:
      parsed = layout.parse_object_key(key)
      if parsed is None:
        if key != layout.OBJECT_GRAPH_KEY:
          named[key] = reader[key]
      elif parsed.path[0] == layout.VAR_LIST:
        objects[parsed.path[1]] = reader[key]
  steps = {check(found) for found in (named, objects) if len(found) > 1}
  assert len(steps) == 1, f"{prefix} holds steps {steps}"
  return steps.pop()
