"""The page of `estimator-ckpt view` in a real Chromium: runs what `checks/` holds."""

from __future__ import annotations

import pathlib

import pytest

from tests.browser import chromium
from tests.interop import suites

_CHECKS = sorted(
  path.relative_to(suites.ROOT).as_posix()
  for path in pathlib.Path(__file__).parent.glob("checks/*_checks.py")
)


@pytest.fixture(scope="module")
def suite(interpreter, tmp_path_factory):
  """Runs all checks in one process; holds how they ended."""
  if chromium.find() is None:
    pytest.skip("this machine has no Chromium; on Debian: apt-get install chromium")
  return suites.run(interpreter("browser"), _CHECKS, tmp_path_factory.mktemp("page"))


def test_there_are_checks():
  assert len(_CHECKS) > 1


@pytest.mark.parametrize("file", _CHECKS)
def test_it_passes(file, suite):
  suite.assert_passed(file)
