"""A job of this library moves from TensorFlow 1.15.5 to 2.15 and back, values equal."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

import estimator_ckpt as eckpt
from tests.interop import readers

# Each format is read by the next version, in both directions.
_WAY = [
  ("tf115", "tf2"),
  (None, "tf2"),
  ("tf115", "dual"),
  (None, "dual"),
  ("tf115", "tf1"),
  (None, "tf1"),
  ("tf115", "dual"),
]
_STEPS = 2


@pytest.fixture(scope="module")
def way(interpreter, tmp_path_factory):
  """What each training of `_WAY` had at its start and at its end, by name."""
  root = tmp_path_factory.mktemp("way")
  found = []
  for number, (environment, checkpoint_format) in enumerate(_WAY):
    python = interpreter(environment) if environment else sys.executable
    values = root / f"{number}.npz"
    done = subprocess.run(
      [python, "-m", "tests.interop.moving", root / "model", checkpoint_format]
      + [str(_STEPS), values],
      cwd=readers.HERE.parent.parent,
      env=readers.environ(TF_CPP_MIN_LOG_LEVEL="3", CUDA_VISIBLE_DEVICES="-1"),
      stdin=subprocess.DEVNULL,
      stdout=subprocess.PIPE,
      stderr=subprocess.STDOUT,
      check=False,
    )
    assert done.returncode == 0, done.stdout.decode(errors="replace")[-9000:]
    assert eckpt.detect_format(root / "model").value == checkpoint_format
    assert eckpt.verify(root / "model").ok
    with np.load(values) as arrays:
      parts = {"start": {}, "end": {}}
      for key in arrays.files:
        when, _, name = key.partition("/")
        parts[when][name] = arrays[key]
    found.append(parts)
  return found


@pytest.mark.parametrize("number", range(1, len(_WAY)))
def test_a_version_begins_with_what_the_other_ended_with(way, number):
  readers.assert_equal(way[number]["start"], way[number - 1]["end"])


def test_every_training_changes_what_there_is(way):
  for number, parts in enumerate(way):
    assert parts["end"]["global_step"] == (number + 1) * _STEPS
    for name in (
      "net/kernel",
      "net/kernel/Adam",
      "net/bias/ExponentialMovingAverage",
      "table/counts",
      "table/dense",
    ):
      assert not np.array_equal(parts["start"][name], parts["end"][name]), name


def test_tables_hold_the_steps_of_both_versions(way):
  steps = len(_WAY) * _STEPS
  counts = way[-1]["end"]["table/counts"]
  assert [i for i in range(1, 20) if counts[i] == i * 10] == [*range(1, steps + 1)]
