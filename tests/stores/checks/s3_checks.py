"""Checkpoints in S3, by s3fs, as its user has them; the server is moto's."""

from __future__ import annotations

import pytest

from estimator_ckpt.bundle import files
from estimator_ckpt.checkpoint.verify import verify
from estimator_ckpt.errors import CheckpointExistsError
from estimator_ckpt.files.convert import convert
from tests import page_runner
from tests.stores import costs, s3_server

SCHEME = "s3"
_STORE = f"s3://{s3_server.BUCKET}"
_MODEL_DIR = f"{_STORE}/model_dir"
_SIZE = 1_000_000


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


def test_each_command_costs_what_the_page_says(server, tmp_path):
  page = (page_runner.ROOT / "docs/object_stores.md").read_text(encoding="utf-8")
  measured = costs.table(server, str(tmp_path / "local"))
  assert measured
  for row in measured:
    assert row in page.splitlines(), "\n".join(measured)
