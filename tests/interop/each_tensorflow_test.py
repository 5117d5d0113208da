"""What every TensorFlow that trains Estimators has to do, under each of them, whole.

It takes minutes for each, so it runs with `--config=full`; `smoke_test` is always run.
"""

from __future__ import annotations

import pytest

from tests.interop import suites

_FILES = ("tests/training/every_tensorflow_test.py",)


@pytest.fixture(scope="module", params=["tf204", "tf208", "tf211", "tf212"])
def suite(request, interpreter, tmp_path_factory):
  """Runs all tests in one process; holds how they ended."""
  directory = tmp_path_factory.mktemp(request.param)
  return suites.run(interpreter(request.param), _FILES, directory)


@pytest.mark.parametrize("file", _FILES)
def test_it_passes(file, suite):
  suite.assert_passed(file)
