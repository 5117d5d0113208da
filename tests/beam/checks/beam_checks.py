"""Pipelines of conversions, by a real Apache Beam; run by beam_test."""

from __future__ import annotations

import json
import multiprocessing
import os
import pathlib
import signal
import subprocess
import sys
import time

import pytest

from estimator_ckpt import beam
from estimator_ckpt.checkpoint.model_dir import ModelDir
from estimator_ckpt.checkpoint.verify import verify
from estimator_ckpt.files import conversions
from tests import golden, stored

_ROOT = pathlib.Path(os.path.abspath(__file__)).parents[3]
_GOLDENS = ("tf1.15/adam_dense", "tf1.15/momentum_partitioned")
_PROCESSES = ["--direct_running_mode=multi_processing", "--direct_num_workers=2"]


def _make_runs(directory: pathlib.Path, count: int) -> list[pathlib.Path]:
  made = [directory / "runs" / f"{i:02}" / "model_dir" for i in range(count)]
  for number, path in enumerate(made):
    path.parent.mkdir(parents=True)
    golden.copy(_GOLDENS[number % len(_GOLDENS)], path)
  return made


def _start(directory: pathlib.Path, *argv: str) -> subprocess.Popen:
  return subprocess.Popen(
    [sys.executable, "-m", "estimator_ckpt.beam", *argv, *_PROCESSES],
    cwd=directory,
    env={**os.environ, "PYTHONPATH": str(_ROOT)},
    stdin=subprocess.DEVNULL,
    stdout=subprocess.PIPE,
    stderr=subprocess.PIPE,
    text=True,
    start_new_session=True,
  )


def _run(directory: pathlib.Path, *argv: str) -> tuple[int, str, str]:
  process = _start(directory, *argv)
  out, err = process.communicate(timeout=300)
  return process.returncode, out, err


def _assert_converted(source: pathlib.Path, target: pathlib.Path) -> None:
  before, after = ModelDir.read(str(source)), ModelDir.read(str(target))
  assert len(before.checkpoints) == len(after.checkpoints) > 0
  for old, new in zip(before.checkpoints, after.checkpoints):
    assert stored.stored(old).items() <= stored.stored(new).items()
  assert verify(target).findings == ()


def _times(directory: pathlib.Path) -> dict[str, int]:
  return {str(p): p.stat().st_mtime_ns for p in directory.rglob("*") if p.is_file()}


def test_the_literal_command_line_converts_beside_and_again_skips(tmp_path):
  made = _make_runs(tmp_path, 4)
  command = ["--input=runs/*/model_dir", "--to=dual", "--runner=DirectRunner"]
  status, out, err = _run(tmp_path, *command)
  assert status == 0, err
  assert out.splitlines()[-1] == "4 converted.", out
  for path in made:
    _assert_converted(path, path.with_name("model_dir_dual"))
  times = _times(tmp_path / "runs")
  # A tree has what was converted, too: that is no source.
  status, out, err = _run(tmp_path, "--input=runs", *command[1:])
  assert status == 0, err
  assert out.splitlines()[-1] == "4 done before.", out
  assert _times(tmp_path / "runs") == times


def test_a_pipeline_that_is_killed_is_gone_on_with(tmp_path):
  made = _make_runs(tmp_path, 40)
  command = ["--input=runs/*/model_dir", "--output=out", "--to=dual"]
  process = _start(tmp_path, *command)
  end = time.monotonic() + 120
  while len(list((tmp_path / "out").glob("*/model_dir/checkpoint"))) < 4:
    assert process.poll() is None and time.monotonic() < end
    time.sleep(0.001)
  os.killpg(process.pid, signal.SIGKILL)
  process.communicate()
  done = [
    path.parent
    for path in (tmp_path / "out").glob("*/model_dir/checkpoint")
    if not list(path.parent.glob("checkpoint.unfinished*"))
  ]
  assert done
  before = {path: at for directory in done for path, at in _times(directory).items()}
  status, out, err = _run(tmp_path, *command)
  assert status == 0, err
  assert f"{len(done)} done before" in out, out
  times = _times(tmp_path / "out")
  assert before.items() <= times.items()
  for path in made:
    _assert_converted(path, tmp_path / "out" / path.parent.name / "model_dir")
  # Nothing is left, and nothing is there twice.
  assert not [path for path in times if ".tmp" in path or "unfinished" in path]


# In this process: as many workers as threads, and nothing to start.
def _here(*argv: str) -> int:
  return beam.run(list(argv))


