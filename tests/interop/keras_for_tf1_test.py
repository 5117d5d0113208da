"""Keras 3 under TensorFlow 2.21 trains on, and TensorFlow 1.15.5 restores each save.

The old graphs predict what Keras does. Training is stopped and resumed in Keras, and
then by an Estimator of the TensorFlow that runs this test.
"""

from __future__ import annotations

import numpy as np
import pytest

from tests.interop import readers, text_nets

_NETS = ("lstm", "encoder")
_IN_TF1, _STEPS, _SAVES, _IN_ESTIMATOR = 4, 3, 2, 2


@pytest.fixture(scope="module")
def root(tmp_path_factory):
  return tmp_path_factory.mktemp("text")


@pytest.fixture(scope="module")
def in_tf1(interpreter, root):
  """What TensorFlow 1.15.5 trained, by net."""
  questions = {
    net: {"kind": "train", "net": net, "model_dir": f"{root}/{net}", "steps": _IN_TF1}
    for net in _NETS
  }
  return readers.ask(
    interpreter("tf115"), "text_in_tf1_15.py", root / "trained", questions
  )


@pytest.fixture(scope="module")
def in_keras(in_tf1, interpreter, root):
  """What two processes of Keras found, one after the other, by net."""
  found = []
  for part in ("first", "second"):
    questions = {
      net: {
        "kind": "train",
        "net": net,
        "old": f"{root}/{net}",
        "new": f"{root}/{net}-new",
        "saves": _SAVES,
        "steps": _STEPS,
        # The encoder is saved while it trains on.
        "enable_async": net == "encoder",
        "estimator_steps": _IN_ESTIMATOR if part == "second" else 0,
      }
      for net in _NETS
    }
    found.append(
      readers.ask(interpreter("tf221"), "text_in_keras.py", root / part, questions)
    )
  return found


@pytest.fixture(scope="module")
def restored(in_keras, interpreter, root):
  """What TensorFlow 1.15.5 restores after each save, by net and number."""
  questions = {
    f"{net} {number}": {
      "kind": "restore",
      "net": net,
      "directory": f"{root}/{net}-new-at-{number}",
    }
    for net in _NETS
    for number in range(1, 2 * _SAVES + 1)
  }
  return readers.ask(
    interpreter("tf115"), "text_in_tf1_15.py", root / "restored", questions
  )


@pytest.mark.parametrize("number", range(1, 2 * _SAVES + 1))
@pytest.mark.parametrize("net", _NETS)
def test_tensorflow_1_predicts_after_each_save_what_keras_does(
  net, number, in_tf1, in_keras, restored
):
  answer = in_keras[(number - 1) // _SAVES][net]
  found = restored[f"{net} {number}"]
  assert in_tf1[net].facts["version"].startswith("1.15.")
  assert found.facts["latest"] == f"ckpt-{number}"
  np.testing.assert_allclose(
    found.values["logits"], answer.values[f"ckpt-{number}"], atol=1e-6
  )
  variables = found.part("v/")
  assert set(variables) == set(in_tf1[net].values)
  assert variables["global_step"] == _IN_TF1 + number * _STEPS
  steps = _IN_TF1 + number * _STEPS
  np.testing.assert_allclose(variables["beta2_power"], 0.999 ** (steps + 1), rtol=1e-5)
  slots = [n for n in variables if n.endswith("/Adam_1")]
  # A bias that softmax takes away, as that of keys, hardly has gradients.
  assert all(variables[n].max() > 0 for n in slots)
  assert any(not np.array_equal(variables[n], in_tf1[net].values[n]) for n in slots)


@pytest.mark.parametrize("net", _NETS)
def test_keras_resumes_where_it_stopped(net, in_keras):
  first, second = (part[net] for part in in_keras)
  assert first.facts["iterations"] == _IN_TF1 + _SAVES * _STEPS
  assert second.facts["iterations"] == _IN_TF1 + 2 * _SAVES * _STEPS
  assert first.facts["checkpoints"] == second.facts["checkpoints"] == 2


@pytest.mark.parametrize("net", _NETS)
def test_an_estimator_resumes_from_it(net, in_keras, root):
  directory = f"{root}/{net}-new"
  logits, before, latest = text_nets.restore(net, directory)
  assert latest.endswith(f"ckpt-{2 * _SAVES}")
  np.testing.assert_allclose(
    logits, in_keras[1][net].values[f"ckpt-{2 * _SAVES}"], atol=1e-6
  )
  after = text_nets.train(net, directory, _IN_ESTIMATOR)
  assert after["global_step"] == before["global_step"] + _IN_ESTIMATOR
  # Its first step needs the slots and the powers: without these it would be another.
  logits, _, _ = text_nets.restore(net, directory)
  np.testing.assert_allclose(logits, in_keras[1][net].values["end"], atol=2e-5)
