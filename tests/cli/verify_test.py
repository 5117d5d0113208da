from __future__ import annotations

import json
import os

import pytest

from estimator_ckpt.cli import main, terminal
from estimator_ckpt.files.convert import convert
from tests import golden
from tests.bundle_builder import BundleBuilder


@pytest.fixture
def verify(capsys):
  def run(path, *flags):
    code = main.run(["verify", str(path), *flags])
    return code, capsys.readouterr().out

  return run


@pytest.fixture
def damaged(tmp_path):
  builder = BundleBuilder()
  for number in range(30):
    builder.numbers(f"layer_{number:02d}/kernel", [float(number)])
    builder.shards[0][-1] ^= 1
  return builder.write(tmp_path / "m")


def test_a_sound_checkpoint(verify):
  assert verify(golden.path("tf1.15/adam_dense")) == (
    0,
    "Sound: nothing found.\n1 checkpoint, 15 tensors, 484 B read\n",
  )


def test_fast_says_what_was_not_looked_at(verify, damaged):
  code, out = verify(damaged, "--fast")
  assert code == 0
  assert out.splitlines() == [
    "Sound: nothing found.",
    "1 checkpoint, 30 tensors; checksums of tensors not verified (--fast)",
  ]


def test_errors_are_a_line_each_in_a_pipe_and_the_code_is_1(verify, damaged):
  code, out = verify(damaged)
  lines = out.splitlines()
  assert code == 1
  assert lines[0] == (
    f"error: {damaged}.data-00000-of-00001: 'layer_00/kernel': its bytes do not match"
    " its checksum: the file is damaged, or belongs to another checkpoint [checksum]"
  )
  assert lines[20] == "... and 10 more [checksum]; --json has all of them"
  assert lines[21:] == ["", "30 errors.", "1 checkpoint, 30 tensors, 120 B read"]


def test_warnings_do_not_make_the_code_1(verify):
  code, out = verify(golden.path("tf2.15/guide_scaffold"))
  assert code == 0
  assert "[no-save-counter]\n\n1 warning; no error.\n" in out


def test_findings_are_wrapped_on_a_terminal(verify, damaged, monkeypatch):
  monkeypatch.setattr(terminal, "width", lambda stream=None: 60)
  _, out = verify(damaged)
  assert out.splitlines()[:4] == [
    f"error: {damaged}.data-00000-of-00001 [checksum]",
    "  'layer_00/kernel': its bytes do not match its checksum:",
    "  the file is damaged, or belongs to another checkpoint",
    f"error: {damaged}.data-00000-of-00001 [checksum]",
  ]


def test_json_has_all_findings(verify, damaged):
  code, out = verify(damaged, "--json")
  assert code == 1
  result = json.loads(out)
  assert (result["ok"], result["fast"], result["bytes_read"]) == (False, False, 120)
  assert len(result["findings"]) == 30
  assert result["findings"][3] == {
    "severity": "error",
    "code": "checksum",
    "file": f"{damaged}.data-00000-of-00001",
    "key": "layer_03/kernel",
    "message": "its bytes do not match its checksum: the file is damaged, or belongs to"
    " another checkpoint",
  }


def test_a_directory_is_verified_whole(verify, tmp_path):
  golden.copy("tf1.15/adam_dense", tmp_path / "model_dir")
  assert verify(tmp_path / "model_dir") == (
    0,
    "Sound: nothing found.\n1 checkpoint, 15 tensors, 484 B read\n",
  )


def test_several_paths_and_a_tree_of_directories(tmp_path, capsys):
  for name in ("a", "b/c"):
    convert(
      golden.path("tf1.15/adam_dense"), tmp_path / name / "model.ckpt-1", to="tf1"
    )
  (tmp_path / "no_checkpoints").mkdir()
  for command in (["verify"], ["convert", "--to=tf2", "-o", str(tmp_path / "to")]):
    assert main.run([*command, str(tmp_path / "no_checkpoints")]) == 2
    assert "--recursive" not in capsys.readouterr().err
    assert main.run([*command, str(tmp_path)]) == 2
    assert f"or add --recursive, for every model_dir below {tmp_path}" in (
      capsys.readouterr().err
    )
  assert main.run(["verify", str(tmp_path / "a"), str(tmp_path / "b" / "c")]) == 0
  assert "2 of 2 paths sound." in capsys.readouterr().out
  assert main.run(["verify", str(tmp_path), "--recursive", "--json"]) == 0
  reports = json.loads(capsys.readouterr().out)["reports"]
  assert [r["path"] for r in reports] == [f"{tmp_path}/a", f"{tmp_path}/b/c"]
  # An error in one checkpoint does not hide errors in the others.
  os.remove(tmp_path / "a" / "model.ckpt-1.data-00000-of-00001")
  assert main.run(["verify", str(tmp_path), "--recursive"]) == 1
  assert "1 of 2 paths sound." in capsys.readouterr().out
  assert main.run(["verify", str(tmp_path / "typo"), str(tmp_path / "a")]) == 2
  out = capsys.readouterr().out
  assert "not verified: " in out and "shard-missing" in out
