from __future__ import annotations

import os
import pathlib
import zipfile

import numpy as np
import pytest

from estimator_ckpt.bundle import files
from estimator_ckpt.checkpoint import prefix as prefix_lib
from estimator_ckpt.errors import CheckpointNotFoundError, CorruptCheckpointError
from tests import golden

_NAME = "tf1.15/adam_dense"


@pytest.fixture
def model_dir(tmp_path):
  """A directory with checkpoints of the steps 90, 100 and 1000; 100 is the latest."""
  directory = tmp_path / "model_dir"
  source = golden.path(_NAME)
  directory.mkdir()
  for step in (1000, 90, 100):
    for suffix in (".index", ".data-00000-of-00001"):
      data = files.read(source + suffix)
      files.write_atomic(f"{directory}/model.ckpt-{step}{suffix}", data)
  files.write_atomic(f"{directory}/model.ckpt-100.meta", b"graph")
  (directory / "checkpoint").write_text('model_checkpoint_path: "model.ckpt-100"\n')
  return str(directory)


@pytest.mark.parametrize(
  "path",
  [
    "",
    "/",
    "/checkpoint",
    "/model.ckpt-100",
    "/model.ckpt-100.index",
    "/model.ckpt-100.data-00000-of-00001",
    "/model.ckpt-100.data-00007-of-00009",
    "/model.ckpt-100.meta",
  ],
)
def test_every_file_of_a_checkpoint_and_its_directory_mean_it(model_dir, path):
  assert prefix_lib.resolve(model_dir + path) == f"{model_dir}/model.ckpt-100"


def test_a_path_object_is_a_path(model_dir):
  path = pathlib.Path(model_dir) / "model.ckpt-100.index"
  assert prefix_lib.resolve(path) == f"{model_dir}/model.ckpt-100"


def test_relative_paths_stay_relative(model_dir, monkeypatch):
  monkeypatch.chdir(model_dir)
  for path in ("model.ckpt-90", "model.ckpt-90.index", "model.ckpt-90.meta"):
    assert prefix_lib.resolve(path) == "model.ckpt-90"
  assert prefix_lib.resolve("checkpoint") == "./model.ckpt-100"
  assert prefix_lib.resolve(".") == "./model.ckpt-100"


def test_without_a_state_file_the_highest_step_is_the_latest(model_dir):
  os.remove(f"{model_dir}/checkpoint")
  assert prefix_lib.resolve(model_dir) == f"{model_dir}/model.ckpt-1000"
  assert prefix_lib.checkpoints_in(model_dir) == [
    f"{model_dir}/model.ckpt-{step}" for step in (90, 100, 1000)
  ]


def test_checkpoints_of_several_names_are_in_the_order_of_time(model_dir):
  os.remove(f"{model_dir}/checkpoint")
  os.rename(f"{model_dir}/model.ckpt-90.index", f"{model_dir}/best.index")
  for number, name in enumerate(("model.ckpt-1000", "best", "model.ckpt-100")):
    os.utime(f"{model_dir}/{name}.index", (number, number))
  assert prefix_lib.resolve(model_dir) == f"{model_dir}/model.ckpt-100"


def test_a_copied_directory_means_its_own_checkpoints(model_dir, tmp_path):
  (tmp_path / "model_dir" / "checkpoint").write_text(
    f'model_checkpoint_path: "{model_dir}/model.ckpt-100"\n'
  )
  copy = tmp_path / "copy"
  os.rename(model_dir, copy)
  assert prefix_lib.resolve(copy) == f"{copy}/model.ckpt-100"


def test_a_state_file_may_name_a_checkpoint_elsewhere(model_dir, tmp_path):
  (tmp_path / "checkpoint").write_text(
    f'model_checkpoint_path: "{model_dir}/model.ckpt-90"\n'
  )
  assert prefix_lib.resolve(tmp_path) == f"{model_dir}/model.ckpt-90"


@pytest.mark.parametrize(
  "path", ["", "/variables", "/saved_model.pb", "/variables/variables"]
)
def test_a_saved_model_means_its_variables(path):
  export = os.path.dirname(os.path.dirname(golden.path("tf1.15/saved_model")))
  assert prefix_lib.resolve(export + path) == f"{export}/variables/variables"


def _fails(path, error, *words):
  with pytest.raises(error) as caught:
    prefix_lib.resolve(path)
  message = str(caught.value)
  assert message.startswith(str(path))
  for word in words:
    assert word in message, message


def test_a_state_file_that_names_a_missing_checkpoint_is_told(model_dir):
  os.remove(f"{model_dir}/model.ckpt-100.index")
  for path in (model_dir, f"{model_dir}/checkpoint"):
    _fails(
      path,
      CheckpointNotFoundError,
      "/checkpoint: the latest checkpoint it names is",
      "model.ckpt-100.index is not there",
      f"it has {model_dir}/model.ckpt-90, {model_dir}/model.ckpt-1000; pass one",
    )


def test_a_mistyped_step_has_its_nearest(model_dir):
  path = f"{model_dir}/model.ckpt-101"
  _fails(path, CheckpointNotFoundError, f"did you mean {model_dir}/model.ckpt-10")
  with pytest.raises(CheckpointNotFoundError, match=f"{path}: .* did you mean"):
    prefix_lib.resolve(f"{path}.index")


