from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from estimator_ckpt.bundle import checksum, files, strings
from estimator_ckpt.bundle.coding import encode_varint
from estimator_ckpt.bundle.file_names import parse_data_paths
from estimator_ckpt.bundle.shards import Shards
from estimator_ckpt.checkpoint.verify.data import (
  NumberChecksum,
  StringChecksum,
  VariantChecksum,
  check_data,
)
from estimator_ckpt.checkpoint.verify.entries import Extent, check_entries
from estimator_ckpt.checkpoint.verify.findings import Findings
from estimator_ckpt.errors import CheckpointIOError, CorruptCheckpointError
from tests import golden
from tests.bundle_builder import BundleBuilder

_BATCH_SIZE = 4 << 20


def _feed(computed, data, cuts):
  bounds = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
  for start, end in zip(bounds, bounds[1:]):
    computed.feed(data[start:end])
  return checksum.mask(computed.finish())


def _variants(messages):
  """A variant tensor's bytes and stored checksum, as the format describes them."""
  data, crc = b"", 0
  for message in messages:
    crc = checksum.extend(crc, len(message).to_bytes(8, "little") + message)
    stored = checksum.mask(crc).to_bytes(4, "little")
    crc = checksum.extend(crc, stored)
    data += encode_varint(len(message)) + message + stored
  return data, checksum.mask(crc)


_CUTS = st.lists(st.integers(0, 400), max_size=6)


@given(st.binary(max_size=300), _CUTS)
def test_numbers_in_any_pieces_have_the_checksum_of_the_whole(data, cuts):
  expected = checksum.mask(checksum.crc32c(data))
  assert _feed(NumberChecksum(), data, cuts) == expected


@given(st.lists(st.binary(max_size=200), max_size=12), _CUTS)
def test_strings_in_any_pieces_have_the_checksum_that_was_stored(elements, cuts):
  data, crc = strings.encode(elements)
  assert _feed(StringChecksum(len(elements)), data, cuts) == crc


@given(st.lists(st.binary(max_size=200), max_size=6), _CUTS)
def test_variants_in_any_pieces_have_the_checksum_that_was_stored(messages, cuts):
  data, crc = _variants(messages)
  assert _feed(VariantChecksum(len(messages)), data, cuts) == crc


