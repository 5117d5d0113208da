from __future__ import annotations

import json
import os

import numpy as np
import pytest

from estimator_ckpt.checkpoint import best_file
from estimator_ckpt.checkpoint.best_file import BestCheckpoint, BestCheckpoints
from estimator_ckpt.checkpoint.state_file import CheckpointState, write_state
from estimator_ckpt.errors import CheckpointNotFoundError
from estimator_ckpt.files.page.contents import contents
from tests import golden
from tests.bundle_builder import BundleBuilder


@pytest.fixture
def model_dir(tmp_path):
  """Three checkpoints of one variable that grows; the second one is the latest."""
  prefixes = []
  for step in (1, 2, 3):
    builder = BundleBuilder()
    builder.numbers("w", np.full(4, float(step)))
    builder.strings("words", [b"a"])
    builder.numbers("global_step", step, "int64")
    prefixes.append(builder.write(tmp_path / f"model.ckpt-{step}"))
  write_state(str(tmp_path), CheckpointState(prefixes[1], tuple(prefixes)))
  return tmp_path


def test_a_checkpoint():
  path = golden.path("tf1.15/adam_dense")
  found = contents(path)
  assert found.title == "model.ckpt-7"
  assert list(found.sections) == ["checkpoint"]
  assert "values" not in found.sections["checkpoint"]
  assert found.problems == ()


@pytest.mark.parametrize("name", ["tf1.15/saved_model", "tf2.15/saved_module"])
def test_a_saved_model(name):
  assert list(contents(golden.directory(name) + "/export").sections) == ["checkpoint"]


def test_a_directory_with_one_checkpoint_is_that_checkpoint():
  found = contents(golden.directory("tf1.15/adam_dense"))
  assert list(found.sections) == ["checkpoint"]


def test_a_directory_with_several(model_dir):
  found = contents(model_dir)
  assert found.title == model_dir.name
  assert list(found.sections) == ["directory", "checkpoint"]
  assert [c["step"] for c in found.sections["directory"]["checkpoints"]] == [1, 2, 3]
  assert found.sections["checkpoint"]["step"] == 2
  assert "norms" not in found.sections["directory"]
  json.dumps(found.as_dict(), allow_nan=False)


def test_values_are_read_once_and_counted(model_dir):
  said = []
  found = contents(model_dir, values=True, progress=lambda *of: said.append(of))
  norms = found.sections["directory"]["norms"]
  assert norms["name"] == ["global_step", "w"]
  assert norms["norm"] == [[1.0, 2.0, 3.0], [2.0, 4.0, 6.0]]
  assert found.sections["checkpoint"]["values"]["norm"] == [2.0, 4.0, None]
  done = [done for done, _ in said]
  assert done == sorted(done) and done[-1] <= said[-1][1]


def test_without_values_no_data_is_needed(model_dir):
  for step in (1, 2, 3):
    os.remove(model_dir / f"model.ckpt-{step}.data-00000-of-00001")
  found = contents(model_dir)
  assert len(found.sections["directory"]["checkpoints"]) == 3
  assert any("missing" in problem for problem in found.problems)


def test_what_cannot_be_read_is_a_problem_and_the_rest_is_shown(model_dir):
  (model_dir / "model.ckpt-2.data-00000-of-00001").write_bytes(b"")
  with open(model_dir / "model.ckpt-1.index", "r+b") as file:
    file.truncate(20)
  found = contents(model_dir, values=True)
  assert found.sections["directory"]["norms"]["norm"] == [
    [None, None, 3.0],
    [None, None, 6.0],
  ]
  assert found.sections["checkpoint"]["values"]["count"] == [None, None, None]
  assert len(found.problems) >= 2


def test_a_latest_that_is_damaged_makes_way_for_the_newest(model_dir):
  with open(model_dir / "model.ckpt-2.index", "r+b") as file:
    file.truncate(20)
  assert contents(model_dir).sections["checkpoint"]["step"] == 3


def test_a_directory_of_damaged_ones_shows_the_list(model_dir):
  for step in (1, 2, 3):
    with open(model_dir / f"model.ckpt-{step}.index", "r+b") as file:
      file.truncate(20)
  found = contents(model_dir)
  assert list(found.sections) == ["directory"]
  assert len(found.problems) == 3


def test_the_best_are_marked(model_dir):
  os.mkdir(model_dir / "best")
  best = BestCheckpoints(
    "loss", "min", 1, (BestCheckpoint("model.ckpt-2", 2, {"loss": 0.5}),)
  )
  best_file.write_best(f"{model_dir}/best", best)
  section = contents(model_dir).sections["directory"]
  assert [place["metric"] for place in section["best"]] == ["loss"]
  (second,) = [c for c in section["checkpoints"] if c["best"]]
  assert second["step"] == 2 and second["best"][0]["rank"] == 1


def test_a_best_file_that_is_something_else_is_a_problem(model_dir):
  os.mkdir(model_dir / "best")
  (model_dir / "best" / "best.json").write_text("{}")
  assert any("best.json" in problem for problem in contents(model_dir).problems)


def test_no_checkpoint(tmp_path):
  with pytest.raises(CheckpointNotFoundError):
    contents(tmp_path)


@pytest.mark.parametrize(
  "name", [n for n in golden.names() if "iterator" in n] + ["tf1.15/many_dtypes"]
)
def test_every_type_has_values_or_none(name):
  found = contents(golden.path(name), values=True)
  assert found.problems == ()
  json.dumps(found.as_dict(), allow_nan=False)
