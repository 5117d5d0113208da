"""Whole directories: tests that `convert`, `rename` and `strip` share."""

from __future__ import annotations

import os

import pytest

from estimator_ckpt import detect_format
from estimator_ckpt.bundle import copies, files
from estimator_ckpt.checkpoint.state_file import (
  CheckpointState,
  read_state,
  write_state,
)
from estimator_ckpt.errors import (
  CheckpointExistsError,
  CheckpointIOError,
  CheckpointNotFoundError,
  CorruptCheckpointError,
  OptionError,
)
from estimator_ckpt.files import rewrite
from estimator_ckpt.files.convert import convert
from estimator_ckpt.files.rename import rename
from tests import golden, stored


def _make(directory, steps=(10, 20, 30), state=True):
  prefixes = []
  for step in steps:
    tensors = {"w": stored.vector(step), "global_step": stored.scalar(step)}
    prefixes.append(stored.write(directory / f"model.ckpt-{step}", tensors))
  if state:
    listed = CheckpointState(
      prefixes[-1], tuple(prefixes), tuple(map(float, steps)), 5.0
    )
    write_state(str(directory), listed)
  return prefixes


@pytest.fixture
def source(tmp_path):
  """A model_dir with three checkpoints."""
  _make(tmp_path / "source")
  return tmp_path / "source"


def _text(directory):
  return (directory / "checkpoint").read_text(encoding="utf-8")


def test_every_checkpoint_and_the_state(source, tmp_path):
  report = convert(source, tmp_path / "out", "dual")
  for step in (10, 20, 30):
    prefix = tmp_path / "out" / f"model.ckpt-{step}"
    assert detect_format(prefix).value == "dual"
    assert stored.stored(prefix)["w"] == stored.vector(step)
  assert _text(tmp_path / "out") == _text(source)
  assert 'model_checkpoint_path: "model.ckpt-30"' in _text(source)
  assert f"{tmp_path}/out/checkpoint: lists 3 checkpoints" in str(report)
  assert len(report.as_dict()["checkpoints"]) == 3


def test_other_files_stay_and_are_said(source, tmp_path):
  for name in ("model.ckpt-10.meta", "graph.pbtxt", "events.out.tfevents.1"):
    (source / name).write_bytes(b"x")
  (source / "eval").mkdir()
  report = convert(source, tmp_path / "out", "tf1")
  assert "1 .meta files were left out" in str(report)
  names = {name.split(".")[0] for name in os.listdir(tmp_path / "out")}
  assert names == {"model", "checkpoint"}


def test_a_trailing_slash_and_the_directory_there(source, tmp_path):
  (tmp_path / "out").mkdir()
  convert(f"{source}/", f"{tmp_path}/out/", "tf1")
  assert read_state(str(tmp_path / "out")) is not None


def test_the_state_file_alone_means_the_latest(source, tmp_path):
  convert(source / "checkpoint", f"{tmp_path}/out/", "tf1")
  assert sorted(os.listdir(tmp_path / "out")) == [
    "model.ckpt-30.data-00000-of-00001",
    "model.ckpt-30.index",
  ]


def test_without_a_state_file_the_newest_is_the_latest(tmp_path):
  _make(tmp_path / "source", steps=(9, 10), state=False)
  convert(tmp_path / "source", tmp_path / "out", "tf2")
  state = read_state(str(tmp_path / "out"))
  assert state.model_checkpoint_path == str(tmp_path / "out" / "model.ckpt-10")
  assert len(state.all_model_checkpoint_paths) == 2


def test_a_copied_directory_whose_state_names_the_original(source, tmp_path):
  original = "/somewhere/else"
  paths = tuple(f"{original}/model.ckpt-{step}" for step in (10, 30))
  state = CheckpointState(paths[-1], paths, (1.0, 3.0))
  write_state(str(source), state)
  assert original in _text(source)
  convert(source, tmp_path / "out", "tf1")
  assert _text(tmp_path / "out").splitlines()[:3] == [
    'model_checkpoint_path: "model.ckpt-30"',
    'all_model_checkpoint_paths: "model.ckpt-10"',
    'all_model_checkpoint_paths: "model.ckpt-30"',
  ]
  # An unlisted checkpoint is converted, and stays unlisted.
  assert (tmp_path / "out" / "model.ckpt-20.index").exists()


