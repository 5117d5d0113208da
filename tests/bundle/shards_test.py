from __future__ import annotations

import errno
import os

import pytest

from estimator_ckpt.bundle import checksum, copies, dtypes, files, shards, strings
from estimator_ckpt.bundle.index import Index
from estimator_ckpt.bundle.messages import BundleEntry
from estimator_ckpt.errors import (
  CheckpointIOError,
  CheckpointKeyError,
  CheckpointNotFoundError,
  CorruptCheckpointError,
  OptionError,
  UnsupportedCheckpointError,
)
from tests import golden

_DATA = bytes(range(40))


@pytest.fixture
def bundle(tmp_path):
  """A data file of 40 bytes, shard 1 of 2."""
  prefix = str(tmp_path / "model.ckpt-3")
  files.write_atomic(f"{prefix}.data-00001-of-00002", _DATA)
  return shards.Shards(prefix, 2)


def _entry(offset=4, size=8, shape=(2,), dtype=1, shard=1, crc=None):
  data = _DATA[offset : offset + size]
  crc = checksum.mask(checksum.crc32c(data)) if crc is None else crc
  return BundleEntry(dtype, shape, shard, offset, size, crc)


def test_a_tensors_bytes_are_read_and_verified(bundle):
  assert bundle.read(_entry(), "w") == _DATA[4:12]
  bundle.verify(_entry(), "w")


def test_a_tensor_without_elements_has_no_bytes(bundle):
  assert bundle.read(_entry(40, 0, (0, 3)), "w") == b""


def test_damage_is_found_unless_nobody_looks(bundle):
  entry = _entry(crc=1)
  for call in (bundle.read, bundle.verify):
    with pytest.raises(CorruptCheckpointError) as caught:
      call(entry, "net/w")
    assert str(caught.value).startswith(
      f"{bundle.path(1)}: the checksum of 'net/w' does not match"
    )
  assert bundle.read(entry, "net/w", verify=False) == _DATA[4:12]


@pytest.mark.parametrize(
  "entry, error, problem",
  [
    (
      _entry(36, 8),
      CorruptCheckpointError,
      "'w' is at bytes 36 to 44, and the file has 40",
    ),
    (
      _entry(2**62, 8),
      CorruptCheckpointError,
      "at bytes 4611686018427387904 to .*, and the file has 40",
    ),
    (
      BundleEntry(1, (2**60,), 1, 0, 2**62),
      CorruptCheckpointError,
      "bytes 0 to 4611686018427387904, and the file has 40",
    ),
    (
      _entry(shape=(3,)),
      CorruptCheckpointError,
      "'w' has 8 bytes; float32 of shape \\[3\\] takes 12",
    ),
    (_entry(dtype=9), CorruptCheckpointError, "int64 of shape \\[2\\] takes 16"),
    (_entry(shard=2), CorruptCheckpointError, "data file number 2, and there are 2"),
    (
      _entry(shard=0),
      CheckpointNotFoundError,
      "data-00000-of-00002: a data file .* missing",
    ),
    (_entry(dtype=77), UnsupportedCheckpointError, "type number 77"),
  ],
)
def test_entries_are_not_believed(bundle, entry, error, problem):
  for call in (bundle.read, bundle.verify, bundle.check_bounds):
    with pytest.raises(error, match=problem):
      call(entry, "w")


def test_strings_are_read(tmp_path):
  elements = [b"a", b"", b"\xff\x00" * 200]
  data, crc = strings.encode(elements)
  prefix = str(tmp_path / "m")
  files.write_atomic(f"{prefix}.data-00000-of-00001", b"xx" + data)
  entry = BundleEntry(dtypes.STRING, (3, 1), 0, 2, len(data), crc)
  assert shards.Shards(prefix, 1).read_strings(entry, "s") == elements
  damaged = BundleEntry(dtypes.STRING, (3, 1), 0, 2, len(data), crc ^ 1)
  with pytest.raises(CorruptCheckpointError, match="'s': the checksum of the strings"):
    shards.Shards(prefix, 1).read_strings(damaged, "s")
  assert shards.Shards(prefix, 1).read_strings(damaged, "s", verify=False) == elements


def test_the_object_graph_is_a_scalar_string():
  prefix = golden.path("tf2.15/module_tree")
  index = Index.read(prefix)
  key = golden.OBJECT_GRAPH_KEY
  data = shards.read_scalar_string(prefix, index, key)
  assert b"VARIABLE_VALUE" in data
  with pytest.raises(CheckpointKeyError):
    shards.read_scalar_string(prefix, index, "missing")
  other = next(k for k in index if k != key)
  with pytest.raises(CorruptCheckpointError, match="expected a scalar string"):
    shards.read_scalar_string(prefix, index, other)


def test_auto_takes_what_the_file_system_can_do(tmp_path, monkeypatch):
  source = str(tmp_path / "source")
  files.write_atomic(source, _DATA)
  assert shards.place(source, str(tmp_path / "a")) == "link"

  def no_link(*unused_args, **unused_kwargs):
    raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))

  monkeypatch.setattr(os, "link", no_link)
  assert shards.place(source, str(tmp_path / "b")) in ("reflink", "copy")
  monkeypatch.setattr(copies, "reflink", lambda path, to: False)
  parts = []
  assert shards.place(source, str(tmp_path / "c"), progress=parts.append) == "copy"
  assert sum(parts) == len(_DATA)
  for name in "abc":
    assert files.read(str(tmp_path / name)) == _DATA
  with pytest.raises(
    CheckpointIOError, match="cannot link .*Ask for copy, or for auto"
  ):
    shards.place(source, str(tmp_path / "d"), "link")
  with pytest.raises(CheckpointIOError, match="cannot reflink"):
    shards.place(source, str(tmp_path / "d"), "reflink")
  assert not files.exists(str(tmp_path / "d"))


def test_a_copy_is_no_link(tmp_path):
  source, to = str(tmp_path / "source"), str(tmp_path / "copy")
  files.write_atomic(source, _DATA)
  assert shards.place(source, to, "copy") == "copy"
  assert os.stat(source).st_ino != os.stat(to).st_ino


def test_an_unknown_way_is_refused(tmp_path):
  with pytest.raises(OptionError, match="'move' is unknown; choose one of auto, link"):
    shards.place("a", "b", "move")
