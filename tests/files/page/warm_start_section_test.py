from __future__ import annotations

import json

import pytest

from estimator_ckpt.cli import main
from estimator_ckpt.errors import CheckpointNotFoundError, CorruptCheckpointError
from estimator_ckpt.files.page.contents import contents
from estimator_ckpt.files.page.warm_start_section import read_report, warm_start_section
from tests import golden

_ADAM = golden.path("tf1.15/adam_dense")


def left(name, dtype="float32", shape=(2,)):
  return {"name": name, "dtype": dtype, "shape": list(shape), "reason": "why"}


def report(**fields):
  empty = {
    "checkpoint": "p",
    "started": [],
    "left_in_graph": [],
    "left_in_checkpoint": [],
    "problems": [],
  }
  return {**empty, **fields}


def test_the_nearest_name_of_the_same_kind_is_found():
  section = warm_start_section(
    report(
      left_in_graph=[left("net/dense/kernel"), left("net/other", shape=(3,))],
      left_in_checkpoint=[
        left("old/dense/kernel"),
        left("net/dense/kernel_", shape=(9,)),
        left("net/others", "int32", (3,)),
      ],
    )
  )
  assert [r["nearest"] for r in section["left_in_graph"]] == ["old/dense/kernel", None]


def test_its_own_name_is_no_near_miss():
  section = warm_start_section(
    report(left_in_graph=[left("step")], left_in_checkpoint=[left("step")])
  )
  assert section["left_in_graph"][0]["nearest"] is None


def test_what_the_command_writes_is_read(tmp_path, capsys):
  assert main.run(["plan-warm-start", _ADAM, f"--to={_ADAM}", "--json"]) == 0
  (tmp_path / "warm_start.json").write_text(capsys.readouterr().out)
  found = contents(tmp_path / "warm_start.json")
  assert found.title == "warm_start.json"
  assert found.sections["warm_start"]["checkpoint"] == _ADAM
  assert found.sections["warm_start"]["started"]
  json.dumps(found.as_dict(), allow_nan=False)


def test_a_model_dir_shows_its_own(tmp_path):
  golden.copy("tf1.15/adam_dense", tmp_path / "m")
  (tmp_path / "m" / "warm_start.json").write_text(json.dumps(report()))
  assert list(contents(tmp_path / "m").sections) == ["checkpoint", "warm_start"]
  (tmp_path / "m" / "warm_start.json").write_text("{")
  found = contents(tmp_path / "m")
  assert list(found.sections) == ["checkpoint"]
  assert "no report of a warm start" in found.problems[0]


@pytest.mark.parametrize(
  "text", ["", "[]", "{}", '{"started": 3}', json.dumps(report(started=[1]))]
)
def test_another_file_is_refused(tmp_path, text):
  path = tmp_path / "warm_start.json"
  path.write_text(text)
  with pytest.raises(CorruptCheckpointError, match="no report of a warm start"):
    read_report(str(path))


def test_there_is_none(tmp_path):
  with pytest.raises(CheckpointNotFoundError):
    contents(tmp_path / "warm_start.json")
