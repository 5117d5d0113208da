"""What holds of checkpoints in each kind of store."""

from __future__ import annotations

import socket
import urllib.parse

import pytest

from estimator_ckpt.bundle import files
from estimator_ckpt.checkpoint.state_file import read_state
from estimator_ckpt.checkpoint.verify import verify
from estimator_ckpt.errors import CheckpointNotFoundError
from estimator_ckpt.files.convert import convert
from estimator_ckpt.files.diff import diff
from tests import stored
from tests.stores.store_request import BUCKET

pytestmark = pytest.mark.parametrize("scheme", ["gs", "s3"])


def test_values_are_the_same_within_the_store_and_back(store, model_dir, tmp_path):
  source = f"{store}/model_dir"
  convert(source, f"{store}/dual", "dual")
  assert verify(f"{store}/dual").findings == ()
  convert(f"{store}/dual", tmp_path / "back", "tf1")
  for step in (10, 20):
    name = f"model.ckpt-{step}"
    assert diff(f"{source}/{name}", model_dir / name, values=True).equal
    assert stored.stored(tmp_path / "back" / name) == stored.stored(model_dir / name)
  latest = read_state(f"{store}/dual").model_checkpoint_path
  assert latest == f"{store}/dual/model.ckpt-20"
  # Nothing incomplete is left.
  assert len(files.list_dir(f"{store}/dual")) == 1 + 2 * 3


@pytest.mark.parametrize("dry_run", [False, True])
def test_a_bucket_is_not_made(server, scheme, store, model_dir, dry_run):
  source, target = f"{store}/model_dir/model.ckpt-10", f"{scheme}://nobucket"
  with pytest.raises(
    CheckpointNotFoundError, match=f"^{target}: there is no such bucket"
  ):
    convert(source, f"{target}/x", "dual", dry_run=dry_run)
  assert server.buckets == {BUCKET}


def test_the_port_is_free_afterwards(start):
  with start() as server:
    address = urllib.parse.urlparse(server.url)
    place = (address.hostname, address.port)
    assert place[0] == "127.0.0.1"
    socket.create_connection(place).close()
  with pytest.raises(ConnectionRefusedError):
    socket.create_connection(place)