def test_one_that_fails_does_not_stop_the_others(tmp_path, capsys):
  made = _make_runs(tmp_path, 3)
  index = next(made[1].glob("*.index"))
  whole = index.read_bytes()
  index.write_bytes(whole[:-1] + b"\0")
  report = tmp_path / "reports" / "today.json"
  command = [f"--input={tmp_path}/runs", f"--output={tmp_path}/out", "--to=tf2"]
  command += [f"--report={report}", f"--input={tmp_path}/nothing/*"]
  assert _here(*command) == 2
  out = capsys.readouterr().out
  assert "2 converted; 2 failed." in out or "2 failed; 2 converted." in out
  assert str(index) in out and "no model_dir and no checkpoint matches" in out
  said = json.loads(report.read_text())
  assert said["counts"] == {"converted": 2, "failed": 2}
  (failed,) = [
    e for e in said["conversions"] if e["error"] and e["target"] != e["source"]
  ]
  assert failed["source"] == str(made[1]) and str(index) in failed["error"]
  index.write_bytes(whole)
  assert _here(*command[:4], "--json") == 0
  said = json.loads(capsys.readouterr().out)
  assert said["counts"] == {"done before": 2, "converted": 1}


def test_counters_say_what_was_linked_copied_and_failed(tmp_path, capsys, monkeypatch):
  made = _make_runs(tmp_path, 3)
  next(made[0].glob("*.index")).write_bytes(b"")
  monkeypatch.setattr(beam, "_LOCAL_RUNNERS", ())
  command = [f"--input={tmp_path}/runs", "--to=dual"]
  assert _here(*command, f"--output={tmp_path}/linked") == 2
  out = capsys.readouterr().out
  rows = dict(line.rsplit(maxsplit=1) for line in out.splitlines())
  assert (rows["converted"], rows["failed"], rows["checkpoints"]) == ("2", "1", "2")
  assert int(rows["data files link"]) == 2 and "data files copy" not in rows
  assert _here(*command, f"--output={tmp_path}/copied", "--data=copy") == 2
  out = capsys.readouterr().out
  assert "data files copy" in out and "data files link" not in out


def test_no_two_are_written_to_one_place(tmp_path, capsys):
  (one,) = _make_runs(tmp_path / "a", 1)
  (other,) = _make_runs(tmp_path / "b", 1)
  command = [f"--input={tmp_path}/{name}/runs" for name in "ab"]
  assert _here(*command, f"--output={tmp_path}/out", "--to=dual") == 2
  out = capsys.readouterr().out
  assert f"{one} and {other} would all be written to {tmp_path}/out/00/model_dir" in out
  assert not (tmp_path / "out").exists()
  # One that two inputs mean is converted once.
  assert _here(command[0], command[0], f"--output={tmp_path}/out", "--to=dual") == 0
  assert capsys.readouterr().out.splitlines()[-1] == "1 converted."


def test_verify_finds_damage_and_says_where(tmp_path, capsys):
  made = _make_runs(tmp_path, 3)
  data = next(made[2].glob("*.data-*"))
  data.write_bytes(bytes(byte ^ 1 for byte in data.read_bytes()))
  assert _here("verify", f"--input={tmp_path}/runs") == 1
  out = capsys.readouterr().out
  assert f"error: {data} [checksum]" in out
  assert out.splitlines()[-1] == "2 of 3 paths sound."
  assert _here("verify", f"--input={tmp_path}/runs", "--fast", "--json") == 0
  reports = json.loads(capsys.readouterr().out)["reports"]
  assert [each["path"] for each in reports] == [str(path) for path in made]
  assert _here("verify", f"--input={tmp_path}/no", f"--input={tmp_path}/runs/00/*") == 2
  assert f"{tmp_path}/no" in capsys.readouterr().out


def test_a_flag_that_is_nearly_one_of_ours_is_refused(tmp_path, capsys):
  assert _here(f"--input={tmp_path}", "--to=dual", "--overwite") == 2
  assert "no flag --overwite; did you mean --overwrite?" in capsys.readouterr().err


def _try(item: conversions.Conversion) -> str:
  found, _ = beam._convert(item, None, "dual", {"data": "copy", "dry_run": False})
  return found["error"] or found["result"]


def test_two_tries_of_one_element_at_once_do_no_harm(tmp_path):
  made = _make_runs(tmp_path, 8)
  items = [
    conversions.Conversion(str(path), str(path.with_name("dual"))) for path in made
  ]
  with multiprocessing.get_context("spawn").Pool(4) as pool:
    said = pool.map(_try, [each for each in items for _ in range(4)], chunksize=1)
  for number, path in enumerate(made):
    tries = said[4 * number : 4 * number + 4]
    assert tries.count("converted") == 1, tries
    for text in tries:
      assert text in ("converted", "done before") or "writing this" in text, text
    _assert_converted(path, path.with_name("dual"))


@pytest.mark.parametrize("signs", ["--input", "--to"])
def test_what_has_to_be_said_is_asked_for(signs, capsys):
  given = {"--input": "--input=x", "--to": "--to=dual"}
  del given[signs]
  with pytest.raises(SystemExit) as raised:
    _here(*given.values())
  assert raised.value.code == 2
  assert f"required: {signs}" in capsys.readouterr().err
