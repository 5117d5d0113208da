from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

import estimator_ckpt as eckpt
from estimator_ckpt.bundle import dtypes, strings
from estimator_ckpt.bundle.index import Index
from estimator_ckpt.bundle.messages import BundleEntry, TensorSlice
from estimator_ckpt.checkpoint import formats, layout, tensor_names
from estimator_ckpt.checkpoint.formats import CheckpointFormat
from estimator_ckpt.checkpoint.name_map import NameMap
from estimator_ckpt.checkpoint.object_graph import ObjectGraph, SlotVariable
from estimator_ckpt.checkpoint.paired_keys import PairedKeys
from estimator_ckpt.errors import CheckpointError, CorruptCheckpointError, OptionError
from estimator_ckpt.files import conversion_plan
from estimator_ckpt.files.conversion_plan import (
  plan_conversion,
  plan_full_names,
  plan_names_alone,
  plan_objects_alone,
)
from estimator_ckpt.files.rewrite_plan import (
  RewritePlan,
  apply_plan,
  check_complete,
  with_notes,
)
from tests import golden, stored


def _read(name):
  prefix = golden.path(name)
  index = Index.read(prefix)
  return index, formats.read_object_graph(prefix, index)


def _index(*keys):
  index = Index()
  for number, key in enumerate(keys):
    index.put(key, BundleEntry(1, (1,), 0, 4 * number, 4, number))
  return index


@pytest.mark.parametrize("to", list(CheckpointFormat))
@pytest.mark.parametrize("name", golden.names("tf"))
def test_planning_changes_nothing(name, to):
  index, graph = _read(name)
  before = index.serialize(), graph and graph.serialize()
  plan = plan_conversion(index, graph, to)
  assert (index.serialize(), graph and graph.serialize()) == before
  assert str(plan) == str(plan_conversion(index, graph, to))
  apply_plan(plan, index)
  assert set(index.keys()) == set(plan.keys)


@pytest.mark.parametrize("name", golden.names("tf"))
def test_without_the_object_graph_the_plan_is_the_same(name, tmp_path):
  prefix = str(tmp_path / "dual")
  eckpt.convert(golden.path(name), prefix, "dual")
  index = Index.read(prefix)
  graph = formats.read_object_graph(prefix, index)
  pairs = PairedKeys.of(index)
  # Tensors without bytes stand at one place.
  assert (pairs is None) == (index.has_slices or name == "tf1.15/odd_names")
  if pairs is not None and "global_step" in pairs.names:
    plan = plan_conversion(index, graph, CheckpointFormat.TF1)
    assert plan_names_alone(index, pairs.names) == plan
    plan = plan_conversion(index, graph, CheckpointFormat.TF2)
    found = plan_objects_alone(index, graph, pairs)
    assert found == plan if pairs.names_in(graph, index) else found is None


def test_a_damaged_object_graph_does_not_keep_names_from_tf1(tmp_path):
  prefix = str(tmp_path / "dual")
  eckpt.convert(golden.path("tf1.15/adam_dense"), prefix, "dual")
  index = Index.read(prefix)
  entry = index.entry(golden.OBJECT_GRAPH_KEY)
  with open(index.data_paths(prefix)[entry.shard_id], "r+b") as file:
    file.seek(entry.offset + 20)
    file.write(b"\0\0\0")
  with pytest.raises(CorruptCheckpointError):
    eckpt.convert(prefix, tmp_path / "tf2", "tf2")
  eckpt.convert(prefix, tmp_path / "tf1", "tf1")
  expected = stored.stored(golden.path("tf1.15/adam_dense"))
  assert stored.stored(str(tmp_path / "tf1")) == expected


def test_a_plan_can_be_printed():
  index, graph = _read("tf2.15/guide_scaffold")
  lines = str(plan_conversion(index, graph, CheckpointFormat.DUAL)).splitlines()
  kernel = "var_list/net.Sdense.Skernel/.ATTRIBUTES/VARIABLE_VALUE"
  assert f"net/dense/kernel <- {kernel}" in lines
  assert f"{kernel} <- {kernel}" in lines
  assert "_CHECKPOINTABLE_OBJECT_GRAPH <- new" in lines
  index, graph = _read("tf2.15/variable_list")
  lines = str(plan_conversion(index, graph, CheckpointFormat.TF1)).splitlines()
  assert lines[-1].startswith(
    "left out: save_counter/.ATTRIBUTES/VARIABLE_VALUE (name-"
  )


