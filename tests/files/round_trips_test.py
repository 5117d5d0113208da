"""The number of requests to an object store: each listing or size is a round trip."""

from __future__ import annotations

import collections
import pathlib

import pytest

from estimator_ckpt.bundle import files, remote
from estimator_ckpt.checkpoint.state_file import CheckpointState, write_state
from estimator_ckpt.cli import main
from estimator_ckpt.files.checkpoints import list_checkpoints
from estimator_ckpt.files.convert import convert
from tests import golden

pytest.importorskip("fsspec")

_GOLDEN = "tf1.15/multi_shard"
_STEPS = (10, 20, 30)
_SHARDS = 2


class _CountingFiles(remote.FsspecFiles):
  """A file system that counts the requests."""

  def __init__(self):
    self.asked: collections.Counter[tuple[str, str]] = collections.Counter()

  def list_dir(self, path: str) -> list[str]:
    self.asked["list", path] += 1
    return super().list_dir(path)

  def size(self, path: str) -> int:
    self.asked["size", path] += 1
    return super().size(path)

  def times(self, what: str, under: str) -> int:
    """The number of requests of one kind for a path or anything below it."""
    return sum(
      count
      for (kind, path), count in self.asked.items()
      if kind == what and f"{path}/".startswith(f"{under}/")
    )


@pytest.fixture
def store(monkeypatch):
  counting = _CountingFiles()
  monkeypatch.setattr(remote, "file_system", lambda path: counting)
  return counting


@pytest.fixture
def model_dir(store, tmp_path):
  """Three checkpoints of two data files each, in a store."""
  directory = f"memory:/{tmp_path}/model_dir"
  source = pathlib.Path(golden.path(_GOLDEN))
  for step in _STEPS:
    for path in source.parent.glob(f"{source.name}.*"):
      name = path.name.replace(source.name, f"model.ckpt-{step}")
      files.write_atomic(f"{directory}/{name}", path.read_bytes())
  prefixes = tuple(f"{directory}/model.ckpt-{step}" for step in _STEPS)
  write_state(directory, CheckpointState(prefixes[-1], prefixes))
  store.asked.clear()
  return directory


def test_a_directory_is_listed_once_to_be_converted(store, model_dir, tmp_path):
  convert(model_dir, tmp_path / "out", "dual", data="copy")
  assert store.times("list", model_dir) == 1
  # One request checks the data file, and the copy makes the other.
  assert store.times("size", model_dir) == 2 * _SHARDS * len(_STEPS)


def test_a_directory_is_listed_once_to_show_its_checkpoints(store, model_dir):
  list_checkpoints(model_dir)
  assert store.times("list", model_dir) == 1
  assert store.times("size", model_dir) == (_SHARDS + 1) * len(_STEPS)


@pytest.mark.parametrize("name", ["", "/model.ckpt-30"])
def test_a_directory_is_listed_once_to_inspect_a_checkpoint(store, model_dir, name):
  assert main.run(["inspect", model_dir + name]) == 0
  assert store.times("list", model_dir) == 1
  assert store.times("size", model_dir) == _SHARDS + 1
