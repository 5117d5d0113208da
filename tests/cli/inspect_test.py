from __future__ import annotations

import contextlib
import io
import json
import shutil

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from estimator_ckpt.checkpoint.best_file import (
  BestCheckpoint,
  BestCheckpoints,
  write_best,
)
from estimator_ckpt.cli import main, terminal
from estimator_ckpt.files.convert import convert
from tests import golden
from tests.bundle_builder import BundleBuilder, dual_builder
from tests.damage import damage_an_entry


@pytest.fixture
def inspect(capsys):
  def run(path, *flags):
    assert main.run(["inspect", str(path), *flags]) == 0
    return capsys.readouterr().out.splitlines()

  return run


@pytest.fixture
def eighty_columns(monkeypatch):
  monkeypatch.setattr(terminal, "width", lambda stream=None: 80)


def test_a_checkpoint_is_described_and_listed(inspect):
  lines = inspect(golden.path("tf1.15/adam_dense"))
  assert lines[0] == f"checkpoint              {golden.path('tf1.15/adam_dense')}"
  assert lines[1:8] == [
    "format                  name-based (TF1)",
    "step                    7",
    "files                   1 data file, 484 B; index 512 B",
    "variables                    4 tensors       156 B",
    "optimizer slots              8 tensors       312 B",
    "other optimizer state        2 tensors         8 B",
    "other state                   1 tensor         8 B",
  ]
  assert lines[8:11] == [
    "",
    "name                       dtype    shape   bytes",
    "beta1_power                float32  []        4 B",
  ]
  assert len(lines) == 9 + 1 + 15


def test_a_dual_checkpoint_says_that_paths_follow_from_names(inspect, tmp_path):
  lines = inspect(dual_builder().write(tmp_path / "m"))
  assert lines[1] == (
    "format                  dual: by name (TF1) and by object (TF2), 9 objects"
  )
  assert (
    "Each object path is the name itself, below var_list/ or nested by scope." in lines
  )
  (heading,) = [line for line in lines if line.startswith("name ")]
  assert "object path" not in heading


def test_object_paths_that_do_not_follow_from_names_are_listed_in_full(inspect):
  lines = inspect(golden.path("tf2.21/keras3_adam"))
  assert (
    "dense_1/kernel                  model/_operations/1/_kernel,"
    " optimizer/_trainable_variables/0  float32  [5, 4]     80 B"
  ) in lines
  assert [line for line in lines if line.startswith("step ")] == [
    "step                    5 (step)",
    "step" + " " * 91 + "int64    []          8 B",
  ]


@pytest.mark.parametrize("flags", [[], ["--tree"], ["--values"]])
@pytest.mark.parametrize("name", golden.names())
def test_every_line_fits_a_terminal_of_80_columns(inspect, eighty_columns, name, flags):
  for line in inspect(golden.path(name), *flags):
    if not line.startswith("checkpoint "):
      assert terminal.text_width(line) <= 80, line


def test_on_a_terminal_the_plainest_path_stands_for_all(inspect, eighty_columns):
  lines = inspect(golden.path("tf2.21/keras3_adam"))
  assert (
    "dense_1/kernel              model/_ope…/1/_kernel (+1)  float32  [5, 4]     80 B"
    in lines
  )


def test_shards_are_listed_where_there_are_several(inspect):
  lines = inspect(golden.path("tf1.15/multi_shard"))
  assert [line for line in lines if line.endswith("0-1")]
  assert [line for line in lines if line.startswith("name ")][0].endswith("  shard")


def test_a_filter_looks_at_names_keys_and_paths(inspect):
  path = golden.path("tf2.21/keras3_adam")
  lines = inspect(path, "--filter=_trainable_variables/[01]$")
  assert [line.split()[0] for line in lines[-2:]] == ["dense_1/bias", "dense_1/kernel"]
  assert "2 tensors, 96 B, with _trainable_variables/[01]$" in lines
  assert "0 tensors, 0 B, with nothing" in inspect(path, "--filter=nothing")


def test_the_largest_come_first_if_asked_for(inspect):
  lines = inspect(golden.path("tf1.15/adam_dense"), "--sort=size")
  table = lines[lines.index("") + 2 :]
  assert [line.split()[0] for line in table[:4]] == [
    "net/dense_1/kernel",
    "net/dense_1/kernel/Adam",
    "net/dense_1/kernel/Adam_1",
    "net/dense_2/kernel",
  ]


def test_a_tree_of_scopes_and_its_depth(inspect):
  path = golden.path("tf1.15/adam_dense")
  lines = inspect(path, "--tree", "--depth=2")
  assert lines[lines.index("") + 1 :] == [
    "scope        tensors  bytes  dtype    shape",
    "beta1_power             4 B  float32  []",
    "beta2_power             4 B  float32  []",
    "global_step             8 B  int64    []",
    "net               12  468 B",
    "  dense_1          6  288 B",
    "  dense_2          6  180 B",
  ]
  lines = inspect(path, "--tree")
  assert "    kernel          3  240 B  float32  [5, 4]" in lines
  assert "      Adam_1            80 B  float32  [5, 4]" in lines


