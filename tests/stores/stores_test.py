"""Object stores through the clients that users have: runs what `checks/` holds."""

from __future__ import annotations

import pathlib

import pytest

from tests.interop import suites

_CHECKS = sorted(
  path.relative_to(suites.ROOT).as_posix()
  for path in pathlib.Path(__file__).parent.glob("checks/*_checks.py")
)


@pytest.fixture(scope="module")
def suite(interpreter, tmp_path_factory):
  """Runs all checks in one process; holds how they ended."""
  return suites.run(interpreter("stores"), _CHECKS, tmp_path_factory.mktemp("stores"))


def test_there_are_checks():
  assert _CHECKS


@pytest.mark.parametrize("file", _CHECKS)
def test_it_passes(file, suite):
  suite.assert_passed(file)
