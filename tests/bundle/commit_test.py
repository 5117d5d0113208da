from __future__ import annotations

import os
import signal

import pytest

from estimator_ckpt.bundle import commit, copies, files, shards, strings
from estimator_ckpt.bundle.commit import BundleWriter
from estimator_ckpt.bundle.index import Index
from estimator_ckpt.bundle.messages import BundleEntry
from estimator_ckpt.errors import (
  CheckpointError,
  CheckpointExistsError,
  CheckpointIOError,
  CheckpointNotFoundError,
)


@pytest.fixture
def prefix(tmp_path):
  return str(tmp_path / "out" / "model.ckpt-3")


def _names(prefix):
  directory = os.path.dirname(prefix)
  return sorted(os.listdir(directory)) if os.path.isdir(directory) else []


def _write(prefix, value, source=None, **options):
  """Writes a bundle with the string `s`; adds another bundle's data file, if given."""
  data, crc = strings.encode([value])
  index = Index()
  index.put("s", BundleEntry(7, (), 0, 0, len(data), crc))
  with BundleWriter(prefix, 2 if source else 1, **options) as bundle:
    bundle.add_bytes(data)
    if source:
      bundle.add_file(source)
    bundle.commit(index)
  return bundle


def _read(prefix):
  return shards.read_scalar_string(prefix, Index.read(prefix), "s")


def _bundle_paths(prefix):
  return [*Index.read(prefix).data_paths(prefix), f"{prefix}.index"]


def test_a_bundle_has_its_files_and_no_others(prefix):
  bundle = _write(prefix, b"one")
  assert _read(prefix) == b"one"
  assert _names(prefix) == ["model.ckpt-3.data-00000-of-00001", "model.ckpt-3.index"]
  assert (bundle.placed, bundle.cleaned, bundle.num_shards) == (["write"], [], 1)


def test_without_sync_nothing_waits_for_the_disk(prefix, monkeypatch):
  def fsync(descriptor):
    raise AssertionError("fsync")

  monkeypatch.setattr(os, "fsync", fsync)
  with BundleWriter(prefix, 1) as bundle, pytest.raises(AssertionError):
    bundle.add_bytes(b"data")
  with BundleWriter(prefix, 1, sync=False) as bundle:
    bundle.add_bytes(b"data")
    bundle.commit(Index())
  with BundleWriter(prefix, 2, overwrite=True, sync=False) as bundle:
    bundle.add_bytes(b"some")
    bundle.add_bytes(b"more")
    bundle.commit(Index())
  assert Index.read(prefix).header.num_shards == 2


def test_data_files_of_another_bundle_are_linked(prefix, tmp_path):
  source = str(tmp_path / "source")
  files.write_atomic(source, b"tensors")
  bundle = _write(prefix, b"one", source)
  assert bundle.placed == ["write", "link"]
  assert files.read(f"{prefix}.data-00001-of-00002") == b"tensors"
  assert Index.read(prefix).header.num_shards == 2


def test_a_data_file_may_be_written_piece_by_piece(prefix):
  with BundleWriter(prefix, 1) as bundle:
    with bundle.add_stream() as file:
      file.write(b"ab")
      file.write(b"cd")
    bundle.commit(Index())
  assert files.read(f"{prefix}.data-00000-of-00001") == b"abcd"


def test_a_bundle_that_is_there_is_refused_before_anything_changes(prefix):
  _write(prefix, b"one")
  before = _names(prefix)
  with pytest.raises(CheckpointExistsError, match="there is a checkpoint already"):
    _write(prefix, b"two")
  assert _names(prefix) == before
  assert _read(prefix) == b"one"


def test_data_without_index_is_refused(prefix):
  files.mkdirs(os.path.dirname(prefix))
  files.write_atomic(f"{prefix}.data-00000-of-00001", b"somebody's")
  with pytest.raises(CheckpointExistsError, match="data file of a checkpoint without"):
    _write(prefix, b"two")
  assert files.read(f"{prefix}.data-00000-of-00001") == b"somebody's"
  _write(prefix, b"two", overwrite=True)
  assert _read(prefix) == b"two"


def test_replacing_leaves_only_the_new_bundle(prefix):
  values = [b"one", b"two", b"three"]
  for value in values:
    bundle = _write(prefix, value, overwrite=True)
    assert _read(prefix) == value
    assert _names(prefix) == sorted(map(os.path.basename, _bundle_paths(prefix)))
    assert bundle.num_shards == Index.read(prefix).header.num_shards == 1
    assert bundle.placed == ["write"]


