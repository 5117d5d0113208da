"""Which room of the package may use which: the two halves, and no circle.

The files half works without TensorFlow. `training` builds graphs. They share
`checkpoint` and `bundle`, and never import each other.
"""

from __future__ import annotations

import graphlib
import pathlib

import pytest

from tests.packaging import imports

_PACKAGE = imports.ROOT / imports.PACKAGE

# What each room imports, besides itself, `errors` and `text_table`. A room is a directory of the
# package, or a module beside the facade.
_MAY_USE = {
  "errors": set(),
  "text_table": set(),
  "bundle": set(),
  "checkpoint": {"bundle"},
  "warm_start": {"bundle", "checkpoint"},
  "keras": {"bundle", "checkpoint"},
  "files": {"bundle", "checkpoint", "keras"},
  "training": {"bundle", "checkpoint", "keras", "warm_start"},
  "flags": {"checkpoint", "training", "warm_start"},
  # The facade hands TensorFlow's file systems to `bundle`.
  "__init__": {"bundle", "training"},
  "cli": {"__init__", "bundle", "checkpoint", "files", "warm_start"},
  "__main__": {"cli"},
  "examples": {"__init__", "bundle", "checkpoint", "flags", "keras"},
}
_TENSORFLOW = {"tensorflow", "tensorflow_estimator", "keras"}
_MAY_USE_TENSORFLOW = {"training", "keras", "flags", "examples"}

_MODULES = sorted(path.relative_to(_PACKAGE) for path in _PACKAGE.rglob("*.py"))


def room_of(parts: tuple[str, ...]) -> str:
  """The room of a module, from its path or dotted name within the package."""
  return pathlib.PurePath(parts[0]).stem if parts else "__init__"


def rooms_used(module: pathlib.Path) -> set[str]:
  dotted = (name.split(".") for name in imports.modules(_PACKAGE / module))
  return {
    room_of(tuple(parts[1:])) for parts in dotted if parts[0] == imports.PACKAGE
  } - {"errors", "text_table", room_of(module.parts)}


@pytest.mark.parametrize("module", _MODULES, ids=str)
def test_a_room_uses_the_rooms_below_it(module):
  assert rooms_used(module) <= _MAY_USE[room_of(module.parts)]


@pytest.mark.parametrize("module", _MODULES, ids=str)
def test_tensorflow_is_imported_by_its_half_alone(module):
  used = {name.split(".")[0] for name in imports.modules(_PACKAGE / module)}
  if room_of(module.parts) not in _MAY_USE_TENSORFLOW:
    assert used.isdisjoint(_TENSORFLOW)


def test_no_room_uses_one_above_it():
  assert tuple(graphlib.TopologicalSorter(_MAY_USE).static_order())


def test_no_modules_import_each_other_in_a_circle():
  def name(module: pathlib.Path) -> str:
    dotted = ".".join([imports.PACKAGE, *module.with_suffix("").parts])
    return dotted.removesuffix(".__init__")

  # A package's __init__.py names its modules, which is no import by them.
  graph = {
    name(m): imports.modules(_PACKAGE / m) for m in _MODULES if m.stem != "__init__"
  }
  graphlib.TopologicalSorter(graph).prepare()


@pytest.mark.parametrize("room", sorted(_MAY_USE))
def test_every_room_is_there(room):
  assert (_PACKAGE / room).is_dir() or (_PACKAGE / f"{room}.py").is_file()