def test_what_is_neither_kept_nor_said_to_be_left_out_is_an_error():
  index = _index("a", "b")
  check_complete(RewritePlan(CheckpointFormat.TF1, {"x": "a", "y": "b"}), index)
  check_complete(
    RewritePlan(CheckpointFormat.TF1, {"x": "a"}, left_out={"b": "why"}), index
  )
  index.alias("c", "a")
  check_complete(RewritePlan(CheckpointFormat.TF1, {"c": "c", "b": "b"}), index)
  with pytest.raises(CheckpointError, match="index: b would be lost; nothing was wri"):
    check_complete(RewritePlan(CheckpointFormat.TF1, {"x": "a"}), index)


def test_a_name_that_is_another_tensors_key_in_an_object_graph():
  # In a checkpoint with a graph, a tensor that the graph does not know keeps its key.
  index, graph = _read("tf2.15/module_tree")
  index.put("tree/words", BundleEntry(1, (1,), 0, 0, 4, 1))
  for to in (CheckpointFormat.TF1, CheckpointFormat.DUAL):
    with pytest.raises(OptionError, match="gives several variables one name"):
      plan_conversion(index, graph, to)
  rules = NameMap.parse({"tree/words/.ATTRIBUTES/VARIABLE_VALUE": "words"})
  plan = plan_conversion(index, graph, CheckpointFormat.DUAL, name_map=rules)
  assert plan.keys["tree/words"] == "tree/words"
  assert plan.keys["words"].startswith("tree/words/")


def test_notes_are_added():
  plan = with_notes(RewritePlan(CheckpointFormat.TF1, {}, notes=("a",)), ["b"])
  assert plan.notes == ("a", "b")


_KEYS = st.lists(
  st.text("abc", min_size=1, max_size=2), min_size=1, max_size=6, unique=True
)


@given(_KEYS, st.data())
def test_any_keys_can_be_given_to_any_tensors(old_keys, data):
  index = _index(*old_keys)
  source = st.sampled_from(old_keys)
  keys = data.draw(
    st.dictionaries(st.text("abcd", min_size=1, max_size=2), source, max_size=8)
  )
  expected = {key: index.entry(source) for key, source in keys.items()}
  index.rekey(keys)
  assert {key: index.entry(key) for key in index.keys()} == expected


def test_slices_go_with_their_tensor(tmp_path):
  prefix = golden.path("tf1.15/momentum_partitioned")
  index = Index.read(prefix)
  a, b = "net/embedding", "net/embedding/Momentum"
  before = {key: index.slice_entries(key) for key in (a, b)}
  assert before[a] != before[b]
  index.rekey({a: b, b: a, "c": a})
  assert index.slice_entries(a) == before[b]
  assert index.slice_entries(b) == index.slice_entries("c") == before[a]
  assert stored.stored(prefix)


def _half_in_parts(index, offsets):
  """Puts a float16 variable of two rows, one part at each of these offsets."""
  parts = [TensorSlice(((row, 1), (0, -1))) for row in (0, 1)]
  half = dtypes.number("float16")
  index.put("h", BundleEntry(half, (2, 2), slices=tuple(parts)))
  for part, offset in zip(parts, offsets):
    index.put("h", BundleEntry(half, (1, 2), 0, offset, 4), part)


@pytest.mark.parametrize("to", list(CheckpointFormat))
def test_a_tensor_in_parts_and_again_as_a_whole_is_one(to):
  # Training writes float16 variables like this in columns, or in several data files.
  index, graph = Index(), ObjectGraph()
  _half_in_parts(index, (4, 0))
  key = graph.add_variable([("var_list", "h")], "h")
  index.put(key, BundleEntry(dtypes.number("float16"), (2, 2), 0, 8, 8))
  data, crc = strings.encode([graph.serialize()])
  graph_entry = BundleEntry(dtypes.STRING, (), 0, 16, len(data), crc)
  index.put(layout.OBJECT_GRAPH_KEY, graph_entry)
  [tensor] = tensor_names.named_tensors(index, graph)
  assert (tensor.name, tensor.bare_key, tensor.object_key) == ("h", "h", key)
  plan = plan_conversion(index, graph, to)
  expected = {"tf1": {"h"}, "tf2": {key}, "dual": {"h", key}}[to.value]
  assert {k: plan.keys[k] for k in plan.keys if k in ("h", key)} == {
    k: k for k in expected
  }
  for gone in {"h", key} - expected:
    assert "the same is kept in" in plan.left_out[gone]


