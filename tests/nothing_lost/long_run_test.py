"""Many saves in one process; tests/stress/long_run_stress.py saves 10,000 times."""

from __future__ import annotations

import pytest

from tests.nothing_lost import killing

_SAVES = 300


@pytest.mark.parametrize("checkpoint_format", ["dual", "separate", "asynchronous"])
def test_nothing_grows(checkpoint_format, launcher, scratch):
  model_dir = str(scratch / "model")
  seen = launcher.start(
    "job",
    "tests.nothing_lost.saving:save_many_times",
    model_dir=model_dir,
    checkpoint_format=checkpoint_format,
    saves=_SAVES,
    looks=3,
  ).wait(300)
  assert killing.check_directory(model_dir) == _SAVES
  _, middle, last = seen
  assert last.saves == _SAVES
  assert (last.files, last.nodes) == (middle.files, middle.nodes)
  assert last.threads <= middle.threads
  # A look keeps some objects itself; a save may add less than one object in ten saves.
  assert last.objects - middle.objects < 10
  assert last.kilobytes - middle.kilobytes < 8192