def test_nothing_like_it_shows_what_is_there(model_dir):
  _fails(
    f"{model_dir}/x", CheckpointNotFoundError, "the directory has", "model.ckpt-90"
  )


def test_a_missing_directory_is_told(tmp_path):
  _fails(f"{tmp_path}/no/x", CheckpointNotFoundError, f"no directory {tmp_path}/no")


def test_a_relative_path_that_is_missing_is_told(model_dir, monkeypatch):
  monkeypatch.chdir(model_dir)
  _fails("model.ckpt-9", CheckpointNotFoundError, "did you mean model.ckpt-90?")


def test_an_empty_path_is_told():
  with pytest.raises(
    CheckpointNotFoundError, match="the path is empty; pass the prefix"
  ):
    prefix_lib.resolve("")


def test_an_empty_directory_is_told(tmp_path):
  _fails(tmp_path, CheckpointNotFoundError, "the directory is empty", "pass the prefix")


def test_a_directory_without_checkpoint_shows_what_it_has(tmp_path):
  for name in "abcdefg":
    (tmp_path / name).write_text("")
  _fails(
    tmp_path, CheckpointNotFoundError, "no checkpoint in the directory; it has a, b, c"
  )


def test_data_files_without_index_are_told(tmp_path):
  data = tmp_path / "model.ckpt-3.data-00000-of-00001"
  data.write_bytes(b"x")
  for path in (tmp_path, tmp_path / "model.ckpt-3", data):
    with pytest.raises(CheckpointNotFoundError) as caught:
      prefix_lib.resolve(path)
    assert f"{tmp_path}/model.ckpt-3: there are data files, but no" in str(caught.value)
    assert "interrupted" in str(caught.value)


def test_a_saved_model_without_variables_is_told(tmp_path):
  (tmp_path / "saved_model.pb").write_bytes(b"x")
  for path in (tmp_path, tmp_path / "saved_model.pb"):
    with pytest.raises(CheckpointNotFoundError, match="a SavedModel without variables"):
      prefix_lib.resolve(path)


def _zip(path):
  with zipfile.ZipFile(path, "w") as archive:
    archive.writestr("config.json", "{}")


def _copied_index(path):
  files.write_atomic(str(path), files.read(golden.path(_NAME) + ".index"))


@pytest.mark.parametrize(
  "name, write, words",
  [
    (
      "w.h5",
      b"\x89HDF\r\n\x1a\n" + bytes(99),
      ("HDF5", "Keras", "It is no checkpoint"),
    ),
    ("model.keras", _zip, (".keras", "zip archive")),
    ("a.npy", lambda p: np.save(p, np.ones(3)), ("a numpy array",)),
    ("m.tflite", b"\x1c\0\0\0TFL3" + bytes(9), ("TensorFlow Lite",)),
    ("frozen.pb", b"\x0a\x05hello", ("a graph (frozen",)),
    ("renamed", _copied_index, ("index file of a checkpoint under another name",)),
    (
      "model.ckpt-5.meta",
      b"\x0a\x05hello",
      ("without its checkpoint", "5.index is not"),
    ),
    ("events.out.tfevents.1.host", b"\x18" + bytes(30), ("summaries for TensorBoard",)),
    ("empty", b"", ("an empty file",)),
    ("notes.txt", b"hello", ("no file of a checkpoint", "pass the prefix")),
    ("m.index.tmp-eckpt-01234567", b"x", ("left by an interrupted write",)),
  ],
)
def test_other_files_are_told_for_what_they_are(tmp_path, name, write, words):
  path = tmp_path / name
  if isinstance(write, bytes):
    path.write_bytes(write)
  else:
    write(path)
  _fails(path, CorruptCheckpointError, *words)


def test_a_file_called_checkpoint_that_is_no_state_is_told(tmp_path):
  (tmp_path / "checkpoint").write_bytes(b"\x89PNG")
  for path in (tmp_path, tmp_path / "checkpoint"):
    with pytest.raises(
      CorruptCheckpointError, match="checkpoint: not a checkpoint state"
    ):
      prefix_lib.resolve(path)


def test_a_checkpoint_called_checkpoint_is_a_prefix(tmp_path):
  _copied_index(tmp_path / "checkpoint.index")
  assert prefix_lib.resolve(tmp_path / "checkpoint") == f"{tmp_path}/checkpoint"


def test_remote_paths_are_resolved():
  fsspec = pytest.importorskip("fsspec")
  root = "memory://prefix_test/model_dir"
  source = golden.path(_NAME)
  files.mkdirs(root)
  files.write_atomic(f"{root}/model.ckpt-7.index", files.read(source + ".index"))
  assert prefix_lib.resolve(root) == f"{root}/model.ckpt-7"
  files.write_atomic(f"{root}/checkpoint", b'model_checkpoint_path: "model.ckpt-7"')
  assert prefix_lib.resolve(f"{root}/checkpoint") == f"{root}/model.ckpt-7"
  assert prefix_lib.resolve(f"{root}/") == f"{root}/model.ckpt-7"
  with pytest.raises(CheckpointNotFoundError, match="did you mean memory://"):
    prefix_lib.resolve(f"{root}/model.ckpt-8")
  fsspec.filesystem("memory").rm("/prefix_test", recursive=True)
