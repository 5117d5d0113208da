"""Two offline commands at once; tests/stress/at_once_stress.py runs more of them."""

from __future__ import annotations

import os

import pytest

import estimator_ckpt as eckpt
from estimator_ckpt.bundle import locks
from estimator_ckpt.errors import CheckpointExistsError
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


@pytest.mark.parametrize("is_complete", [True, False], ids=["complete", "given up"])
def test_another_ends_while_it_is_looked_at(is_complete, scratch, monkeypatch):
  """The other's list of checkpoints is there when listed, and gone when read."""
  source = at_once.make_source(scratch / "source")
  target = scratch / "target"
  target.mkdir()
  of_other = target / "checkpoint.unfinished.tmp-eckpt-0123abcd"
  of_other.write_text("model.ckpt-3\nmodel.ckpt-7\n")
  ask = locks.is_in_use

  def ends(path):
    if path == str(of_other) and of_other.exists():
      of_other.unlink()
      if is_complete:
        eckpt.convert(source, str(target), "tf1")
    return ask(path)

  monkeypatch.setattr(locks, "is_in_use", ends)
  if is_complete:
    with pytest.raises(CheckpointExistsError, match=r"there is a .* already"):
      eckpt.convert(source, str(target), "tf2")
  else:
    eckpt.convert(source, str(target), "tf2")
  for step in (3, 7):
    found = eckpt.detect_format(str(target / f"model.ckpt-{step}")).value
    assert found == ("tf1" if is_complete else "tf2")
