"""TensorFlow 1.15.5 reads this library's checkpoints, and trains on from them.

All checkpoints are written first; one process of TensorFlow 1.15.5 then answers all
questions, and each test checks its answers.
"""

from __future__ import annotations

import pathlib
import re

import numpy as np
import pytest

from estimator_ckpt.files.convert import convert
from tests.interop import readers, training, written

_COUNTS = (1, 2, 3, 5)
_FORMATS = ("tf1", "dual")
_MORE_STEPS = 4
# A checkpoint, and the number of slices in the Estimator that goes on from it.
_GOES_ON = (("tf1 3", 3), ("dual 1", 1), ("dual 1", 2), ("dual 3", 3), ("dual 3", 2))


@pytest.fixture(scope="module")
def here(tmp_path_factory):
  """Name -> the training here, by format, partitions or canned model."""
  root = tmp_path_factory.mktemp("here")
  return {
    f"{fmt} {count}": written.train("adam", root / f"{fmt}_{count}", fmt, count)
    for fmt, count in (("tf1", 1), ("tf1", 3), ("dual", 1), ("dual", 3), ("tf2", 3))
  }


@pytest.fixture(scope="module")
def canned(tmp_path_factory):
  """Name -> the training of each canned Estimator here."""
  root = tmp_path_factory.mktemp("canned")
  return {
    model: written.train(model, root / model, "dual", partitions=2)
    for model in training.CANNED
  }


# A model_dir, and the format of all its converted checkpoints.
_CONVERTED = (("tf2 3", "tf1"), ("tf2 3", "dual"), ("tf1 3", "dual"), ("dual 1", "tf1"))


@pytest.fixture(scope="module")
def converted(here, tmp_path_factory):
  """(name, format) -> the model_dir, converted without TensorFlow."""
  root = tmp_path_factory.mktemp("converted")
  directories = {}
  for name, to in _CONVERTED:
    directories[name, to] = str(root / f"{name} {to}")
    convert(here[name].directory, directories[name, to], to)
  return directories


@pytest.fixture(scope="module")
def exported(here, tmp_path_factory):
  """The SavedModel of the dual model_dir in three slices."""
  return written.export(here["dual 3"], "dual", tmp_path_factory.mktemp("export"), 3)


@pytest.fixture(scope="module")
def others(tmp_path_factory):
  """Name -> prefix and values of variables that the models do not have."""
  return written.save_others(tmp_path_factory.mktemp("others"))


@pytest.fixture(scope="module")
def half(tmp_path_factory):
  """Prefix and values of variables of half precision in slices."""
  return written.save_half(tmp_path_factory.mktemp("half") / "model")


@pytest.fixture(scope="module")
def answers(
  here, canned, converted, exported, others, half, interpreter, tmp_path_factory
):
  """TensorFlow 1.15.5's answers about all of these."""
  python = interpreter("tf115")
  copies = tmp_path_factory.mktemp("copies")
  questions = {}
  for name in (f"{fmt} {count}" for fmt in _FORMATS for count in (1, 3)):
    trained = here[name]
    questions[f"{name}: all"] = {"kind": "load_checkpoint", "path": trained.prefix}
    for count in _COUNTS:
      slices = written.in_slices(trained.values, count)
      questions[f"{name}: saver {count}"] = {
        "kind": "saver",
        "prefix": trained.prefix,
        "variables": written.variables(trained.values, partitions=slices),
        "resource": count == 2,
      }
    questions[f"{name}: init"] = {
      "kind": "init_from_checkpoint",
      "path": trained.directory,
      "assignment_map": {"net/": "new/scope/"},
      "variables": _renamed_variables(trained),
    }
  for name, count in _GOES_ON:
    questions[f"{name}: train {count}"] = _train(
      here[name], copies / f"{name} {count}", count
    )
  for (name, to), directory in converted.items():
    questions[f"{name} {to}: train"] = {
      "kind": "train",
      "model": "adam",
      "model_dir": directory,
      "steps": 1,
      "partitions": int(name[-1]),
    }
  for model in training.CANNED:
    questions[f"{model}: train"] = _train(canned[model], copies / model, 2)
    questions[f"{model}: all"] = {
      "kind": "load_checkpoint",
      "path": canned[model].prefix,
    }
  questions["warm start"] = {
    "kind": "warm_start",
    "model_dir": str(copies / "warm"),
    "warm_start_from": here["dual 3"].directory,
    "variables": ["net/.*"],
    "partitions": 2,
  }
  bundle = str(pathlib.Path(exported, "variables", "variables"))
  weights = _weights(here["dual 3"].values)
  for count in (1, 2):
    slices = written.in_slices(weights, count)
    questions[f"export: saver {count}"] = {
      "kind": "saver",
      "prefix": bundle,
      "variables": written.variables(weights, partitions=slices),
    }
  questions["export: all"] = {"kind": "load_checkpoint", "path": bundle}
  for name, (prefix, values) in others.items():
    questions[f"{name}: saver"] = {
      "kind": "saver",
      "prefix": prefix,
      "variables": written.variables(values),
      "in_var_list": True,
    }
    questions[f"{name}: all"] = {"kind": "load_checkpoint", "path": prefix}
  prefix, values = half
  for count, partitions in _HALF.items():
    questions[f"half: {count}"] = {
      "kind": "saver",
      "prefix": prefix,
      "variables": written.variables(values, partitions, partitions),
      "in_var_list": True,
    }
  return readers.ask(
    python, "tf1_15_reader.py", tmp_path_factory.mktemp("answers"), questions
  )


