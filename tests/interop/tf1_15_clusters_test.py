"""Parameter servers, and jobs that are stopped in a save, under real TensorFlow 1.15.5.

`each_tensorflow_clusters_test` has all such tests, for `--config=full`.
"""

from __future__ import annotations

import pytest

from tests.interop import suites

_FILES = (
  "tests/cluster/parameter_servers_test.py",
  "tests/nothing_lost/training_crash_test.py",
)


@pytest.fixture(scope="module")
def suite(interpreter, tmp_path_factory):
  """Runs the tests of dual checkpoints in one process; holds how they ended."""
  directory = tmp_path_factory.mktemp("tf1_15_clusters")
  return suites.run(interpreter("tf115"), _FILES, directory, ["-k", "dual"])


@pytest.mark.parametrize("file", _FILES)
def test_it_passes(file, suite):
  limits = (suites.ROOT / "docs" / "versions.md").read_text()
  suite.assert_passed(file, limits)