def test_checkpoints_that_the_state_lists_elsewhere_come_too(source, tmp_path):
  [kept] = _make(tmp_path / "kept", steps=(1,), state=False)
  state = read_state(str(source))
  paths = (kept, *state.all_model_checkpoint_paths)
  write_state(str(source), CheckpointState(paths[-1], paths))
  convert(source, tmp_path / "out", "tf1")
  state = read_state(str(tmp_path / "out"))
  assert state.all_model_checkpoint_paths[0] == str(tmp_path / "out" / "model.ckpt-1")
  assert stored.stored(tmp_path / "out" / "model.ckpt-1")["w"] == stored.vector(1)


def test_checkpoints_that_are_gone_are_said(source, tmp_path):
  os.remove(source / "model.ckpt-20.index")
  report = convert(source, tmp_path / "out", "tf1")
  assert f"{source}/checkpoint lists {source}/model.ckpt-20, which is not" in str(
    report
  )
  state = read_state(str(tmp_path / "out"))
  assert [p[-2:] for p in state.all_model_checkpoint_paths] == ["10", "30"]
  assert state.all_model_checkpoint_timestamps == (10.0, 30.0)


def test_a_directory_without_checkpoints(tmp_path):
  (tmp_path / "empty").mkdir()
  with pytest.raises(CheckpointNotFoundError, match="the directory is empty"):
    convert(tmp_path / "empty", tmp_path / "out", "tf1")
  (tmp_path / "empty" / "checkpoint").write_text(
    'model_checkpoint_path: "model.ckpt-1"'
  )
  with pytest.raises(CheckpointNotFoundError, match="model.ckpt-1.index is not there"):
    convert(tmp_path / "empty", tmp_path / "out", "tf1")
  assert not (tmp_path / "out").exists()


def test_nothing_is_written_if_one_plan_cannot_be_made(source, tmp_path):
  with open(source / "model.ckpt-30.index", "r+b") as file:
    file.write(b"\xff" * 20)
  with pytest.raises(CorruptCheckpointError):
    convert(source, tmp_path / "out", "tf1")
  assert not (tmp_path / "out").exists()


def test_a_rule_has_to_match_in_every_checkpoint(source, tmp_path):
  stored.write(source / "model.ckpt-40", {"v": stored.vector(1)})
  with pytest.raises(OptionError, match="matches none"):
    rename(source, tmp_path / "out", "w:v")
  assert not (tmp_path / "out").exists()


def test_a_destination_that_exists(source, tmp_path):
  convert(source, tmp_path / "out", "tf1")
  before = stored.snapshot(tmp_path / "out")
  with pytest.raises(CheckpointExistsError, match="there is a checkpoint already"):
    convert(source, tmp_path / "out", "dual")
  (tmp_path / "other").mkdir()
  (tmp_path / "other" / "checkpoint").write_text('model_checkpoint_path: "x"')
  with pytest.raises(CheckpointExistsError, match="there is a model_dir already"):
    convert(source, tmp_path / "other", "dual")
  (tmp_path / "file").write_text("")
  with pytest.raises(OptionError, match="and this is a file"):
    convert(source, tmp_path / "file", "dual")
  assert stored.snapshot(tmp_path / "out") == before
  convert(source, tmp_path / "out", "dual", overwrite=True)
  assert detect_format(tmp_path / "out").value == "dual"


def test_the_progress_goes_over_all_of_them(source, tmp_path):
  seen = []
  progress = lambda done, total: seen.append((done, total))  # noqa: E731
  convert(source, tmp_path / "out", "tf1", data="copy", progress=progress)
  assert [done for done, _ in seen] == [12, 24, 36]
  assert {total for _, total in seen} == {36}


class _Stop(BaseException):
  """Ends a run, like an interrupt."""


def _fail_at(monkeypatch, name, count, error):
  """Makes call number `count` of a function of `files` or `copies` fail."""
  module = copies if name == "hard_link" else files
  function = getattr(module, name)
  calls = []

  def failing(*args, **kwargs):
    calls.append(args)
    if len(calls) == count:
      raise error
    return function(*args, **kwargs)

  monkeypatch.setattr(module, name, failing)