@pytest.mark.parametrize("to", list(CheckpointFormat))
def test_parts_that_nobody_can_put_together_are_noted(to):
  # The first checkpoint's parts lie in the order of rows; the second's in reverse.
  noted = []
  for offsets in ((0, 4), (4, 0)):
    index = Index()
    _half_in_parts(index, offsets)
    notes = " ".join(plan_conversion(index, None, to).notes)
    noted.append("cannot restore 'h' (float16)" in notes)
  assert noted == [False, to is not CheckpointFormat.TF1]


def test_an_object_graph_that_calls_a_variable_otherwise_is_edited(tmp_path):
  dual, tf2 = str(tmp_path / "dual"), str(tmp_path / "tf2")
  eckpt.convert(golden.path("tf1.15/adam_dense"), dual, "dual")
  index = Index.read(dual)
  graph = formats.read_object_graph(dual, index)
  pairs = PairedKeys.of(index)
  assert plan_objects_alone(index, graph, pairs) is not None
  name, key = next(zip(pairs.names, pairs.object_keys))
  index.rename(name, f"new/{name}")
  index.write(dual)
  assert plan_objects_alone(index, graph, PairedKeys.of(index)) is None
  eckpt.convert(dual, tf2, "tf2")
  found = formats.read_object_graph(tf2, Index.read(tf2))
  assert found.keys_by_full_name()[f"new/{name}"] == key


_NEW_FORMATS = [CheckpointFormat.TF1, CheckpointFormat.DUAL]


def _key(name):
  return layout.object_key(("var_list", name))


def _plain_tf2(*names):
  """What training writes: objects with full names, the step again, and a counter."""
  index, graph = Index(), ObjectGraph()
  for number, name in enumerate([*names, "global_step"]):
    key = graph.add_variable([("var_list", name)], name)
    index.put(key, BundleEntry(1, (), 0, 4 * number, 4, number))
  index.alias("global_step", key)
  counter = graph.add_variable([("save_counter",)], "")
  index.put(counter, BundleEntry(1, (), 1, 0, 4, 98))
  index.put(layout.OBJECT_GRAPH_KEY, BundleEntry(dtypes.STRING, (), 1, 4, 4, 99))
  return index, graph


def _plan_or_error(index, graph, to):
  try:
    return plan_conversion(index, graph, to)
  except OptionError as error:
    return str(error)


@pytest.mark.parametrize("to", _NEW_FORMATS)
@pytest.mark.parametrize(
  "names",
  [
    ("a", "b/Adam", "b/Adam_1"),
    # No such names are trusted where no Estimator wrote the checkpoint.
    ("Variable", "a", "Adam/a/m", "Adam/a/v", "b//c", "."),
    (layout.OBJECT_GRAPH_KEY,),
    (_key("a"), "a"),
    ("save_counter/.ATTRIBUTES/VARIABLE_VALUE",),
  ],
)
def test_full_names_alone_give_the_same_plan(names, to):
  index, graph = _plain_tf2(*names)
  found = plan_full_names(index, graph, to)
  # A name is no key of a dual checkpoint if that is another tensor's.
  is_dual = to is CheckpointFormat.DUAL
  assert (found is None) == (is_dual and not {*names}.isdisjoint(index.keys()))
  assert found is None or found == plan_conversion(index, graph, to)


def test_a_copy_of_the_step_is_the_step():
  index, graph = _plain_tf2("a")
  entry = index.entry("global_step")
  for offset, is_same in ((60, True), (60, False)):
    crc32c = entry.crc32c if is_same else 77
    index.put("global_step", entry._replace(offset=offset, crc32c=crc32c))
    for to in _NEW_FORMATS:
      found = plan_full_names(index, graph, to)
      assert (found is not None) == is_same
      assert found is None or found == plan_conversion(index, graph, to)