def test_where_no_links_can_be_made_a_replaced_bundle_has_an_empty_data_file(
  prefix, monkeypatch
):
  monkeypatch.setattr(copies, "hard_link", lambda path, to: False)
  for count, value in ((1, b"one"), (2, b"two"), (1, b"three")):
    _write(prefix, value, overwrite=True)
    assert _read(prefix) == value
    assert Index.read(prefix).header.num_shards == count
    assert _names(prefix) == sorted(map(os.path.basename, _bundle_paths(prefix)))


def test_a_bundle_may_be_replaced_by_one_over_its_own_data(prefix):
  _write(prefix, b"one")
  index = Index.read(prefix)
  index.alias("t", "s")
  with BundleWriter(prefix, 1, overwrite=True) as bundle:
    bundle.add_file(index.data_paths(prefix)[0])
    bundle.commit(index)
  assert shards.read_scalar_string(prefix, Index.read(prefix), "t") == b"one"


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError])
def test_a_writer_that_fails_leaves_nothing(prefix, error):
  with pytest.raises(error):
    with BundleWriter(prefix, 2) as bundle:
      bundle.add_bytes(b"abc")
      raise error
  assert _names(prefix) == []


def test_leaving_without_commit_leaves_nothing(prefix):
  with BundleWriter(prefix, 1) as bundle:
    bundle.add_bytes(b"abc")
  assert _names(prefix) == []


def test_a_missing_source_leaves_what_was_there(prefix):
  _write(prefix, b"one")
  before = _names(prefix)
  with pytest.raises(CheckpointNotFoundError, match="nowhere"):
    _write(prefix, b"two", "nowhere", overwrite=True)
  assert _names(prefix) == before
  assert _read(prefix) == b"one"


def test_more_data_files_than_planned_are_an_error(prefix):
  with pytest.raises(ValueError, match="more data files than the 1 planned"):
    with BundleWriter(prefix, 1) as bundle:
      bundle.add_bytes(b"a")
      bundle.add_bytes(b"b")


def _count_and_fail(monkeypatch, at, how):
  """Makes the `at`-th call that changes the file system fail; counts the calls."""
  calls = []

  def wrap(name):
    real = getattr(os, name)

    def call(*args, **kwargs):
      if name != "open" or args[1] & os.O_CREAT:
        calls.append(name)
        if len(calls) == at:
          how()
      return real(*args, **kwargs)

    monkeypatch.setattr(os, name, call)

  for name in ("fsync", "replace", "link", "remove", "open"):
    wrap(name)
  return calls


def _refuse():
  raise OSError(5, "Input/output error")


def _failing_everywhere(prefix, source, overwrite):
  """Repeats a write; each time, the next call that changes the file system fails."""
  at = 1
  while True:
    with pytest.MonkeyPatch.context() as monkeypatch:
      calls = _count_and_fail(monkeypatch, at, _refuse)
      try:
        _write(prefix, b"new", source, overwrite=overwrite)
        failed = None
      except CheckpointError as error:
        failed = error
    yield at, failed
    if len(calls) < at:
      return
    at += 1


@pytest.mark.parametrize("overwrite", [False, True])
def test_failing_at_any_point_leaves_the_old_bundle_or_the_new_one(tmp_path, overwrite):
  source = str(tmp_path / "source")
  files.write_atomic(source, b"tensors")
  prefix = str(tmp_path / "out" / "model.ckpt-3")
  if overwrite:
    _write(prefix, b"old")
  failures = 0
  for at, error in _failing_everywhere(prefix, source, overwrite):
    if error is not None:
      failures += 1
      assert isinstance(error, CheckpointIOError)
      assert "Input/output error" in str(error)
    value = _read(prefix) if files.exists(f"{prefix}.index") else None
    assert value in ((b"old", b"new") if overwrite else (None, b"new")), at
    if error is None:
      assert value == b"new"
    # A rerun succeeds and leaves nothing but the bundle.
    _write(prefix, b"old" if overwrite else b"new", source, overwrite=True)
    assert set(_names(prefix)) == {os.path.basename(p) for p in _bundle_paths(prefix)}
    assert files.read(source) == b"tensors"
    if not overwrite:
      for path in _bundle_paths(prefix):
        files.remove(path)
  assert failures >= 6


