"""TensorFlow 1.15.5 trains, Keras goes on, and TensorFlow 1.15.5 resumes the result.

The command line makes all conversions and name maps. The result has to equal that of
TensorFlow 1.15.5 on its own.
"""

from __future__ import annotations

import os
import shutil
import sys

import numpy as np
import pytest

from estimator_ckpt.cli import main
from tests.interop import readers, training

_IN_TF1, _IN_KERAS, _BACK = 5, 4, 3
_KERAS = ("2-legacy", "2", "3")


@pytest.fixture(scope="module")
def trained(interpreter, tmp_path_factory):
  """The directory and the values of TensorFlow 1.15.5's first training."""
  directory = str(tmp_path_factory.mktemp("tf1") / "model")
  question = _training(directory, _IN_TF1)
  answers = readers.ask(
    interpreter("tf115"),
    "tf1_15_reader.py",
    tmp_path_factory.mktemp("answers"),
    {"first": question},
  )
  return directory, answers["first"]


def _training(directory, steps):
  return {"kind": "train", "model": "adam", "model_dir": str(directory), "steps": steps}


@pytest.fixture(scope="module")
def ask_keras(interpreter, tmp_path_factory):
  """Runs keras_trainer.py in the environment of each Keras."""

  def ask(questions):
    answers = {}
    for python, names in (
      (sys.executable, ("2-legacy", "2")),
      (interpreter("tf221"), ("3",)),
    ):
      theirs = {name: {**questions[name], "keras": name} for name in names}
      directory = tmp_path_factory.mktemp("asked")
      answers.update(readers.ask(python, "keras_trainer.py", directory, theirs))
    return answers

  return ask


@pytest.fixture(scope="module")
def in_keras(trained, ask_keras, tmp_path_factory):
  """By Keras: the values it trained, and the checkpoint with them."""
  root = tmp_path_factory.mktemp("keras")
  like = {name: str(root / name / "untrained") for name in _KERAS}
  ask_keras({name: {"kind": "untrained", "path": like[name]} for name in _KERAS})
  converted = {name: str(root / name / "converted") for name in _KERAS}
  for name in _KERAS:
    _convert(
      trained[1].facts["latest"], converted[name], like[name], "tf2", f"--keras={name}"
    )
  after = {name: str(root / name / "after") for name in _KERAS}
  arrays = {"x": training.X, "id": training.IDS, "y": training.Y}
  data = {name: array.tolist() for name, array in arrays.items()}
  questions = {
    name: {
      "kind": "train",
      "data": data,
      "source": converted[name],
      "target": after[name],
      "steps": _IN_KERAS,
    }
    for name in _KERAS
  }
  answers = ask_keras(questions)
  return {name: (answers[name], after[name]) for name in _KERAS}


def _convert(source, target, like, to, *flags):
  """Makes a map, and converts with the map."""
  names = f"{target}.map"
  os.makedirs(os.path.dirname(target), exist_ok=True)
  with (
    open(names, "w", encoding="utf-8") as file,
    pytest.MonkeyPatch.context() as patch,
  ):
    patch.setattr(sys, "stdout", file)
    assert main.run(["make-map", source, like]) == 0
  argv = ["convert", source, target, f"--to={to}", f"--like={like}", *flags]
  assert main.run([*argv, f"--name_map={names}", "--optimizer=adam"]) == 0


@pytest.fixture(scope="module")
def back(trained, in_keras, interpreter, tmp_path_factory):
  """By Keras: what TensorFlow 1.15.5 resumed from it; "alone": without Keras."""
  root = tmp_path_factory.mktemp("back")
  directories = {name: root / name for name in _KERAS}
  for name, directory in directories.items():
    _convert(
      in_keras[name][1],
      f"{directory}/model.ckpt-{_IN_TF1 + _IN_KERAS}",
      trained[0],
      "tf1",
      "--optimizer_setting=epsilon=1e-8",
    )
    (directory / "checkpoint").write_text(
      f'model_checkpoint_path: "model.ckpt-{_IN_TF1 + _IN_KERAS}"\n'
    )
  alone = shutil.copytree(trained[0], root / "alone")
  questions = {name: _training(directories[name], _BACK) for name in _KERAS}
  questions["alone"] = _training(alone, _IN_KERAS + _BACK)
  return readers.ask(
    interpreter("tf115"), "tf1_15_reader.py", tmp_path_factory.mktemp("a"), questions
  )


@pytest.mark.parametrize("keras", _KERAS)
def test_keras_goes_on_and_tensorflow_1_resumes_from_it(keras, trained, in_keras, back):
  answer, _ = in_keras[keras]
  assert answer.facts["iterations"] == _IN_TF1 + _IN_KERAS
  assert answer.values["losses"][-1] < answer.values["losses"][0]
  start, alone = back[keras].part("start/"), back["alone"].part("end/")
  assert set(start) == set(trained[1].part("end/"))
  assert start["global_step"] == _IN_TF1 + _IN_KERAS
  np.testing.assert_allclose(
    back[keras].values["predicted at start"], answer.values["predicted"], atol=1e-5
  )
  end = back[keras].part("end/")
  assert end["global_step"] == alone["global_step"] == _IN_TF1 + _IN_KERAS + _BACK
  for name, value in alone.items():
    np.testing.assert_allclose(end[name], value, rtol=2e-4, atol=2e-6, err_msg=name)
  # Shows that the moments were kept: without them the weights would differ.
  assert np.abs(end["net/hidden/kernel/Adam_1"]).max() > 1e-6
