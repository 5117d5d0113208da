"""Training jobs killed at random times; tests/stress/kill_stress.py kills 300 times."""

from __future__ import annotations

import pytest

from tests.nothing_lost import killing


@pytest.mark.parametrize(
  "checkpoint_format", ["tf1", "tf2", "dual", "separate", "asynchronous"]
)
def test_no_more_than_one_interval_is_lost(checkpoint_format, launcher, scratch):
  done = killing.kill_again_and_again(launcher, scratch, checkpoint_format, 3, seed=8)
  assert done.kills == 3
  assert done.most_lost <= killing.most_lost(checkpoint_format)
