from __future__ import annotations

import json

import pytest

from estimator_ckpt import CheckpointFormat, detect_format, verify
from estimator_ckpt.bundle.index import Index
from estimator_ckpt.checkpoint import layout
from estimator_ckpt.cli import main
from estimator_ckpt.errors import CheckpointExistsError, OptionError
from estimator_ckpt.files.convert import convert
from estimator_ckpt.files.merge import merge
from estimator_ckpt.files.strip import strip
from tests import golden, stored

_VALUE = "/.ATTRIBUTES/VARIABLE_VALUE"
_SAVE_COUNTER = "save_counter" + _VALUE


@pytest.fixture
def towers(tmp_path):
  """Two checkpoints with variables of their own, a common one, and different steps."""
  a = {"a/w": stored.vector(1, 2), "shared": stored.vector(5)}
  b = {"b/w": stored.vector(3), "shared": stored.vector(5)}
  a["global_step"], b["global_step"] = stored.scalar(10), stored.scalar(20)
  return [
    stored.write(tmp_path / "a" / "model.ckpt-10", a, num_shards=2),
    stored.write(tmp_path / "b" / "model.ckpt-20", b, num_shards=3),
  ]


def test_all_variables_in_the_format_of_the_first(towers, tmp_path):
  [report] = merge(towers, tmp_path / "out", on_clash="first").checkpoints
  assert stored.stored(tmp_path / "out") == {
    "a/w": stored.vector(1, 2),
    "b/w": stored.vector(3),
    "shared": stored.vector(5),
    "global_step": stored.scalar(10),
  }
  assert Index.read(str(tmp_path / "out")).header.num_shards == 5
  assert report.placed == ("link",) * 5
  assert report.plan.left_out == {
    f"{towers[1]}: global_step": "another has 'global_step'"
  }


def test_a_clash_is_an_error_that_lists_it(towers, tmp_path):
  with pytest.raises(OptionError) as caught:
    merge(towers, tmp_path / "out")
  assert f"  'global_step', first in {towers[0]}" in str(caught.value)
  # Equal tensors do not clash.
  assert "shared" not in str(caught.value)
  assert not list(tmp_path.glob("out*"))


@pytest.mark.parametrize("to", ["tf2", "dual"])
@pytest.mark.parametrize("on_clash, step", [("first", 10), ("last", 20)])
def test_the_one_that_wins_is_the_one_under_every_key(
  towers, tmp_path, to, on_clash, step
):
  merge(towers, tmp_path / "out", to=to, on_clash=on_clash)
  after = stored.stored(tmp_path / "out")
  steps = {"global_step", "var_list/global_step" + _VALUE, _SAVE_COUNTER}
  assert {after[key] for key in steps} == {stored.scalar(step)}
  assert detect_format(tmp_path / "out") is CheckpointFormat(to)
  graph = stored.object_graph(tmp_path / "out")
  assert {a.checkpoint_key for _, a in graph.attributes()} <= set(after)
  assert graph.lookup(("save_counter",)) is not None
  assert not verify(tmp_path / "out").findings
  for name in ("a/w", "b/w", "shared"):
    assert graph.lookup(("var_list", name)) == graph.lookup(tuple(name.split("/")))


def test_empty_tensors_at_one_place_are_several(tmp_path):
  # TensorFlow writes empty tensors at one place: the next begins where the last ends.
  empty = stored.Stored("float32", (0, 3), (("", b""),))
  other = empty._replace(shape=(0, 5))
  both = stored.write(tmp_path / "both", {"a": empty, "b": empty})
  one = stored.write(tmp_path / "one", {"a": other})
  merge([both, one], tmp_path / "out", on_clash="last")
  assert stored.stored(tmp_path / "out") == {"a": other, "b": empty}


@pytest.mark.parametrize("to", ["tf2", "dual"])
def test_float16_in_parts_is_whole_for_objects(towers, tmp_path, to):
  # TensorFlow cannot join slices of float16; a conversion cannot either.
  half = golden.path("tf1.15/partitioned_half")
  convert(half, tmp_path / "converted", to)
  expected = {
    key: value
    for key, value in stored.stored(tmp_path / "converted").items()
    if value.dtype == "float16"
  }
  assert {len(expected[k].parts) for k in expected if k.endswith(_VALUE)} == {1}
  merge([half, towers[0]], tmp_path / "out", to=to, on_clash="first")
  assert expected.items() <= stored.stored(tmp_path / "out").items()
  # The same values in parts and as a whole are equal, and do not clash.
  merge([half, tmp_path / "converted"], tmp_path / "again", to=to)
  assert expected.items() <= stored.stored(tmp_path / "again").items()


