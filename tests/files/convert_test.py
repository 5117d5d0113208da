from __future__ import annotations

import json
import os
import pathlib

import pytest

from estimator_ckpt import CheckpointFormat, detect_format
from estimator_ckpt.bundle import copies, files
from estimator_ckpt.bundle.index import Index
from estimator_ckpt.checkpoint import layout
from estimator_ckpt.checkpoint.object_graph import ObjectGraph
from estimator_ckpt.checkpoint.verify import verify
from estimator_ckpt.cli import main
from estimator_ckpt.errors import (
  CheckpointExistsError,
  CheckpointIOError,
  CheckpointNotFoundError,
  CorruptCheckpointError,
  OptionError,
)
from estimator_ckpt.files.convert import convert
from tests import golden, round_trip, stored
from tests.bundle_builder import BundleBuilder

_VALUE = "/.ATTRIBUTES/VARIABLE_VALUE"
_SAVE_COUNTER = "save_counter" + _VALUE
_GRAPH = layout.OBJECT_GRAPH_KEY
_TF1 = golden.names("tf1.15")
_TF2 = [*golden.names("tf2.15"), *golden.names("tf2.21")]
_FORMATS = ["tf1", "tf2", "dual"]


@pytest.fixture
def prefix(tmp_path):
  """A small TF1 checkpoint that the test may change."""
  tensors = {
    "net/w": stored.vector(1, 2, 3),
    "net/w/Adam": stored.vector(4, 5, 6),
    "global_step": stored.scalar(7),
  }
  return stored.write(tmp_path / "source" / "model.ckpt-7", tensors)


def _without_objects(tensors):
  return {k: v for k, v in tensors.items() if k not in (_GRAPH, _SAVE_COUNTER)}


@pytest.mark.parametrize("to", _FORMATS)
@pytest.mark.parametrize("name", _TF1 + _TF2)
def test_every_tensor_is_there_with_its_bytes(name, to, tmp_path):
  source, target = golden.path(name), str(tmp_path / "out")
  [report] = convert(source, target, to).checkpoints
  assert detect_format(target) is CheckpointFormat(to)
  before, after = stored.stored(source), stored.stored(target)
  plan = report.plan
  assert set(after) == {*plan.keys, *plan.scalars} | (
    {_GRAPH} if plan.object_graph is not None else set()
  )
  for key, source_key in plan.keys.items():
    is_object = to != "tf1" and layout.parse_object_key(key) is not None
    expected = before[source_key]
    assert after[key] == (expected.as_tf2_needs_it() if is_object else expected), key
  # Only object graphs and counters have no key in the result, so no value is lost.
  lost = set(before) - set(plan.keys.values())
  assert lost <= {_GRAPH, _SAVE_COUNTER}
  assert lost <= {*plan.left_out, _GRAPH}


@pytest.mark.parametrize("through", ["tf2", "dual"])
@pytest.mark.parametrize("name", _TF1)
def test_there_and_back_from_tf1_is_the_same_checkpoint(name, through, tmp_path):
  convert(golden.path(name), tmp_path / "there", through)
  convert(tmp_path / "there", tmp_path / "back", "tf1")
  expected = stored.stored(golden.path(name))
  if through == "tf2":
    expected = {key: tensor.as_tf2_needs_it() for key, tensor in expected.items()}
  assert stored.stored(tmp_path / "back") == expected


@pytest.mark.parametrize("name", _TF2)
def test_there_and_back_from_tf2_keeps_every_name_and_byte(name, tmp_path):
  convert(golden.path(name), tmp_path / "names", "tf1")
  convert(tmp_path / "names", tmp_path / "objects", "tf2")
  convert(tmp_path / "objects", tmp_path / "back", "tf1")
  names = stored.stored(tmp_path / "names")
  assert stored.stored(tmp_path / "back") == names
  before = _without_objects(stored.stored(golden.path(name)))
  assert sorted(names.values()) == sorted(before.values())


