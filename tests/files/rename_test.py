from __future__ import annotations

import json
import os

import pytest

from estimator_ckpt import CheckpointFormat, detect_format, verify
from estimator_ckpt.checkpoint import layout
from estimator_ckpt.checkpoint.object_graph import ObjectGraph
from estimator_ckpt.cli import main
from estimator_ckpt.errors import OptionError
from estimator_ckpt.files.convert import convert
from estimator_ckpt.files.rename import rename
from tests import golden, stored

_VALUE = "/.ATTRIBUTES/VARIABLE_VALUE"


@pytest.fixture
def source(tmp_path):
  """`source("dual")` is a checkpoint with Adam's slots in the named format."""

  def make(checkpoint_format):
    path = tmp_path / "sources" / checkpoint_format
    convert(golden.path("tf1.15/adam_dense"), path, checkpoint_format)
    return str(path)

  return make


@pytest.mark.parametrize("checkpoint_format", ["tf1", "tf2", "dual"])
def test_there_and_back_is_the_same_checkpoint(source, tmp_path, checkpoint_format):
  prefix = source(checkpoint_format)
  there = ["net/dense_1/:first/", r"(.*)dense_2/(kernel|bias)(.*):b/dense_2/\2\3"]
  back = ["first/:net/dense_1/", r"b/(.*):net/\1"]
  rename(prefix, tmp_path / "there", there)
  assert detect_format(tmp_path / "there") is CheckpointFormat(checkpoint_format)
  rename(tmp_path / "there", tmp_path / "back", back)
  before, after = stored.stored(prefix), stored.stored(tmp_path / "back")
  if checkpoint_format != "tf1":
    # Nodes may have different numbers.
    for tensors in (before, after):
      del tensors[layout.OBJECT_GRAPH_KEY]
    assert _paths(tmp_path / "back") == _paths(prefix)
  assert after == before


def _paths(prefix):
  """The key at the end of each path to a value."""
  graph = stored.object_graph(prefix)
  found = {}
  for path in graph.paths():
    if path is not None and graph.lookup(path) is not None:
      for attribute in graph.nodes[graph.lookup(path)].attributes:
        found[attribute.full_name] = attribute.checkpoint_key
  for name in list(found):
    found[name, "nested"] = graph.lookup(tuple(name.split("/"))) is not None
  return found


def test_every_key_and_path_of_a_dual_checkpoint_follows(source, tmp_path):
  prefix = source("dual")
  [report] = rename(prefix, tmp_path / "out", "net/dense_1/kernel:w").checkpoints
  assert report.plan.names == {
    f"net/dense_1/kernel{slot}": f"w{slot}" for slot in ("", "/Adam", "/Adam_1")
  }
  before, after = stored.stored(prefix), stored.stored(tmp_path / "out")
  old = "net.Sdense_1.Skernel"
  for slot, escaped in (("", ""), ("/Adam", ".SAdam")):
    same = [f"w{slot}", f"var_list/w{escaped}{_VALUE}"]
    assert {after[key] for key in same} == {before[f"net/dense_1/kernel{slot}"]}
    assert f"var_list/{old}{escaped}{_VALUE}" not in after
  assert not [key for key in after if "dense_1/kernel" in key]
  graph = stored.object_graph(tmp_path / "out")
  assert graph.lookup(("w",)) == graph.lookup(("var_list", "w")) is not None
  assert graph.lookup(("net", "dense_1", "kernel")) is None
  assert graph.lookup(("net", "dense_1", "bias")) is not None


@pytest.mark.parametrize("checkpoint_format", ["tf2", "dual"])
def test_a_rule_for_all_names_leaves_the_counter_of_saves(
  source, tmp_path, checkpoint_format
):
  prefix = source(checkpoint_format)
  everything = r"(.*):sc/\1"
  [report] = rename(prefix, tmp_path / "there", everything).checkpoints
  assert "a first rule global_step:global_step keeps its name" in str(report)
  assert not verify(tmp_path / "there").findings
  rename(tmp_path / "there", tmp_path / "back", "sc/:")
  assert _paths(tmp_path / "back") == _paths(prefix)
  [report] = rename(
    prefix, tmp_path / "kept", ["global_step:global_step", everything]
  ).checkpoints
  assert "global_step" in stored.stored(tmp_path / "kept")
  assert not report.plan.notes


