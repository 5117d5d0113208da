from __future__ import annotations

import os

import pytest

from estimator_ckpt.bundle import dtypes, files
from estimator_ckpt.bundle.file_names import parse_data_paths
from estimator_ckpt.bundle.joined import joined_entry
from estimator_ckpt.bundle.messages import BundleEntry, TensorSlice
from estimator_ckpt.bundle.shards import Shards
from estimator_ckpt.checkpoint.verify.entries import check_entries, check_overlaps
from estimator_ckpt.checkpoint.verify.findings import Findings
from tests.bundle_builder import BundleBuilder


@pytest.fixture
def builder():
  builder = BundleBuilder()
  builder.numbers("a", [1.0, 2.0, 3.0])
  builder.numbers("b", [[4, 5], [6, 7]], "int64")
  builder.strings("names", [b"x", b"yz"], [2])
  builder.partitioned("parts", [[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]], cuts=[2])
  return builder


def _names(prefix):
  return parse_data_paths(files.glob_prefix(f"{prefix}.data-"))


def _check(builder, tmp_path):
  prefix = builder.write(tmp_path / "model.ckpt-1")
  findings = Findings(prefix)
  shards = Shards(prefix, builder.index.header.num_shards)
  extents = check_entries(builder.index, shards, findings, _names(prefix))
  check_overlaps(extents, findings, shards)
  return findings.found, [extent.label for extent in extents]


def _codes(builder, tmp_path):
  return [(finding.code, finding.key) for finding in _check(builder, tmp_path)[0]]


def test_a_sound_index_gives_every_extent_once_and_no_finding(builder, tmp_path):
  found, labels = _check(builder, tmp_path)
  assert found == []
  assert labels == ["a", "b", "names", "parts, slice 0,2:-", "parts, slice 2,1:-"]


def test_a_size_that_does_not_fit_type_and_shape_is_found(builder, tmp_path):
  builder.change("a", size=8)
  found, labels = _check(builder, tmp_path)
  assert [(f.code, f.key) for f in found] == [("wrong-size", "a")]
  assert found[0].message == "it has 8 bytes; float32 of shape [3] takes 12"
  assert "a" not in labels


def test_a_string_tensor_needs_a_byte_for_each_length_and_four_for_their_checksum(
  builder, tmp_path
):
  builder.change("names", shape=(6,))
  found, _ = _check(builder, tmp_path)
  assert found[0].message == ("it has 9 bytes; string of shape [6] takes at least 10")


def test_a_shape_of_more_elements_than_any_machine_has_is_one_finding(
  builder, tmp_path
):
  builder.change("names", shape=(2**62,) * 200)
  assert _codes(builder, tmp_path) == [("wrong-size", "names")]


def test_an_offset_behind_the_files_end_is_found(builder, tmp_path):
  builder.change("b", offset=10**12)
  found, _ = _check(builder, tmp_path)
  assert [(f.code, f.key) for f in found] == [("out-of-bounds", "b")]
  assert "at bytes 1000000000000 to 1000000000032; the file has 77" in str(found[0])
  assert found[0].file.endswith("model.ckpt-1.data-00000-of-00001")


def test_a_cut_data_file_is_one_finding(builder, tmp_path):
  prefix = builder.write(tmp_path / "model.ckpt-1")
  os.truncate(f"{prefix}.data-00000-of-00001", 0)
  findings = Findings(prefix)
  check_entries(builder.index, Shards(prefix, 1), findings, _names(prefix))
  (finding,) = [f for f in findings.found if f.code == "out-of-bounds"]
  assert "more tensors beyond its end; the file has 0 bytes of" in finding.message


def test_a_shard_number_that_does_not_exist_is_found(builder, tmp_path):
  builder.change("a", shard_id=5)
  found, _ = _check(builder, tmp_path)
  assert [(f.code, f.key) for f in found] == [("shard-number", "a")]
  assert found[0].message == "it is in data file number 5, and there are 1, from 0"


def test_an_unknown_type_is_a_warning_because_a_newer_release_may_know_it(
  builder, tmp_path
):
  builder.change("a", dtype=99)
  found, labels = _check(builder, tmp_path)
  assert [(f.severity.value, f.code) for f in found] == [("warning", "dtype-unknown")]
  assert "a" in labels