def test_a_tree_of_objects(inspect):
  lines = inspect(golden.path("tf2.15/keras2_adam"), "--tree")
  assert "  layer-1 -> /model/layer_with_weights-0" in lines
  assert [line for line in lines if line.startswith("model ")][0].split() == [
    "model",
    "8",
    "200",
    "B",
  ]


def test_a_depth_is_a_number_from_one(capsys):
  for wrong in ("0", "x"):
    assert main.run(["inspect", "x", "--tree", f"--depth={wrong}"]) == 2
    assert "argument --depth" in capsys.readouterr().err


def test_values_are_summarized(inspect, tmp_path):
  builder = BundleBuilder()
  builder.numbers("w", [[0.0, -1.5], [np.nan, 3.0]])
  builder.strings("words", [b"b\xff", b""], [2])
  builder.numbers("large", [123456789012], "int64")
  lines = inspect(builder.write(tmp_path / "m"), "--values")
  assert lines[lines.index("") + 1 :] == [
    "name   shape         min        max       mean  zeros  NaN",
    "large  [1]     1.235e+11  1.235e+11  1.235e+11      0    0",
    "w      [2, 2]       -1.5          3        0.5      1    1",
    "words  [2]            ''    'b\\xff'          -      1    0",
  ]


def test_a_tensor_that_cannot_be_read_does_not_hide_the_others(tmp_path, capsys):
  builder = BundleBuilder()
  builder.numbers("a", [1.0])
  builder.numbers("b", [2.0])
  builder.shards[0][0] ^= 1
  assert main.run(["inspect", builder.write(tmp_path / "m"), "--values"]) == 2
  lines = capsys.readouterr().out.splitlines()
  assert "a     [1]    unreadable" in lines
  assert "b     [1]             2    2     2      0    0" in lines
  (problem,) = [line for line in lines if line.startswith("problem ")]
  assert "checksum of 'a' does not match" in problem


def test_variants_have_no_values(inspect):
  lines = inspect(golden.path("tf1.15/iterator"), "--values")
  assert [line for line in lines if "(variant)" in line]


def test_names_cannot_move_the_cursor(inspect, tmp_path):
  builder = BundleBuilder()
  builder.numbers("evil\x1b[2J\nname", [1.0])
  lines = inspect(builder.write(tmp_path / "m"))
  assert lines[-1].startswith("evil\\x1b[2J\\nname  float32")


def test_what_is_missing_is_said(inspect, tmp_path):
  prefix = dual_builder().write(tmp_path / "m")
  (tmp_path / "m.data-00000-of-00001").unlink()
  lines = inspect(prefix)
  assert [line for line in lines if "0 data files, 0 B; 1 MISSING" in line]
  assert [line for line in lines if line.startswith("problem ")]


def _json(inspect, path, *flags):
  return json.loads("\n".join(inspect(path, "--json", *flags)))


def test_json_has_everything(inspect):
  path = golden.path("tf2.21/keras3_adam")
  described = _json(inspect, path, "--filter=^dense_1/kernel$", "--values")
  kernel = golden.expected("tf2.21/keras3_adam")[
    "optimizer/_trainable_variables/0/.ATTRIBUTES/VARIABLE_VALUE"
  ]
  assert described["path"] == path
  assert (described["format"], described["step"], described["objects"]) == (
    "tf2",
    5,
    44,
  )
  assert described["totals"]["slot"] == {"tensors": 12, "bytes": 336}
  (tensor,) = described["tensors"]
  values = tensor.pop("values")
  assert tensor == {
    "name": "dense_1/kernel",
    "keys": ["optimizer/_trainable_variables/0/.ATTRIBUTES/VARIABLE_VALUE"],
    "object_paths": ["model/_operations/1/_kernel", "optimizer/_trainable_variables/0"],
    "dtype": "float32",
    "shape": [5, 4],
    "bytes": 80,
    "shards": [0],
    "slices": [],
    "kind": "variable",
    "of": None,
    "slot": None,
    "optimizer": None,
  }
  assert values["min"] == kernel.min()
  assert values["mean"] == pytest.approx(kernel.mean(), rel=1e-6)
  assert values["count"] == 20


def test_json_has_the_optimizers_slots(inspect):
  described = _json(inspect, golden.path("tf1.15/adam_dense"), "--filter=Adam_1$")
  first = described["tensors"][0]
  assert (first["kind"], first["of"], first["slot"], first["optimizer"]) == (
    "slot",
    "net/dense_1/bias",
    "v",
    "Adam",
  )


