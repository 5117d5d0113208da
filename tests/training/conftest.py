"""What the tests of training share."""

from __future__ import annotations

import pathlib

import pytest

import estimator_ckpt as eckpt
from tests import round_trip

# A test that saves at every step has many alike.
_MOST = 4


@pytest.fixture
def every_checkpoint_converts_there_and_back(tmp_path, tmp_path_factory):
  """After a test, converts its last checkpoints to all formats and back."""
  yield
  directories: dict[pathlib.Path, list[pathlib.Path]] = {}
  for index in sorted(tmp_path.rglob("*.index")):
    directories.setdefault(index.parent, []).append(index)
  for indexes in directories.values():
    for index in indexes[-_MOST:]:
      prefix = str(index)[: -len(".index")]
      if eckpt.verify(prefix).ok:
        round_trip.check(prefix, tmp_path_factory.mktemp("converted"))
