"""Training and clusters under real TensorFlow 1.15.5, in dual.

BUILD has a target for each part, so that two run at the same time. `--config=full` has
the other formats, and jobs that are killed: `each_tensorflow_test` and
`each_tensorflow_clusters_test`.
"""

from __future__ import annotations

import pytest

from tests.interop import suites

pytestmark = pytest.mark.no_round_trip("dtypes_and_names_test calls two things alike")


@pytest.fixture(scope="module")
def suite_of(interpreter, tmp_path_factory):
  """`suite_of(part)` is how its tests ended, all of which run once, in one process."""
  python = interpreter("tf115")
  ended = {}

  def run(part):
    if part not in ended:
      directory = tmp_path_factory.mktemp(part)
      ended[part] = suites.run(python, suites.PARTS[part], directory, suites.DUAL_ALONE)
    return ended[part]

  return run


@pytest.mark.parametrize(
  "part, file",
  [
    pytest.param(part, file, id=f"{part}-{file}")
    for part, files in suites.PARTS.items()
    for file in files
  ],
)
def test_it_passes(part, file, suite_of):
  limits = (suites.ROOT / "docs" / "versions.md").read_text()
  suite_of(part).assert_passed(file, limits)
