from __future__ import annotations

import os
import pathlib
import shutil

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from estimator_ckpt.bundle import dtypes, table, table_writer
from estimator_ckpt.bundle.index import Index
from estimator_ckpt.checkpoint.object_graph import ObjectGraph
from estimator_ckpt.checkpoint.verify import Severity, checkpoint, verify
from estimator_ckpt.errors import CheckpointError, CheckpointNotFoundError
from tests import golden
from tests.bundle_builder import BundleBuilder, dual_builder
from tests.damage import damage, damage_an_entry

# Only tf.train.Checkpoint.save writes a counter of saves; this golden has none.
_WITHOUT_COUNTER = {"tf2.15/guide_scaffold"}
_SMALL = ("tf1.15/momentum_partitioned", "tf2.15/guide_scaffold")


def _codes(report):
  return [
    (finding.severity.value, finding.code, finding.key) for finding in report.findings
  ]


@pytest.mark.parametrize("name", golden.names())
def test_what_tensorflow_wrote_is_sound(name):
  report = verify(golden.path(name))
  expected = ["no-save-counter"] if name in _WITHOUT_COUNTER else []
  assert [finding.code for finding in report.findings] == expected
  assert report.ok
  assert report.checkpoints == (golden.path(name),)
  assert report.tensors == len(golden.manifest(name)["tensors"])


def test_a_dual_checkpoint_is_sound_and_its_bytes_are_read_once(tmp_path):
  prefix = dual_builder().write(tmp_path / "model.ckpt-7")
  report = verify(prefix)
  assert report.findings == ()
  assert report.tensors == 6
  assert report.bytes_read == os.path.getsize(f"{prefix}.data-00000-of-00001")


@pytest.mark.parametrize("key", ["net/w", "var_list/net.Sw/.ATTRIBUTES/VARIABLE_VALUE"])
def test_a_damaged_entry_of_an_object_is_one_finding_among_others(tmp_path, key):
  builder = dual_builder()
  builder.shards[0][30] ^= 1
  prefix = builder.write(tmp_path / "model.ckpt-7")
  entries = dict(table.read_table((tmp_path / "model.ckpt-7.index").read_bytes(), ""))
  entries[key.encode()] = b"\x08\xff"
  path = tmp_path / "model.ckpt-7.index"
  path.write_bytes(table_writer.write_table(*zip(*sorted(entries.items()))))
  codes = [code for _, code, _ in _codes(verify(prefix))]
  assert codes.count("entry-damaged") == 1
  assert len(codes) > 1


def test_fast_reads_no_tensor(tmp_path):
  builder = dual_builder()
  builder.shards[0][0] ^= 1
  prefix = builder.write(tmp_path / "model.ckpt-7")
  seen = []
  report = verify(prefix, fast=True, progress=lambda *pair: seen.append(pair))
  assert (report.ok, report.bytes_read, seen) == (True, 0, [])
  assert [finding.code for finding in verify(prefix).findings].count("checksum") == 2


def test_a_directory_is_verified_with_everything_in_it(tmp_path):
  for step in (1, 2, 3):
    builder = BundleBuilder()
    builder.numbers("a", [step] * 1000)
    if step == 2:
      builder.shards[0][8] ^= 1
    builder.write(tmp_path / f"model.ckpt-{step}")
  (tmp_path / "checkpoint").write_text(
    f'model_checkpoint_path: "{tmp_path}/model.ckpt-3"'
  )
  seen = []
  report = verify(tmp_path, progress=lambda *pair: seen.append(pair))
  assert _codes(report) == [
    ("warning", "state-absolute", None),
    ("error", "checksum", "a"),
  ]
  assert report.checkpoints == tuple(f"{tmp_path}/model.ckpt-{n}" for n in (1, 2, 3))
  assert seen == [(4000, 12000), (8000, 12000), (12000, 12000)]
  assert verify(f"{tmp_path}/checkpoint").findings == report.findings
  assert verify(f"{tmp_path}/").findings == report.findings
  assert verify(f"{tmp_path}/model.ckpt-1").findings == ()


def test_a_dual_checkpoint_kept_apart_is_verified_in_both_directories(tmp_path):
  builder = BundleBuilder()
  builder.numbers("a", [1.0])
  for directory in (tmp_path, tmp_path / "tf2"):
    builder.write(directory / "model.ckpt-1")
    (directory / "checkpoint").write_text('model_checkpoint_path: "model.ckpt-1"')
  (tmp_path / "tf2/model.ckpt-1.data-00000-of-00001").unlink()
  report = verify(tmp_path)
  assert len(report.checkpoints) == 2
  assert _codes(report) == [("error", "shard-missing", None)]
  assert report.findings[0].file.endswith("tf2/model.ckpt-1.data-00000-of-00001")