@given(st.lists(st.binary(max_size=200), min_size=1, max_size=6), st.data())
def test_every_flipped_bit_of_a_string_tensor_shows(elements, draw):
  data, crc = strings.encode(elements)
  bit = draw.draw(st.integers(0, 8 * len(data) - 1))
  damaged = bytearray(data)
  damaged[bit // 8] ^= 1 << bit % 8
  try:
    assert _feed(StringChecksum(len(elements)), bytes(damaged), []) != crc
  except CorruptCheckpointError as error:
    assert "strings" in str(error) or "varint" in str(error)


@given(st.lists(st.binary(max_size=60), min_size=1, max_size=6), st.data())
def test_every_flipped_bit_of_a_variant_tensor_shows(messages, draw):
  data, crc = _variants(messages)
  bit = draw.draw(st.integers(0, 8 * len(data) - 1))
  damaged = bytearray(data)
  damaged[bit // 8] ^= 1 << bit % 8
  try:
    assert _feed(VariantChecksum(len(messages)), bytes(damaged), []) != crc
  except CorruptCheckpointError as error:
    assert "element" in str(error) or "varint" in str(error)


def test_a_string_tensor_that_ends_early_is_said_to():
  data, _ = strings.encode([b"abc", b"d" * 200])
  with pytest.raises(CorruptCheckpointError, match="ends within the strings' lengths"):
    _feed(StringChecksum(2), data[:2], [])
  with pytest.raises(CorruptCheckpointError, match="disagree by 7 bytes"):
    _feed(StringChecksum(2), data[:-7], [])


def _names(prefix):
  return parse_data_paths(files.glob_prefix(f"{prefix}.data-"))


def _extents(builder, prefix):
  findings = Findings(prefix)
  shards = Shards(prefix, builder.index.header.num_shards)
  extents = check_entries(builder.index, shards, findings, _names(prefix))
  assert not findings.found
  return extents, shards, findings


def _check(builder, prefix, progress=None):
  extents, shards, findings = _extents(builder, prefix)
  done = check_data(extents, shards, findings, progress)
  return findings.found, done


@pytest.mark.parametrize("name", golden.names())
def test_what_tensorflow_wrote_has_the_checksums_it_says(name):
  from estimator_ckpt.bundle.index import Index

  prefix = golden.path(name)
  index = Index.read(prefix)
  shards, findings = Shards(prefix, index.header.num_shards), Findings(prefix)
  extents = check_entries(index, shards, findings, _names(prefix))
  assert check_data(extents, shards, findings) == sum(e.entry.size for e in extents)
  assert findings.found == []


def test_a_damaged_tensor_is_found_under_every_key_it_has(tmp_path):
  builder = BundleBuilder()
  builder.numbers("a", [1.0, 2.0])
  builder.numbers("b", [3.0])
  builder.index.alias("a_too", "a")
  builder.shards[0][5] ^= 4
  prefix = builder.write(tmp_path / "m")
  found, done = _check(builder, prefix)
  assert [(f.code, f.key) for f in found] == [("checksum", "a"), ("checksum", "a_too")]
  assert found[0].file == prefix + ".data-00000-of-00001"
  assert done == 12


@pytest.mark.parametrize("damaged", [0, 1, 2])
def test_tensors_larger_than_what_is_read_at_once_are_checked(tmp_path, damaged):
  builder = BundleBuilder()
  large = np.arange(_BATCH_SIZE // 4 + 1000)
  for key in ("a", "b", "c"):
    builder.numbers(key, large if key == "b" else large[:10])
  places = [5, 40 + _BATCH_SIZE + 100, len(builder.shards[0]) - 1]
  builder.shards[0][places[damaged]] ^= 1
  found, done = _check(builder, builder.write(tmp_path / "m"))
  assert [(f.code, f.key) for f in found] == [("checksum", "abc"[damaged])]
  assert done == len(builder.shards[0])


def test_progress_grows_to_the_total(tmp_path):
  builder = BundleBuilder()
  for position in range(5):
    builder.numbers(f"v{position}", np.arange(500_000))
  seen = []
  _check(builder, builder.write(tmp_path / "m"), lambda *pair: seen.append(pair))
  assert seen == sorted(seen)
  assert seen[-1] == (10_000_000, 10_000_000)
  assert {total for _, total in seen} == {10_000_000}


def test_entries_that_overlap_over_and_over_do_not_have_the_file_read_forever(tmp_path):
  builder = BundleBuilder()
  entry = builder.numbers("a", np.zeros(3 << 20))
  prefix = builder.write(tmp_path / "m")
  shards, findings = Shards(prefix, 1), Findings(prefix)

  extents = [
    Extent(f"v{i}", entry._replace(offset=i, size=entry.size - 1000, shape=()))
    for i in range(1000)
  ]
  done = check_data(extents, shards, findings)
  assert done < 3 * entry.size
  assert [f.code for f in findings.found].count("overlap") == 1


def test_a_file_that_shrinks_meanwhile_is_a_finding(tmp_path):
  builder = BundleBuilder()
  builder.numbers("a", [1.0, 2.0])
  prefix = builder.write(tmp_path / "m")
  extents, shards, findings = _extents(builder, prefix)
  (tmp_path / "m.data-00000-of-00001").write_bytes(b"\0" * 5)
  check_data(extents, shards, findings)
  assert [f.message for f in findings.found] == ["the file ends 3 bytes before it does"]


def test_a_file_that_cannot_be_read_is_a_finding(tmp_path, monkeypatch):
  builder = BundleBuilder()
  builder.numbers("a", [1.0, 2.0])
  builder.numbers("b", [1.0, 2.0])
  prefix = builder.write(tmp_path / "m")
  extents, shards, findings = _extents(builder, prefix)

  def refuse(*unused):
    raise CheckpointIOError("the disk said no")

  monkeypatch.setattr(files, "read_range", refuse)
  check_data(extents, shards, findings)
  assert [(f.code, f.message) for f in findings.found] == [
    ("unreadable", "'a', 'b': the disk said no")
  ]
