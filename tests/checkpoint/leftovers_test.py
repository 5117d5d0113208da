from __future__ import annotations

import os
import time

import pytest

from estimator_ckpt.bundle import files, locks
from estimator_ckpt.checkpoint import leftovers, state_file
from estimator_ckpt.errors import CorruptCheckpointError
from tests.bundle_builder import BundleBuilder

_LATER = 60.0


@pytest.fixture
def model_dir(tmp_path):
  """A model_dir with two checkpoints, and a third one that is kept for good."""
  for step in (1, 5, 10):
    _write(tmp_path, step)
  (tmp_path / "checkpoint").write_text(
    'model_checkpoint_path: "model.ckpt-10"\n'
    'all_model_checkpoint_paths: "model.ckpt-5"\n'
    'all_model_checkpoint_paths: "model.ckpt-10"\n'
  )
  (tmp_path / "graph.pbtxt").touch()
  return tmp_path


def _write(directory, step):
  builder = BundleBuilder()
  builder.numbers("a", [step])
  builder.write(directory / f"model.ckpt-{step}")


def _clean(directory, before=None):
  try:
    state = state_file.read_state(str(directory))
  except CorruptCheckpointError:
    state = None
  removed = leftovers.clean(
    str(directory),
    time.time() + _LATER if before is None else before,
    state,
    os.listdir(directory),
  )
  return sorted(os.path.basename(path) for path in removed)


def test_a_whole_model_dir_is_left_alone(model_dir):
  before = sorted(os.listdir(model_dir))
  # This checkpoint is whole, and newer than the one that the state file names.
  _write(model_dir, 15)
  assert _clean(model_dir) == []
  assert set(before) <= set(os.listdir(model_dir))


@pytest.mark.parametrize(
  "name",
  [
    "model.ckpt-15.index.tmp-eckpt-0123abcd",
    "model.ckpt-10.index.tmp-eckpt-of-00002-0123abcd",
    "checkpoint.tmp0123456789abcdef0123456789abcdef",
    "model.ckpt-15.meta.tmp0123456789abcdef0123456789abcdef",
    "model.ckpt-15.data-00000-of-00001.tempstate1234567890",
    "model.ckpt-15.data-00000-of-00001",
    "model.ckpt-10.data-00000-of-00002",
  ],
)
def test_files_of_an_interrupted_save_are_removed(model_dir, name):
  before = sorted(os.listdir(model_dir))
  (model_dir / name).write_bytes(b"half")
  # A newer file may belong to another job.
  assert _clean(model_dir, before=time.time() - _LATER) == []
  assert _clean(model_dir) == [name]
  assert sorted(os.listdir(model_dir)) == before


@pytest.mark.parametrize(
  "name",
  ["model.ckpt-15_temp", "model.ckpt-15_temp_0123", "model.ckpt-5.tmp-eckpt-0123abcd"],
)
def test_directories_of_an_interrupted_save_are_removed(model_dir, name):
  (model_dir / name / "below").mkdir(parents=True)
  (model_dir / name / "part-00000-of-00001.index").touch()
  assert _clean(model_dir) == [name]
  assert not (model_dir / name).exists()


@pytest.mark.parametrize(
  "name", ["data_temp", "other.ckpt-15_temp", "checkpoint.backup"]
)
def test_what_a_user_has_there_is_left_alone(model_dir, name):
  (model_dir / name).mkdir()
  (model_dir / "pretrained.data-00000-of-00001").touch()
  assert _clean(model_dir) == []


def test_what_is_copied_there_meanwhile_is_left_alone(model_dir):
  # The data file is copied first, and keeps the original's modification time.
  copied = model_dir / "model.ckpt-15.data-00000-of-00001"
  copied.touch()
  os.utime(copied, (1e9, 1e9))
  assert _clean(model_dir, before=time.time() - _LATER) == []
  assert copied.exists()


def test_an_index_without_its_end_goes_with_its_data(model_dir):
  _write(model_dir, 15)
  index = model_dir / "model.ckpt-15.index"
  os.truncate(index, index.stat().st_size - 1)
  assert _clean(model_dir) == [
    "model.ckpt-15.data-00000-of-00001",
    "model.ckpt-15.index",
  ]


def test_a_damaged_older_checkpoint_may_still_be_needed(model_dir):
  os.truncate(model_dir / "model.ckpt-1.index", 20)
  os.truncate(model_dir / "model.ckpt-10.index", 20)
  assert _clean(model_dir) == []


@pytest.mark.parametrize("state", [None, "damaged", 'model_checkpoint_path: "gone"'])
def test_without_a_whole_checkpoint_nothing_is_touched(model_dir, state):
  (model_dir / "model.ckpt-15.data-00000-of-00001").touch()
  if state is None:
    (model_dir / "checkpoint").unlink()
  else:
    (model_dir / "checkpoint").write_text(state)
  assert _clean(model_dir) == []


def test_what_is_being_written_is_left_alone(model_dir):
  path = files.temporary_path(str(model_dir / "model.ckpt-15"))
  files.mkdirs(path)
  with locks.lock_dir(path):
    with files.create(path + ".tmp-eckpt-0123abcd") as file:
      file.write(b"a")
      file.flush()
      assert _clean(model_dir) == []
  assert len(_clean(model_dir)) == 2


def test_what_cannot_be_removed_is_no_error(model_dir, monkeypatch):
  (model_dir / "model.ckpt-15.data-00000-of-00001").touch()

  def refuse(path):
    raise OSError(13, "Permission denied")

  monkeypatch.setattr(os, "remove", refuse)
  assert _clean(model_dir) == []
