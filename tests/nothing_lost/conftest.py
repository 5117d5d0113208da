"""Fixtures that the tests of this directory share."""

from __future__ import annotations

import itertools
import os
import pathlib
import tempfile

import pytest

from tests import trained
from tests.cluster import processes

_IN_MEMORY = "/dev/shm"


@pytest.fixture
def scratch(tmp_path):
  """A new directory, in memory if the machine allows: fsync costs nothing there.

  What was trained in there converts there and back, as in every other directory.
  """
  if not os.access(_IN_MEMORY, os.W_OK):
    yield tmp_path
    return
  with tempfile.TemporaryDirectory(dir=_IN_MEMORY, prefix="nothing_lost") as directory:
    path = pathlib.Path(directory)
    yield path
    trained.check(
      trained.new_checkpoints(path),
      (tmp_path / f"{trained.CONVERTED}{i}" for i in itertools.count()),
    )


@pytest.fixture(scope="session")
def launcher(tmp_path_factory):
  """Starts processes that have already imported TensorFlow."""
  with processes.Launcher(tmp_path_factory.mktemp("tasks")) as launcher:
    yield launcher
