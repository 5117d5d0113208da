"""Checkpoints in Google Cloud Storage, by gcsfs, as its user has them."""

from __future__ import annotations

import socket
import urllib.parse

import pytest

from estimator_ckpt.bundle import files
from estimator_ckpt.checkpoint.state_file import read_state
from estimator_ckpt.checkpoint.verify import verify
from estimator_ckpt.errors import CheckpointError, CheckpointNotFoundError
from estimator_ckpt.files.convert import convert
from estimator_ckpt.files.diff import diff
from tests import stored
from tests.stores import costs, gcs_server

_STORE = f"gs://{gcs_server.BUCKET}"
_MODEL_DIR = f"{_STORE}/model_dir"
_SIZE = 1_000_000


@pytest.fixture
def server():
  with gcs_server.started() as started:
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


def test_the_store_copies_and_no_data_comes_here(server, model_dir):
  convert(f"{_MODEL_DIR}/model.ckpt-10", f"{_STORE}/one/model.ckpt-10", "tf2")
  data = "model.ckpt-10.data-00000-of-0000"
  assert [r.path for r in server.requests if r.method == "COPY"] == [
    f"{gcs_server.BUCKET}/model_dir/{data}1"
  ]
  assert sum(r.read for r in server.requests) < _SIZE // 10


def test_each_byte_is_read_once(server, model_dir):
  assert verify(f"{_MODEL_DIR}/model.ckpt-20").findings == ()
  size = (model_dir / "model.ckpt-20.data-00000-of-00001").stat().st_size
  assert size <= sum(r.read for r in server.requests) < size * 1.01


def test_a_bucket_is_not_made(server, model_dir):
  with pytest.raises(CheckpointNotFoundError, match="^gs://nobucket: there is no such"):
    convert(f"{_MODEL_DIR}/model.ckpt-10", "gs://nobucket/x", "dual")
  assert server.buckets == {gcs_server.BUCKET}


def test_each_request_of_a_conversion_that_is_refused_is_one_error(server, model_dir):
  source = f"{_MODEL_DIR}/model.ckpt-10"
  convert(source, f"{_STORE}/whole/model.ckpt-10", "dual")
  count, failures = len(server.requests), 0
  for number in range(count):
    target = f"{_STORE}/{number}/model.ckpt-10"
    server.requests.clear()
    server.faults = {number: 403}
    try:
      convert(source, target, "dual")
    except CheckpointError:
      failures += 1
    server.faults = {}
    # What was left is no obstacle, and what was done is done.
    if not files.exists(f"{target}.index"):
      convert(source, target, "dual")
    assert diff(source, target, values=True).equal
  # gcsfs goes on where it may not look: what it does not see, it finds in a listing.
  assert failures > 5
  assert diff(source, model_dir / "model.ckpt-10", values=True).equal


def test_the_port_is_free_afterwards():
  with gcs_server.started() as server:
    address = urllib.parse.urlparse(server.url)
    place = (address.hostname, address.port)
    assert place[0] == "127.0.0.1"
    socket.create_connection(place).close()
  with pytest.raises(ConnectionRefusedError):
    socket.create_connection(place)
