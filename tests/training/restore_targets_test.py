"""Comparing the types and shapes of many entries with those of a graph."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from estimator_ckpt.bundle.messages import BundleEntry, TensorSlice
from estimator_ckpt.errors import CorruptCheckpointError
from estimator_ckpt.training.restore_targets import (
  RestoreSource,
  RestoreTarget,
  RestoreTargets,
)

_int64s = st.integers(0, 2**63 - 1)
_dtypes = st.integers(0, 300)
_shapes = st.lists(_int64s | st.integers(0, 3), max_size=5).map(tuple)
_slices = st.just((TensorSlice(((0, 2),)),))
_entries = st.builds(
  BundleEntry,
  dtype=_dtypes,
  shape=_shapes,
  shard_id=st.integers(0, 2**31 - 1),
  offset=_int64s,
  size=_int64s,
  crc32c=st.integers(0, 2**32 - 1),
  slices=st.just(()) | _slices,
  unknown=st.just(b""),
)


def _targets(kinds):
  return RestoreTargets([RestoreTarget("w", None, *kind) for kind in kinds])


@given(st.lists(_entries, max_size=5))
def test_entries_of_whole_tensors_fit_their_own_types_and_shapes(entries):
  targets = _targets([(e.dtype, e.shape) for e in entries])
  fits = targets.fit([entry.serialize() for entry in entries])
  # A checksum of 0 is left out.
  assert fits == [not e.slices and e.crc32c > 0 for e in entries]


@given(st.lists(st.tuples(_entries, _dtypes, _shapes), max_size=5))
def test_other_types_and_shapes_do_not_fit(found):
  fits = _targets([kind for _, *kind in found]).fit([e.serialize() for e, *_ in found])
  for is_fit, (entry, dtype, shape) in zip(fits, found):
    assert not is_fit or (entry.dtype, entry.shape) == (dtype, shape)


@given(
  st.lists(
    st.tuples(st.integers(0, 3), st.tuples(st.integers(0, 3)), st.binary(max_size=40)),
    max_size=5,
  )
)
def test_what_fits_would_be_parsed_to_just_that(found):
  """Whatever stands in an entry, and in those beside it."""
  entries = [BundleEntry(*kind).serialize() + end for *kind, end in found]
  for is_fit, entry, (dtype, shape, _) in zip(
    _targets([kind for *kind, _ in found]).fit(entries), entries, found
  ):
    if is_fit:
      try:
        parsed = BundleEntry.parse(entry)
      except CorruptCheckpointError as error:
        # RestoreV2 refuses such a shard before anything is assigned.
        assert "shard" in str(error)
        continue
      assert (parsed.dtype, parsed.shape, parsed.slices) == (dtype, shape, ())


@given(st.lists(st.none() | st.binary(max_size=60), min_size=1, max_size=5))
def test_what_is_missing_or_damaged_does_not_fit(entries):
  targets = _targets([(1, (2, 3))] * len(entries))
  beginning = BundleEntry(1, (2, 3)).serialize()
  for is_fit, entry in zip(targets.fit(entries), entries):
    assert not is_fit or (entry is not None and entry.startswith(beginning))


def test_a_number_of_more_than_63_bits_is_left_to_parsing():
  beginning, crc = BundleEntry(1, (2,)).serialize(), b"\x35abcd"
  longest = b"\x20" + b"\xff" * 8 + b"\x7f"
  targets = _targets([(1, (2,))])
  assert targets.fit([beginning + longest + crc]) == [True]
  assert targets.fit([beginning + longest[:-1] + b"\xff\x01" + crc]) == [False]


def test_parts_and_tensors_of_any_size_are_no_fixed_ones():
  targets = RestoreTargets(
    [
      RestoreTarget("part", None, 1, (4, 2), "4 2 0,2:0,2", "w/part_0", (2, 2)),
      RestoreTarget("w", "key", 1, (4, 2)),
      RestoreTarget("keys", None, 1, None),
      RestoreTarget("values", None, 1, (-1, 3)),
    ]
  )
  assert targets.fixed == [1]
  assert targets.first_sources(True) == (["key"], [RestoreSource("key", "")])
  assert targets.first_sources(False) == (["w"], [RestoreSource("w", "")])
