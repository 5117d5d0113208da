"""Names, object paths and keys."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from estimator_ckpt import errors
from estimator_ckpt.checkpoint import layout

_NAMES = st.one_of(
  st.text(alphabet="a./S-é \x7f", min_size=1, max_size=12),
  st.lists(st.sampled_from(["a", "b", ".S", "..", "kernel", "Adam"]), min_size=1).map(
    "/".join
  ),
  st.sampled_from(["a/.ATTRIBUTES/VARIABLE_VALUE", "var_list/a", "save_counter"]),
)


@pytest.mark.parametrize(
  ("name", "escaped"),
  [
    ("kernel", "kernel"),
    ("dense/kernel", "dense.Skernel"),
    ("a.b", "a..b"),
    ("a.Sb", "a..Sb"),
    ("a/./b", "a.S...Sb"),
    ("/", ".S"),
    ("naïve name", "naïve name"),
  ],
)
def test_escape(name, escaped):
  assert layout.escape_local_name(name) == escaped
  assert layout.unescape_local_name(escaped) == name


@given(_NAMES)
def test_unescape_is_the_inverse(name):
  assert layout.unescape_local_name(layout.escape_local_name(name)) == name


@given(st.lists(_NAMES, min_size=1).map(tuple), _NAMES)
def test_object_keys_are_reversible(path, slot):
  assert layout.parse_object_key(layout.object_key(path)).path == path
  key = layout.ObjectKey(path, optimizer=("optimizer",), slot=slot)
  assert layout.parse_object_key(str(key)) == key


def test_a_slot_variables_key_as_tensorflow_writes_it():
  key = "model/w/.OPTIMIZER_SLOT/optimizer/m/.ATTRIBUTES/VARIABLE_VALUE"
  parsed = layout.parse_object_key(key)
  assert parsed.path == ("model", "w")
  assert parsed.optimizer == ("optimizer",)
  assert parsed.slot == "m"
  assert str(parsed) == key


def test_a_name_is_no_object_key():
  assert layout.parse_object_key("dense/kernel") is None


@given(st.sets(_NAMES, max_size=8), st.sampled_from(["default", "flat", "nested"]))
def test_layouts_are_injective_and_reversible(names, chosen):
  paths = layout.object_paths(sorted(names), chosen)
  keys = {layout.object_key(own[0]): name for name, own in paths.items()}
  assert len(keys) == len(names)
  for key, name in keys.items():
    path = layout.parse_object_key(key).path
    assert (path[1] if path[0] == layout.VAR_LIST else "/".join(path)) == name
  every_path = [path for own in paths.values() for path in own]
  assert len(every_path) == len(set(every_path))


def test_the_default_layout_is_flat_and_nested():
  assert layout.object_paths(["dense/kernel"]) == {
    "dense/kernel": [("var_list", "dense/kernel"), ("dense", "kernel")]
  }


def test_a_slot_below_a_weight_has_no_nested_path():
  paths = layout.object_paths(["dense/kernel", "dense/kernel/Adam"])
  assert ("dense", "kernel") in paths["dense/kernel"]
  assert paths["dense/kernel/Adam"] == [("var_list", "dense/kernel/Adam")]


@pytest.mark.parametrize("name", ["a//b", "/a", "a/", "var_list/x", "save_counter"])
def test_a_path_no_object_could_have_is_left_out(name):
  assert layout.object_paths([name]) == {name: [("var_list", name)]}


@given(st.lists(st.lists(st.sampled_from("abc"), min_size=1, max_size=4), max_size=12))
def test_a_path_taken_elsewhere_changes_nothing(paths):
  names = dict.fromkeys(map("/".join, paths))
  found = layout.nested_places(names)
  assert found == layout.nested_places(names, {("elsewhere",)})
  scopes, places = found
  for name, place in zip(names, places):
    nests = layout.can_nest(name, scopes)
    assert place == (name.rpartition("/")[0] if nests else None)


def test_a_taken_path_is_left_out():
  paths = layout.object_paths(["a/b"], taken=[("a", "b")])
  assert paths == {"a/b": [("var_list", "a/b")]}


def test_a_function_as_layout():
  paths = layout.object_paths(["net/w"], lambda name: [["model", *name.split("/")]])
  assert paths == {"net/w": [("model", "net", "w")]}


def test_a_function_that_gives_two_names_one_path():
  with pytest.raises(errors.OptionError, match="'x/y' to two variables, 'a' and 'b'"):
    layout.object_paths(["a", "b"], lambda name: [("x", "y")])


@pytest.mark.parametrize("bad", ["x", [], ["x"], [[]], [[""]]])
def test_a_function_that_returns_no_paths(bad):
  with pytest.raises(errors.OptionError, match="the variable 'a'"):
    layout.object_paths(["a"], lambda name: bad)


def test_an_unknown_layout_names_the_nearest():
  with pytest.raises(
    errors.OptionError, match="'nestd' is unknown. Did you mean 'nested'"
  ):
    layout.object_paths(["a"], "nestd")
