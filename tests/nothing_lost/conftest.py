"""Fixtures that the tests of this directory share."""

from __future__ import annotations

import os
import pathlib
import tempfile

import pytest

from tests.cluster import processes

_IN_MEMORY = "/dev/shm"


@pytest.fixture
def scratch(tmp_path):
  """A new directory, in memory if the machine allows: fsync costs nothing there."""
  if not os.access(_IN_MEMORY, os.W_OK):
    yield tmp_path
    return
  with tempfile.TemporaryDirectory(dir=_IN_MEMORY, prefix="nothing_lost") as directory:
    yield pathlib.Path(directory)


@pytest.fixture(scope="session")
def launcher(tmp_path_factory):
  """Starts processes that have already imported TensorFlow."""
  with processes.Launcher(tmp_path_factory.mktemp("tasks")) as launcher:
    yield launcher
