"""Damage is found, and never read as a value."""

from __future__ import annotations

import pytest

from tests import golden
from tests.nothing_lost import damaging

_SMALL = ("tf1.15/saved_model", "tf1.15/partitioned_half", "tf2.15/variable_list")


@pytest.mark.parametrize("name", _SMALL)
def test_every_bit_of_the_index(name, scratch):
  checkpoint = damaging.Golden(name, scratch / "copy")
  figures = checkpoint.look(checkpoint.index_bits())
  assert figures.missed == []
  assert figures.found == figures.tried > 2000


@pytest.mark.parametrize("name", golden.names())
def test_bits_cuts_and_files_that_are_missing_or_another_s(name, scratch):
  checkpoint = damaging.Golden(name, scratch / "copy")
  figures = damaging.Figures()
  for damages in (
    checkpoint.data_bits(12, seed=1),
    checkpoint.cuts(8, seed=2),
    checkpoint.missing(),
    checkpoint.swapped(),
  ):
    figures.add(checkpoint.look(damages))
  assert figures.missed == []
  assert figures.found == figures.tried > 20
  assert figures.refused >= figures.tried
