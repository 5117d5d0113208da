"""A store with a model_dir, for the checks of each kind of store."""

from __future__ import annotations

import pytest

from tests.stores import costs, gcs_server, s3_server
from tests.stores.store_request import BUCKET

_STARTED = {"gs": gcs_server.started, "s3": s3_server.started}
SIZE = 1_000_000  # of the tensors of one checkpoint, in bytes


@pytest.fixture
def scheme(request):
  """The kind of store: the module's `SCHEME`, or a parameter of the test."""
  return request.module.SCHEME


@pytest.fixture
def start(scheme):
  """Starts a server; a context manager."""
  return _STARTED[scheme]


@pytest.fixture
def server(start):
  with start() as started:
    yield started


@pytest.fixture
def store(scheme):
  """The path of the bucket."""
  return f"{scheme}://{BUCKET}"


@pytest.fixture
def model_dir(server, store, tmp_path):
  """The same model_dir in the store and on the disk; the path of that on the disk."""
  costs.write_model_dir(f"{store}/model_dir", [10, 20], SIZE)
  costs.write_model_dir(str(tmp_path / "same"), [10, 20], SIZE)
  server.requests.clear()
  return tmp_path / "same"
