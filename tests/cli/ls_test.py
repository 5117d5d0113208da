from __future__ import annotations

import json
import os
import pathlib
import time

import pytest

from estimator_ckpt.bundle.file_names import index_path
from estimator_ckpt.checkpoint.best_file import (
  BestCheckpoint,
  BestCheckpoints,
  write_best,
)
from estimator_ckpt.checkpoint.state_file import CheckpointState, write_state
from estimator_ckpt.cli import main, terminal
from estimator_ckpt.files.convert import convert
from tests import golden


@pytest.fixture
def ls(capsys):
  def run(path, *flags):
    assert main.run(["ls", str(path), *flags]) == 0
    return capsys.readouterr().out.splitlines()

  return run


@pytest.fixture
def model_dir(tmp_path):
  """Three checkpoints; the state file names two of them and a deleted one."""
  names = {step: f"{tmp_path}/model.ckpt-{step}" for step in (1, 2, 3, 9)}
  convert(golden.path("tf1.15/adam_dense"), names[1], to="tf1")
  convert(golden.path("tf1.15/adam_dense"), names[2], to="tf1")
  convert(golden.path("tf2.15/module_tree"), names[3], to="tf2")
  write_state(str(tmp_path), CheckpointState(names[2], (names[9], names[1], names[2])))
  return tmp_path


def test_checkpoints_are_listed_oldest_first(ls, model_dir):
  now = time.time()
  for step, age in ((1, 7200), (2, 60), (3, 5)):
    os.utime(index_path(f"{model_dir}/model.ckpt-{step}"), (now - age, now - age))
  lines = ls(model_dir)
  assert lines[0].split() == [
    "checkpoint",
    "step",
    "format",
    "age",
    "bytes",
    "state",
    "file",
  ]
  assert lines[1].split() == [
    "model.ckpt-1",
    "7",
    "tf1",
    "2",
    "h",
    "0",
    "min",
    "996",
    "B",
    "listed",
  ]
  assert lines[2].split()[-1] == "latest" and "1 min" in lines[2]
  assert lines[3].split()[:3] == ["model.ckpt-3", "6", "tf2"]
  assert not lines[3].endswith("listed")
  assert f"listed and not there: {model_dir}/model.ckpt-9" in lines


def test_what_an_interrupted_save_left_is_named(ls, model_dir):
  (model_dir / "model.ckpt-4.data-00000-of-00001").write_bytes(b"")
  assert "left over, or being written: model.ckpt-4" in ls(model_dir)


def test_damage_is_listed_beside_what_is_whole(ls, model_dir):
  os.remove(f"{model_dir}/model.ckpt-1.data-00000-of-00001")
  with open(index_path(f"{model_dir}/model.ckpt-3"), "r+b") as file:
    file.truncate(60)
  lines = ls(model_dir)
  assert [line.split()[0] for line in lines[1:4]] == [
    f"model.ckpt-{n}" for n in (1, 2, 3)
  ]
  assert "damaged" in lines[3]
  problems = [line for line in lines if line.startswith("problem: ")]
  assert problems[0].endswith("model.ckpt-1.data-00000-of-00001: missing")
  assert len(problems) == 2


def test_json_has_the_same(ls, model_dir):
  found = json.loads("\n".join(ls(model_dir, "--json")))
  assert [c["step"] for c in found["checkpoints"]] == [7, 7, 6]
  assert [c["format"] for c in found["checkpoints"]] == ["tf1", "tf1", "tf2"]
  assert [c["latest"] for c in found["checkpoints"]] == [False, True, False]
  assert found["checkpoints"][0]["bytes"] == 996
  assert found["gone"] == [f"{model_dir}/model.ckpt-9"]


@pytest.mark.parametrize(
  ("name", "words"),
  [("no", "no directory; `ls` lists"), ("", "the directory is empty")],
)
def test_a_directory_without_checkpoints_is_an_error(name, words, tmp_path, capsys):
  assert main.run(["ls", str(tmp_path / name)]) == 2
  assert words in capsys.readouterr().err


