"""What every TensorFlow that trains Estimators has to do, under each of them, whole.

It takes many minutes for each, so it runs with `--config=full`. Always run are `smoke_test`,
and most of 1.15.5: `tf1_15_suites_test`.
Clusters, and jobs that are killed, are in `each_tensorflow_clusters_test`.
"""

from __future__ import annotations

import pytest

from tests.interop import suites

pytestmark = pytest.mark.no_round_trip("dtypes_and_names_test calls two things alike")


@pytest.fixture(scope="module", params=suites.TRAINERS)
def suite(request, interpreter, tmp_path_factory):
  """Runs all tests in one process; holds how they ended."""
  directory = tmp_path_factory.mktemp(request.param)
  return suites.run(interpreter(request.param), suites.TRAINING, directory)


@pytest.mark.parametrize("file", suites.TRAINING)
def test_it_passes(file, suite):
  limits = (suites.ROOT / "docs" / "versions.md").read_text()
  suite.assert_passed(file, limits)
