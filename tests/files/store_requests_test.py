"""What commands ask of an object store: each byte at most once, in few requests."""

from __future__ import annotations

import collections
import threading
import time

import pytest

pytest.importorskip("fsspec")

from estimator_ckpt.bundle import files
from estimator_ckpt.bundle.file_names import data_path
from estimator_ckpt.checkpoint.verify import verify
from estimator_ckpt.cli import main
from estimator_ckpt.errors import CheckpointIOError, CheckpointNotFoundError
from estimator_ckpt.files.convert import convert
from tests import golden, stored
from tests.bundle_builder import BundleBuilder
from tests.object_store import GOLDEN, MODEL_DIR, SCHEME, ObjectStore, make_model_dir

_STORE = f"{SCHEME}://bucket"
_STEPS = (10, 20, 30)
_SHARDS = 2


@pytest.fixture(autouse=True)
def model_dir():
  make_model_dir(*_STEPS)


def _asked():
  return dict(collections.Counter(request.kind for request in ObjectStore.requests))


def _bytes_read_twice():
  """The bytes that were sent more than once, by object."""
  parts = collections.defaultdict(list)
  for request in ObjectStore.requests:
    if request.kind == "GET":
      parts[request.path].append((request.begin, request.end))
  twice = {}
  for path, places in parts.items():
    sent = sum(end - begin for begin, end in places)
    union = len({at for begin, end in places for at in range(begin, end)})
    if sent > union:
      twice[path] = sent - union
  return twice


def _bytes_read(suffix):
  return sum(r.end - r.begin for r in ObjectStore.requests if suffix in r.path)


def _stored_bytes(suffix):
  return sum(len(data) for path, data in ObjectStore.objects.items() if suffix in path)


def test_inspect_reads_the_index_and_what_it_shows():
  assert main.run(["inspect", f"{MODEL_DIR}/model.ckpt-30"]) == 0
  assert _bytes_read(".index") == _stored_bytes("ckpt-30.index")
  # The step, which is the only value that is shown.
  assert _bytes_read(".data-") == 8
  assert _bytes_read_twice() == {}


def test_verify_reads_each_byte_of_a_checkpoint_once():
  assert verify(f"{MODEL_DIR}/model.ckpt-30").findings == ()
  assert _asked() == {"HEAD": 2 + _SHARDS, "LIST": 1, "GET": 1 + _SHARDS}
  assert _bytes_read(".index") == _stored_bytes("ckpt-30.index")
  assert _bytes_read(".data-") == _stored_bytes("ckpt-30.data-")
  assert _bytes_read_twice() == {}


def test_verify_without_data_reads_the_index_alone():
  assert verify(f"{MODEL_DIR}/model.ckpt-30", fast=True).findings == ()
  assert _asked() == {"HEAD": 2 + _SHARDS, "LIST": 1, "GET": 1}
  assert _bytes_read(".data-") == 0


def test_verify_lists_a_directory_once():
  assert verify(MODEL_DIR).findings == ()
  listed = [request.path for request in ObjectStore.requests if request.kind == "LIST"]
  # Twice to see that the path is a directory, and no checkpoint.
  assert listed == [
    "bucket/model_dir.index",
    "bucket/model_dir",
    "bucket/model_dir",
    "bucket/model_dir",
  ]
  assert _bytes_read(".data-") == _stored_bytes(".data-")
  assert set(_bytes_read_twice()) == {"bucket/model_dir/checkpoint"}


def test_verify_reads_the_object_graph_once():
  convert(f"{MODEL_DIR}/model.ckpt-30", f"{_STORE}/dual/model.ckpt-30", "dual")
  ObjectStore.requests.clear()
  report = verify(f"{_STORE}/dual/model.ckpt-30")
  assert report.findings == ()
  assert report.bytes_read == _stored_bytes("dual/model.ckpt-30.data-")
  assert _bytes_read(".data-") == report.bytes_read
  assert _bytes_read_twice() == {}


def test_large_tensors_are_read_in_parts_of_a_bounded_size(monkeypatch):
  monkeypatch.setattr(files, "CHUNK_SIZE", 64)
  builder = BundleBuilder()
  builder.numbers("large", [float(i) for i in range(1000)])
  builder.numbers("small", [1.0])
  prefix = f"{_STORE}/large/model.ckpt-1"
  files.write_atomic(data_path(prefix, 0, 1), bytes(builder.shards[0]))
  files.write_atomic(f"{prefix}.index", builder.index.serialize())
  ObjectStore.requests.clear()
  report = verify(prefix)
  assert report.ok and report.bytes_read == 4004
  parts = [r for r in ObjectStore.requests if r.kind == "GET" and ".data-" in r.path]
  assert len(parts) == 4000 // 64 + 2
  assert all(part.end - part.begin <= 64 for part in parts)
  assert _bytes_read_twice() == {}


