"""Clusters, and jobs that are killed, under every TensorFlow that trains Estimators.

It takes many minutes for each, so it runs with `--config=full`. Always run are
clusters under 1.15.5, in `tf1_15_suites_test`.
"""

from __future__ import annotations

import pytest

from tests.interop import suites

_FILES = suites.CLUSTERS + suites.CRASHES


@pytest.fixture(scope="module", params=suites.TRAINERS)
def suite(request, interpreter, tmp_path_factory):
  """Runs all tests in one process; holds how they ended."""
  directory = tmp_path_factory.mktemp(request.param)
  return suites.run(interpreter(request.param), _FILES, directory)


@pytest.mark.parametrize("file", _FILES)
def test_it_passes(file, suite):
  limits = (suites.ROOT / "docs" / "versions.md").read_text()
  suite.assert_passed(file, limits)
