from __future__ import annotations

import sys
from unittest import mock

import numpy as np  # noqa: F401
import pytest
from hypothesis import given
from hypothesis import strategies as st

from estimator_ckpt.bundle.coding import BATCH
from estimator_ckpt.bundle.entry_columns import FEW, EntryColumns, first_types
from estimator_ckpt.bundle.messages import BundleEntry, TensorSlice

_int32s = st.integers(0, 2**31 - 1)
_int64s = st.integers(0, 2**63 - 1)
_shapes = st.lists(_int64s, max_size=6).map(tuple)
_entries = st.builds(
  BundleEntry,
  dtype=_int32s,
  shape=_shapes,
  shard_id=_int32s,
  offset=_int64s,
  size=_int64s,
  crc32c=st.integers(0, 2**32 - 1),
  slices=st.lists(st.just(TensorSlice(((0, -1),))), max_size=1).map(tuple),
  unknown=st.just(b""),  # Hypothesis invents each field that is not given.
)


def _entry(number: int) -> BundleEntry:
  """An entry as TensorFlow writes it."""
  return BundleEntry(
    number % 23 + 1, (number,), number % 3, 8 * number, 4 * number, number + 1
  )


def _read(values):
  """The entries, as NumPy and a regular expression read them, or None."""
  by_numpy = EntryColumns.read(values)
  with mock.patch.dict(sys.modules):
    del sys.modules["numpy"]
    found = EntryColumns.read(values)
  if by_numpy is None or found is None:
    return None
  assert list(map(list, by_numpy)) == list(map(list, found))
  return list(found.entries())


@given(st.lists(_entries))
def test_many_entries_are_read_as_each_by_itself(entries):
  found = _read([entry.serialize() for entry in entries])
  assert found is None or found == entries


@given(st.lists(st.tuples(st.integers(1, 23), _shapes, _int64s)))
def test_many_entries_of_tensors_are_read_at_once(tensors):
  entries = [
    BundleEntry(dtype, shape, offset % 300, offset, offset // 2, offset % 2**32 or 1)
    for dtype, shape, offset in tensors
  ]
  assert _read([entry.serialize() for entry in entries]) == entries


@given(st.integers(0, 10**6), st.integers(0, 255))
def test_a_damaged_entry_among_many_is_read_as_by_itself(place, byte):
  values = [_entry(number).serialize() for number in range(1, 9)]
  number, position = place % 8, place // 8 % 15
  damaged = bytearray(values[number])
  damaged[position % len(damaged)] = byte
  values[number] = bytes(damaged)
  found = _read(values)
  assert found is None or found == [BundleEntry.parse(value) for value in values]


@pytest.mark.parametrize(
  "count", [0, 1, FEW - 1, FEW, BATCH, BATCH + 1, 2 * BATCH + FEW]
)
def test_batches_have_every_entry(count):
  entries = [_entry(number) for number in range(count)]
  values = [entry.serialize() for entry in entries]
  found = []
  for columns in EntryColumns.in_batches(values):
    assert columns is not None
    found += columns.entries()
  assert found == entries
  columns = EntryColumns.read_all(values)
  assert columns is not None
  assert [columns.entry(row) for row in range(count)] == entries


@pytest.mark.parametrize("count", [FEW - 1, BATCH, BATCH + 1])
@pytest.mark.parametrize(
  "last",
  [
    _entry(5).serialize()[:-2],
    _entry(5)._replace(slices=(TensorSlice(((0, -1),)),)).serialize(),
    _entry(5)._replace(unknown=b"\x48\x01").serialize(),
    _entry(5)._replace(dtype=300).serialize(),
    b"\x08" + b"\xff" * 9 + b"\x01" + _entry(5).serialize()[2:],
  ],
  ids=["cut", "in slices", "with a field of its own", "of no type", "of type -1"],
)
def test_a_batch_with_an_entry_of_another_form_is_not_read(count, last):
  values = [_entry(number).serialize() for number in range(count - 1)]
  *others, columns = EntryColumns.in_batches([*values, last])
  assert columns is None
  assert None not in others
  assert EntryColumns.read_all([*values, last]) is None


@given(st.lists(_entries, max_size=5), st.lists(_entries, max_size=5), st.data())
def test_columns_are_taken_and_joined_as_entries_are(first, second, data):
  plain = [e._replace(slices=(), unknown=b"") for e in (*first, *second)]
  columns = EntryColumns.of_entries(plain[: len(first)]).followed_by(
    EntryColumns.of_entries(plain[len(first) :])
  )
  assert list(columns.entries()) == plain
  rows = data.draw(
    st.lists(st.sampled_from(range(len(plain))) if plain else st.nothing())
  )
  assert list(columns.take(rows).entries()) == [plain[row] for row in rows]
  ends = columns.ends()
  assert ends == {
    shard_id: max(e.offset + e.size for e in plain if e.shard_id == shard_id)
    for shard_id in {e.shard_id for e in plain}
  }


def test_the_types_of_entries_are_those_in_front():
  values = [_entry(number).serialize() for number in range(50)]
  assert first_types(values) == set(range(1, 24))
  assert first_types([]) == set()


@pytest.mark.parametrize(
  "value",
  [
    b"",
    b"\x08",
    b"\x08\x95\x00",  # 21, in two bytes
    b"\x12\x00\x08\x15",
  ],
)
def test_an_entry_that_begins_otherwise_has_to_be_read(value):
  assert first_types([_entry(1).serialize(), value]) is None
