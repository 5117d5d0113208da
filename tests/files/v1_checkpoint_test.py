"""Commands on files accept a checkpoint of the format V1 like any other, and say so."""

from __future__ import annotations

import json
import os
import shutil

import numpy as np
import pytest

import estimator_ckpt as eckpt
from estimator_ckpt import errors
from estimator_ckpt.checkpoint import prefix as prefix_lib
from estimator_ckpt.cli import main
from estimator_ckpt.files.summary import inspect_checkpoint
from tests import golden

_ONE_FILE = "tf1.15/v1/adam_partitioned"
_SHARDED = "tf1.15/v1/sharded"
EVERY_GOLDEN = pytest.mark.parametrize("name", golden.v1_names())


def _plain(value):
  return value.astype("S") if value.dtype == object else value


def _assert_holds(path, expected):
  with eckpt.open_checkpoint(path) as reader:
    assert set(reader.names) - {"save_counter"} >= set(expected)
    for name, value in expected.items():
      np.testing.assert_array_equal(_plain(reader[reader.names[name]]), value, name)


@EVERY_GOLDEN
def test_open_checkpoint_reads_every_value(name):
  _assert_holds(golden.path(name), golden.expected(name))
  _assert_holds(golden.directory(name), golden.expected(name))
  assert eckpt.detect_format(golden.path(name)) is eckpt.CheckpointFormat.TF1


@EVERY_GOLDEN
def test_each_of_its_files_leads_to_it(name):
  prefix = golden.path(name)
  for file in os.listdir(golden.directory(name)):
    if file.startswith("model.ckpt-7"):
      path = os.path.join(golden.directory(name), file)
      assert prefix_lib.resolve(path) == prefix


@EVERY_GOLDEN
def test_verify_finds_nothing(name):
  report = eckpt.verify(golden.directory(name))
  assert report.findings == ()
  assert report.tensors == len(golden.expected(name))
  assert report.checkpoints == (golden.path(name),)


def test_verify_finds_a_flipped_bit(tmp_path):
  prefix = golden.copy(_ONE_FILE, tmp_path / "model")
  with open(prefix, "r+b") as file:
    file.seek(1000)
    byte = file.read(1)
    file.seek(1000)
    file.write(bytes((byte[0] ^ 1,)))
  report = eckpt.verify(tmp_path / "model")
  assert not report.ok
  assert "checksum does not match" in str(report.findings[0])
  assert prefix in str(report.findings[0])


@pytest.mark.parametrize("to", ["tf1", "tf2", "dual"])
@EVERY_GOLDEN
def test_it_converts_to_every_format(name, to, tmp_path):
  expected = golden.expected(name)
  report = eckpt.convert(golden.directory(name), tmp_path / "out", to)
  assert report.checkpoints[0].target == str(tmp_path / "out" / "model.ckpt-7")
  assert set(report.checkpoints[0].placed) == {"write"}
  assert eckpt.verify(tmp_path / "out").findings == ()
  assert eckpt.detect_format(tmp_path / "out").value == to
  if to != "tf2":
    _assert_holds(tmp_path / "out", expected)
  eckpt.convert(tmp_path / "out", tmp_path / "back", "tf1")
  _assert_holds(tmp_path / "back", expected)
  assert eckpt.diff(golden.path(name), tmp_path / "back").equal


def test_it_is_renamed_and_stripped(tmp_path):
  expected = golden.expected(_ONE_FILE)
  eckpt.rename(golden.path(_ONE_FILE), tmp_path / "renamed" / "m-1", ["net/:other/"])
  _assert_holds(
    tmp_path / "renamed" / "m-1",
    {name.replace("net/", "other/"): value for name, value in expected.items()},
  )
  eckpt.strip(
    golden.path(_ONE_FILE), tmp_path / "stripped" / "m-1", optimizer_state=True
  )
  weights = {k: v for k, v in expected.items() if "Adam" not in k and "beta" not in k}
  _assert_holds(tmp_path / "stripped" / "m-1", weights)
  with eckpt.open_checkpoint(tmp_path / "stripped") as reader:
    assert sorted(reader) == sorted(weights)


def test_what_needs_data_files_says_what_to_do(tmp_path):
  with pytest.raises(errors.OptionError, match="no data files to link"):
    eckpt.convert(golden.path(_ONE_FILE), tmp_path / "m-1", "tf2", data="link")
  with pytest.raises(errors.UnsupportedCheckpointError, match="--to=tf1"):
    eckpt.merge([golden.path(_ONE_FILE), golden.path("tf1.15/tables")], tmp_path / "m")
  assert not list(tmp_path.iterdir())


def test_the_source_is_no_destination(tmp_path):
  prefix = golden.copy(_ONE_FILE, tmp_path / "model")
  with pytest.raises(errors.OptionError, match="never changed"):
    eckpt.convert(prefix, prefix, "tf2")


def test_the_latest_of_old_and_new_files_is_found_by_step(tmp_path):
  golden.copy(_ONE_FILE, tmp_path / "model")
  directory = str(tmp_path / "model")
  os.remove(directory + "/checkpoint")
  old = directory + "/model.ckpt-7"
  eckpt.convert(old, directory + "/model.ckpt-9", "tf1")
  shutil.copy(old, directory + "/model.ckpt-10")
  wanted = [f"{directory}/model.ckpt-{step}" for step in (7, 9, 10)]
  assert prefix_lib.checkpoints_in(directory) == wanted
  assert prefix_lib.resolve(directory) == wanted[-1]
  assert eckpt.verify(directory).checkpoints == tuple(wanted)
  # If an index lies beside a V1 file of the same name, TensorFlow reads the index.
  eckpt.convert(directory + "/model.ckpt-9", directory + "/model.ckpt-10", "dual")
  assert prefix_lib.checkpoints_in(directory) == wanted
  assert eckpt.detect_format(wanted[-1]) is eckpt.CheckpointFormat.DUAL


def test_inspect_says_what_it_is(capsys):
  summary = inspect_checkpoint(golden.path(_SHARDED))
  assert summary.is_v1 and summary.step == 7
  assert summary.total.size == sum(file.size for file in summary.data_files)
  assert main.run(["inspect", golden.directory(_SHARDED)]) == 0
  out = capsys.readouterr().out
  assert "name-based (TF1), in files of the old format V1" in out
  assert "2 data files" not in out and "no index" in out
  assert main.run(["inspect", "--json", golden.directory(_ONE_FILE)]) == 0
  assert json.loads(capsys.readouterr().out)["v1"] is True


def test_an_index_under_another_name_is_still_called_so(tmp_path):
  path = tmp_path / "model.ckpt-7"
  shutil.copy(golden.path("tf1.15/adam_dense") + ".index", path)
  with pytest.raises(errors.CorruptCheckpointError, match="under another name"):
    eckpt.open_checkpoint(path)


def test_a_damaged_file_says_so(tmp_path):
  prefix = golden.copy(_ONE_FILE, tmp_path / "model")
  with open(prefix, "r+b") as file:
    file.seek(20)
    file.write(b"\xff\xff")
  with pytest.raises(errors.CorruptCheckpointError, match="damaged") as raised:
    eckpt.open_checkpoint(prefix)
  assert prefix in str(raised.value)
