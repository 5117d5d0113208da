"""Both sides of a migration are compared: the TF1 checkpoint, and what Keras wrote.

Runs under Keras 2 and, from tests/interop, under Keras 3.
"""

from __future__ import annotations

import pytest

import estimator_ckpt as eckpt
import estimator_ckpt.keras
from tests.keras import proof


@pytest.mark.parametrize("ending", ["weights.h5", "keras"])
def test_what_keras_wrote_is_equal_to_what_it_was_made_of(ending, tmp_path):
  prefix, path = str(tmp_path / "m"), str(tmp_path / f"m.{ending}")
  proof.train_in_tf1(proof.CASES["gradient_descent"], prefix)
  model = proof.keras_model()
  estimator_ckpt.keras.save_weights(model, prefix, path)
  # Keras numbers layers of a class, whatever they are called.
  rules = [
    f"net/dense_{i}/{leaf}:layers/dense{f'_{i}' if i else ''}/vars/{number}"
    for i in range(3)
    for number, leaf in enumerate(("kernel", "bias"))
  ]
  found = eckpt.diff(prefix, path, name_map=rules, values=True)
  assert found.matched == 6
  assert {difference.kind.value for difference in found.differences} <= {
    "only in a",
    "only in b",
  }
  model.layers[-1].bias.assign_add([1.0, 0.0])
  model.save_weights(str(tmp_path / "n.weights.h5"))
  found = eckpt.diff(prefix, tmp_path / "n.weights.h5", name_map=rules, values=True)
  [changed] = [d for d in found.differences if d.kind.value == "values"]
  assert (changed.name, changed.changed) == ("net/dense_2/bias", 1)
