"""TensorFlow 2.21, which has no Estimator, reads this library's checkpoints.

As in tf1_15_test.py, all checkpoints are written first, and one process answers.
"""

from __future__ import annotations

import os
import shutil
import sys

import numpy as np
import pytest

import estimator_ckpt as eckpt
from tests.interop import readers, training, written

_FORMATS = ("tf2", "dual")
_CHECKPOINTS = tuple(f"{fmt} {count}" for fmt in _FORMATS for count in (1, 3))
_GOES_ON = ("tf2 1", "dual 1")
_MORE_STEPS = 3


@pytest.fixture(scope="module")
def here(tmp_path_factory):
  """Name -> the training here, by format and partitions."""
  root = tmp_path_factory.mktemp("here")
  trained = {
    f"{fmt} {count}": written.train("adam", root / f"{fmt}_{count}", fmt, count)
    for fmt in _FORMATS
    for count in (1, 3)
  }
  trained["canned"] = written.train("dnn", root / "canned", "dual")
  return trained


@pytest.fixture(scope="module")
def exported(here, tmp_path_factory):
  """Name -> the SavedModel of that training."""
  root = tmp_path_factory.mktemp("export")
  return {
    name: written.export(here[name], name.split()[0], root / name, int(name[-1]))
    for name in ("tf2 1", "dual 3")
  }


@pytest.fixture(scope="module")
def others(tmp_path_factory):
  """Name -> prefix and values of variables that the models do not have."""
  return written.save_others(tmp_path_factory.mktemp("others"))


@pytest.fixture(scope="module")
def half(tmp_path_factory):
  """Prefix and values of variables of half precision in slices."""
  return written.save_half(tmp_path_factory.mktemp("half") / "model")


@pytest.fixture(scope="module")
def answers(here, exported, others, half, interpreter, tmp_path_factory):
  """TensorFlow 2.21's answers about all of these."""
  questions = {}
  for name, trained in here.items():
    everything = written.variables(trained.values)
    model, rest = [], []
    for variable in everything:
      (rest if _is_slot(variable["name"]) else model).append(variable)
    common = {"path": trained.prefix}
    flat = {**common, "variables": everything}
    nested = {**common, "variables": model, "others": rest}
    questions[f"{name}: all"] = {"kind": "load_checkpoint", **common}
    questions[f"{name}: flat"] = {"kind": "flat", **flat}
    questions[f"{name}: nested"] = {"kind": "nested", **nested}
    for shape, arguments in (("flat", flat), ("nested", nested)):
      if name in _GOES_ON:
        directory = trained.copy(tmp_path_factory.mktemp("eager") / "model")
        questions[f"{name}: go on {shape}"] = {
          "kind": "go_on",
          **arguments,
          "model_dir": directory,
          "steps": _MORE_STEPS,
        }
  for name, path in exported.items():
    questions[f"{name}: export"] = {
      "kind": "saved_model",
      "path": path,
      "inputs": written.serving_inputs(),
    }
  for name, (prefix, values) in others.items():
    with_step = {**values, "global_step": np.array(0, np.int64)}
    questions[f"{name}: flat"] = {
      "kind": "flat",
      "path": prefix,
      "variables": written.variables(with_step),
    }
    questions[f"{name}: all"] = {"kind": "load_checkpoint", "path": prefix}
  prefix, values = half
  with_step = {**values, "global_step": np.array(0, np.int64)}
  questions["half"] = {
    "kind": "flat",
    "path": prefix,
    "variables": written.variables(with_step),
  }
  for name in ("dual 1", "tf2 3"):
    questions[f"{name}: warnings"] = _about_warnings(here[name])
  return readers.ask(
    interpreter("tf221"),
    "tf2_21_reader.py",
    tmp_path_factory.mktemp("answers"),
    questions,
  )


def _about_warnings(trained):
  variables = written.variables(trained.values)
  model = [v for v in variables if not _is_slot(v["name"])]
  return {"kind": "warnings", "path": trained.prefix, "variables": model}


@pytest.fixture(scope="module")
def answers_here(here, tmp_path_factory):
  """The warnings of this TensorFlow, 2.15."""
  questions = {"dual 1: warnings": _about_warnings(here["dual 1"])}
  directory = tmp_path_factory.mktemp("answers_here")
  return readers.ask(sys.executable, "tf2_21_reader.py", directory, questions)


@pytest.mark.parametrize(
  ("version", "name"), [("2.15", "dual 1"), ("2.21", "dual 1"), ("2.21", "tf2 3")]
)
def test_slots_cost_a_reader_of_the_model_nothing(version, name, here, request):
  """A weight is found by its scopes, though its slots make its name a scope too."""
  which = "answers_here" if version == "2.15" else "answers"
  answer = request.getfixturevalue(which)[f"{name}: warnings"]
  assert answer.facts["version"].startswith(version)
  values = here[name].values
  model = {k: v for k, v in values.items() if not _is_slot(k)}
  assert any(f"{k}/Adam" in values for k in model)
  readers.assert_equal(answer.values, model)
  assert not answer.facts["expect_partial"]
  # A reader without expect_partial() is warned once of each value outside the model, as
  # with any checkpoint that has an optimizer, and of no value of the model.
  dropped = [line for line in answer.facts["dropped"] if "could not be found" in line]
  assert len(dropped) == len(values) - len(model)
  assert all(_is_slot(line) for line in dropped)