# No version joins slices of float16, so float16 keeps its saved slices.
_HALF = {
  "as saved": written.HALF_PARTITIONS,
  "another": {"bfloat16/rows": [2, 1], "bfloat16/columns": None},
}


def _train(trained, directory, partitions):
  return {
    "kind": "train",
    "model": trained.model,
    "model_dir": trained.copy(directory),
    "steps": _MORE_STEPS,
    "partitions": partitions,
  }


def _weights(values):
  """The values that an export has: no slots, no step."""
  return {
    name: value
    for name, value in values.items()
    if name.startswith("net/") and not name.endswith(("/Adam", "/Adam_1"))
  } | {"global_step": values["global_step"]}


def _renamed(trained):
  return {
    "new/scope/" + name[len("net/") :]: value
    for name, value in trained.values.items()
    if name.startswith("net/")
  }


def _renamed_variables(trained):
  renamed = _renamed(trained)
  return written.variables(renamed, partitions={"new/scope/embedding": [2, 1]})


_EVERY_CHECKPOINT = pytest.mark.parametrize(
  "name", [f"{fmt} {count}" for fmt in _FORMATS for count in (1, 3)]
)


@_EVERY_CHECKPOINT
def test_load_checkpoint_reads_every_name(name, here, answers):
  values = here[name].values
  found = answers[f"{name}: all"].values
  readers.assert_equal({key: found[key] for key in values}, values)


@pytest.mark.parametrize("name", ["dual 1", "dual 3"])
def test_load_checkpoint_reads_every_object_key(name, here, answers):
  found = answers[f"{name}: all"].values
  for variable, value in here[name].values.items():
    flat = variable.replace(".", "..").replace("/", ".S")
    key = f"var_list/{flat}/.ATTRIBUTES/VARIABLE_VALUE"
    np.testing.assert_array_equal(found[key], value, err_msg=key)


@_EVERY_CHECKPOINT
@pytest.mark.parametrize("count", _COUNTS)
def test_a_saver_with_any_partition_count_restores_all(name, count, here, answers):
  found = answers[f"{name}: saver {count}"].values
  readers.assert_equal(found, here[name].values)


@_EVERY_CHECKPOINT
def test_init_from_checkpoint_maps_scopes(name, here, answers):
  readers.assert_equal(answers[f"{name}: init"].values, _renamed(here[name]))


@pytest.mark.parametrize(("name", "count"), _GOES_ON)
def test_a_plain_estimator_starts_from_weights_slots_and_step(
  name, count, here, answers
):
  answer = answers[f"{name}: train {count}"]
  start = answer.part("start/")
  readers.assert_equal(start, here[name].values)
  assert any(np.any(start[key]) for key in start if key.endswith("/Adam"))
  np.testing.assert_allclose(
    answer.values["predicted at start"], here[name].predicted, rtol=1e-5, atol=1e-6
  )


