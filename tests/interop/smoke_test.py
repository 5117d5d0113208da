"""Each TensorFlow that trains Estimators resumes, saves and is resumed: in brief.

`each_tensorflow_test` has the whole suite, for `--config=full`.
"""

from __future__ import annotations

import pytest

from tests.interop import suites

_FILE = "tests/training/every_tensorflow_test.py"
_TESTS = (
  "test_a_decorated_estimator_resumes_what_the_plain_one_wrote[dual]",
  "test_the_plain_estimator_resumes_it[dual]",
)


@pytest.mark.parametrize("environment", ["tf204", "tf208", "tf211", "tf212"])
def test_it_trains(environment, interpreter, tmp_path):
  python = interpreter(environment)
  suite = suites.run(python, [f"{_FILE}::{test}" for test in _TESTS], tmp_path)
  suite.assert_passed(_FILE)
  assert suite.passed[_FILE] == list(_TESTS)
