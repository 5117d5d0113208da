"""Checkpoints in Google Cloud Storage, by gcsfs, as its user has them."""

from __future__ import annotations

import pytest

from estimator_ckpt.bundle import files
from estimator_ckpt.checkpoint.verify import verify
from estimator_ckpt.errors import CheckpointError
from estimator_ckpt.files.convert import convert
from estimator_ckpt.files.diff import diff
from tests.stores import gcs_server

SCHEME = "gs"
_STORE = f"gs://{gcs_server.BUCKET}"
_MODEL_DIR = f"{_STORE}/model_dir"
_SIZE = 1_000_000


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


# gcsfs asks again, after a while, if an answer was cut: that takes longer. An answer that
# does not come in time is an error.
@pytest.mark.parametrize("fault, every", [(403, 1), ("cut", 4), ("slow", 4)])
def test_each_request_of_a_conversion_that_fails_is_one_error(
  fault, every, server, model_dir
):
  source = f"{_MODEL_DIR}/model.ckpt-10"
  convert(source, f"{_STORE}/whole/model.ckpt-10", "dual")
  count, failures = len(server.requests), 0
  for number in range(0, count, every):
    target = f"{_STORE}/{number}/model.ckpt-10"
    server.requests.clear()
    server.faults = {number: fault}
    try:
      convert(source, target, "dual")
    except CheckpointError:
      failures += 1
    server.faults = {}
    # What was left is no obstacle, and what was done is done.
    if not files.exists(f"{target}.index"):
      convert(source, target, "dual")
    assert diff(source, target, values=True).equal, number
    assert verify(target).ok, number
  # gcsfs goes on where it may not look: what it does not see, it finds in a listing.
  assert failures > 5 if fault == 403 else failures > 0 if fault == "slow" else True
  assert diff(source, model_dir / "model.ckpt-10", values=True).equal
