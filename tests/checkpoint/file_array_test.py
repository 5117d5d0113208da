from __future__ import annotations

import tempfile

import numpy as np
import pytest

from estimator_ckpt.bundle import files
from estimator_ckpt.bundle.messages import TensorSlice
from estimator_ckpt.checkpoint.file_array import file_array
from estimator_ckpt.checkpoint.reader import CheckpointReader
from estimator_ckpt.errors import CheckpointIOError, CorruptCheckpointError
from tests.bundle_builder import BundleBuilder

_VALUES = np.arange(60, dtype=np.float32).reshape(12, 5)


@pytest.fixture
def builder():
  builder = BundleBuilder()
  # What follows is not aligned.
  builder.strings("words", [b"abc"], [1])
  builder.numbers("whole", _VALUES)
  builder.partitioned("parts", _VALUES, cuts=[3, 4])
  return builder


@pytest.mark.parametrize("key", ["whole", "parts"])
def test_a_tensor_stays_in_a_file(key, builder, tmp_path):
  array = file_array(CheckpointReader(builder.write(tmp_path / "m")), key, 239)
  assert isinstance(array, np.memmap)
  assert not array.flags.writeable
  np.testing.assert_array_equal(array, _VALUES)
  assert array.dtype == np.float32


@pytest.mark.parametrize("key", ["whole", "parts"])
def test_a_small_tensor_is_read(key, builder, tmp_path):
  array = file_array(CheckpointReader(builder.write(tmp_path / "m")), key, 240)
  assert not isinstance(array, np.memmap)
  np.testing.assert_array_equal(array, _VALUES)


@pytest.mark.parametrize("key", ["whole", "parts"])
def test_a_tensor_of_an_object_store_is_read_once(key, builder, tmp_path, monkeypatch):
  pytest.importorskip("fsspec")
  path = builder.write(tmp_path / "m")
  prefix = "memory://file_array_test/m"
  for end in (".index", ".data-00000-of-00001"):
    with open(path + end, "rb") as file, files.create(prefix + end) as target:
      target.write(file.read())
  reader = CheckpointReader(prefix)
  read = []
  chunks = files.read_chunks

  def counting(path, offset, size):
    for chunk in chunks(path, offset, size):
      read.append(len(chunk))
      yield chunk

  monkeypatch.setattr(files, "read_chunks", counting)
  array = file_array(reader, key, 0)
  assert isinstance(array, np.memmap)
  np.testing.assert_array_equal(array, _VALUES)
  assert sum(read) == _VALUES.nbytes


def test_parts_that_are_no_rows_are_put_together(tmp_path):
  builder = BundleBuilder()
  parts = builder.partitioned("parts", _VALUES[:5], cuts=[3])
  entry = builder.index.entry("parts")
  pieces = [piece for _, piece in builder.index.slice_entries("parts")]
  turned = [TensorSlice(part.extents[::-1]) for part in parts]
  builder.index.remove("parts")
  builder.index.put("parts", entry._replace(slices=tuple(turned)))
  for part, piece in zip(turned, pieces):
    builder.index.put("parts", piece._replace(shape=piece.shape[::-1]), part)
  array = file_array(CheckpointReader(builder.write(tmp_path / "m")), "parts", 0)
  expected = [_VALUES[:3].reshape(5, 3), _VALUES[3:5].reshape(5, 2)]
  np.testing.assert_array_equal(array, np.concatenate(expected, axis=1))


@pytest.mark.parametrize("key", ["whole", "parts"])
def test_damage_is_found_before_a_value_is_used(key, builder, tmp_path):
  builder.shards[0][40] ^= 1
  builder.shards[0][-1] ^= 1
  reader = CheckpointReader(builder.write(tmp_path / "m"))
  with pytest.raises(CorruptCheckpointError, match=f"the checksum of '{key}'"):
    file_array(reader, key, 0)


def test_a_file_that_is_too_short_is_damage(builder, tmp_path):
  reader = CheckpointReader(builder.write(tmp_path / "m"))
  data = tmp_path / "m.data-00000-of-00001"
  data.write_bytes(data.read_bytes()[:-8])
  with pytest.raises(CorruptCheckpointError, match="truncated"):
    file_array(reader, "parts", 0)


def test_no_room_for_a_temporary_file_says_where(builder, tmp_path, monkeypatch):
  def full():
    raise OSError(28, "No space left on device")

  reader = CheckpointReader(builder.write(tmp_path / "m"))
  monkeypatch.setattr(tempfile, "TemporaryFile", full)
  with pytest.raises(CheckpointIOError, match=r"'parts' takes .* 240 bytes.*TMPDIR"):
    file_array(reader, "parts", 0)
