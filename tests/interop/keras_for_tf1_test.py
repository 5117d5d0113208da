"""Keras 3 under TensorFlow 2.21 trains on, and TensorFlow 1.15.5 restores each save.

The old graphs predict what Keras does. Training is stopped and resumed in Keras, and
then by an Estimator of the TensorFlow that runs this test. BERT goes from its own
optimizer into Keras' AdamW, and back.
"""

from __future__ import annotations

import numpy as np
import pytest

from tests.interop import readers, text_nets

_NETS = ("lstm", "bert")
# BERT's optimizer has no correction for the start at zero, and AdamW has one.
_IN_TF1 = {"lstm": 4, "bert": 1100}
_TOO_EARLY = 20
_STEPS, _SAVES, _IN_ESTIMATOR = 5, 2, 2


@pytest.fixture(scope="module")
def root(tmp_path_factory):
  return tmp_path_factory.mktemp("text")


@pytest.fixture(scope="module")
def in_tf1(interpreter, root):
  """What TensorFlow 1.15.5 trained, by net."""
  questions = {
    f"{net} {steps}": {
      "kind": "train",
      "net": net,
      "model_dir": f"{root}/{net}",
      "steps": steps,
    }
    for net, steps in [
      ("bert", _TOO_EARLY),
      ("bert", _IN_TF1["bert"] - _TOO_EARLY),
      ("lstm", _IN_TF1["lstm"]),
    ]
  }
  for net in _NETS:
    questions[net] = {
      "kind": "restore",
      "net": net,
      "directory": f"{root}/{net}",
    }
    questions[f"{net} goes on"] = {**questions[net], "steps": _SAVES * _STEPS}
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
        # BERT is saved while it trains on.
        "enable_async": net == "bert",
        "estimator_steps": _IN_ESTIMATOR if part == "second" else 0,
      }
      for net in _NETS
    }
    if part == "first":
      questions["too early"] = {
        "kind": "refuse",
        "net": "bert",
        "checkpoint": f"{root}/bert/model.ckpt-{_TOO_EARLY}",
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
  assert found.facts["latest"] == f"ckpt-{number}"
  np.testing.assert_allclose(
    found.values["logits"], answer.values[f"ckpt-{number}"], atol=1e-6
  )
  old = in_tf1[net].part("v/")
  variables = found.part("v/")
  assert set(variables) == set(old)
  steps = _IN_TF1[net] + number * _STEPS
  assert variables["global_step"] == steps
  if net == "lstm":
    power = 0.999 ** (steps + 1)
    np.testing.assert_allclose(variables["beta2_power"], power, rtol=1e-5)
  slots = [n for n in variables if n.endswith(("/Adam_1", "/adam_v"))]
  # A bias that softmax takes away, as that of keys, hardly has gradients.
  assert slots and all(variables[n].max() > 0 for n in slots)
  assert any(not np.array_equal(variables[n], old[n]) for n in slots)


@pytest.mark.parametrize("net", _NETS)
def test_keras_begins_with_the_outputs_of_tensorflow_1(net, in_tf1, in_keras):
  assert in_tf1["bert 20"].facts["version"].startswith("1.15.")
  np.testing.assert_allclose(
    in_keras[0][net].values["start"], in_tf1[net].values["logits"], atol=1e-6
  )


@pytest.mark.parametrize("net", _NETS)
def test_ten_steps_of_keras_are_those_of_tensorflow_1(net, in_tf1, in_keras, restored):
  expected = in_tf1[f"{net} goes on"]
  losses = in_keras[0][net].values["losses"]
  assert len(losses) == _SAVES * _STEPS == 10
  np.testing.assert_allclose(losses, expected.values["losses"], rtol=1e-5)
  variables = restored[f"{net} {_SAVES}"].part("v/")
  old = expected.part("v/")
  for name, value in old.items():
    # Softmax takes the bias of keys away: its gradients are rounding.
    if "/key/bias" in name:
      continue
    limit = 1e-5 * np.abs(value).max()
    if name.endswith(("/adam_m", "/Adam")):
      # A mean of gradients may be much smaller than these. Their rounding differs from run
      # to run, since threads add numbers up in another order: up to 4e-5 was seen.
      squares = name[:-1] + "v" if name.endswith("adam_m") else f"{name}_1"
      limit = 1e-4 * np.sqrt(old[squares].max())
    elif name.endswith(("/adam_v", "/Adam_1")):
      limit = 1e-4 * value.max()
    assert np.abs(variables[name] - value).max() <= limit, name


def test_earlier_the_error_states_the_size_of_the_difference(in_keras):
  answer = in_keras[0]["too early"]
  assert "after 20 steps, with beta_1=0.9 and beta_2=0.99" in answer.facts["error"]
  assert "changes steps by up to 0." in answer.facts["error"]
  np.testing.assert_array_equal(answer.values["before"], answer.values["after"])


@pytest.mark.parametrize("net", _NETS)
def test_keras_resumes_where_it_stopped(net, in_keras):
  first, second = (part[net] for part in in_keras)
  assert first.facts["iterations"] == _IN_TF1[net] + _SAVES * _STEPS
  assert second.facts["iterations"] == _IN_TF1[net] + 2 * _SAVES * _STEPS
  assert first.facts["checkpoints"] == second.facts["checkpoints"] == 2


@pytest.mark.parametrize("net", _NETS)
def test_an_estimator_resumes_from_it(net, in_keras, root):
  directory = f"{root}/{net}-new"
  logits, _, before, latest = text_nets.restore(net, directory)
  assert latest.endswith(f"ckpt-{2 * _SAVES}")
  np.testing.assert_allclose(
    logits, in_keras[1][net].values[f"ckpt-{2 * _SAVES}"], atol=1e-6
  )
  after = text_nets.train(net, directory, _IN_ESTIMATOR)
  assert after["global_step"] == before["global_step"] + _IN_ESTIMATOR
  # Its first step needs the slots and the powers: without these it would be another.
  logits, _, _, _ = text_nets.restore(net, directory)
  np.testing.assert_allclose(logits, in_keras[1][net].values["end"], atol=2e-5)
