from __future__ import annotations

import os

import pytest

from estimator_ckpt.bundle import files
from estimator_ckpt.checkpoint.model_dir import ModelDir
from estimator_ckpt.checkpoint.verify.directory import check_directory
from estimator_ckpt.checkpoint.verify.findings import Findings
from tests.bundle_builder import BundleBuilder


@pytest.fixture
def directory(tmp_path):
  builder = BundleBuilder()
  builder.numbers("a", [1.0])
  for step in (1, 2):
    builder.write(tmp_path / f"model.ckpt-{step}")
  _write_state(tmp_path, ["model.ckpt-1", "model.ckpt-2"])
  return tmp_path


def _write_state(directory, paths, latest=None):
  lines = [f'model_checkpoint_path: "{latest or paths[-1]}"']
  lines += [f'all_model_checkpoint_paths: "{path}"' for path in paths]
  (directory / "checkpoint").write_text("\n".join(lines))


def _check(directory):
  findings = Findings(str(directory))
  check_directory(ModelDir.read(str(directory)), findings)
  return findings.found


def _codes(directory):
  return [(finding.severity.value, finding.code) for finding in _check(directory)]


def test_a_sound_directory_has_no_finding(directory):
  assert _codes(directory) == []


def test_a_missing_state_file_is_a_warning(directory):
  (directory / "checkpoint").unlink()
  assert _codes(directory) == [("warning", "state-missing")]


def test_a_damaged_state_file_is_an_error(directory):
  (directory / "checkpoint").write_bytes(b"model_checkpoint_path: \xff\x00")
  (finding,) = _check(directory)
  assert finding.code == "state-damaged"
  assert finding.file == f"{directory}/checkpoint"


def test_absolute_paths_are_a_warning(directory):
  _write_state(directory, ["model.ckpt-1", f"{directory}/model.ckpt-2"])
  (finding,) = _check(directory)
  assert (finding.severity.value, finding.code) == ("warning", "state-absolute")
  assert repr(f"{directory}/model.ckpt-2") in finding.message


def test_a_latest_checkpoint_that_is_not_there_is_an_error(directory):
  _write_state(directory, ["model.ckpt-1", "model.ckpt-9"])
  (finding,) = _check(directory)
  assert (finding.severity.value, finding.code) == ("error", "state-latest-missing")
  assert "'model.ckpt-9', which is not there" in finding.message


def test_other_checkpoints_that_are_not_there_are_one_warning(directory):
  names = [f"model.ckpt-{step}" for step in (5, 6, 7, 8, 2)]
  _write_state(directory, names)
  (finding,) = _check(directory)
  assert (finding.severity.value, finding.code) == ("warning", "state-entry-missing")
  assert finding.message == (
    "'model.ckpt-5', 'model.ckpt-6', 'model.ckpt-7', and 1 more: named in it, and not"
    " there"
  )


def test_a_checkpoint_that_training_replaces_meanwhile_is_not_missing(
  directory, monkeypatch
):
  _write_state(directory, ["model.ckpt-0", "model.ckpt-1"])
  exists = files.exists

  def save_meanwhile(path):
    _write_state(directory, ["model.ckpt-1", "model.ckpt-2"])
    return exists(path)

  monkeypatch.setattr(files, "exists", save_meanwhile)
  assert _codes(directory) == []


def test_a_newer_checkpoint_that_the_state_does_not_name_is_a_warning(directory):
  _write_state(directory, ["model.ckpt-1"])
  (finding,) = _check(directory)
  assert (finding.severity.value, finding.code) == ("warning", "state-not-latest")


def test_an_older_checkpoint_that_is_kept_for_good_is_sound(directory):
  _write_state(directory, ["model.ckpt-2"])
  assert _codes(directory) == []


def test_what_interrupted_runs_left_is_a_warning(directory):
  (directory / os.path.basename(files.temporary_path("model.ckpt-3.index"))).touch()
  (directory / "model.ckpt-3_temp_0123456789abcdef").mkdir()
  (finding,) = _check(directory)
  assert (finding.severity.value, finding.code) == ("warning", "leftover")
  assert "model.ckpt-3.index.tmp-eckpt-" in finding.message
  assert "model.ckpt-3_temp_0123456789abcdef" in finding.message


def test_a_file_that_is_being_written_is_not_left_over(directory):
  with files.create(files.temporary_path(f"{directory}/model.ckpt-3.index")):
    assert _codes(directory) == []


def test_data_files_without_an_index_are_a_warning(directory):
  (directory / "model.ckpt-3.data-00000-of-00002").touch()
  (directory / "model.ckpt-3.data-00001-of-00002").touch()
  (finding,) = _check(directory)
  assert (finding.severity.value, finding.code) == ("warning", "no-index")
  assert finding.message.startswith("'model.ckpt-3': data files without .index")
