"""Checkpoints of the format V1: those of real TensorFlow, and damaged ones."""

from __future__ import annotations

import os
import shutil

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from estimator_ckpt import errors
from estimator_ckpt.bundle import (
  coding,
  dtypes,
  slice_specs,
  table,
  table_writer,
  v1_checkpoint,
  v1_files,
  wire,
)
from estimator_ckpt.bundle.index import Index
from estimator_ckpt.bundle.messages import TensorSlice
from estimator_ckpt.bundle.shards import Shards
from estimator_ckpt.bundle.slices import slice_key
from tests import golden

EVERY_GOLDEN = pytest.mark.parametrize("name", golden.v1_names())
_ONE_FILE = "tf1.15/v1/adam_partitioned"


def test_there_are_goldens():
  assert len(golden.v1_names()) == 3


@EVERY_GOLDEN
def test_the_index_has_the_types_shapes_and_slices(name):
  index = Index.read(golden.path(name))
  manifest = golden.manifest(name)
  assert {
    key: {"dtype": dtypes.name(entry.dtype), "shape": list(entry.shape)}
    for key, entry in ((key, index.entry(key)) for key in index)
  } == manifest["tensors"]
  assert {
    key: sorted(
      slice_specs.serialize(s, index.entry(key).shape) for s in index.entry(key).slices
    )
    for key in index
    if index.entry(key).slices
  } == manifest["slices"]


@EVERY_GOLDEN
def test_the_bytes_are_those_of_a_data_file(name):
  prefix = golden.path(name)
  index = Index.read(prefix)
  shards = Shards.of(prefix, index)
  for key, value in golden.expected(name).items():
    entry = index.entry(key)
    parts = index.slice_entries(key) or [(TensorSlice(((0, -1),) * value.ndim), entry)]
    for tensor_slice, part in parts:
      where = tuple(
        slice(start, None if length == -1 else start + length)
        for start, length in tensor_slice.extents
      )
      wanted = value[where]
      if entry.dtype == dtypes.STRING:
        # NumPy's fixed-width bytes lose the zeros at their end.
        assert [
          text.rstrip(b"\0") for text in shards.read_strings(part, key)
        ] == wanted.ravel().tolist()
      else:
        assert shards.read(part, key) == wanted.tobytes(), key
        shards.verify(part, key)


