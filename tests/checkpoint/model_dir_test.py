from __future__ import annotations

import pytest

from estimator_ckpt.bundle import files
from estimator_ckpt.checkpoint.model_dir import ModelDir
from estimator_ckpt.checkpoint.state_file import CheckpointState, write_state
from estimator_ckpt.errors import CheckpointNotFoundError, CorruptCheckpointError
from tests import stored


@pytest.fixture
def directory(tmp_path):
  """Two checkpoints; the state file names the second one and a deleted one."""
  for step in (9, 10):
    stored.write(tmp_path / f"model.ckpt-{step}", {"w": stored.vector(step)})
  latest, gone = f"{tmp_path}/model.ckpt-10", f"{tmp_path}/model.ckpt-5"
  write_state(str(tmp_path), CheckpointState(latest, (gone, latest)))
  return str(tmp_path)


def test_what_is_there_and_what_the_state_file_lists(directory):
  found = ModelDir.read(f"{directory}/")
  assert found.path == directory
  assert found.checkpoints == (
    f"{directory}/model.ckpt-9",
    f"{directory}/model.ckpt-10",
  )
  assert found.latest == f"{directory}/model.ckpt-10"
  assert found.listed == (f"{directory}/model.ckpt-5", f"{directory}/model.ckpt-10")
  assert found.state_file == f"{directory}/checkpoint"


def test_data_files_are_those_of_one_checkpoint(directory):
  for name in ("model.ckpt-9.data-00001-of-00002", "model.ckpt-99.data-00000-of-00001"):
    files.write_atomic(f"{directory}/{name}", b"")
  found = ModelDir.read(directory)
  assert found.data_files(f"{directory}/model.ckpt-9") == (
    f"{directory}/model.ckpt-9.data-00000-of-00001",
    f"{directory}/model.ckpt-9.data-00001-of-00002",
  )


def test_a_directory_without_a_state_file(directory):
  files.remove(f"{directory}/checkpoint")
  found = ModelDir.read(directory)
  assert (found.state, found.state_error, found.latest, found.listed) == (
    None,
    None,
    None,
    (),
  )


def test_a_damaged_state_file_hides_no_checkpoint(directory):
  files.write_atomic(f"{directory}/checkpoint", b"\xff{")
  found = ModelDir.read(directory)
  assert found.state is None
  assert isinstance(found.state_error, CorruptCheckpointError)
  assert len(found.checkpoints) == 2


def test_the_directory_of_a_checkpoint(directory, monkeypatch):
  assert ModelDir.of(f"{directory}/model.ckpt-9") == ModelDir.read(directory)
  monkeypatch.chdir(directory)
  assert "model.ckpt-9.index" in ModelDir.of("model.ckpt-9").names
  assert ModelDir.of(f"{directory}/none/model.ckpt-9") is None
  with pytest.raises(CheckpointNotFoundError):
    ModelDir.read(f"{directory}/none")
