"""The command line and the functions on files work without TensorFlow."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from estimator_ckpt import errors
from estimator_ckpt.cli import main
from tests import golden

# Python imports this first, from the first directory of its path.
_BLOCKER = """
import atexit, sys

BLOCKED = ("tensorflow", "tensorflow_estimator", "keras", "tf_keras")

class Blocker:
  def find_spec(self, name, path=None, target=None):
    if name.partition(".")[0] in BLOCKED:
      raise ImportError(f"{name} is not to be imported here")

sys.meta_path.insert(0, Blocker())
def check():
  loaded = sorted(name for name in sys.modules if name.partition(".")[0] in BLOCKED)
  if loaded:
    print("LOADED", loaded, file=sys.stderr)
atexit.register(check)
"""
_SOURCE = "tf1.15/adam_dense"
_KERAS = "tf2.15/keras2_legacy_adam"

# A command line for every command: {source}, {keras} are checkpoints, {out} a new path.
_LINES = {
  "ls": ["ls {directory}"],
  "completion": ["completion bash"],
  "inspect": [
    "inspect {source}",
    "inspect {keras} --tree",
    "inspect {keras} --values --json",
  ],
  "convert": [
    "convert {source} {out} --to=dual",
    "convert {source} {out} --to=tf2",
    "convert {keras} {out} --to=tf1",
    "convert {source} {out} --to=tf2 --keras=2-legacy --optimizer=adam",
    "convert {keras} {out} --to=tf1 --keras=2-legacy",
  ],
  "rename": ["rename {source} {out} --name_map=net/:model/"],
  "strip": ["strip {source} {out} --optimizer_state --compact"],
  "merge": ["merge {source} {keras} {out} --to=tf1 --on_clash=first"],
  "diff": ["diff {source} {source} --values"],
  "verify": ["verify {source}", "verify {keras} --json"],
  "plan-warm-start": [
    "plan-warm-start {source} --to={source}",
    "plan-warm-start {keras} --to={keras} --optimizer_state --json",
  ],
  "view": ["view {keras} -o {out} --values --json", "view {directory} -o {out}"],
  "make-map": ["make-map {keras} {keras}", "make-map {source} {source} --json"],
}
# The modules of the library that need no TensorFlow.
_FUNCTIONS = [
  "files.convert.convert",
  "files.diff.diff",
  "checkpoint.formats.detect_format",
  "files.summary.inspect_checkpoint",
  "files.merge.merge",
  "checkpoint.reader.open_checkpoint",
  "files.rename.rename",
  "files.strip.strip",
  "checkpoint.verify.verify",
]


@pytest.fixture
def blocked(tmp_path):
  """Runs Python in an environment where importing TensorFlow fails."""
  (tmp_path / "site").mkdir()
  (tmp_path / "site" / "sitecustomize.py").write_text(_BLOCKER)
  places = [str(tmp_path / "site"), *(path for path in sys.path if path)]

  def run(*arguments):
    return subprocess.run(
      [sys.executable, *arguments],
      env={**os.environ, "PYTHONPATH": os.pathsep.join(places)},
      cwd=tmp_path,
      capture_output=True,
      text=True,
      check=False,
    )

  return run


def test_the_blocker_blocks(blocked):
  result = blocked("-c", "import tensorflow")
  assert result.returncode == 1
  assert "tensorflow is not to be imported here" in result.stderr


@pytest.mark.parametrize(
  "line", [line for name in main.command_names() for line in _LINES.get(name, [])]
)
def test_every_command_runs(blocked, tmp_path, line):
  words = line.format(
    source=golden.path(_SOURCE),
    keras=golden.path(_KERAS),
    directory=golden.directory(_SOURCE),
    out=tmp_path / "out" / "m",
  ).split()
  result = blocked("-m", "estimator_ckpt", *words)
  assert result.stderr == ""
  assert result.returncode == 0
  assert result.stdout


def test_every_command_is_tried():
  assert set(_LINES) == set(main.command_names())


@pytest.mark.parametrize("name", _FUNCTIONS)
def test_the_functions_on_files_can_be_imported(blocked, name):
  module, _, function = name.rpartition(".")
  code = f"from estimator_ckpt.{module} import {function}; assert callable({function})"
  result = blocked("-c", code)
  assert result.stderr == ""


@pytest.mark.parametrize(
  "module",
  [
    "training.decorators",
    "training.scaffolds",
    "training.tensorflow_private",
    "training.tensorflow_private.savers",
    "flags",
  ],
)
def test_what_trains_says_that_tensorflow_is_missing(blocked, module):
  code = f"""
from estimator_ckpt import errors
try:
  import estimator_ckpt.{module}
except errors.MissingDependencyError as e:
  print(e)
"""
  result = blocked("-c", code)
  assert result.stderr == ""
  assert errors.tensorflow_advice() in result.stdout


def test_the_facade_for_keras_loads_none_before_a_manager_is_asked_for():
  code = (
    "import sys, estimator_ckpt.keras as keras; keras.SaveCheckpoints; "
    "sys.exit('tensorflow' in sys.modules)"
  )
  subprocess.run([sys.executable, "-c", code], check=True)
