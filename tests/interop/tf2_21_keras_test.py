"""The tests that need Keras 3 pass on TensorFlow 2.21: the files keras3_*.py here."""

from __future__ import annotations

import pytest

from tests.interop import readers, suites

_FILES = sorted(
  path.relative_to(suites.ROOT).as_posix() for path in readers.HERE.glob("keras3_*.py")
)


@pytest.fixture(scope="module")
def suite(interpreter, tmp_path_factory):
  """How they ended, all in one process."""
  directory = tmp_path_factory.mktemp("keras3")
  return suites.run(interpreter("tf221"), _FILES, directory)


@pytest.mark.parametrize("file", _FILES)
def test_it_passes(file, suite):
  suite.assert_passed(file)
