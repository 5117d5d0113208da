"""Which room of the package may import which: two halves, no circle, no name twice.

The files half works without TensorFlow. `training` builds graphs. They share
`checkpoint` and `bundle`, and never import each other.
"""

from __future__ import annotations

import ast
import collections
import graphlib
import pathlib

import pytest

from tests.packaging import imports

_PACKAGE = imports.ROOT / imports.PACKAGE

# What each room imports, besides itself and these. A room is a directory of the package,
# or a module beside the facade.
_FOR_ALL = {"errors", "older_pythons", "text_table", "html_table", "value_classes"}
_MAY_USE = {
  "errors": set(),
  "older_pythons": set(),
  "value_classes": set(),
  "text_table": set(),
  "html_table": set(),
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
  "beam": {"bundle", "checkpoint", "cli", "files"},
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
  } - {*_FOR_ALL, room_of(module.parts)}


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

  # A package's __init__.py names its modules; the modules do not import them. Imports
  # for the type checker count: a reader has to know both modules at once.
  graph = {
    name(m): imports.modules(_PACKAGE / m, for_types=True)
    for m in _MODULES
    if m.stem != "__init__"
  }
  graphlib.TopologicalSorter(graph).prepare()


@pytest.mark.parametrize("room", sorted(_MAY_USE))
def test_every_room_is_there(room):
  assert (_PACKAGE / room).is_dir() or (_PACKAGE / f"{room}.py").is_file()


def repeated(places: list[tuple[str, pathlib.Path]]) -> dict[str, list[str]]:
  """The names that stand at several places, each with its places."""
  found = collections.defaultdict(list)
  for name, path in places:
    found[name].append(path.as_posix())
  return {name: paths for name, paths in found.items() if len(paths) > 1}


def test_no_two_modules_share_a_name():
  # `cli/commands/X.py` is the command line of `files/X.py`: the same concept.
  commands = pathlib.PurePath("cli/commands")
  places = [
    (module.stem, module)
    for module in _MODULES
    if module.stem not in ("__init__", "__main__")
    and not (
      module.parent == commands and pathlib.Path("files", module.name) in _MODULES
    )
  ]
  assert repeated(places) == {}


def test_no_two_public_classes_share_a_name():
  places = [
    (node.name, module)
    for module in _MODULES
    for node in ast.walk(ast.parse((_PACKAGE / module).read_text(encoding="utf-8")))
    if isinstance(node, ast.ClassDef) and not node.name.startswith("_")
  ]
  assert repeated(places) == {}


@pytest.mark.parametrize("module", _MODULES, ids=str)
def test_a_module_is_short_enough_to_be_read(module):
  lines = (_PACKAGE / module).read_text(encoding="utf-8").count("\n")
  assert lines <= 500, f"{module} has {lines} lines: take it apart by its concepts"