def test_the_parts_of_a_checkpoint_make_it_again(tmp_path):
  whole = golden.path("tf1.15/momentum_partitioned")
  strip(whole, tmp_path / "a", variables=["net/(embedding|dense).*"], compact=True)
  strip(whole, tmp_path / "b", variables=["net/(wide|single).*"])
  merge([tmp_path / "a", tmp_path / "b"], tmp_path / "out")
  assert stored.stored(tmp_path / "out") == stored.stored(whole)


@pytest.mark.parametrize("to", ["tf1", "tf2", "dual"])
def test_formats_may_differ(towers, tmp_path, to):
  for number, checkpoint_format in enumerate(["tf2", "dual"]):
    convert(towers[number], tmp_path / checkpoint_format, checkpoint_format)
  merge(towers, tmp_path / "same", to=to, on_clash="last")
  mixed = [tmp_path / "tf2", tmp_path / "dual"]
  merge(mixed, tmp_path / "mixed", to=to, on_clash="last")
  same, other = stored.stored(tmp_path / "same"), stored.stored(tmp_path / "mixed")
  same.pop(layout.OBJECT_GRAPH_KEY, None)
  other.pop(layout.OBJECT_GRAPH_KEY, None)
  assert other == same


def test_object_graphs_of_programs_are_merged(towers, tmp_path):
  keras = golden.path("tf2.15/keras2_legacy_adam")
  merge([keras, towers[0]], tmp_path / "out")
  before, after = stored.stored(keras), stored.stored(tmp_path / "out")
  for key, tensor in before.items():
    if key != layout.OBJECT_GRAPH_KEY:
      assert after[key] == tensor
  graph = stored.object_graph(tmp_path / "out")
  own = stored.object_graph(keras)
  assert graph.nodes[graph.lookup(("optimizer",))].slot_variables
  assert len(graph.nodes) > len(own.nodes)
  assert after["var_list/a.Sw" + _VALUE] == stored.vector(1, 2)


def test_one_variable_as_another_programs_object(towers, tmp_path):
  # `dense_1/kernel` is an object path of Keras in one, and a name in the other.
  keras = golden.path("tf2.15/keras2_legacy_adam")
  kernel = "model/layer_with_weights-0/kernel" + _VALUE
  named = stored.write(tmp_path / "x", {"dense_1/kernel": stored.vector(1)})
  merge([named, keras], tmp_path / "out", to="dual", on_clash="first")
  after = stored.stored(tmp_path / "out")
  assert after["dense_1/kernel"] == stored.vector(1)
  # The tensor that lost the name is not under its object path either.
  assert kernel not in after
  graph = stored.object_graph(tmp_path / "out")
  assert graph.lookup(("model", "layer_with_weights-0", "kernel")) is None
  merge([named, keras], tmp_path / "other", to="dual", on_clash="last")
  after = stored.stored(tmp_path / "other")
  assert after["dense_1/kernel"] == after[kernel] == stored.stored(keras)[kernel]
  assert "var_list/dense_1.Skernel" + _VALUE not in after


def test_more_than_two(towers, tmp_path):
  third = stored.write(tmp_path / "c", {"c": stored.vector(9)})
  merge([third, *towers], tmp_path / "out", on_clash="last")
  assert set(stored.stored(tmp_path / "out")) == {
    "a/w",
    "b/w",
    "c",
    "shared",
    "global_step",
  }


def test_what_cannot_be_meant(towers, tmp_path):
  with pytest.raises(OptionError, match="two or more checkpoints"):
    merge(towers[:1], tmp_path / "out")
  with pytest.raises(OptionError, match="two or more checkpoints"):
    merge(towers[0], tmp_path / "out")
  with pytest.raises(OptionError, match="on_clash='newest' is unknown"):
    merge(towers, tmp_path / "out", on_clash="newest")
  with pytest.raises(OptionError, match="the destination is the source"):
    merge(towers, towers[1], on_clash="first", overwrite=True)
  merge(towers, tmp_path / "out", on_clash="first")
  with pytest.raises(CheckpointExistsError):
    merge(towers, tmp_path / "out", on_clash="last")
  merge(towers, tmp_path / "out", on_clash="last", overwrite=True)
  assert stored.stored(tmp_path / "out")["global_step"] == stored.scalar(20)


def test_the_sources_are_never_changed(towers, tmp_path):
  before = [stored.snapshot(tmp_path / name) for name in "ab"]
  merge(towers, tmp_path / "out" / "m", to="dual", on_clash="last")
  assert [stored.snapshot(tmp_path / name) for name in "ab"] == before


def test_the_command(towers, tmp_path, capsys):
  argv = ["merge", *towers, str(tmp_path / "out")]
  assert main.run(argv) == 2
  assert "Say which is taken with --on_clash" in capsys.readouterr().err
  argv += ["--on_clash=last", "--to=dual", "--json"]
  assert main.run(argv) == 0
  [data] = json.loads(capsys.readouterr().out)["checkpoints"]
  assert data["sources"] == towers
  assert data["format"] == "dual"