def test_a_directory_whose_checkpoints_are_gone_says_so(tmp_path):
  (tmp_path / "checkpoint").write_text('model_checkpoint_path: "model.ckpt-1"')
  report = verify(tmp_path)
  assert report.checkpoints == ()
  assert _codes(report) == [("error", "state-latest-missing", None)]


def test_a_saved_model_is_verified_and_needs_no_counter():
  directory = os.path.dirname(os.path.dirname(golden.path("tf2.15/saved_module")))
  report = verify(directory)
  assert report.findings == ()
  assert report.checkpoints == (f"{directory}/variables/variables",)


def test_nothing_there_is_an_error(tmp_path):
  with pytest.raises(CheckpointNotFoundError, match="no checkpoint"):
    verify(tmp_path / "model.ckpt-1")
  with pytest.raises(CheckpointNotFoundError, match="directory is empty"):
    verify(tmp_path)


def test_checkpoints_of_other_file_systems_are_verified():
  fsspec = pytest.importorskip("fsspec")
  memory = fsspec.filesystem("memory")
  directory = pathlib.Path(golden.directory("tf1.15/adam_dense"))
  for path in directory.glob("*ckpt*"):
    memory.pipe(f"/verify_test/{path.name}", path.read_bytes())
  memory.pipe("/verify_test/checkpoint", b'model_checkpoint_path: "model.ckpt-7"')
  report = verify("memory://verify_test")
  assert report.findings == ()
  assert report.checkpoints == ("memory://verify_test/model.ckpt-7",)
  assert report.bytes_read == 484


def test_data_files_that_the_index_does_not_count_are_a_warning(tmp_path):
  builder = BundleBuilder()
  builder.numbers("a", [1.0])
  prefix = builder.write(tmp_path / "m")
  (tmp_path / "m.data-00000-of-00002").touch()
  (tmp_path / "m.data-00001-of-00002").touch()
  (finding,) = verify(prefix).findings
  assert (finding.severity, finding.code) == (Severity.WARNING, "leftover")
  assert finding.message.startswith("2 data files are not among the 1 that")


def test_a_damaged_object_graph_is_a_finding(tmp_path):
  builder = dual_builder()
  builder.strings("_CHECKPOINTABLE_OBJECT_GRAPH", [b"\x0a\x04\x0a\x02\x08\x63"])
  report = verify(builder.write(tmp_path / "m"))
  assert [finding.code for finding in report.findings] == ["graph-damaged"]
  assert "node 99" in report.findings[0].message


def test_a_big_endian_checkpoint_is_a_finding(tmp_path):
  import dataclasses

  builder = BundleBuilder()
  builder.numbers("a", [1.0])
  builder.index.header = dataclasses.replace(builder.index.header, endianness=1)
  (finding,) = verify(builder.write(tmp_path / "m")).findings
  assert (finding.code, "big-endian" in finding.message) == ("unsupported", True)


def test_a_finding_says_file_key_and_code(tmp_path):
  builder = BundleBuilder()
  builder.numbers("a", [1.0])
  builder.shards[0][0] ^= 1
  prefix = builder.write(tmp_path / "m")
  assert str(verify(prefix).findings[0]) == (
    f"error: {prefix}.data-00000-of-00001: 'a': its bytes do not match its checksum:"
    " the file is damaged, or belongs to another checkpoint [checksum]"
  )


def test_a_checkpoint_that_training_removes_meanwhile_is_left_out(
  tmp_path, monkeypatch
):
  builder = BundleBuilder()
  builder.numbers("a", [1.0])
  for step in (1, 2):
    builder.write(tmp_path / f"m-{step}")
  (tmp_path / "checkpoint").write_text('model_checkpoint_path: "m-2"')
  check_entries = checkpoint.check_entries

  def remove_first(index, shards, findings, names):
    if shards.prefix.endswith("m-1"):
      for path in tmp_path.glob("m-1.*"):
        path.unlink()
    return check_entries(index, shards, findings, names)

  monkeypatch.setattr(checkpoint, "check_entries", remove_first)
  report = verify(tmp_path)
  assert report.findings == ()
  assert report.checkpoints == (f"{tmp_path}/m-2",)
  builder.write(tmp_path / "m-1")
  with pytest.raises(CheckpointNotFoundError, match="removed while it was verified"):
    verify(tmp_path / "m-1")


@pytest.mark.parametrize("name", _SMALL)
def test_every_flipped_bit_of_the_data_is_found(name, tmp_path):
  prefix = golden.copy(name, tmp_path / "copy")
  sound = verify(prefix).findings
  index = Index.read(prefix)
  tried = found = 0
  for path in index.data_paths(prefix):
    data = pathlib.Path(path).read_bytes()
    with open(path, "r+b", buffering=0) as file:
      for position, byte in enumerate(data):
        for flipped in (byte ^ 1, byte ^ 128):
          file.seek(position)
          file.write(bytes((flipped,)))
          tried += 1
          found += verify(prefix).findings != sound
        file.seek(position)
        file.write(bytes((byte,)))
  assert found == tried > 1000


