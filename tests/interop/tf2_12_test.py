"""The saver's own tests pass on TensorFlow 2.12 too, the oldest that is supported."""

from __future__ import annotations

import pytest

from tests.interop import suites

_FILES = (
  "tests/stock_test.py",
  "tests/decorators_test.py",
  "tests/scaffolds_test.py",
  "tests/partitioned_test.py",
  "tests/objects_test.py",
  "tests/restore_plan_test.py",
  "tests/save_plan_test.py",
  "tests/keras/cells_test.py",
  "tests/keras/layers_test.py",
)


@pytest.fixture(scope="module")
def suite(interpreter, tmp_path_factory):
  """How they ended, all in one process."""
  directory = tmp_path_factory.mktemp("tf2_12")
  return suites.run(interpreter("tf212"), _FILES, directory)


@pytest.mark.parametrize("file", _FILES)
def test_it_passes(file, suite):
  suite.assert_passed(file)