def _set(full, **fields):
  """Changes what a graph says of a variable."""

  def change(index, graph):
    for node in graph.nodes:
      for attribute in node.attributes:
        if attribute.full_name == full:
          vars(attribute).update(fields)

  return change


def _add_slot(index, graph):
  graph.nodes[0].slot_variables.append(SlotVariable(2, "m", 3))


def _move_counter(index, graph):
  children = graph.nodes[0].children
  children["counter"] = children.pop("save_counter")


_UNUSUAL = {
  "a further key": lambda index, _: index.alias("c", _key("a")),
  "another key": lambda index, _: index.rename(_key("a"), _key("c")),
  "no object graph": lambda index, _: index.rename(layout.OBJECT_GRAPH_KEY, "c"),
  "no step": lambda index, _: index.rename("global_step", "c"),
  "slots": _add_slot,
  "no path of the counter": _move_counter,
  "one name of two": _set("a", full_name="b"),
  "no name": _set("a", full_name=""),
  "the name of the counter": _set("a", full_name="save_counter"),
  "a counter with a name": _set("", full_name="c"),
  "no name of the step": _set("global_step", full_name="c"),
  "one key of two": _set("a", checkpoint_key=_key("b")),
  "a name for a key": _set("a", checkpoint_key="global_step"),
  "another attribute": _set("a", name="config"),
}


@pytest.mark.parametrize("to", _NEW_FORMATS)
@pytest.mark.parametrize("change", _UNUSUAL.values(), ids=list(_UNUSUAL))
def test_full_names_alone_do_not_tell_all_of_an_unusual_checkpoint(change, to):
  index, graph = _plain_tf2("a", "b")
  assert plan_full_names(index, graph, to) is not None
  change(index, graph)
  assert plan_full_names(index, graph, to) is None


@pytest.mark.parametrize("to", _NEW_FORMATS)
def test_slices_are_planned_with_their_tensor(to):
  index, graph = _plain_tf2("a", "h")
  index.remove(_key("h"))
  _half_in_parts(index, (0, 4))
  index.rename("h", _key("h"))
  assert plan_full_names(index, graph, to) is None
  assert plan_conversion(index, graph, to).keys["h"] == _key("h")


_TEXTS = st.sampled_from(
  ["", "a", "b", "a/m", "Variable", "save_counter", "global_step"]
)


@given(
  st.lists(st.tuples(_TEXTS, _TEXTS), max_size=4, unique_by=lambda pair: pair[1]),
  st.booleans(),
  st.sampled_from(_NEW_FORMATS),
)
def test_full_names_alone_never_give_another_plan(said, has_step, to):
  index, graph = _plain_tf2()
  if not has_step:
    index.remove("global_step")
  for number, (full_name, name) in enumerate(said):
    if graph.lookup(("var_list", name)) is None:
      key = graph.add_variable([("var_list", name)], full_name)
      index.put(key, BundleEntry(1, (), 0, 40 + 4 * number, 4, 40 + number))
  found = plan_full_names(index, graph, to) if has_step else None
  assert found is None or found == _plan_or_error(index, graph, to)


@pytest.mark.parametrize("to", ["tf1", "dual"])
@pytest.mark.parametrize("name", golden.names("tf"))
def test_a_conversion_by_full_names_alone_writes_the_same(
  name, to, tmp_path, monkeypatch
):
  tf2 = str(tmp_path / "tf2")
  eckpt.convert(golden.path(name), tf2, "tf2")
  plans = []

  def plan(*args):
    plans.append(plan_full_names(*args))
    return plans[-1]

  monkeypatch.setattr(conversion_plan, "plan_full_names", plan)
  eckpt.convert(tf2, tmp_path / "alone/m", to)
  monkeypatch.setattr(conversion_plan, "plan_full_names", lambda *_: None)
  eckpt.convert(tf2, tmp_path / "general/m", to)
  alone = stored.snapshot(tmp_path / "alone")
  assert alone == stored.snapshot(tmp_path / "general")
  if name.startswith("tf1.15/optimizers") or name == "tf2.15/guide_scaffold":
    assert plans != [None]