@pytest.mark.parametrize("name", _TF1 + _TF2)
def test_a_dual_checkpoint_only_loses_keys(name, tmp_path):
  convert(golden.path(name), tmp_path / "dual", "dual")
  dual = stored.stored(tmp_path / "dual")
  convert(tmp_path / "dual", tmp_path / "tf2", "tf2")
  tf2 = stored.stored(tmp_path / "tf2")
  assert tf2.items() <= dual.items()
  convert(tmp_path / "dual", tmp_path / "tf1", "tf1")
  tf1 = stored.stored(tmp_path / "tf1")
  objects_only = [k for k in dual if k not in tf1 and k not in tf2]
  assert not objects_only
  # The object graph is copied unchanged, and needs no new data file.
  assert tf2[_GRAPH] == dual[_GRAPH]
  assert Index.read(str(tmp_path / "tf2")).header.num_shards == (
    Index.read(str(tmp_path / "dual")).header.num_shards
  )


def test_the_object_graph_is_the_one_that_training_writes(prefix, tmp_path):
  convert(prefix, tmp_path / "out", "tf2")
  expected = ObjectGraph()
  names = sorted(Index.read(prefix).keys())
  paths = layout.object_paths(names)
  for name in names:
    expected.add_variable(paths[name], name)
  expected.add_variable([["save_counter"]], "")
  graph = stored.object_graph(tmp_path / "out")
  assert len(graph.nodes) == len(expected.nodes)
  for path in [("save_counter",), *(path for name in names for path in paths[name])]:
    found, wanted = (each.nodes[each.lookup(path)] for each in (graph, expected))
    assert found.attributes == wanted.attributes
  after = stored.stored(tmp_path / "out")
  assert set(after) == {
    "var_list/net.Sw" + _VALUE,
    "var_list/net.Sw.SAdam" + _VALUE,
    "var_list/global_step" + _VALUE,
    "global_step",
    _SAVE_COUNTER,
    _GRAPH,
  }
  # The counter starts at the step: its key points at the step's bytes.
  assert after[_SAVE_COUNTER] == after["global_step"] == stored.scalar(7)


@pytest.mark.parametrize("which", ["flat", "nested"])
def test_the_layout_says_where_names_stand(prefix, tmp_path, which):
  convert(prefix, tmp_path / "out", "tf2", layout=which)
  graph = stored.object_graph(tmp_path / "out")
  assert (graph.lookup(("net", "w")) is not None) == (which == "nested")
  assert (graph.lookup(("var_list", "net/w")) is not None) == (which == "flat")


def test_a_layout_of_ones_own(prefix, tmp_path):
  convert(prefix, tmp_path / "out", "dual", layout=lambda name: [("a", "b", name)])
  assert stored.object_graph(tmp_path / "out").lookup(("a", "b", "net/w")) is not None
  with pytest.raises(OptionError, match="layout='fat' is unknown"):
    convert(prefix, tmp_path / "other", "tf2", layout="fat")


@pytest.mark.parametrize(
  "step, expected",
  [
    (None, stored.scalar(1)),
    (stored.scalar(9, "int32"), stored.scalar(9)),
    (stored.vector(1, 2), stored.scalar(1)),
  ],
  ids=["none", "int32", "no scalar"],
)
def test_the_save_counter_where_the_step_is_no_int64_scalar(tmp_path, step, expected):
  tensors = {"w": stored.vector(1)}
  if step is not None:
    tensors["global_step"] = step
  source = stored.write(tmp_path / "x", tensors)
  convert(source, tmp_path / "y", "tf2")
  after = stored.stored(tmp_path / "y")
  assert after[_SAVE_COUNTER] == expected
  assert after.get("global_step") == step


