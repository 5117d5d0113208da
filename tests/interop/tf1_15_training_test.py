"""Training under real TensorFlow 1.15.5: tests that hold under every TensorFlow."""

from __future__ import annotations

import pytest

from tests.interop import suites


@pytest.fixture(scope="module")
def suite(interpreter, tmp_path_factory):
  """Runs all tests in one process; holds how they ended."""
  directory = tmp_path_factory.mktemp("tf1_15_training")
  return suites.run(interpreter("tf115"), suites.TRAINING_IN_CI, directory)


@pytest.mark.parametrize("file", suites.TRAINING_IN_CI)
def test_it_passes(file, suite):
  limits = (suites.ROOT / "docs" / "versions.md").read_text()
  suite.assert_passed(file, limits)
