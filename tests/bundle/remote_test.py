from __future__ import annotations

import builtins
import importlib.util
import sys

import pytest

from estimator_ckpt.bundle import copies, files, remote, shards, strings
from estimator_ckpt.bundle.commit import BundleWriter
from estimator_ckpt.bundle.index import Index
from estimator_ckpt.bundle.messages import BundleEntry
from estimator_ckpt.errors import (
  CheckpointExistsError,
  CheckpointNotFoundError,
  MissingDependencyError,
)

fsspec = pytest.importorskip("fsspec")


@pytest.fixture(autouse=True)
def without_tensorflow(request, monkeypatch):
  """Hides TensorFlow, which other tests of the process may have loaded."""
  if "gfile" not in request.node.name:
    monkeypatch.delitem(sys.modules, "tensorflow", raising=False)


@pytest.fixture(params=["fsspec", "gfile"])
def root(request, tmp_path):
  # Each memory file system is shared by the whole process.
  if request.param == "fsspec":
    return f"memory:/{tmp_path}"
  pytest.importorskip("tensorflow")
  from tests import tensorflows

  if not tensorflows.has_file_system("ram://has"):
    pytest.skip("TensorFlow 1.15 has no file system in memory (`ram://`)")
  return f"ram:/{tmp_path}"


def test_a_written_file_is_read(root):
  path = f"{root}/dir/file"
  files.mkdirs(f"{root}/dir")
  files.write_atomic(path, b"before")
  files.write_atomic(path, b"abcdef")
  assert files.read(path) == b"abcdef"
  assert files.read_range(path, 2, 3) == b"cde"
  assert files.read_range(path, 4, 100) == b"ef"
  assert b"".join(files.read_chunks(path, 1, 4)) == b"bcde"
  assert files.size(path) == 6
  assert files.exists(path)
  # TensorFlow's memory file system does not know the time.
  assert files.modified_time(path) > 1e9 or root.startswith("ram://")
  assert files.list_dir(f"{root}/dir") == ["file"]
  assert files.is_dir(f"{root}/dir")
  assert files.glob_prefix(f"{root}/dir/fi") == [path]


def test_a_directory_is_removed_with_what_is_in_it(root):
  files.mkdirs(f"{root}/dir/below")
  files.write_atomic(f"{root}/dir/below/file", b"a")
  files.write_atomic(f"{root}/file", b"a")
  files.remove_tree(f"{root}/dir")
  assert not files.exists(f"{root}/dir")
  assert files.exists(f"{root}/file")


def test_missing_files_are_not_found(root):
  for call in (files.read, files.size, files.list_dir, files.remove):
    with pytest.raises(CheckpointNotFoundError, match=f"{root}/missing"):
      call(f"{root}/missing")
  assert not files.exists(f"{root}/missing")
  assert files.glob_prefix(f"{root}/missing/x") == []


def test_files_are_copied_where_they_cannot_be_linked(root, tmp_path):
  local = str(tmp_path / "data")
  files.write_atomic(local, b"0123456789")
  assert shards.place(local, f"{root}/data") == "copy"
  # fsspec's file system copies without a download.
  within = "server copy" if root.startswith("memory") else "copy"
  assert shards.place(f"{root}/data", f"{root}/data2") == within
  assert shards.place(f"{root}/data2", str(tmp_path / "back")) == "copy"
  assert files.read(str(tmp_path / "back")) == b"0123456789"


def test_a_bundle_is_written_replaced_and_read(root):
  prefix = f"{root}/model.ckpt-1"
  for value, overwrite in ((b"one", False), (b"two", True)):
    data, crc = strings.encode([value])
    index = Index()
    index.put("s", BundleEntry(7, (), 0, 0, len(data), crc))
    with BundleWriter(prefix, 1, overwrite=overwrite) as bundle:
      bundle.add_bytes(data)
      bundle.commit(index)
    assert shards.read_scalar_string(prefix, Index.read(prefix), "s") == value
  assert files.list_dir(root) == [
    "model.ckpt-1.data-00000-of-00002",
    "model.ckpt-1.data-00001-of-00002",
    "model.ckpt-1.index",
  ]
  with pytest.raises(CheckpointExistsError):
    with BundleWriter(prefix, 1):
      pass


def test_empty_files_are_there(root, tmp_path):
  # Partitioned and overwritten checkpoints may have data files without bytes.
  files.mkdirs(root)
  with files.create(f"{root}/created"):
    pass
  assert files.size(f"{root}/created") == 0
  copies.copy(f"{root}/created", f"{root}/copied")
  assert files.list_dir(root) == ["copied", "created"]


def test_a_bundle_that_is_not_completed_leaves_nothing(root):
  with pytest.raises(KeyboardInterrupt):
    with BundleWriter(f"{root}/model.ckpt-1", 1) as bundle:
      bundle.add_bytes(b"abc")
      raise KeyboardInterrupt
  assert files.glob_prefix(f"{root}/") == []


def test_an_unknown_scheme_is_named():
  with pytest.raises(MissingDependencyError, match="fsspec cannot open nosuch://"):
    files.read("nosuch://bucket/model.ckpt-1.index")


def test_with_nothing_installed_the_error_names_both(monkeypatch):
  monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
  with pytest.raises(MissingDependencyError, match="fsspec.*or TensorFlow"):
    files.read("gs://bucket/model.ckpt-1.index")


def test_local_paths_need_neither(monkeypatch, tmp_path):
  real = builtins.__import__

  def refuse(name, *args):
    assert name.partition(".")[0] not in ("fsspec", "tensorflow")
    return real(name, *args)

  monkeypatch.setattr(builtins, "__import__", refuse)
  monkeypatch.setattr(remote, "file_system", None)
  files.write_atomic(str(tmp_path / "a"), b"1")
  assert files.read(str(tmp_path / "a")) == b"1"
