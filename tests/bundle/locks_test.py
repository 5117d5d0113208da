from __future__ import annotations

import os
import subprocess
import sys

import pytest

from estimator_ckpt.bundle import files, locks
from estimator_ckpt.bundle.target_directory import TargetDirectory
from estimator_ckpt.errors import CheckpointExistsError


def test_a_directory_that_is_locked_is_in_use(tmp_path):
  assert not locks.is_in_use(str(tmp_path))
  with locks.lock_dir(str(tmp_path)):
    assert locks.is_in_use(str(tmp_path))
  assert not locks.is_in_use(str(tmp_path))


def test_a_file_is_in_use_while_another_process_writes_it(tmp_path):
  path = str(tmp_path / "file")
  program = (
    "import sys\n"
    "from estimator_ckpt.bundle import files\n"
    f"with files.create({path!r}):\n"
    "  print('open', flush=True)\n"
    "  sys.stdin.read()\n"
  )
  writer = subprocess.Popen(
    [sys.executable, "-c", program],
    stdin=subprocess.PIPE,
    stdout=subprocess.PIPE,
    env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
  )
  try:
    assert writer.stdout.readline() == b"open\n"
    assert locks.is_in_use(path)
  finally:
    writer.communicate(timeout=60)
  assert not locks.is_in_use(path)
  assert not locks.is_in_use(path + "-missing")


def test_a_file_says_whose_it_is(tmp_path):
  path = str(tmp_path / "file")
  with files.create(path) as file:
    files.write_now(file, locks.owner_line(), path)
    assert locks.owner(path) == f"process {os.getpid()} on {os.uname().nodename}"
  for content in (b"", b"model.ckpt-1\n", b"process/x/y\n"):
    files.write_atomic(path, content)
    assert locks.owner(path) == "another process"
  assert locks.owner(path + "-missing") == "another process"


def test_only_one_at_a_time_has_its_turn(tmp_path, monkeypatch):
  monkeypatch.setattr(locks, "_PATIENCE_SECONDS", 0.05)
  directory = str(tmp_path)
  with locks.turn(directory) as is_alone:
    assert is_alone
    with pytest.raises(CheckpointExistsError, match="another process has locked"):
      with locks.turn(directory):
        pass
  with locks.turn(directory):
    pass


def test_a_directory_without_locks_lets_everybody_in(tmp_path, monkeypatch):
  monkeypatch.setattr(locks, "fcntl", None)
  with locks.turn(str(tmp_path)) as is_alone:
    assert not is_alone


def test_a_directory_that_is_removed_meanwhile_is_made_again(tmp_path, monkeypatch):
  path = str(tmp_path / "a" / "b")
  target = TargetDirectory(path)
  real = files.mkdirs
  removals = []

  def made_and_removed(directory):
    made = real(directory)
    if len(removals) < 2:
      removals.append(directory)
      os.rmdir(directory)
    return made

  monkeypatch.setattr(files, "mkdirs", made_and_removed)
  with target.turn() as is_alone:
    assert is_alone and os.path.isdir(path)
  assert len(removals) == 2


def test_only_empty_directories_that_were_made_here_are_removed(tmp_path):
  (tmp_path / "there").mkdir()
  for path in ("there", "new/below"):
    target = TargetDirectory(str(tmp_path / path))
    with target.turn():
      pass
    if path == "new/below":
      (tmp_path / "new" / "file").write_text("somebody's")
    target.remove_made()
  assert sorted(os.listdir(tmp_path)) == ["new", "there"]
  assert os.listdir(tmp_path / "new") == ["file"]