def test_a_partitioned_variable_is_one_variable_with_slices(tmp_path):
  source = golden.path("tf1.15/momentum_partitioned")
  convert(source, tmp_path / "out", "dual")
  after = stored.stored(tmp_path / "out")
  key = "var_list/net.Sembedding.SMomentum" + _VALUE
  assert len(after[key].parts) == 3
  assert after[key] == after["net/embedding/Momentum"]


def test_a_table_is_an_object_with_two_tensors(tmp_path):
  convert(golden.path("tf1.15/tables"), tmp_path / "out", "tf2")
  after = stored.stored(tmp_path / "out")
  assert "var_list/lookup.Svectors/.ATTRIBUTES/table-values" in after
  graph = stored.object_graph(tmp_path / "out")
  [attribute] = graph.nodes[graph.lookup(("words",))].attributes
  assert (attribute.name, attribute.full_name) == ("table", "words")


def test_what_has_no_object_form_keeps_its_name_and_is_said(tmp_path):
  report = convert(golden.path("tf1.15/iterator"), tmp_path / "out", "tf2")
  assert "OneShotIterator:0-state" in stored.stored(tmp_path / "out")
  assert "as they have no TF2 form: OneShotIterator:0-state" in str(report)


def test_a_checkpoint_without_save_counter_and_step_key_gets_them(tmp_path):
  source = golden.path("tf2.15/guide_scaffold")
  assert not {_SAVE_COUNTER, "global_step"} & stored.stored(source).keys()
  convert(source, tmp_path / "out", "tf2")
  after = stored.stored(tmp_path / "out")
  assert after[_SAVE_COUNTER] == after["global_step"] == stored.scalar(7)
  assert stored.object_graph(tmp_path / "out").lookup(("save_counter",)) is not None


def test_names_of_objects_with_one_name_are_listed_with_the_map_that_helps(tmp_path):
  graph = ObjectGraph()
  first = graph.add_variable([("a/b",)], "")
  second = graph.add_variable([("a", "b")], "")
  tensors = {first: stored.vector(1), second: stored.vector(2)}
  source = stored.write(tmp_path / "x", tensors, graph)
  with pytest.raises(OptionError) as caught:
    convert(source, tmp_path / "y", "tf1")
  assert f"  {first} is called 'a/b'" in str(caught.value)
  assert f"  {second} is called 'a/b'" in str(caught.value)
  assert not list(tmp_path.glob("y*"))
  rules = {first: "flat", second: "nested"}
  convert(source, tmp_path / "y", "tf1", name_map=rules)
  assert stored.stored(tmp_path / "y") == {
    "flat": stored.vector(1),
    "nested": stored.vector(2),
  }
  # One of the two variables may keep the name, if the map says so.
  convert(source, tmp_path / "z", "tf1", name_map={first: "a/b", second: "c"})
  assert list(stored.stored(tmp_path / "z")) == ["a/b", "c"]


@pytest.mark.parametrize("to", _FORMATS)
def test_a_name_map_renames_while_converting(prefix, tmp_path, to):
  [report] = convert(prefix, tmp_path / "out", to, name_map="net/:lib/").checkpoints
  assert report.plan.names == {"net/w": "lib/w", "net/w/Adam": "lib/w/Adam"}
  after = stored.stored(tmp_path / "out")
  names = {"lib/w", "lib/w/Adam", "global_step"}
  assert (
    names <= set(after) if to != "tf2" else not (names - {"global_step"}) & set(after)
  )
  if to != "tf1":
    assert "var_list/lib.Sw" + _VALUE in after
    assert stored.object_graph(tmp_path / "out").lookup(("lib", "w")) is not None


def test_a_step_by_another_name(tmp_path):
  source = golden.path("tf2.15/keras2_adam")
  report = convert(source, tmp_path / "a", "tf1")
  assert "to use 'step', map it: step:global_step" in str(report)
  report = convert(source, tmp_path / "b", "tf1", name_map="step:global_step")
  assert "counts from step 0" not in str(report)
  assert "beta1_power and beta2_power, which Keras does not keep" in str(report)
  assert "global_step" in stored.stored(tmp_path / "b")


