"""What rewriting an index gives, and what repeating the rewriting gives."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from estimator_ckpt.bundle.index import Index
from estimator_ckpt.bundle.messages import BundleEntry, TensorSlice
from estimator_ckpt.bundle.recurring import RecurringIndex

_CRC = st.integers(1, 2**32 - 1)
_NAMES = st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\0"))
_ROWS = TensorSlice(((0, 2), (0, -1)))


def _source(crcs, entries, size=8):
  """The index file of plain tensors and of a partitioned tensor."""
  index = Index()
  index.put("parts", BundleEntry(1, (4, 2), slices=(_ROWS,)))
  index.put("parts", BundleEntry(1, (2, 2), 0, 0, 16, crcs[0]), _ROWS)
  for number, (key, crc) in enumerate(zip(entries, crcs[1:])):
    index.put(key, BundleEntry(1, (2,), 0, 16 + size * number, size, crc))
  return index.serialize()


def _rewritten(source, entries):
  index = Index.parse(source, "index")
  for key in ["parts", *entries]:
    index.alias(f"alias of {key}", key)
  return index.serialize()


@given(st.data())
def test_a_repetition_is_what_the_rewriting_gives(data):
  names = _NAMES.filter(lambda n: n and n != "parts" and not n.startswith("alias of"))
  entries = sorted(data.draw(st.sets(names, max_size=40)))
  count = len(entries) + 1
  crcs = st.lists(_CRC, min_size=count, max_size=count)
  recurring = RecurringIndex()
  for turn in range(4):
    source = _source(data.draw(crcs), entries)
    result = recurring.repeat(source)
    if turn:
      assert result is not None
    else:
      assert result is None
      recurring.remember(source, _rewritten(source, entries))
    assert result is None or result == _rewritten(source, entries)


def _trained(*crcs):
  recurring = RecurringIndex()
  for crc in crcs:
    source = _source([crc, crc + 1, crc + 2], ["a", "b"])
    if recurring.repeat(source) is None:
      recurring.remember(source, _rewritten(source, ["a", "b"]))
  return recurring


@pytest.mark.parametrize("saved_before", [1, 2, 3])
def test_anything_but_other_checksums_is_not_repeated(saved_before):
  crcs = range(1000, 1000 + saved_before)
  same = _source([7, 8, 9], ["a", "b"])
  assert _trained(*crcs).repeat(same) == _rewritten(same, ["a", "b"])
  for other in (
    _source([7, 8, 9], ["a", "c"]),
    _source([7, 8], ["a"]),
    _source([7, 8, 9], ["a", "b"], size=16),
    _source([7, 0, 9], ["a", "b"]),  # A checksum of zero is left out.
  ):
    assert _trained(*crcs).repeat(other) is None


def test_a_damaged_index_is_not_repeated():
  recurring = _trained(1000, 1001)
  source = _source([7, 8, 9], ["a", "b"])
  for position in range(len(source)):
    damaged = bytearray(source)
    damaged[position] ^= 1
    assert recurring.repeat(bytes(damaged)) is None


def test_entries_with_checksums_of_their_own_are_not_repeated():
  recurring = RecurringIndex()
  source = _source([7, 8, 9], ["a", "b"])
  index = Index.parse(source, "index")
  index.put("both", index.entry("a")._replace(size=16, crc32c=99))
  recurring.remember(source, index.serialize())
  assert recurring.repeat(source) is None
  # The next saves do not try again.
  recurring.remember(source, _rewritten(source, ["a", "b"]))
  assert recurring.repeat(source) is None


def test_many_blocks():
  entries = [f"scope_{i}/{'x' * 200}" for i in range(3000)]
  recurring = RecurringIndex()
  for turn in range(3):
    source = _source([turn * 9000 + i for i in range(1, 3002)], entries)
    result = recurring.repeat(source)
    expected = _rewritten(source, entries)
    assert len(expected) > 2 * 262144
    assert result == (expected if turn else None)
    recurring.remember(source, expected)


def test_a_file_that_is_refused_changes_no_later_repetition():
  recurring = _trained(1000, 1001)
  entries = ["a", "b"]
  sound = _source([5, 6, 7], entries)
  for place in range(0, len(sound), 7):
    damaged = bytearray(sound)
    damaged[place] ^= 1
    assert recurring.repeat(bytes(damaged)) is None
    assert recurring.repeat(sound) == _rewritten(sound, entries)