@pytest.mark.parametrize("name", _SMALL)
def test_every_flipped_byte_of_the_index_is_found(name, tmp_path):
  prefix = golden.copy(name, tmp_path / "copy")
  path = pathlib.Path(prefix + ".index")
  data = path.read_bytes()
  missed = []
  for position in range(len(data)):
    damaged = bytearray(data)
    damaged[position] ^= 1 << position % 8
    path.write_bytes(damaged)
    if not verify(prefix, fast=True).findings:
      missed.append(position)
  assert missed == []


@pytest.mark.parametrize("cut", [1, 10, 100])
def test_truncated_data_is_found(cut, tmp_path):
  prefix = golden.copy("tf1.15/adam_dense", tmp_path / "copy")
  path = f"{prefix}.data-00000-of-00001"
  os.truncate(path, os.path.getsize(path) - cut)
  report = verify(prefix, fast=True)
  assert "out-of-bounds" in {finding.code for finding in report.findings}


def test_data_files_that_were_swapped_are_found(tmp_path):
  prefix = golden.copy("tf1.15/multi_shard", tmp_path / "copy")
  first, second = Index.read(prefix).data_paths(prefix)
  shutil.move(first, first + ".x")
  shutil.move(second, first)
  shutil.move(first + ".x", second)
  assert not verify(prefix).ok


@settings(max_examples=150)
@given(draw=st.data(), name=st.sampled_from(_SMALL + ("tf2.15/keras2_legacy_adam",)))
def test_an_index_with_damaged_values_never_makes_it_fail(draw, name, tmp_path_factory):
  """The blocks' checksums are right here, so the damage reaches the values inside."""
  directory = tmp_path_factory.mktemp("mutated")
  prefix = golden.copy(name, directory / "copy")
  damage_an_entry(draw.draw, prefix)
  try:
    for finding in verify(prefix).findings:
      str(finding).encode("utf-8", "backslashreplace")
  finally:
    shutil.rmtree(directory)


@settings(max_examples=150)
@given(draw=st.data())
def test_a_damaged_object_graph_never_makes_it_fail(draw, tmp_path_factory):
  from estimator_ckpt.checkpoint import formats

  prefix = golden.path("tf2.15/keras2_legacy_adam")
  graph = formats.read_object_graph(prefix, Index.read(prefix)).serialize()
  directory = tmp_path_factory.mktemp("mutated")
  builder = BundleBuilder()
  builder.numbers("optimizer/iter/.ATTRIBUTES/VARIABLE_VALUE", [1.0])
  builder.strings("_CHECKPOINTABLE_OBJECT_GRAPH", [damage(draw.draw, graph)])
  try:
    verify(builder.write(directory / "m"))
  finally:
    shutil.rmtree(directory)


@settings(max_examples=200)
@given(st.binary(max_size=200))
def test_any_file_called_index_is_a_finding_or_an_error_of_this_package(data):
  import tempfile

  with tempfile.TemporaryDirectory() as directory:
    pathlib.Path(directory, "m.index").write_bytes(data)
    try:
      assert not verify(f"{directory}/m").ok
    except CheckpointError:
      pytest.fail("a damaged index is a finding")


def _two_shapes(**changes):
  """A name and an object of it with the same bytes, as those of MultiHeadAttention."""
  builder = BundleBuilder()
  builder.numbers("query/kernel", [[1, 2, 3, 4], [5, 6, 7, 8]])
  graph = ObjectGraph()
  key = graph.add_variable([("query", "kernel")], "query/kernel")
  builder.index.alias(key, "query/kernel")
  builder.change(key, **changes)
  builder.object_graph(graph)
  return builder, key


def test_a_name_and_an_object_of_another_shape_of_the_same_bytes_are_sound(tmp_path):
  builder, _ = _two_shapes(shape=(2, 2, 2))
  codes = [code for _, code, _ in _codes(verify(builder.write(tmp_path / "m")))]
  assert codes == ["no-save-counter"]


def test_a_name_and_an_object_of_the_same_bytes_and_another_type_are_not(tmp_path):
  builder, key = _two_shapes(shape=(2, 2, 2), dtype=dtypes.number("int32"))
  found = _codes(verify(builder.write(tmp_path / "m")))
  assert ("warning", "alias-type", key) in found
  assert ("error", "names-disagree", "query/kernel") in found


def test_aliases_of_another_number_of_elements_are_a_warning(tmp_path):
  # The sizes of strings do not follow from their shape.
  builder = BundleBuilder()
  builder.strings("words", [b"abc", b"def"], [2])
  builder.index.alias("again", "words")
  builder.change("again", shape=(1,))
  assert _codes(verify(builder.write(tmp_path / "m"), fast=True)) == [
    ("warning", "alias-type", "words")
  ]