def test_objects_python_state_is_kept_and_said(tmp_path):
  graph = ObjectGraph()
  config = graph.add_variable([("layer",)], "", attribute="OBJECT_CONFIG_JSON")
  weight = graph.add_variable([("layer", "w")], "layer/w")
  tensors = {config: stored.vector(1), weight: stored.vector(2)}
  source = stored.write(tmp_path / "x", tensors, graph)
  report = convert(source, tmp_path / "y", "tf1")
  assert "1 tensors are state of Python objects" in str(report)
  assert set(stored.stored(tmp_path / "y")) == {"layer/OBJECT_CONFIG_JSON", "layer/w"}


def _inodes(directory):
  return {os.stat(os.path.join(directory, n)).st_ino for n in os.listdir(directory)}


def test_data_files_are_linked(prefix, tmp_path):
  source = os.path.dirname(prefix)
  before = stored.snapshot(source)
  report = convert(prefix, tmp_path / "out" / "m", "dual")
  assert report.checkpoints[0].placed == ("link", "write")
  assert len(_inodes(source) & _inodes(tmp_path / "out")) == 1
  # The copy does not change when files of the source are deleted or overwritten.
  after = stored.stored(tmp_path / "out" / "m")
  for name in os.listdir(source):
    os.remove(os.path.join(source, name))
  assert stored.stored(tmp_path / "out" / "m") == after
  assert before.keys() == {"model.ckpt-7.index", "model.ckpt-7.data-00000-of-00001"}


def test_data_files_are_copied_when_asked_for(prefix, tmp_path):
  report = convert(prefix, tmp_path / "out" / "m", "tf1", data="copy")
  assert report.checkpoints[0].placed == ("copy",)
  assert not _inodes(os.path.dirname(prefix)) & _inodes(tmp_path / "out")
  assert stored.stored(tmp_path / "out" / "m") == stored.stored(prefix)


def test_data_files_are_copied_where_nothing_else_works(prefix, tmp_path, monkeypatch):
  monkeypatch.setattr(copies, "hard_link", lambda path, to: False)
  monkeypatch.setattr(copies, "reflink", lambda path, to: False)
  seen = []
  progress = lambda done, total: seen.append((done, total))  # noqa: E731
  report = convert(prefix, tmp_path / "out", "tf1", progress=progress)
  assert report.checkpoints[0].placed == ("copy",)
  assert seen[-1] == (32, 32)
  with pytest.raises(CheckpointIOError, match="cannot link"):
    convert(prefix, tmp_path / "other", "tf1", data="link")
  assert not list(tmp_path.glob("other*"))
  with pytest.raises(OptionError, match="data='move' is unknown"):
    convert(prefix, tmp_path / "other", "tf1", data="move")


@pytest.mark.parametrize("to", _FORMATS)
def test_the_source_is_never_changed(prefix, tmp_path, to):
  source = os.path.dirname(prefix)
  before = stored.snapshot(source)
  for _ in range(2):
    convert(prefix, tmp_path / "out" / "m", to, overwrite=True)
  assert stored.snapshot(source) == before


def test_a_destination_that_exists(prefix, tmp_path):
  target = tmp_path / "out" / "m"
  convert(prefix, target, "tf1")
  before = stored.snapshot(tmp_path / "out")
  with pytest.raises(CheckpointExistsError, match="there is a checkpoint already"):
    convert(prefix, target, "dual")
  assert stored.snapshot(tmp_path / "out") == before
  for to in ("dual", "dual", "tf2", "tf1", "tf1"):
    convert(prefix, target, to, overwrite=True)
    assert detect_format(target) is CheckpointFormat(to)
    assert stored.stored(target)  # every tensor can be read
    # No file of the old checkpoint is left.
    shards = Index.read(str(target)).header.num_shards
    assert len(os.listdir(tmp_path / "out")) == 1 + shards


