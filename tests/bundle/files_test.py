from __future__ import annotations

import errno
import os
import stat

import pytest

from estimator_ckpt.bundle import copies, files
from estimator_ckpt.errors import CheckpointIOError, CheckpointNotFoundError


@pytest.fixture
def path(tmp_path):
  return str(tmp_path / "file")


def _fail(monkeypatch, name, code):
  def fail(*unused_args, **unused_kwargs):
    raise OSError(code, os.strerror(code))

  monkeypatch.setattr(os, name, fail)


def test_a_written_file_is_read(path):
  files.write_atomic(path, b"abcdef")
  assert files.read(path) == b"abcdef"
  assert files.read_range(path, 2, 3) == b"cde"
  assert files.size(path) == 6
  assert files.exists(path)
  assert not files.is_dir(path)


def test_the_file_scheme_is_local(path):
  assert files.is_local("file:///tmp/x")
  assert not files.is_local("gs://bucket/x")
  files.write_atomic(f"file://{path}", b"abc")
  assert files.read(path) == b"abc"


def test_a_range_ends_where_the_file_does(path):
  files.write_atomic(path, b"abcdef")
  assert files.read_range(path, 4, 2**60) == b"ef"
  assert files.read_range(path, 6, 1) == b""
  assert files.read_range(path, 2**60, 1) == b""


def test_chunks_are_a_range_in_order(path, monkeypatch):
  monkeypatch.setattr(files, "CHUNK_SIZE", 4)
  files.write_atomic(path, b"0123456789abc")
  assert list(files.read_chunks(path, 1, 9)) == [b"1234", b"5678", b"9"]
  assert list(files.read_chunks(path, 8, 2**60)) == [b"89ab", b"c"]
  assert list(files.read_chunks(path, 0, 0)) == []


def test_missing_files_are_not_found(path):
  for call in (
    files.read,
    files.size,
    files.remove,
    files.list_dir,
    files.modified_time,
  ):
    with pytest.raises(CheckpointNotFoundError, match=f"{path}: no such file"):
      call(path)
  with pytest.raises(CheckpointNotFoundError):
    files.read_range(path, 0, 1)
  with pytest.raises(CheckpointNotFoundError):
    files.rename(path, path + "2")
  with pytest.raises(CheckpointNotFoundError):
    copies.hard_link(path, path + "2")
  with pytest.raises(CheckpointNotFoundError):
    copies.reflink(path, path + "2")
  with pytest.raises(CheckpointNotFoundError):
    copies.copy(path, path + "2")
  assert not files.exists(path)
  assert not files.exists(path + "2")


def test_a_directory_is_removed_and_what_its_links_lead_to_is_kept(tmp_path):
  kept, gone = tmp_path / "kept", tmp_path / "gone"
  kept.mkdir()
  (gone / "below").mkdir(parents=True)
  (kept / "file").touch()
  (gone / "below" / "file").touch()
  (gone / "link").symlink_to(kept)
  files.remove_tree(str(gone))
  assert not gone.exists()
  assert (kept / "file").exists()
  with pytest.raises(CheckpointNotFoundError):
    files.remove_tree(str(gone))


def test_a_directory_is_no_file(tmp_path):
  with pytest.raises(
    CheckpointIOError, match="cannot be read: Is a directory"
  ) as caught:
    files.read(str(tmp_path))
  assert caught.value.errno == errno.EISDIR


@pytest.mark.parametrize("mask, mode", [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)])
def test_new_files_have_the_mode_the_umask_leaves(tmp_path, mask, mode):
  before = os.umask(mask)
  try:
    files.write_atomic(str(tmp_path / "a"), b"1")
    copies.copy(str(tmp_path / "a"), str(tmp_path / "b"))
  finally:
    os.umask(before)
  for name in "ab":
    assert stat.S_IMODE(os.stat(tmp_path / name).st_mode) == mode


def test_replacing_a_file_leaves_its_other_links_alone(tmp_path):
  old, link = str(tmp_path / "old"), str(tmp_path / "link")
  files.write_atomic(old, b"before")
  assert copies.hard_link(old, link)
  files.write_atomic(old, b"after")
  assert files.read(link) == b"before"
  assert files.read(old) == b"after"


def test_a_symbolic_link_is_replaced_and_its_target_kept(tmp_path):
  target, link = str(tmp_path / "target"), str(tmp_path / "link")
  files.write_atomic(target, b"before")
  os.symlink(target, link)
  files.write_atomic(link, b"after")
  assert files.read(target) == b"before"
  assert files.read(link) == b"after"


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_what_cannot_be_written_leaves_what_was_there(
  path, tmp_path, monkeypatch, call
):
  files.write_atomic(path, b"before")
  _fail(monkeypatch, call, errno.EIO)
  with pytest.raises(CheckpointIOError, match="Input/output error"):
    files.write_atomic(path, b"after")
  monkeypatch.undo()
  assert files.read(path) == b"before"
  assert os.listdir(tmp_path) == ["file"]


def test_without_sync_nothing_is_synced(path, monkeypatch):
  _fail(monkeypatch, "fsync", errno.EIO)
  files.write_atomic(path, b"abc", sync=False)
  assert files.read(path) == b"abc"


