"""NumPy writes the object graph of many sorted names as Python does."""

from __future__ import annotations

import subprocess
import sys

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from estimator_ckpt.bundle.table import UnusualTable
from estimator_ckpt.checkpoint import layout, named_graph, plain_edges, plain_scopes
from estimator_ckpt.checkpoint.plain_scopes import Holders

_STEPS = ["a", "b", "c", "a-b", "a.b", "Adam", "n" * 130]
_NAMES = st.lists(st.sampled_from(_STEPS), min_size=1, max_size=5).map("/".join)
_LAYOUTS = st.sampled_from(sorted(layout.LAYOUTS))
_SLOTS = ("", "/Adam", "/Adam_1")


def _graph(names: list[str], kind: str, many: int) -> tuple[list[str], bytes]:
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(named_graph, "_MANY", many)
    attributes = [layout.VARIABLE_VALUE] * len(names)
    keys, graph = named_graph.named_graph(names, attributes, kind)
  return keys, graph.serialize()


def _is_plain(names: list[str]) -> bool:
  try:
    Holders.of(names, is_flat=True, nests=True)
  except UnusualTable:
    return False
  return True


def _assert_same(names: list[str], kind: str) -> None:
  assert _graph(names, kind, 0) == _graph(names, kind, len(names) + 1)


@given(
  st.lists(_NAMES, min_size=1, unique=True).map(sorted),
  _LAYOUTS,
  st.sampled_from([1, 2, 3, 4096]),
)
@example(["a", "a-b", "a.b", "a/b"], "default", 2)
@example(["a/b", "a/b/Adam", "a/b/Adam_1", "a/c/d", "e"], "nested", 3)
@example(["a/b/c", "b/c", "b/d", "c/a/b/d"], "default", 4096)
def test_numpy_writes_what_python_does(names, kind, batch):
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(plain_scopes, "BATCH", batch)
    patch.setattr(plain_edges, "BATCH", batch)
    _assert_same(names, kind)


@pytest.mark.parametrize("kind", sorted(layout.LAYOUTS))
@pytest.mark.parametrize("slots", [("",), _SLOTS])
def test_many_names_are_plain(kind, slots):
  names = [
    f"net/block_{i % 7}/layer_{i}/w{slot}" for i in range(6000) for slot in slots
  ]
  names.sort()
  assert _is_plain(names)
  _assert_same(names, kind)


_UNUSUAL = {
  "not sorted": ["b", "a"],
  "twice": ["a", "a"],
  "no ASCII": ["a/é", "b"],
  "a zero byte": ["a\0b", "b"],
  "an empty name": ["", "a"],
  "an empty step": ["a//b"],
  "no first step": ["/a"],
  "no last step": ["a/"],
  "a scope of flat names": ["var_list/a"],
  "the counter of saves": ["save_counter"],
  "a very long name": ["a" * 2000],
  "very many scopes": ["/".join("a" * 200)],
  "a variable above needed scopes": ["a", "a/b/c"],
  "many names between a variable and a scope of its name": [
    "a",
    *[f"a-{i:03}" for i in range(200)],
    "a/b",
  ],
}


@pytest.mark.parametrize("names", _UNUSUAL.values(), ids=_UNUSUAL)
def test_unusual_names_are_left_to_python(names):
  assert _is_plain(["a", "b"])
  assert not _is_plain(names)
  if len(set(names)) == len(names):
    _assert_same(names, "default")


def test_objects_that_are_no_variables_keep_their_attributes():
  names = ["a/t", "a/w"]
  attributes = ["table", layout.VARIABLE_VALUE]
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(named_graph, "_MANY", 0)
    keys, graph = named_graph.named_graph(names, attributes, "default")
  assert keys == [
    "var_list/a.St/.ATTRIBUTES/table",
    "var_list/a.Sw/.ATTRIBUTES/VARIABLE_VALUE",
  ]
  [node] = graph.nodes[graph.lookup(("a", "t"))].attributes
  assert [node.name, node.checkpoint_key] == ["table", keys[0]]


def test_many_names_are_worth_the_import_of_numpy():
  program = """
import sys
from estimator_ckpt.checkpoint import named_graph
for count in (1000, 60_000):
  names = [f"net/layer_{i:05}/w" for i in range(count)]
  named_graph.named_graph(names, ["VARIABLE_VALUE"] * count, "default")
  print("numpy" in sys.modules)
"""
  command = [sys.executable, "-c", f"import sys; sys.path[:] = {sys.path!r}\n{program}"]
  done = subprocess.run(command, stdout=subprocess.PIPE, check=True, encoding="utf-8")
  assert done.stdout.split() == ["False", "True"]
