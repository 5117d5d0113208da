"""The tests for Keras 3 pass on TensorFlow 2.21: keras3_*.py, and those of tests/keras."""

from __future__ import annotations

import pytest

from tests.interop import readers, suites

_FILES = [
  "tests/keras/adam_family_test.py",
  "tests/keras/cells_test.py",
  "tests/keras/checkpoint_manager_test.py",
  "tests/keras/layer_shapes_test.py",
  "tests/keras/layers_test.py",
  "tests/keras/save_checkpoints_test.py",
  "tests/keras/partitioned_embedding_test.py",
  "tests/keras/weights_file_by_keras_test.py",
  *sorted(
    path.relative_to(suites.ROOT).as_posix()
    for path in readers.HERE.glob("keras3_*.py")
  ),
]


@pytest.fixture(scope="module")
def suite(interpreter, tmp_path_factory):
  """Runs all tests in one process; holds how they ended."""
  directory = tmp_path_factory.mktemp("keras3")
  return suites.run(interpreter("tf221"), _FILES, directory)


@pytest.mark.parametrize("file", _FILES)
def test_it_passes(file, suite):
  suite.assert_passed(file)