def test_a_full_disk_is_told_with_the_space_needed(path, monkeypatch):
  _fail(monkeypatch, "fsync", errno.ENOSPC)
  with pytest.raises(CheckpointIOError) as caught:
    files.write_atomic(path, bytes(12345))
  assert caught.value.errno == errno.ENOSPC
  message = str(caught.value)
  assert message.startswith(f"{path} cannot be written: No space left on device")
  assert "it needs 12,345 bytes, and " in message
  assert message.endswith(" are free")


def test_a_read_only_directory_is_told(path, monkeypatch):
  _fail(monkeypatch, "open", errno.EROFS)
  with pytest.raises(CheckpointIOError, match="Read-only file system"):
    files.write_atomic(path, b"1")


def test_create_refuses_a_file_that_exists(path):
  files.write_atomic(path, b"before")
  with pytest.raises(CheckpointIOError, match="File exists"):
    with files.create(path):
      pass
  assert files.read(path) == b"before"


def test_a_file_whose_writer_fails_is_removed(path):
  with pytest.raises(KeyboardInterrupt):
    with files.create(path) as file:
      file.write(b"half")
      raise KeyboardInterrupt
  assert not files.exists(path)


def test_temporary_names_are_recognised_and_beside_their_file(path):
  for temporary in (files.temporary_path(path), files.temporary_path(path, "00002")):
    assert temporary.startswith(path + ".tmp-eckpt-")
    assert files.is_temporary(temporary)
  assert files.temporary_path(path) != files.temporary_path(path)
  for name in ("model.ckpt-1.index", "a.tmp", "a.tmp-eckpt-", "a.tmp-eckpt-0123456789"):
    assert not files.is_temporary(name)


def test_listing_is_sorted_and_by_prefix(tmp_path):
  for name in ("b.index", "a", "b.data", "c"):
    files.write_atomic(str(tmp_path / name), b"")
  assert files.list_dir(str(tmp_path)) == ["a", "b.data", "b.index", "c"]
  found = files.glob_prefix(str(tmp_path / "b."))
  assert found == [str(tmp_path / "b.data"), str(tmp_path / "b.index")]
  assert files.glob_prefix(str(tmp_path / "missing" / "b")) == []


def test_a_prefix_is_no_pattern(tmp_path):
  files.write_atomic(str(tmp_path / "a[1]*.index"), b"")
  files.write_atomic(str(tmp_path / "a1x.index"), b"")
  found = files.glob_prefix(str(tmp_path / "a[1]*"))
  assert found == [str(tmp_path / "a[1]*.index")]


def test_a_relative_prefix_is_looked_for_in_the_working_directory(
  tmp_path, monkeypatch
):
  monkeypatch.chdir(tmp_path)
  files.write_atomic("model.index", b"")
  assert files.glob_prefix("model") == ["model.index"]
  assert files.list_dir("") == ["model.index"]
  files.mkdirs("")


def test_directories_are_made_with_those_above(tmp_path):
  files.mkdirs(str(tmp_path / "a" / "b"))
  files.mkdirs(str(tmp_path / "a" / "b"))
  assert files.is_dir(str(tmp_path / "a" / "b"))


def test_a_hard_link_shares_the_bytes(tmp_path):
  source, link = str(tmp_path / "source"), str(tmp_path / "link")
  files.write_atomic(source, b"abc")
  assert copies.hard_link(source, link)
  assert os.stat(source).st_ino == os.stat(link).st_ino


def test_a_hard_link_of_a_symbolic_link_is_one_of_its_target(tmp_path):
  files.write_atomic(str(tmp_path / "target"), b"abc")
  os.symlink("target", tmp_path / "symlink")
  assert copies.hard_link(str(tmp_path / "symlink"), str(tmp_path / "link"))
  assert os.stat(tmp_path / "target").st_ino == os.lstat(tmp_path / "link").st_ino


@pytest.mark.parametrize("code", [errno.EXDEV, errno.EPERM, errno.EMLINK])
def test_a_file_system_without_hard_links_is_told_apart(path, monkeypatch, code):
  files.write_atomic(path, b"abc")
  _fail(monkeypatch, "link", code)
  assert not copies.hard_link(path, path + "2")


def test_a_full_disk_is_no_lack_of_hard_links(path, monkeypatch):
  files.write_atomic(path, b"abc")
  _fail(monkeypatch, "link", errno.ENOSPC)
  with pytest.raises(CheckpointIOError, match="No space left"):
    copies.hard_link(path, path + "2")


def test_a_reflink_has_the_bytes_or_leaves_nothing(path):
  files.write_atomic(path, bytes(range(256)) * 64)
  if copies.reflink(path, path + "2"):
    assert files.read(path + "2") == files.read(path)
    assert os.stat(path).st_ino != os.stat(path + "2").st_ino
  else:
    assert not files.exists(path + "2")


def test_a_copy_has_the_bytes_and_tells_its_progress(path, monkeypatch):
  monkeypatch.setattr(files, "CHUNK_SIZE", 4)
  files.write_atomic(path, b"0123456789")
  parts = []
  copies.copy(path, path + "2", parts.append)
  assert files.read(path + "2") == b"0123456789"
  assert parts == [4, 4, 2]


def test_a_copy_that_fails_is_removed(path, monkeypatch):
  files.write_atomic(path, b"0123456789")
  _fail(monkeypatch, "fsync", errno.ENOSPC)
  with pytest.raises(CheckpointIOError, match="it needs 10 bytes"):
    copies.copy(path, path + "2")
  assert not files.exists(path + "2")