def test_json_of_numbers_that_json_has_not(inspect, tmp_path):
  builder = BundleBuilder()
  builder.numbers("w", [np.nan, np.inf])
  (tensor,) = _json(inspect, builder.write(tmp_path / "m"), "--values")["tensors"]
  assert tensor["values"] == {
    "count": 2,
    "min": None,
    "max": None,
    "mean": None,
    "zeros": 0,
    "nans": 1,
    "infinities": 1,
  }


@settings(max_examples=60)
@given(
  draw=st.data(),
  name=st.sampled_from(["tf1.15/momentum_partitioned", "tf2.15/keras2_legacy_adam"]),
  flag=st.sampled_from(["--values", "--tree", "--json", "--sort=size"]),
)
def test_a_damaged_entry_is_shown_or_is_one_error(draw, name, flag, tmp_path_factory):
  directory = tmp_path_factory.mktemp("damaged")
  prefix = golden.copy(name, directory / "copy")
  damage_an_entry(draw.draw, prefix)
  try:
    with contextlib.redirect_stdout(io.StringIO()) as out:
      with contextlib.redirect_stderr(io.StringIO()) as err:
        code = main.run(["inspect", prefix, flag])
    assert code in (0, 2)
    assert out.getvalue() or err.getvalue().startswith("estimator-ckpt: error: ")
  finally:
    shutil.rmtree(directory)


def test_the_tree_as_json_is_a_tree(inspect):
  text = "\n".join(inspect(golden.path("tf1.15/adam_dense"), "--tree", "--json"))
  described = json.loads(text)
  assert "tensors" not in described
  tree = described["tree"]
  assert (tree["label"], tree["tensors"]) == ("", 15)
  assert "net" in [child["label"] for child in tree["children"]]
  text = "\n".join(
    inspect(golden.path("tf1.15/adam_dense"), "--tree", "--json", "--depth=1")
  )
  children = json.loads(text)["tree"]["children"]
  [net] = [child for child in children if child["label"] == "net"]
  assert (net["tensors"], net["children"]) == (12, [])


def test_a_depth_is_that_of_a_tree(capsys):
  path = golden.path("tf1.15/adam_dense")
  assert main.run(["inspect", path, "--depth=1"]) == 2
  assert "add --tree" in capsys.readouterr().err


def test_kinds_are_listed_with_their_totals(inspect):
  lines = inspect(golden.path("tf1.15/adam_dense"), "--kind=slots")
  assert "8 tensors, 312 B, of kind slots" in lines
  names = [line.split()[0] for line in lines[lines.index("") + 4 :]]
  assert len(names) == 8 and all("Adam" in name for name in names)


def test_a_directory_with_more_checkpoints_says_so(inspect, tmp_path):
  for step in (1, 2):
    convert(golden.path("tf1.15/adam_dense"), tmp_path / f"model.ckpt-{step}", to="tf1")
  lines = inspect(tmp_path)
  assert lines[0].endswith("model.ckpt-2")
  (line,) = [line for line in lines if line.startswith("besides")]
  assert line.endswith(
    f"1 other checkpoint in the directory: estimator-ckpt ls {tmp_path}"
  )
  assert not [n for n in inspect(tmp_path / "model.ckpt-1") if n.startswith("besides")]


@pytest.fixture
def best(tmp_path):
  """A model_dir with one checkpoint, which is the second best."""
  for directory in (tmp_path, tmp_path / "best"):
    convert(golden.path("tf1.15/adam_dense"), directory / "model.ckpt-7", "tf1")
  kept = [
    BestCheckpoint("model.ckpt-3", 3, {"auc": 0.75}),
    BestCheckpoint("model.ckpt-7", 7, {"loss": 0.25, "auc": 0.5, "global_step": 7}),
  ]
  write_best(str(tmp_path / "best"), BestCheckpoints("auc", "max", 2, tuple(kept)))
  return tmp_path


@pytest.mark.parametrize("path", ["", "model.ckpt-7", "best", "best/model.ckpt-7"])
def test_that_a_checkpoint_is_one_of_the_best_is_said(inspect, best, path):
  [line] = [line for line in inspect(best / path) if line.startswith("best ")]
  assert line.split(maxsplit=1)[1] == (
    f"2 of 2 by auc (max) in {best}/best: auc 0.5, loss 0.25"
  )


def test_json_says_that_a_checkpoint_is_one_of_the_best(inspect, best):
  metrics = {"loss": 0.25, "auc": 0.5, "global_step": 7.0}
  expected = {"rank": 2, "metric": "auc", "mode": "max", "metrics": metrics}
  assert _json(inspect, best)["best"] == [{"path": f"{best}/best", **expected}]
  assert _json(inspect, golden.path("tf1.15/adam_dense"))["best"] == []