@pytest.mark.parametrize("checkpoint_format", ["tf1", "tf2", "dual"])
def test_nothing_takes_the_place_of_the_object_graph(
  source, tmp_path, checkpoint_format
):
  rule = {"net/dense_1/kernel": layout.OBJECT_GRAPH_KEY}
  with pytest.raises(OptionError, match="the key of the object graph"):
    rename(source(checkpoint_format), tmp_path / "out", rule)
  assert not list(tmp_path.glob("out*"))


def test_names_can_be_swapped(source, tmp_path):
  prefix = source("dual")
  a, b = "net/dense_1/bias", "net/dense_1/kernel"
  rename(prefix, tmp_path / "out", {a: b, b: a})
  before, after = stored.stored(prefix), stored.stored(tmp_path / "out")
  assert (after[a], after[b + "/Adam"]) == (before[b], before[a + "/Adam"])
  assert set(after) == set(before)


def test_partitioned_variables_and_tables(tmp_path):
  prefix = golden.path("tf1.15/momentum_partitioned")
  rename(prefix, tmp_path / "a", "net/embedding:e")
  assert len(stored.stored(tmp_path / "a")["e/Momentum"].parts) == 3
  prefix = golden.path("tf1.15/tables")
  rename(prefix, tmp_path / "b", "words:vocabulary/words")
  before, after = stored.stored(prefix), stored.stored(tmp_path / "b")
  assert after["vocabulary/words-keys"] == before["words-keys"]
  assert after["vocabulary/words-values"] == before["words-values"]


def test_a_programs_own_objects_keep_their_keys(tmp_path):
  prefix = golden.path("tf2.15/keras2_legacy_adam")
  rename(prefix, tmp_path / "out", ["dense_1/:first/", "step:global_step"])
  before, after = stored.stored(prefix), stored.stored(tmp_path / "out")
  step = after.pop("global_step" + _VALUE)
  assert step == before.pop("step" + _VALUE)
  assert set(after) == set(before)
  graph = stored.object_graph(tmp_path / "out")
  names = {attribute.full_name for _, attribute in graph.attributes()}
  assert {"first/kernel", "first/kernel/Adam"} <= names
  assert not any(name.startswith("dense_1") for name in names)


def test_a_path_that_an_object_has_already(tmp_path):
  graph = ObjectGraph()
  keys = [graph.add_variable([(n,)], full) for n, full in (("a", "x"), ("b", ""))]
  prefix = stored.write(tmp_path / "x", {k: stored.vector(1) for k in keys}, graph)
  with pytest.raises(OptionError, match="the object path 'a'.*is another object's"):
    rename(prefix, tmp_path / "y", "b:a")
  assert not list(tmp_path.glob("y*"))


def test_nothing_to_rename(source, tmp_path):
  prefix = source("tf1")
  with pytest.raises(OptionError, match="at least one rule"):
    rename(prefix, tmp_path / "out", {})
  with pytest.raises(OptionError, match="matches none"):
    rename(prefix, tmp_path / "out", "nothing:w")
  with pytest.raises(OptionError, match="would get one name"):
    rename(prefix, tmp_path / "out", "net/dense_1/bias:net/dense_2/bias")
  assert not list(tmp_path.glob("out*"))


def test_the_command(source, tmp_path, capsys):
  rules = tmp_path / "rules.txt"
  rules.write_text("net/:lib/\n", encoding="utf-8")
  argv = ["rename", source("tf1"), str(tmp_path / "out")]
  assert main.run([*argv, f"--name_map={rules}", "--name_map=global_step:step"]) == 0
  assert "global_step -> step" in capsys.readouterr().out
  assert "lib/dense_1/kernel" in stored.stored(tmp_path / "out")
  assert main.run(argv) == 2
  assert "--name_map" in capsys.readouterr().err
  argv += ["--name_map=net/:lib/", "--overwrite", "--json"]
  assert main.run(argv) == 0
  renamed = json.loads(capsys.readouterr().out)["checkpoints"][0]["renamed"]
  assert renamed["net/dense_1/bias"] == "lib/dense_1/bias"
  assert os.path.exists(tmp_path / "out.index")