def test_the_source_is_no_destination(prefix, tmp_path):
  link = tmp_path / "link"
  link.symlink_to(os.path.dirname(prefix))
  for target in (prefix, link / "model.ckpt-7", os.path.dirname(prefix)):
    with pytest.raises(OptionError, match="the destination is the source"):
      convert(prefix, target, "tf1", overwrite=True)
  with pytest.raises(OptionError, match="the destination is the source"):
    convert(os.path.dirname(prefix), link, "tf1", overwrite=True)


@pytest.mark.parametrize("suffix", [".index", ".meta", ".data-00000-of-00001"])
def test_a_file_of_a_checkpoint_is_no_destination(prefix, tmp_path, suffix):
  with pytest.raises(OptionError, match="a destination is a prefix"):
    convert(prefix, tmp_path / ("m" + suffix), "tf1")


def test_a_directory_as_destination_keeps_the_name(prefix, tmp_path):
  (tmp_path / "there").mkdir()
  for target in (tmp_path / "there", f"{tmp_path}/new/"):
    [report] = convert(prefix, target, "tf1").checkpoints
    assert report.target == os.path.join(target, "model.ckpt-7")


@pytest.mark.parametrize("suffix", ["", ".index", ".data-00000-of-00001"])
def test_any_file_of_the_source_means_it(prefix, tmp_path, suffix):
  convert(prefix + suffix, tmp_path / "out", "tf1")
  assert stored.stored(tmp_path / "out") == stored.stored(prefix)


def test_a_saved_model_is_one_checkpoint(tmp_path):
  source = os.path.join(golden.directory("tf1.15/saved_model"), "export")
  convert(source, tmp_path / "out", "dual")
  assert "net/dense/kernel" in stored.stored(tmp_path / "out")


def test_nothing_is_written_of_a_damaged_source(prefix, tmp_path):
  data = prefix + ".data-00000-of-00001"
  os.truncate(data, 20)
  with pytest.raises(CorruptCheckpointError, match="the file has 20"):
    convert(prefix, tmp_path / "out", "dual")
  os.remove(data)
  with pytest.raises(
    CheckpointNotFoundError, match="data file of the checkpoint is mis"
  ):
    convert(prefix, tmp_path / "out", "dual")
  pathlib.Path(prefix + ".index").write_bytes(b"nothing")
  with pytest.raises(CorruptCheckpointError):
    convert(prefix, tmp_path / "out", "dual")
  assert not list(tmp_path.glob("out*"))


def test_a_format_that_there_is_not(prefix, tmp_path):
  with pytest.raises(OptionError, match="'tf3' is not a checkpoint format"):
    convert(prefix, tmp_path / "out", "tf3")


def test_paths_of_another_file_system(prefix):
  pytest.importorskip("fsspec")
  there = "memory://convert_test/a/model.ckpt-7"
  convert(prefix, there, "dual")
  report = convert(there, "memory://convert_test/b/model.ckpt-7", "tf1")
  assert report.checkpoints[0].placed[0] == "server copy"
  assert stored.stored("memory://convert_test/b/model.ckpt-7") == stored.stored(prefix)


def test_a_model_dir_that_tf_io_gfile_reads_and_writes(prefix, tmp_path):
  pytest.importorskip("tensorflow")
  from tests import tensorflows

  if not tensorflows.has_file_system("ram://has"):
    pytest.skip("TensorFlow 1.15 has no file system in memory (`ram://`)")
  root = f"ram:/{tmp_path}"
  convert(os.path.dirname(prefix), f"{root}/dual", "dual")
  convert(f"{root}/dual", f"{root}/tf1", "tf1")
  [report] = convert(f"{root}/dual", f"{root}/tf1", "tf1", overwrite=True).checkpoints
  # The empty data file changes the number of data files, so one has to be written.
  assert report.placed == ("copy", "copy", "write")
  assert not verify(f"{root}/tf1").findings
  assert stored.stored(report.target) == stored.stored(prefix)
  assert not [n for n in files.list_dir(f"{root}/tf1") if files.is_temporary(n)]