@EVERY_GOLDEN
def test_any_part_can_be_read(name):
  checkpoint = v1_checkpoint.V1Checkpoint(golden.path(name))
  for shard, size in enumerate(checkpoint.sizes):
    whole = b"".join(checkpoint.read_chunks(shard, 0, size))
    assert len(whole) == size
    for begin, end in [(0, 0), (0, 1), (3, 50), (size // 2, size), (size, size + 9)]:
      part = b"".join(checkpoint.read_chunks(shard, begin, end - begin))
      assert part == whole[begin:end]


@EVERY_GOLDEN
def test_its_files_are_found_by_prefix_and_by_listing(name):
  prefix = golden.path(name)
  assert v1_files.is_v1(prefix)
  directory = golden.directory(name) + "/"
  found = v1_files.prefixes_among(directory, os.listdir(directory))
  assert found == [prefix]
  for path in v1_checkpoint.V1Checkpoint(prefix).paths:
    assert v1_files.prefix_of(path) == prefix


def test_other_files_are_none(tmp_path):
  bundle = golden.path("tf1.15/adam_dense")
  (tmp_path / "empty").write_bytes(b"")
  (tmp_path / "text").write_text("model_checkpoint_path: 'x'\n" * 40)
  shutil.copy(bundle + ".index", tmp_path / "model.ckpt-7")
  for path in [bundle, bundle + ".index", *map(str, tmp_path.iterdir()), str(tmp_path)]:
    assert not v1_files.is_v1(path), path
  assert not v1_files.is_v1(str(tmp_path / "missing"))


def test_one_of_several_files_is_no_checkpoint():
  prefix = golden.path("tf1.15/v1/sharded")
  assert not v1_files.is_v1(prefix.replace("?????", "00000"))


def test_a_missing_file_of_several_is_named(tmp_path):
  prefix = golden.copy("tf1.15/v1/sharded", tmp_path / "model")
  os.remove(prefix.replace("?????", "00001"))
  with pytest.raises(errors.CheckpointNotFoundError, match="00001-of-00002"):
    Index.read(prefix)


@pytest.mark.parametrize("name", ["tf1.15/v1/many_dtypes", "tf1.15/v1/sharded"])
def test_every_flipped_byte_is_found_or_means_nothing(name, tmp_path):
  prefix = golden.copy(name, tmp_path / "model")
  paths = v1_checkpoint.V1Checkpoint(prefix).paths
  before = _all_bytes(prefix)
  rng = np.random.default_rng(5)
  for path in paths:
    data = open(path, "rb").read()
    for position in rng.choice(len(data), 150, replace=False):
      with open(path, "wb") as file:
        file.write(
          data[:position] + bytes((data[position] ^ 16,)) + data[position + 1 :]
        )
      try:
        after = _all_bytes(prefix)
      except errors.CheckpointError:
        continue
      assert after == before, position
    with open(path, "wb") as file:
      file.write(data)


def _all_bytes(prefix):
  index = Index.read(prefix)
  shards = Shards.of(prefix, index)
  return [
    b"".join(shards.read_chunks(shard, 0, shards.size(shard)))
    for shard in range(shards.num_shards)
  ] + [index.serialize()]


@pytest.mark.parametrize("size", [0, 1, 47, 300, 5000, -1])
def test_a_cut_file_is_no_checkpoint(size, tmp_path):
  prefix = golden.copy(_ONE_FILE, tmp_path / "model")
  data = open(prefix, "rb").read()
  with open(prefix, "wb") as file:
    file.write(data[:size])
  with pytest.raises(errors.CheckpointNotFoundError):
    Index.read(prefix)


def test_another_file_than_when_it_was_opened_is_an_error(tmp_path):
  prefix = golden.copy(_ONE_FILE, tmp_path / "model")
  index = Index.read(prefix)
  shards = Shards.of(prefix, index)
  shutil.copy(golden.path("tf1.15/v1/many_dtypes"), prefix)
  with pytest.raises(errors.CorruptCheckpointError, match=r"model.ckpt-7"):
    shards.read(index.entry("net/large"), "net/large")


def test_compressed_blocks_are_read(tmp_path):
  """The first versions of TensorFlow compressed their blocks."""
  path = golden.path(_ONE_FILE)
  data = open(path, "rb").read()
  compressed = _compressed(data)
  assert compressed != data
  (tmp_path / "model.ckpt-7").write_bytes(compressed)
  assert _all_bytes(str(tmp_path / "model.ckpt-7")) == _all_bytes(path)


def _compressed(data):
  """The same table; each block is stored as literals of snappy."""
  from estimator_ckpt.bundle import checksum

  out, handles = b"", []
  for (offset, size), items in table.read_blocks(data, "it"):
    block = data[offset : offset + size]
    # Tag 62 << 2: a literal whose length, less one, is in three bytes.
    packed = coding.encode_varint(size) + bytes((62 << 2,))
    packed += (size - 1).to_bytes(3, "little") + block
    handles.append((items[-1][0], coding.encode_varint(len(out)), len(packed)))
    typed = packed + b"\x01"
    out += typed + checksum.mask(checksum.crc32c(typed)).to_bytes(4, "little")
  rows = [(key, at + coding.encode_varint(size)) for key, at, size in handles]
  places = []
  for rows_of_block in ([], rows):
    block, restarts = b"", []
    for key, value in rows_of_block:
      restarts.append(len(block))
      numbers = (0, len(key), len(value))
      block += b"".join(map(coding.encode_varint, numbers)) + key + value
    restarts = restarts or [0]
    block += b"".join(n.to_bytes(4, "little") for n in (*restarts, len(restarts)))
    places.append(coding.encode_varint(len(out)) + coding.encode_varint(len(block)))
    typed = block + b"\x00"
    out += typed + checksum.mask(checksum.crc32c(typed)).to_bytes(4, "little")
  return out + b"".join(places).ljust(40, b"\0") + data[-8:]


# A file made by hand: one tensor, and one thing in the file is wrong.


def _message(*fields):
  out = bytearray()
  for number, value in fields:
    if isinstance(value, int):
      wire.write_int(out, number, value)
    else:
      wire.write_bytes(out, number, value)
  return bytes(out)


_WHOLE = TensorSlice(((0, -1),))


def _write(
  path, listed=(_WHOLE,), stored=(_WHOLE,), values=b"\0" * 12, dtype=1, **more
):
  name, version = more.get("name", b"w"), more.get("version", 1)
  field = more.get("field", 5)
  shape = _message((2, _message((1, 3))))
  tensor = [(1, name), (2, shape), (3, dtype)]
  tensor += [(4, part.serialize()) for part in listed]
  meta = _message((1, _message(*tensor)), (2, _message((1, 1), (2, version))))
  items = [(b"", _message((1, meta)))]
  for part in stored:
    proto = _message((field, values))
    saved = _message((1, name), (2, part.serialize()), (3, proto))
    items.append((slice_key("w", part), _message((2, saved))))
  path.write_bytes(table_writer.write_table(*zip(*sorted(items))))
  return str(path)


def test_a_file_made_by_hand_is_read(tmp_path):
  values = np.array([1, 2, 3], np.float32).tobytes()
  prefix = _write(tmp_path / "model.ckpt-1", values=values)
  index = Index.read(prefix)
  assert Shards.of(prefix, index).read(index.entry("w"), "w") == values


_FIRST, _REST = TensorSlice(((0, 1),)), TensorSlice(((1, 2),))


@pytest.mark.parametrize(
  "wrong, message",
  [
    ({"values": b"\0" * 8}, "2 values of type float32, expected 3"),
    ({"values": b"\0" * 13}, "3.25 values"),
    ({"stored": ()}, "is listed and is not there"),
    ({"listed": (_FIRST,)}, "not among those that the file lists"),
    ({"listed": (_WHOLE, _WHOLE)}, "twice"),
    ({"listed": (TensorSlice(((2, 2),)),)}, "outside"),
    ({"dtype": 3, "field": 7, "values": b"\1\2\x80"}, "truncated varint"),
    ({"dtype": 3, "field": 7, "values": b"\x80" * 10 + b"\1"}, "varint too long"),
    ({"name": b""}, "called ''"),
    ({"field": 6}, "0 values of type float32"),
  ],
)
def test_what_does_not_fit_is_an_error(tmp_path, wrong, message):
  path = _write(tmp_path / "model.ckpt-1", **wrong)
  with pytest.raises(errors.CorruptCheckpointError, match=message) as raised:
    Index.read(path)
  assert path in str(raised.value)


@pytest.mark.parametrize(
  "wrong, message",
  [
    ({"version": 2}, "readers of format version 2 on"),
    ({"dtype": 20}, "type resource"),
    ({"dtype": 99}, "type 99"),
  ],
)
def test_what_is_newer_is_unsupported(tmp_path, wrong, message):
  path = _write(tmp_path / "model.ckpt-1", **wrong)
  with pytest.raises(errors.UnsupportedCheckpointError, match=message):
    Index.read(path)


@given(st.lists(st.integers(0, 2**64 - 1)))
def test_integers_are_those_that_varints_say(values):
  encoded = b"".join(map(coding.encode_varint, values))
  found = np.frombuffer(v1_checkpoint._integers(encoded, 8), "<u8")
  assert found.tolist() == values
  low = np.frombuffer(v1_checkpoint._integers(encoded, 2), "<u2")
  assert low.tolist() == [value & 0xFFFF for value in values]