def test_lines_fit_a_terminal(ls, model_dir, monkeypatch):
  monkeypatch.setattr(terminal, "width", lambda stream=None: 80)
  lines = ls(model_dir)
  assert max(terminal.text_width(line) for line in lines[:5]) <= 80


@pytest.mark.parametrize("name", ["adam_partitioned", "sharded"])
def test_files_of_the_format_v1_are_listed(ls, name):
  found = json.loads("\n".join(ls(golden.directory(f"tf1.15/v1/{name}"), "--json")))
  [checkpoint] = found["checkpoints"]
  assert (checkpoint["step"], checkpoint["format"]) == (7, "tf1")
  files = pathlib.Path(found["path"]).glob("model.ckpt-7*")
  assert checkpoint["bytes"] == sum(path.stat().st_size for path in files)
  assert checkpoint["latest"]


@pytest.fixture
def best_dir(model_dir):
  """The files of BestCheckpointExporter: the second checkpoint and a deleted one."""
  directory = model_dir / "best"
  for step in (0, 2):
    convert(golden.path("tf1.15/adam_dense"), directory / f"model.ckpt-{step}", "tf1")
  write_best(
    str(directory),
    BestCheckpoints(
      "loss",
      "min",
      2,
      (
        BestCheckpoint("model.ckpt-2", 2, {"accuracy": 0.75, "loss": 0.125}),
        BestCheckpoint("model.ckpt-0", 0, {"loss": 0.5, "global_step": 0, "auc": None}),
      ),
    ),
  )
  return directory


def test_the_best_are_listed_with_their_metrics(ls, best_dir):
  lines = ls(best_dir)
  assert lines[0].split()[-1] == "best"
  assert lines[1].endswith("2: loss 0.5, auc not finite")
  assert lines[2].endswith("1: loss 0.125, accuracy 0.75")
  assert lines[-1] == (
    f"the best 2 by loss (min), in {best_dir}: model.ckpt-2 (step 2, loss 0.125,"
    " accuracy 0.75), model.ckpt-0 (step 0, loss 0.5, auc not finite)"
  )


def test_the_best_are_marked_in_the_jobs_own_directory(ls, model_dir, best_dir):
  lines = ls(model_dir)
  assert lines[2].endswith("latest      best/ 1: loss 0.125")
  assert "best/" not in lines[1] + lines[3]
  # The best directory still has a checkpoint that the job has removed.
  assert [line for line in lines if "model.ckpt-0 (step 0" in line]


def test_the_best_of_an_exporter_with_another_name_are_marked(ls, model_dir, best_dir):
  best_dir.rename(model_dir / "best_loss")
  assert "best_loss/ 1: loss 0.125" in ls(model_dir)[2]


def test_json_has_the_best(ls, model_dir, best_dir):
  found = json.loads("\n".join(ls(model_dir, "--json")))
  assert [c["best"] for c in found["checkpoints"]] == [
    [],
    [{"path": str(best_dir), "rank": 1}],
    [],
  ]
  [best] = found["best"]
  assert best == {
    "path": str(best_dir),
    "metric": "loss",
    "mode": "min",
    "keep": 2,
    "checkpoints": [
      {
        "checkpoint": "model.ckpt-2",
        "step": 2,
        "metrics": {"accuracy": 0.75, "loss": 0.125},
      },
      {
        "checkpoint": "model.ckpt-0",
        "step": 0,
        "metrics": {"loss": 0.5, "global_step": 0.0, "auc": None},
      },
    ],
  }


def test_a_damaged_best_file_is_a_problem_and_hides_nothing(ls, model_dir, best_dir):
  (best_dir / "best.json").write_text("{")
  lines = ls(model_dir)
  assert len([line for line in lines if line.startswith("model.ckpt-")]) == 3
  assert any(f"problem: {best_dir}/best.json: not a list" in line for line in lines)
