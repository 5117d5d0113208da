from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from estimator_ckpt.bundle.messages import BundleEntry, BundleHeader, TensorSlice
from estimator_ckpt.errors import CorruptCheckpointError

_int32s = st.integers(0, 2**31 - 1)
_int64s = st.integers(0, 2**63 - 1)
_extents = st.just((0, -1)) | st.tuples(_int64s, _int64s)
_slices = st.lists(_extents, max_size=5).map(lambda e: TensorSlice(tuple(e)))
_entries = st.builds(
  BundleEntry,
  dtype=_int32s,
  shape=st.lists(_int64s, max_size=6).map(tuple),
  shard_id=_int32s,
  offset=_int64s,
  size=_int64s,
  crc32c=st.integers(0, 2**32 - 1),
  slices=st.lists(_slices, max_size=4).map(tuple),
  unknown=st.just(b""),  # Hypothesis invents each field that is not given.
)
_headers = st.builds(
  BundleHeader,
  num_shards=_int32s,
  endianness=st.sampled_from([0, 1]),
  producer=_int32s,
  min_consumer=_int32s,
  bad_consumers=st.lists(st.integers(-(2**31), 2**31 - 1), max_size=3).map(tuple),
)


@given(_entries)
def test_entries_round_trip(entry):
  assert BundleEntry.parse(entry.serialize()) == entry


@given(_headers)
def test_headers_round_trip(header):
  assert BundleHeader.parse(header.serialize()) == header


@given(_slices)
def test_slices_round_trip(tensor_slice):
  assert TensorSlice.parse(tensor_slice.serialize()) == tensor_slice


def test_an_entry_has_the_bytes_that_tensorflow_writes():
  # float32 of shape [2, 3], shard 1, offset 12, 24 bytes.
  entry = BundleEntry(1, (2, 3), 1, 12, 24, 0x01020304)
  assert (
    entry.serialize().hex() == "080112081202080212020803" + "1801200c28183504030201"
  )


def test_a_scalar_at_the_start_leaves_out_zeros_but_has_a_shape():
  assert (
    BundleEntry(9, (), 0, 0, 8, 1).serialize().hex() == "08091200" + "28083501000000"
  )


def test_a_dimension_of_zero_is_an_empty_dim():
  entry = BundleEntry(1, (0, 3), 0, 8, 0, 7)
  assert entry.serialize().hex() == "0801120612001202080320083507000000"
  assert BundleEntry.parse(entry.serialize()).shape == (0, 3)


def test_a_header_has_the_bytes_that_tensorflow_writes():
  assert BundleHeader(num_shards=2).serialize().hex() == "08021a020801"


def test_a_slice_tells_full_dimensions_from_cut_ones():
  tensor_slice = TensorSlice(((0, -1), (4, 4), (0, 3)))
  assert tensor_slice.serialize().hex() == "0a00" + "0a0408041004" + "0a021003"
  assert str(tensor_slice) == "-:4,4:0,3"


@given(_entries, st.binary(max_size=20))
def test_unknown_fields_are_kept(entry, value):
  # Field 100, length-delimited.
  unknown = b"\xa2\x06" + bytes((len(value),)) + value
  parsed = BundleEntry.parse(unknown + entry.serialize())
  assert parsed.unknown == unknown
  assert BundleEntry.parse(parsed.serialize()) == parsed


def test_unknown_fields_of_a_header_are_kept():
  parsed = BundleHeader.parse(bytes.fromhex("08011a020801a20600"))
  assert parsed.serialize().hex() == "08011a020801a20600"


def test_bad_consumers_are_read_packed_or_not():
  packed = BundleHeader.parse(bytes.fromhex("1a041a020103"))
  assert packed.bad_consumers == (1, 3)
  assert BundleHeader.parse(bytes.fromhex("1a0418011803")).bad_consumers == (1, 3)


@pytest.mark.parametrize(
  "data, problem",
  [
    ("28ffffffffffffffffff01", "size -1"),
    ("20ffffffffffffffffff01", "offset -1"),
    ("18ffffffffffffffffff01", "shard -1"),
    ("120d120b08ffffffffffffffffff01", "dimension -1"),
    ("12021801", "unknown rank"),
    ("1200120412", "truncated"),
    ("1001", "wire type 0, expected 2"),
    ("3001", "wire type 0, expected 5"),
    ("0a00", "wire type 2, expected 0"),
    ("3a0d0a0b10ffffffffffffffffff01", "length -1"),
    ("3a040a020801", "start 1"),
  ],
)
def test_entries_that_cannot_be_are_refused(data, problem):
  with pytest.raises(CorruptCheckpointError, match=problem):
    BundleEntry.parse(bytes.fromhex(data))


def test_no_tensor_has_more_than_254_dimensions():
  BundleEntry.parse(BundleEntry(1, (1,) * 254).serialize())
  with pytest.raises(CorruptCheckpointError, match="more than 254"):
    BundleEntry.parse(BundleEntry(1, (1,) * 255).serialize())
  with pytest.raises(CorruptCheckpointError, match="more than 254"):
    TensorSlice.parse(TensorSlice(((0, -1),) * 255).serialize())


@given(st.binary(max_size=60))
def test_any_bytes_are_an_entry_or_a_checkpoint_error(data):
  for kind in (BundleEntry, BundleHeader, TensorSlice):
    try:
      parsed = kind.parse(data)
    except CorruptCheckpointError:
      continue
    assert kind.parse(parsed.serialize()) == parsed