@pytest.mark.parametrize(("name", "count"), _GOES_ON)
def test_a_plain_estimator_goes_on_in_the_same_model_dir(name, count, here, answers):
  answer = answers[f"{name}: train {count}"]
  end = answer.part("end/")
  assert end["global_step"] == written.STEPS + _MORE_STEPS
  assert answer.facts["found"].endswith(f"model.ckpt-{written.STEPS}")
  assert answer.facts["latest"].endswith(f"model.ckpt-{end['global_step']}")
  changed = [key for key in end if np.any(end[key] != here[name].values[key])]
  assert {"net/embedding", "net/wide/Adam_1", "net/norm/moving_mean"} <= set(changed)


@pytest.mark.parametrize("count", [1, 3])
def test_training_goes_on_as_it_would_have_here(count, here, answers, tmp_path):
  name = f"dual {count}"
  directory = here[name].copy(tmp_path / "model")
  stayed = written.train("adam", directory, None, count, _MORE_STEPS)
  moved = answers[f"{name}: train {count}"].part("end/")
  assert sorted(moved) == sorted(stayed.values)
  for key, value in stayed.values.items():
    np.testing.assert_allclose(moved[key], value, rtol=1e-4, atol=1e-6, err_msg=key)


@pytest.mark.parametrize(("name", "to"), _CONVERTED)
def test_a_plain_estimator_goes_on_in_a_converted_model_dir(name, to, here, answers):
  answer = answers[f"{name} {to}: train"]
  readers.assert_equal(answer.part("start/"), here[name].values)
  np.testing.assert_allclose(
    answer.values["predicted at start"], here[name].predicted, rtol=1e-5, atol=1e-6
  )
  assert answer.values["end/global_step"] == written.STEPS + 1


@pytest.mark.parametrize("model", list(training.CANNED))
def test_a_canned_estimator_goes_on(model, canned, answers):
  answer = answers[f"{model}: train"]
  trained = canned[model]
  readers.assert_equal(answer.part("start/"), trained.values)
  np.testing.assert_allclose(
    answer.values["predicted at start"], trained.predicted, rtol=1e-5, atol=1e-6
  )
  assert answer.values["end/global_step"] == written.STEPS + _MORE_STEPS
  assert np.any(answer.values["predicted"] != answer.values["predicted at start"])


@pytest.mark.parametrize("model", list(training.CANNED))
def test_load_checkpoint_reads_every_name_of_a_canned_one(model, canned, answers):
  answer = answers[f"{model}: all"]
  # TensorFlow misnames slots in the scopes of canned Estimators: each slice is recorded
  # as part of a tensor of its own, whose other parts are missing.
  slots = re.compile(r"(^|.*/)embedding_weights/t_\d/Adagrad(/.*)?$")
  assert all(slots.match(key.replace(".S", "/")) for key in answer.facts["unreadable"])
  assert bool(answer.facts["unreadable"]) == (model == "dnn")
  readable = {k: v for k, v in canned[model].values.items() if not slots.match(k)}
  assert len(readable) >= 10
  readers.assert_equal({key: answer.values[key] for key in readable}, readable)


def test_a_plain_estimator_is_warm_started(here, answers):
  start = answers["warm start"].values
  values = here["dual 3"].values
  named = {name: value for name, value in values.items() if name.startswith("net/")}
  readers.assert_equal({name: start[name] for name in named}, named)
  assert start["global_step"] == 0


@pytest.mark.parametrize("count", [1, 2])
def test_an_exports_variables_are_read_by_a_saver(count, here, answers):
  found = answers[f"export: saver {count}"].values
  readers.assert_equal(found, _weights(here["dual 3"].values))
  assert set(answers["export: all"].values) == set(found)


@pytest.mark.parametrize("name", list(written.OTHERS))
def test_whatever_else_a_variable_may_be(name, others, answers):
  _, values = others[name]
  readers.assert_equal(answers[f"{name}: saver"].values, values)
  found = answers[f"{name}: all"].values
  readers.assert_equal({key: found[key] for key in values}, values)


@pytest.mark.parametrize("count", list(_HALF))
def test_half_precision_in_slices(count, half, answers):
  _, values = half
  wanted = {name: values[name] for name in _HALF[count]}
  readers.assert_equal(answers[f"half: {count}"].values, wanted)