def _is_slot(name):
  return name.endswith(("/Adam", "/Adam_1", "/Adagrad"))


_EVERY_CHECKPOINT = pytest.mark.parametrize("name", [*_CHECKPOINTS, "canned"])


@_EVERY_CHECKPOINT
def test_a_flat_var_list_is_restored_and_consumes_all(name, here, answers):
  answer = answers[f"{name}: flat"]
  readers.assert_equal(answer.values, here[name].values)
  assert answer.facts["save_counter"] == written.STEPS


@_EVERY_CHECKPOINT
def test_nested_modules_are_restored_and_with_the_rest_consume_all(name, here, answers):
  readers.assert_equal(answers[f"{name}: nested"].values, here[name].values)


@_EVERY_CHECKPOINT
def test_load_checkpoint_by_object_key(name, here, answers):
  found = answers[f"{name}: all"]
  assert not found.facts["unreadable"]
  with eckpt.open_checkpoint(here[name].prefix) as reader:
    graph = reader.object_graph
  for variable, value in here[name].values.items():
    node = graph.nodes[graph.lookup(["var_list", variable])]
    [attribute] = node.attributes
    assert attribute.full_name == variable
    # TensorFlow misnames the slots of a canned Estimator's embedding.
    assert attribute.checkpoint_key == _object_key(variable) or "/t_0/" in variable
    np.testing.assert_array_equal(found.values[attribute.checkpoint_key], value)


@pytest.mark.parametrize("name", ["dual 1", "dual 3", "canned"])
def test_load_checkpoint_by_name(name, here, answers):
  found = answers[f"{name}: all"].values
  values = here[name].values
  readers.assert_equal({key: found[key] for key in values}, values)


@pytest.mark.parametrize("name", ["tf2 1", "tf2 3"])
def test_tf2_has_no_name_but_the_step(name, here, answers):
  found = set(answers[f"{name}: all"].values)
  assert found & set(here[name].values) == {"global_step"}


def _object_key(name):
  flat = name.replace(".", "..").replace("/", ".S")
  return f"var_list/{flat}/.ATTRIBUTES/VARIABLE_VALUE"


@pytest.mark.parametrize("name", ["tf2 1", "dual 3"])
def test_an_export_predicts_the_same(name, here, answers):
  predicted = answers[f"{name}: export"].values["y"]
  np.testing.assert_allclose(predicted, here[name].predicted, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", list(written.OTHERS))
def test_whatever_else_a_variable_may_be(name, others, answers):
  _, values = others[name]
  restored = dict(answers[f"{name}: flat"].values)
  assert restored.pop("global_step") == 0
  readers.assert_equal(restored, values)
  found = answers[f"{name}: all"]
  assert not found.facts["unreadable"]
  readers.assert_equal({key: found.values[key] for key in values}, values)


def test_half_precision_in_slices(half, answers):
  _, values = half
  restored = dict(answers["half"].values)
  assert restored.pop("global_step") == 0
  readers.assert_equal(restored, values)


@pytest.fixture
def after_eager_code(answers, tmp_path):
  """`after_eager_code("dual 1", "flat")`: where eager code saved, and the values."""

  def copy(name, shape):
    answer = answers[f"{name}: go on {shape}"]
    saved = answer.facts["saved"]
    # The counter begins at the step, so no older checkpoint is overwritten.
    assert os.path.basename(saved) == f"model.ckpt-{written.STEPS + 1}"
    return shutil.copytree(os.path.dirname(saved), tmp_path / "model"), answer.values

  return copy


@pytest.mark.parametrize("shape", ["flat", "nested"])
@pytest.mark.parametrize(
  ("name", "then"), [("tf2 1", "dual"), ("dual 1", "tf2"), ("dual 1", "tf1")]
)
def test_an_estimator_goes_on_after_eager_code(name, shape, then, after_eager_code):
  directory, values = after_eager_code(name, shape)
  resumed = written.train("adam", directory, then, steps=1)
  readers.assert_equal(resumed.start, values)
  step = written.STEPS + _MORE_STEPS + 1
  assert resumed.prefix.endswith(f"model.ckpt-{step}")
  assert eckpt.detect_format(resumed.prefix).value == then


@pytest.mark.parametrize("shape", ["flat", "nested"])
def test_an_export_after_eager_code(shape, after_eager_code, tmp_path):
  directory, values = after_eager_code("dual 1", shape)
  estimator = written.estimator("adam", directory, "dual")
  exported = estimator.export_saved_model(
    str(tmp_path / "export"), training.serving_input_fn
  )
  prefix = os.path.join(exported.decode(), "variables", "variables")
  found = eckpt.open_checkpoint(prefix)
  weights = {name: values[name] for name in found}
  assert "net/embedding" in weights
  readers.assert_equal(found, weights)
