"""Training under real TensorFlow 1.15.5: tests that hold under every TensorFlow."""

from __future__ import annotations

import pytest

from tests.interop import suites

_FILES = (
  "tests/training/every_tensorflow_test.py",
  "tests/training/savers_test.py",
)


@pytest.fixture(scope="module")
def suite(interpreter, tmp_path_factory):
  """Runs all tests in one process; holds how they ended."""
  directory = tmp_path_factory.mktemp("tf1_15_training")
  return suites.run(interpreter("tf115"), _FILES, directory)


@pytest.mark.parametrize("file", _FILES)
def test_it_passes(file, suite):
  suite.assert_passed(file)