@pytest.mark.parametrize("error", [CheckpointIOError("no space"), _Stop()])
@pytest.mark.parametrize("name", ["hard_link", "rename"])
@pytest.mark.parametrize("count", [1, 2, 3])
def test_an_error_leaves_nothing(source, tmp_path, monkeypatch, error, name, count):
  with monkeypatch.context() as patch:
    _fail_at(patch, name, count, error)
    with pytest.raises(type(error)):
      convert(source, tmp_path / "out", "tf1")
  assert not (tmp_path / "out").exists()
  convert(source, tmp_path / "out", "tf1")


def _interrupted(source, tmp_path, monkeypatch):
  """A directory that a killed run left: two checkpoints, no state file."""
  with monkeypatch.context() as patch:
    _fail_at(patch, "hard_link", 3, _Stop())
    # A killed process removes no file.
    patch.setattr(files, "remove", lambda path: None)
    patch.setattr(rewrite, "_remove", lambda target: False)
    with pytest.raises(_Stop):
      convert(source, tmp_path / "out", "tf1")
  return tmp_path / "out"


def test_the_next_run_goes_on_after_a_killed_one(source, tmp_path, monkeypatch):
  out = _interrupted(source, tmp_path, monkeypatch)
  assert (out / "model.ckpt-20.index").exists()
  assert not (out / "checkpoint").exists()
  report = convert(source, out, "dual")
  assert "cleaned up after an interrupted run" in str(report)
  assert not [name for name in os.listdir(out) if files.is_temporary(name)]
  assert {detect_format(out / f"model.ckpt-{s}").value for s in (10, 20, 30)} == {
    "dual"
  }


def test_what_a_killed_run_did_not_write_is_not_replaced(source, tmp_path, monkeypatch):
  out = tmp_path / "out"
  _make(out, steps=(10,), state=False)
  with monkeypatch.context() as patch:
    patch.setattr(rewrite, "check_free", lambda *unused: None)
    with pytest.raises(CheckpointExistsError):
      convert(source, out, "tf1")
  before = stored.snapshot(out)
  with pytest.raises(
    CheckpointExistsError, match="model.ckpt-10: there is a checkpoint"
  ):
    convert(source, out, "tf1")
  assert stored.snapshot(out) == before


def test_a_list_of_an_interrupted_run_names_only_files_of_its_directory(
  source, tmp_path
):
  [victim] = _make(tmp_path / "victim", steps=(1,), state=False)
  out = tmp_path / "out"
  out.mkdir()
  path = files.temporary_path(str(out / "checkpoint.unfinished"))
  files.write_atomic(path, f"{victim}\n../victim/model.ckpt-1\n\n".encode())
  before = stored.snapshot(tmp_path / "victim")
  convert(source, out, "tf1")
  assert stored.snapshot(tmp_path / "victim") == before


def test_what_cannot_be_removed_after_an_error_is_replaced_by_the_next_run(
  source, tmp_path, monkeypatch
):
  with monkeypatch.context() as patch:
    _fail_at(patch, "hard_link", 3, CheckpointIOError("no space"))
    _fail_at(patch, "remove", 4, CheckpointIOError("read-only"))
    with pytest.raises(CheckpointIOError, match="no space"):
      convert(source, tmp_path / "out", "tf1")
  assert os.listdir(tmp_path / "out")
  convert(source, tmp_path / "out", "tf1")
  assert len(os.listdir(tmp_path / "out")) == 7


def test_two_runs_at_once(source, tmp_path):
  out = str(tmp_path / "out")
  unfinished = rewrite._Unfinished(
    out, [f"{out}/model.ckpt-10"], f"{out}/checkpoint", overwrite=False
  )
  with unfinished.writing():
    who = f"process {os.getpid()} on .* is writing this directory"
    with pytest.raises(CheckpointExistsError, match=who):
      convert(source, out, "tf1")


def test_a_golden_model_dir(tmp_path):
  convert(golden.directory("tf1.15/adam_dense"), tmp_path / "out", "dual")
  assert _text(tmp_path / "out").startswith('model_checkpoint_path: "model.ckpt-7"')