def test_the_report(prefix, tmp_path):
  report = convert(prefix, tmp_path / "m", "dual", name_map="net/w:net/v")
  assert str(report).splitlines()[:4] == [
    f"{prefix} (tf1) -> {tmp_path}/m (dual)",
    (
      f"  7 keys, {report.checkpoints[0].data_bytes:,} bytes of data; data files:"
      " 1 by link, 1 by write"
    ),
    "  renamed (2):",
    "    net/w -> net/v",
  ]
  data = report.as_dict()["checkpoints"][0]
  assert data["format"] == "dual"
  assert data["renamed"] == {"net/w": "net/v", "net/w/Adam": "net/v/Adam"}
  assert json.loads(json.dumps(data)) == data


def test_the_command(prefix, tmp_path, capsys):
  argv = ["convert", prefix, str(tmp_path / "m"), "--to=dual", "--name-map=net/:lib/"]
  assert main.run(argv) == 0
  assert "lib/w" in stored.stored(tmp_path / "m")
  assert "1 by link" in capsys.readouterr().out
  assert main.run(argv) == 2
  assert "ask for it to be overwritten" in capsys.readouterr().err
  assert main.run([*argv, "--overwrite", "--json", "--layout=flat"]) == 0
  assert json.loads(capsys.readouterr().out)["checkpoints"][0]["format"] == "dual"
  assert main.run(["convert", prefix, prefix, "--to=tf1"]) == 2


@pytest.mark.parametrize("name", [*_TF1, *_TF2])
def test_a_conversion_to_every_format_and_back_ends_where_it_began(name, tmp_path):
  round_trip.check(golden.path(name), tmp_path)


def _keras_slots_in_a_graph():
  """A TF2 checkpoint that an Estimator wrote, with slots of a Keras optimizer."""
  builder = BundleBuilder()
  names = ["dnn/w", "training/Adagrad/dnn/w/accumulator", "Variable", "global_step"]
  graph = ObjectGraph()
  for number, name in enumerate(names[:-1]):
    builder.numbers(graph.add_variable([("var_list", name)], name), [number, 1])
  key = graph.add_variable([("var_list", "global_step")], "global_step")
  builder.numbers(key, 7, "int64")
  builder.index.alias("global_step", key)
  builder.object_graph(graph)
  return builder, graph, names


@pytest.mark.parametrize("to", ["tf1", "dual"])
def test_slots_that_a_keras_optimizer_made_in_a_graph_keep_their_names(to, tmp_path):
  builder, _, names = _keras_slots_in_a_graph()
  convert(builder.write(tmp_path / "m"), tmp_path / "out", to)
  found = stored.stored(tmp_path / "out")
  assert {key for key in found if "/.ATTRIBUTES/" not in key} - {_GRAPH} == set(names)
  round_trip.check(str(tmp_path / "out"), tmp_path)


def test_objects_of_an_estimator_keep_the_names_of_its_graph(tmp_path):
  builder, graph, names = _keras_slots_in_a_graph()
  builder.numbers(graph.add_variable([("model", "v")], "Variable_1"), [5.0])
  builder.object_graph(graph)
  convert(builder.write(tmp_path / "m"), tmp_path / "out", "tf1")
  assert set(stored.stored(tmp_path / "out")) == {*names, "Variable_1"}
  # Without a step it is no Estimator's checkpoint: Keras's names stand for TF1's slots.
  builder.index.remove("global_step")
  convert(builder.write(tmp_path / "keras"), tmp_path / "as_tf1", "tf1")
  assert "model/v" in stored.stored(tmp_path / "as_tf1")
