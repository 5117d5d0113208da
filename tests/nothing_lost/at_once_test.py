"""Two offline commands at once; tests/stress/at_once_stress.py runs more of them."""

from __future__ import annotations

import os

import pytest

from tests.nothing_lost import at_once


@pytest.mark.parametrize("overwrite", [False, True], ids=["new", "overwrite"])
@pytest.mark.parametrize("pair", at_once.PAIRS, ids=str)
def test_paused_at_every_change(pair, overwrite, scratch):
  place = at_once.Place(scratch, pair, overwrite)
  points = place.changes()
  assert points > 5
  for at in range(1, points + 1):
    one, other = place.fresh(f"at{at}")
    place.check(at_once.paused_at(one, other, at), at)


@pytest.mark.parametrize("pair", at_once.PAIRS, ids=str)
def test_at_random(pair, scratch):
  place = at_once.Place(scratch, pair, overwrite=False)
  for seed in range(5):
    one, other = place.fresh(f"seed{seed}")
    place.check(at_once.together(one, other, seed), seed)


def test_the_refused_one_says_who_is_there(scratch):
  place = at_once.Place(scratch, at_once.PAIRS[0], overwrite=False)
  texts = []
  for at in range(1, place.changes() + 1):
    one, other = place.fresh(f"at{at}")
    outcomes = at_once.paused_at(one, other, at)
    texts += [outcome.text for outcome in outcomes if not outcome.done]
  assert any("process " in text and os.uname().nodename in text for text in texts)