def test_a_few_parts_are_read_at_once(monkeypatch):
  monkeypatch.setattr(files, "CHUNK_SIZE", 64)
  path = f"{_STORE}/file"
  data = bytes(range(256)) * 16
  files.write_atomic(path, data)
  lock, under_way, most = threading.Lock(), 0, 0
  cat_file = ObjectStore.cat_file

  def slow(self, *arguments, **options):
    nonlocal under_way, most
    with lock:
      under_way += 1
      most = max(most, under_way)
    time.sleep(0.01)
    with lock:
      under_way -= 1
    return cat_file(self, *arguments, **options)

  monkeypatch.setattr(ObjectStore, "cat_file", slow)
  assert b"".join(files.read_chunks(path, 0, len(data))) == data
  assert 1 < most <= 8
  # Who stops reading has not read everything.
  ObjectStore.requests.clear()
  chunks = files.read_chunks(path, 0, len(data))
  assert next(chunks) == data[:64]
  chunks.close()
  assert len(ObjectStore.requests) <= 9


def test_what_follows_damage_is_verified_too(monkeypatch):
  monkeypatch.setattr(files, "CHUNK_SIZE", 64)
  builder = BundleBuilder()
  builder.numbers("a", [float(i) for i in range(100)])
  builder.numbers("b", [float(i) for i in range(100)])
  builder.numbers("c", [1.0])
  prefix = f"{_STORE}/damaged/model.ckpt-1"
  data = bytearray(builder.shards[0])
  data[100] ^= 1
  data[-1] ^= 1
  files.write_atomic(data_path(prefix, 0, 1), bytes(data))
  files.write_atomic(f"{prefix}.index", builder.index.serialize())
  assert [(f.code, f.key) for f in verify(prefix).findings] == [
    ("checksum", "a"),
    ("checksum", "c"),
  ]


def test_a_conversion_within_a_store_sends_and_reads_no_data():
  convert(f"{MODEL_DIR}/model.ckpt-30", f"{_STORE}/out/model.ckpt-30", "dual")
  assert _bytes_read(".data-") == 0
  assert _asked()["COPY"] == _SHARDS
  assert _bytes_read_twice() == {}
  # A file that says who writes; the names; the object graph.
  assert _asked()["PUT"] == 3


def test_a_conversion_to_a_disk_reads_each_byte_once(tmp_path):
  convert(f"{MODEL_DIR}/model.ckpt-30", tmp_path / "model.ckpt-30", "tf1")
  assert _bytes_read(".data-") == _stored_bytes("ckpt-30.data-")
  assert _bytes_read_twice() == {}
  assert stored.stored(tmp_path / "model.ckpt-30") == stored.stored(golden.path(GOLDEN))


@pytest.mark.parametrize(
  ("source", "target"),
  [
    ("model_dir", "nobucket"),
    ("model_dir", "nobucket/model_dir"),
    ("model_dir/model.ckpt-30", "nobucket/model_dir/model.ckpt-30"),
  ],
)
@pytest.mark.parametrize("dry_run", [False, True])
def test_a_bucket_that_does_not_exist_is_an_error(source, target, dry_run):
  with pytest.raises(
    CheckpointNotFoundError, match="^counted://nobucket: there is no such bucket, so"
  ):
    convert(f"{_STORE}/{source}", f"{SCHEME}://{target}", "dual", dry_run=dry_run)
  assert ObjectStore.buckets == {"bucket"}


@pytest.mark.parametrize("dry_run", [False, True])
def test_a_checkpoint_has_to_be_in_a_bucket(dry_run):
  with pytest.raises(CheckpointNotFoundError, match="there is counted://BUCKET/NAME$"):
    convert(
      f"{MODEL_DIR}/model.ckpt-30", f"{SCHEME}://nobucket", "dual", dry_run=dry_run
    )
  assert ObjectStore.buckets == {"bucket"}


def test_a_file_is_no_directory():
  with pytest.raises(CheckpointIOError, match="Not a directory"):
    files.list_dir(f"{MODEL_DIR}/checkpoint")


def test_ranges_at_the_end_of_a_file():
  path = f"{_STORE}/file"
  files.write_atomic(path, b"abc")
  files.write_atomic(f"{_STORE}/empty", b"")
  assert files.read_range(path, 2, 5) == b"c"
  assert files.read_range(path, 3, 5) == files.read_range(path, 1, 0) == b""
  assert files.read(f"{_STORE}/empty") == b""
  assert b"".join(files.read_chunks(path, 1, 1 << 62)) == b"bc"
