"""Clusters, and jobs that are killed, under real TensorFlow 1.15.5, in dual."""

from __future__ import annotations

import pytest

from tests.interop import suites

_FILES = suites.CLUSTERS + suites.CRASHES


@pytest.fixture(scope="module")
def suite(interpreter, tmp_path_factory):
  """Runs all tests in one process; holds how they ended."""
  directory = tmp_path_factory.mktemp("tf1_15_clusters")
  return suites.run(interpreter("tf115"), _FILES, directory, suites.DUAL_ALONE)


@pytest.mark.parametrize("file", _FILES)
def test_it_passes(file, suite):
  limits = (suites.ROOT / "docs" / "versions.md").read_text()
  suite.assert_passed(file, limits)