def test_a_missing_data_file_is_one_finding_with_the_number_of_its_tensors(tmp_path):
  builder = BundleBuilder(num_shards=3)
  builder.numbers("a", [1.0], shard=1)
  builder.numbers("b", [1.0], shard=1)
  prefix = builder.write(tmp_path / "m")
  for shard in (1, 2):
    (tmp_path / f"m.data-{shard:05d}-of-00003").unlink()
  findings = Findings(prefix)
  check_entries(builder.index, Shards(prefix, 3), findings, _names(prefix))
  assert [(f.severity.value, f.file[-14:], f.message) for f in findings.found] == [
    ("error", "00001-of-00003", "the data file is missing; 2 tensors should be in it"),
    ("warning", "00002-of-00003", "the data file is missing; no tensor is in it"),
  ]


def test_a_hundred_thousand_missing_data_files_are_one_warning(tmp_path):
  builder = BundleBuilder()
  builder.numbers("a", [1.0])
  prefix = builder.write(tmp_path / "m")
  findings = Findings(prefix)
  check_entries(builder.index, Shards(prefix, 99999), findings, _names(prefix))
  assert [f.code for f in findings.found] == ["shard-missing", "shard-missing"]
  assert "and 99997 others; no tensor is in it" in findings.found[1].message


def test_a_damaged_entry_is_found_and_the_others_are_still_checked(builder, tmp_path):
  builder.index.put("c", builder.index.entry("a")._replace(unknown=b"\x1a\x7f"))
  found, labels = _check(builder, tmp_path)
  assert [(f.code, f.key) for f in found] == [("entry-damaged", "c")]
  assert labels[:2] == ["a", "b"]


def test_a_key_that_is_not_utf8_is_a_warning(builder, tmp_path):
  builder.index.alias("a\udcff", "a")
  found, _ = _check(builder, tmp_path)
  assert [(f.severity.value, f.code) for f in found] == [("warning", "key-not-utf8")]


def test_a_missing_slice_is_found(builder, tmp_path):
  entry = builder.index.entry("parts")
  builder.change("parts", slices=(*entry.slices[:1], TensorSlice(((2, 9), (0, -1)))))
  found, _ = _check(builder, tmp_path)
  assert [(f.code, f.key) for f in found] == [("slice-missing", "parts")]
  assert "slice 2,9:-" in found[0].message


def test_slices_that_leave_a_part_out_are_found(builder, tmp_path):
  builder.change("parts", shape=(4, 2))
  found, labels = _check(builder, tmp_path)
  # TensorFlow writes such slots of canned estimators' partitioned embeddings.
  assert [(f.severity.value, f.code, f.key) for f in found] == [
    ("warning", "slices-incomplete", "parts")
  ]
  assert found[0].message.startswith("its slices hold 6 of its 8 elements")
  assert labels[-2:] == ["parts, slice 0,2:-", "parts, slice 2,1:-"]


@pytest.mark.parametrize("start", [1, 9])
def test_slices_that_overlap_or_lie_outside_are_found(builder, tmp_path, start):
  stray = TensorSlice(((start, 1), (0, -1)))
  builder.index.put("parts", BundleEntry(1, (1, 2), 0, 0, 8), stray)
  builder.change("parts", slices=(*builder.index.entry("parts").slices, stray))
  found, _ = _check(builder, tmp_path)
  assert [(f.severity.value, f.code, f.key) for f in found] == [
    ("error", "slices-do-not-tile", "parts")
  ]


def test_very_many_slices_that_no_partitioner_cuts_come_to_an_end(tmp_path):
  builder = BundleBuilder()
  count = 5000
  stairs = tuple(
    TensorSlice(((step, count - step), (step, 1))) for step in range(count)
  )
  builder.index.put("stairs", BundleEntry(1, (count, count), slices=stairs))
  for step in stairs:
    builder.index.put("stairs", BundleEntry(1, (1,), 0, 0, 4), step)
  found, _ = _check(builder, tmp_path)
  assert [f.code for f in found] == ["slices-do-not-tile"]
  assert found[0].message == "5000 slices that are cut too intricately to be checked"


