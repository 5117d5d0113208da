"""The files half on Python 3.7, beside TensorFlow 1.15: its tests, whole."""

from __future__ import annotations

import pytest

from tests.interop import suites

_DIRECTORIES = ("tests/bundle", "tests/checkpoint", "tests/cli", "tests/files")
# TensorFlow 2 is the judge there, in eager code.
_ORACLE = "tests/files/offline_oracle_test.py"
# No wheel of ml-dtypes is for Python 3.7, and the environment has no shtab. Its
# google-crc32c loads pkg_resources.
_REASONS = (
  "could not import 'ml_dtypes'",
  "could not import 'shtab'",
  "its google_crc32c loads pkg_resources",
  "no file system in memory (`ram://`)",
)


@pytest.fixture(scope="module")
def suite(interpreter, tmp_path_factory):
  """Runs all tests in one process; holds how they ended."""
  directory = tmp_path_factory.mktemp("python37_files")
  # bfloat16 is that of a TensorFlow which the process has imported.
  options = [f"--ignore={_ORACLE}", "-p", "tests.tensorflows"]
  return suites.run(interpreter("tf115"), _DIRECTORIES, directory, options)


def test_what_fails_and_what_is_skipped_is_known(suite):
  reports = [report for file in suite.failed.values() for report in file.values()]
  assert not reports, "\n\n".join(reports)
  unknown = {
    (file, name): reason
    for file, skipped in suite.skipped.items()
    for name, reason in skipped.items()
    if not any(known in reason for known in _REASONS)
  }
  assert not unknown, unknown


@pytest.mark.parametrize("directory", _DIRECTORIES)
def test_hundreds_pass(directory, suite):
  passed = [
    n for file, names in suite.passed.items() if directory in file for n in names
  ]
  assert len(passed) > 100
