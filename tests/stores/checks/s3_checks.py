"""Checkpoints in S3, by s3fs, as its user has them; the server is moto's."""

from __future__ import annotations

import socket
import urllib.parse

import pytest

from estimator_ckpt.bundle import files
from estimator_ckpt.checkpoint.state_file import read_state
from estimator_ckpt.checkpoint.verify import verify
from estimator_ckpt.errors import CheckpointExistsError, CheckpointNotFoundError
from estimator_ckpt.files.convert import convert
from estimator_ckpt.files.diff import diff
from tests import page_runner, stored
from tests.stores import costs, s3_server

_STORE = f"s3://{s3_server.BUCKET}"
_MODEL_DIR = f"{_STORE}/model_dir"
_SIZE = 1_000_000


@pytest.fixture
def server():
  with s3_server.started() as started:
    yield started


@pytest.fixture
def model_dir(server, tmp_path):
  """The same model_dir in the store and on the disk; the path of that on the disk."""
  costs.write_model_dir(_MODEL_DIR, [10, 20], _SIZE)
  costs.write_model_dir(str(tmp_path / "same"), [10, 20], _SIZE)
  server.requests.clear()
  return tmp_path / "same"


def test_values_are_the_same_within_the_store_and_back(model_dir, tmp_path):
  convert(_MODEL_DIR, f"{_STORE}/dual", "dual")
  assert verify(f"{_STORE}/dual").findings == ()
  convert(f"{_STORE}/dual", tmp_path / "back", "tf1")
  for step in (10, 20):
    name = f"model.ckpt-{step}"
    assert diff(f"{_MODEL_DIR}/{name}", model_dir / name, values=True).equal
    assert stored.stored(tmp_path / "back" / name) == stored.stored(model_dir / name)
  latest = read_state(f"{_STORE}/dual").model_checkpoint_path
  assert latest == f"{_STORE}/dual/model.ckpt-20"
  # Nothing incomplete is left.
  assert len(files.list_dir(f"{_STORE}/dual")) == 1 + 2 * 3


def test_a_state_file_and_an_index_are_put_at_once(server, model_dir):
  convert(f"{_MODEL_DIR}/model.ckpt-10", f"{_STORE}/one/model.ckpt-10", "tf2")
  copied = [r.path for r in server.requests if r.method == "COPY"]
  assert copied == [f"{s3_server.BUCKET}/one/model.ckpt-10.data-00000-of-00002"]


def test_damage_is_found_and_named(model_dir):
  path = f"{_MODEL_DIR}/model.ckpt-20.data-00000-of-00001"
  data = bytearray(files.read(path))
  data[len(data) // 2] ^= 1
  files.write_atomic(path, bytes(data))
  (finding,) = verify(_MODEL_DIR).findings
  assert (finding.code, finding.file) == ("checksum", path)
  files.write_atomic(path, bytes(data[:-1]))
  assert "out-of-bounds" in [each.code for each in verify(_MODEL_DIR).findings]
  files.remove(path)
  assert "shard-missing" in [each.code for each in verify(_MODEL_DIR).findings]


def test_what_is_there_is_not_replaced(model_dir):
  with pytest.raises(CheckpointExistsError, match="there is a checkpoint already"):
    convert(f"{_MODEL_DIR}/model.ckpt-10", f"{_MODEL_DIR}/model.ckpt-20", "dual")


@pytest.mark.parametrize("dry_run", [False, True])
def test_a_bucket_is_not_made(server, model_dir, dry_run):
  with pytest.raises(
    CheckpointNotFoundError, match="^s3://nobucket: there is no such bucket"
  ):
    convert(f"{_MODEL_DIR}/model.ckpt-10", "s3://nobucket/x", "dual", dry_run=dry_run)
  assert files.list_dir("s3://") == [s3_server.BUCKET]


def test_each_command_costs_what_the_page_says(server, tmp_path):
  page = (page_runner.ROOT / "docs/object_stores.md").read_text(encoding="utf-8")
  measured = costs.table(server, str(tmp_path / "local"))
  assert measured
  for row in measured:
    assert row in page.splitlines(), "\n".join(measured)


def test_the_port_is_free_afterwards():
  with s3_server.started() as server:
    address = urllib.parse.urlparse(server.url)
    place = (address.hostname, address.port)
    assert place[0] == "127.0.0.1"
    socket.create_connection(place).close()
  with pytest.raises(ConnectionRefusedError):
    socket.create_connection(place)