def _killed(prefix, source, overwrite, at):
  """Writes in a process that is killed at the `at`-th call; returns whether it was."""
  child = os.fork()
  if not child:
    try:
      with pytest.MonkeyPatch.context() as monkeypatch:
        _count_and_fail(monkeypatch, at, lambda: os.kill(os.getpid(), signal.SIGKILL))
        _write(prefix, b"new", source, overwrite=overwrite)
      os._exit(0)
    finally:
      os._exit(1)
  _, status = os.waitpid(child, 0)
  if os.WIFSIGNALED(status):
    assert os.WTERMSIG(status) == signal.SIGKILL
    return True
  assert os.WEXITSTATUS(status) == 0
  return False


@pytest.mark.parametrize("overwrite", [False, True])
def test_being_killed_at_any_point_leaves_the_old_bundle_or_the_new_one(
  tmp_path, overwrite
):
  source = str(tmp_path / "source")
  files.write_atomic(source, b"tensors")
  at = 0
  killed = True
  while killed:
    at += 1
    prefix = str(tmp_path / f"killed{at}" / "model.ckpt-3")
    if overwrite:
      _write(prefix, b"old")
    killed = _killed(prefix, source, overwrite, at)
    value = _read(prefix) if files.exists(f"{prefix}.index") else None
    assert value in ((b"old", b"new") if overwrite and killed else (None, b"new")), at
    assert killed or value == b"new"
    left = set(_names(prefix))
    if value is not None:
      left -= {os.path.basename(path) for path in _bundle_paths(prefix)}
    assert {os.path.basename(path) for path in commit.find_leftovers(prefix)} == left
    assert killed or not left
    bundle = _write(prefix, b"again", source, overwrite=value is not None)
    assert {os.path.basename(path) for path in bundle.cleaned} == left
    assert set(_names(prefix)) == {os.path.basename(p) for p in _bundle_paths(prefix)}
    assert _read(prefix) == b"again"
  assert at > 6


def test_a_writer_at_work_is_not_disturbed(prefix):
  with BundleWriter(prefix, 1) as bundle:
    bundle.add_bytes(b"abc")
    who = f"process {os.getpid()} on .* is writing this checkpoint"
    with pytest.raises(CheckpointExistsError, match=who):
      _write(prefix, b"two")
    assert commit.clean_directory(os.path.dirname(prefix)) == []
    bundle.commit(Index())
  assert files.read(f"{prefix}.data-00000-of-00001") == b"abc"


def test_leftovers_of_a_directory_are_cleaned(prefix):
  _write(prefix, b"one")
  left = files.temporary_path(f"{prefix}.index")
  files.write_atomic(f"{prefix}.data-00000-of-00007", b"")
  files.write_atomic(left, b"half an index")
  assert commit.find_leftovers(prefix) == [left]
  assert commit.clean_directory(os.path.dirname(prefix)) == [left]
  # The writer left no note, so nobody knows what the data file is for.
  assert files.exists(f"{prefix}.data-00000-of-00007")


def test_other_bundles_with_a_longer_name_are_left_alone(prefix):
  longer = f"{prefix}.index"
  _write(prefix, b"one")
  _write(longer, b"two")
  left = files.temporary_path(f"{longer}.index", "00009")
  files.write_atomic(left, b"")
  assert commit.find_leftovers(prefix) == []
  assert commit.find_leftovers(longer) == [left]


def test_no_file_outside_the_bundle_is_ever_a_leftover(prefix):
  files.mkdirs(os.path.dirname(prefix))
  kept = ["model.ckpt-30.data-00000-of-00002", "model.ckpt-3.meta", "checkpoint"]
  for name in kept:
    files.write_atomic(os.path.join(os.path.dirname(prefix), name), b"")
  files.write_atomic(files.temporary_path(f"{prefix}.index", "00002"), b"")
  files.write_atomic(f"{prefix}.data-00000-of-00002", b"half")
  commit.clean_leftovers(prefix)
  assert _names(prefix) == sorted(kept)


def test_an_index_that_cannot_be_read_keeps_all_its_data(prefix):
  _write(prefix, b"one")
  files.write_atomic(f"{prefix}.index", b"damaged")
  files.write_atomic(files.temporary_path(f"{prefix}.index", "00002"), b"")
  commit.clean_leftovers(prefix)
  assert files.exists(f"{prefix}.data-00000-of-00001")
