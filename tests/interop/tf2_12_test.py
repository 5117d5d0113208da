"""Plans of saves and restores, and Keras, also under TensorFlow 2.12.

It takes minutes, so it runs with `--config=full`; `smoke_test` is always run, and
`each_tensorflow_test` has the tests of training.
"""

from __future__ import annotations

import pytest

from tests.interop import suites

_FILES = (
  "tests/training/restore_plan_test.py",
  "tests/checkpoint/key_plan_test.py",
  "tests/keras/cells_test.py",
  "tests/keras/checkpoint_manager_test.py",
  "tests/keras/layers_test.py",
  "tests/keras/save_checkpoints_test.py",
)


@pytest.fixture(scope="module")
def suite(interpreter, tmp_path_factory):
  """Runs all tests in one process; holds how they ended."""
  directory = tmp_path_factory.mktemp("tf2_12")
  return suites.run(interpreter("tf212"), _FILES, directory)


@pytest.mark.parametrize("file", _FILES)
def test_it_passes(file, suite):
  suite.assert_passed(file)
