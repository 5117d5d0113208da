"""Assignment maps: their valid forms, and their meaning in a checkpoint."""

from __future__ import annotations

import ast
import re
import shlex

import pytest
from hypothesis import given
from hypothesis import strategies as st

from estimator_ckpt import errors
from estimator_ckpt.bundle.index import Index
from estimator_ckpt.bundle.messages import BundleEntry
from estimator_ckpt.checkpoint.object_graph import ObjectGraph
from estimator_ckpt.warm_start.assignment_map import (
  Entry,
  as_code,
  as_flags,
  expand,
  parse_assignment_map,
  variable_name,
)
from estimator_ckpt.warm_start.source_tensors import SourceTensors

FLOAT32 = 1


def source(*names, graph=None):
  """A checkpoint with these names, each with its own shape and place."""
  index = Index()
  for i, name in enumerate(names):
    index.put(name, BundleEntry(FLOAT32, (i + 1,), 0, 1000 * i, 4 * (i + 1), i))
  return SourceTensors("checkpoint", index, graph)


def mapped(value, checkpoint):
  """The names that the map gives to each variable, as text."""
  return sorted(
    (c.tensor.name, c.target) for c in expand(parse_assignment_map(value), checkpoint)
  )


class _Variable:
  """The attributes of a tf.Variable that a map reads."""

  def __init__(self, name, info=None):
    self.name = name
    self._save_slice_info = info


class _SliceInfo:
  def __init__(self, full_name, full_shape, var_shape):
    self.full_name = full_name
    self.full_shape = full_shape
    self.var_shape = var_shape


def test_a_scope_takes_all_names_in_it():
  checkpoint = source("old/a", "old/b/c", "older/a", "a")
  assert mapped({"old/": "new/"}, checkpoint) == [
    ("old/a", "new/a"),
    ("old/b/c", "new/b/c"),
  ]


def test_the_root_stands_on_either_side():
  checkpoint = source("a", "b/c")
  assert mapped({"/": "new/"}, checkpoint) == [("a", "new/a"), ("b/c", "new/b/c")]
  assert mapped({"b/": "/"}, checkpoint) == [("b/c", "c")]


def test_a_name_takes_that_tensor_alone():
  checkpoint = source("a", "a/b")
  assert mapped({"a": "x/y"}, checkpoint) == [("a", "x/y")]


def test_pairs_start_several_variables_from_one_tensor():
  assert mapped([("a", "x"), ("a", "y")], source("a")) == [("a", "x"), ("a", "y")]


def test_a_variable_and_the_partitions_of_one_stand_for_a_name():
  parts = [
    _Variable(f"e/part_{i}:0", _SliceInfo("e", [5, 2], [n, 2]))
    for i, n in ((0, 3), (1, 2))
  ]
  checkpoint = source("a", "b")
  assert mapped({"a": _Variable("x/y:0"), "b": parts}, checkpoint) == [
    ("a", "x/y"),
    ("b", "e"),
  ]


def test_some_of_the_partitions_are_not_enough():
  part = _Variable("e/part_0:0", _SliceInfo("e", [5, 2], [3, 2]))
  with pytest.raises(errors.OptionError, match="6 of its 10 elements"):
    parse_assignment_map({"a": [part]})


def test_a_list_is_of_one_variable():
  with pytest.raises(errors.OptionError, match="of several: x, y"):
    variable_name([_Variable("x:0"), _Variable("y:0")])


def test_regular_expressions_with_groups():
  checkpoint = source("old_1/w", "old_2/w", "old_x/w")
  expected = [("old_1/w", "new/layer_1/w"), ("old_2/w", "new/layer_2/w")]
  assert mapped({r"old_(\d)/(.*)": r"new/layer_\1/\2"}, checkpoint) == expected
  assert (
    mapped({re.compile(r"old_(?P<n>\d)/w"): r"new/layer_\g<n>/w"}, checkpoint)
    == expected
  )


def test_a_name_is_a_name_before_it_is_an_expression():
  checkpoint = source("a.b", "aXb")
  assert mapped({"a.b": "x"}, checkpoint) == [("a.b", "x")]


def test_object_paths_and_keys():
  graph = ObjectGraph()
  key = graph.add_variable([("model", "encoder", "w")], "")
  checkpoint = source(key, graph=graph)
  name = checkpoint.tensors[0].name
  assert name == "model/encoder/w"
  for written in (name, key, "model/encoder/"):
    target = "net/" if written.endswith("/") else "net/w"
    assert mapped({written: target}, checkpoint)[0] == (name, "net/w")


def test_an_object_path_with_an_escaped_name():
  graph = ObjectGraph()
  key = graph.add_variable([("variables", "net/w")], "")
  checkpoint = source(key, graph=graph)
  for written in ("variables/net/w", "variables/net.Sw"):
    assert mapped({written: "x"}, checkpoint)[0][1] == "x"


@pytest.mark.parametrize(
  "value", ["old/:new/", ["old/:new/"], {"old/": "new/"}, [("old/", "new/")]]
)
def test_the_ways_to_write_one_entry(value):
  assert [str(e) for e in parse_assignment_map(value)] == ["'old/': 'new/'"]


def test_a_file_of_entries(tmp_path):
  path = tmp_path / "map.txt"
  path.write_text("# names of 2019\nold/:new/\na:b\n")
  assert [str(e) for e in parse_assignment_map(str(path))] == [
    "'old/': 'new/'",
    "'a': 'b'",
  ]


@pytest.mark.parametrize(
  "value, words",
  [
    ({"old/": "new"}, "End it with '/': 'old/': 'new/'"),
    ({"old": "new/"}, "maps one name to a scope"),
    ({"": "new"}, "no name of a tensor"),
    ({3: "new"}, "no name of a tensor"),
    ({"old": 3}, "neither the name of a variable"),
    ([3], "is no entry"),
    ("old", "neither a rule"),
  ],
)
def test_what_cannot_be_meant(value, words):
  with pytest.raises(errors.OptionError, match=re.escape(words)):
    parse_assignment_map(value)


def test_an_expression_that_is_none():
  with pytest.raises(errors.OptionError, match="no regular expression either"):
    expand(parse_assignment_map({"old(": "new"}), source("a"))


def test_groups_that_the_expression_lacks():
  with pytest.raises(errors.OptionError, match="does not fit the regular expression"):
    expand(parse_assignment_map({"(.*)": r"\2"}), source("a"))


@given(st.lists(st.tuples(*[st.text("a:(?\\\\/ '", min_size=1)] * 2), max_size=5))
def test_a_map_reads_back_as_it_is_written(pairs):
  entries = [Entry(old.rstrip("/") + "x", new.rstrip("/") + "x") for old, new in pairs]
  code = as_code(entries)
  assert list(parse_assignment_map(ast.literal_eval(code))) == entries


@pytest.mark.parametrize(
  "old, new", [("a", "b"), ("a/", "b/"), ("a:0", "b"), ("a b", "c:1"), ("(?:a):b", "c")]
)
def test_a_map_reads_back_as_flags(old, new):
  [flag] = shlex.split(as_flags([Entry(old, new)]))
  [entry] = parse_assignment_map(flag.partition("=")[2])
  # A colon that an expression escapes is a literal colon.
  assert Entry(entry.text.replace("\\:", ":"), entry.target) == Entry(old, new)