def test_a_slice_of_another_type_or_shape_is_found(builder, tmp_path):
  part = builder.index.entry("parts").slices[0]
  (_, entry), _ = builder.index.slice_entries("parts")
  builder.index.put("parts", entry._replace(dtype=3), part)
  found, _ = _check(builder, tmp_path)
  assert [(f.code, f.key) for f in found] == [("slice-type", "parts")]
  assert found[0].message == (
    "slice 0,2:- is int32 of shape [2, 2], and its place is for float32 of shape [2, 2]"
  )


def test_slices_that_no_tensor_lists_are_found(builder, tmp_path):
  stray = TensorSlice(((0, 1), (0, -1)))
  entry = BundleEntry(1, (1, 2), 0, 0, 8)
  builder.index.put("parts", entry, stray)
  builder.index.put("a", entry, stray)
  builder.index.put("nobody", entry, stray)
  found, _ = _check(builder, tmp_path)
  assert [(f.severity.value, f.code, f.key) for f in found] == [
    ("warning", "slice-unlisted", "parts"),
    ("warning", "slice-unlisted", "a"),
    ("error", "slice-without-tensor", "nobody"),
  ]


def test_two_tensors_that_overlap_are_found(builder, tmp_path):
  builder.change("b", offset=8)
  found, _ = _check(builder, tmp_path)
  assert ("overlap", "b") in [(f.code, f.key) for f in found]
  assert "its bytes 8 to 40 overlap those of 'a', 0 to 12" in found[0].message


def test_a_tensor_within_another_is_found_although_a_third_lies_between(tmp_path):
  builder = BundleBuilder()
  builder.numbers("all", [1.0] * 10)
  builder.index.put("first", BundleEntry(1, (1,), 0, 4, 4))
  builder.index.put("second", BundleEntry(1, (1,), 0, 20, 4))
  assert _codes(builder, tmp_path) == [("overlap", "first"), ("overlap", "second")]


def test_a_whole_tensor_over_the_bytes_of_its_slices_is_no_overlap(builder, tmp_path):
  builder.index.put("whole", joined_entry(builder.index, "parts"))
  (_, first), _ = builder.index.slice_entries("parts")
  builder.index.put("first part", first)
  found, labels = _check(builder, tmp_path)
  assert found == []
  assert {"whole", "first part"} <= set(labels)


def test_a_whole_tensor_over_the_bytes_of_other_tensors_is_found(tmp_path):
  builder = BundleBuilder()
  first = builder.numbers("a", [1.0])
  builder.numbers("b", [1.0])
  builder.index.put("whole", first._replace(shape=(2,), size=8))
  assert _codes(builder, tmp_path) == [("overlap", "whole"), ("overlap", "b")]


def test_aliases_are_no_overlap(builder, tmp_path):
  builder.index.alias("again", "a")
  builder.index.alias("parts_again", "parts")
  assert _codes(builder, tmp_path) == []


def test_tensors_without_elements_are_no_overlap(tmp_path):
  builder = BundleBuilder()
  builder.numbers("empty", [])
  builder.numbers("a", [1.0])
  builder.numbers("empty_too", [])
  assert _codes(builder, tmp_path) == []


def test_an_alias_with_another_checksum_is_an_error(builder, tmp_path):
  builder.index.alias("again", "a")
  builder.change("again", crc32c=1)
  found, _ = _check(builder, tmp_path)
  assert [(f.severity.value, f.code, f.key) for f in found] == [
    ("error", "alias-checksum", "again")
  ]


def test_an_alias_of_another_type_is_a_warning(builder, tmp_path):
  builder.index.alias("again", "a")
  builder.change("again", dtype=dtypes.number("int32"))
  found, _ = _check(builder, tmp_path)
  assert [(f.severity.value, f.code, f.key) for f in found] == [
    ("warning", "alias-type", "again")
  ]
  assert found[0].message == (
    "it is int32 of shape [3], and 'a', which has the same bytes, is float32 of shape"
    " [3]"
  )
