"""Training, clusters, and jobs that are killed, under real TensorFlow 1.15.5, in dual.

BUILD has a target for each part, so that two run at the same time.
"""

from __future__ import annotations

import pytest

from tests.interop import suites

pytestmark = pytest.mark.no_round_trip("dtypes_and_names_test calls two things alike")


@pytest.fixture(scope="module")
def suite(request, interpreter, tmp_path_factory):
  """Runs all tests of a part in one process; holds how they ended."""
  files, directory = suites.PARTS[request.param], tmp_path_factory.mktemp(request.param)
  return suites.run(interpreter("tf115"), files, directory, suites.DUAL_ALONE)


@pytest.mark.parametrize(
  "suite, file",
  [
    pytest.param(part, file, id=f"{part}-{file}")
    for part, files in suites.PARTS.items()
    for file in files
  ],
  indirect=["suite"],
)
def test_it_passes(suite, file):
  limits = (suites.ROOT / "docs" / "versions.md").read_text()
  suite.assert_passed(file, limits)
