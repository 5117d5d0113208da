"""The nearest name, for messages."""

from __future__ import annotations

import pytest

from estimator_ckpt.warm_start.nearest import NearestNames

NAMES = ["old/a/kernel", "old/a/bias", "old/b/kernel", "other/weights", "step"]


@pytest.mark.parametrize(
  "wanted, found",
  [
    ("new/a/kernel", "old/a/kernel"),
    ("deep/er/b/kernel", "old/b/kernel"),
    ("old/a/kernal", "old/a/kernel"),
    ("old/a/biases", "old/a/bias"),
    ("others/weight", "other/weights"),
    ("steps", "step"),
    ("nothing", None),
  ],
)
def test_components_go_before_letters(wanted, found):
  assert NearestNames(NAMES).to(wanted) == found


def test_there_is_nothing_near_nothing():
  assert NearestNames([]).to("a/b") is None
