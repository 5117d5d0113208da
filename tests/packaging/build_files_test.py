"""The BUILD files say what the modules do: one target each, with what it imports.

A module's target is one line, and this test prints the line that is missing or wrong.
"""

from __future__ import annotations

import ast
import functools
import pathlib
from typing import NamedTuple

import pytest

_ROOT = pathlib.Path(__file__).parent.parent.parent
_PACKAGE = "estimator_ckpt"
_RULES = ("files_module", "tensorflow_module")
# These have targets of their own kind, and so have programs.
_NO_MODULES = {"__init__", "__main__"}
_NO_PACKAGES = (f"{_PACKAGE}/examples",)

_TENSORFLOW = ("tensorflow", "tensorflow_estimator", "keras")


class Imported(NamedTuple):
  module: str  # dotted
  at_start: bool  # and not within a function


def package_directories() -> list[str]:
  """Directories of modules, relative to the root."""
  found = {
    path.parent.relative_to(_ROOT).as_posix()
    for path in (_ROOT / _PACKAGE).rglob("*.py")
  }
  return sorted(d for d in found if not d.startswith(_NO_PACKAGES))


def module_names(directory: str) -> list[str]:
  names = {path.stem for path in (_ROOT / directory).glob("*.py")}
  return sorted(names.difference(_NO_MODULES))


@functools.cache
def imports(path: pathlib.Path) -> frozenset[Imported]:
  """The modules that a module imports when it runs, not for the type checker only."""
  found = set()

  def visit(node: ast.AST, at_start: bool) -> None:
    if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
      return
    if isinstance(node, ast.Import):
      found.update(Imported(alias.name, at_start) for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
      assert node.level == 0, f"{path}:{node.lineno}: a relative import"
      for alias in node.names:
        inner = f"{node.module}.{alias.name}"
        if inner == f"{_PACKAGE}.__version__":  # needs the file, not what it loads
          inner = f"{_PACKAGE}.__init__"
        found.add(Imported(inner if _is_module(inner) else node.module, at_start))
    at_start = at_start and not isinstance(
      node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)
    )
    for child in ast.iter_child_nodes(node):
      visit(child, at_start)

  visit(ast.parse(path.read_text(encoding="utf-8")), True)
  return frozenset(found)


def _is_module(dotted: str) -> bool:
  path = _ROOT / dotted.replace(".", "/")
  return path.with_suffix(".py").exists() or (path / "__init__.py").exists()


def label(dotted: str, directory: str) -> str:
  """The label of a module or package, as seen from the BUILD file in `directory`."""
  path = dotted.replace(".", "/")
  if (_ROOT / path).with_suffix(".py").exists():
    parent, _, name = path.rpartition("/")
    return f":{name}" if parent == directory else f"//{parent}:{name}"
  assert (_ROOT / path).is_dir(), f"{dotted} is no module; is it data of this test?"
  return f"//{path}"


def expected_deps(directory: str, name: str) -> list[str]:
  path = _ROOT / directory / (name + ".py")
  deps = {
    label(imported.module, directory)
    for imported in imports(path)
    if imported.module.split(".")[0] == _PACKAGE
  }
  return sorted(deps, key=lambda dep: (not dep.startswith(":"), dep))


def targets(directory: str) -> dict[str, ast.Call]:
  """The calls of the two rules in a BUILD file, which is Python to the parser."""
  build = _ROOT / directory / "BUILD"
  if not build.exists():
    return {}
  calls = {}
  for node in ast.walk(ast.parse(build.read_text(encoding="utf-8"))):
    if isinstance(node, ast.Call) and getattr(node.func, "id", "") in _RULES:
      arguments = {k.arg: k.value for k in node.keywords}
      calls[ast.literal_eval(arguments["name"])] = node
  return calls


def deps_of(call: ast.Call) -> list[str]:
  arguments = {k.arg: k.value for k in call.keywords}
  return ast.literal_eval(arguments["deps"]) if "deps" in arguments else []


def line(rule: str, name: str, deps: list[str]) -> str:
  listed = ", ".join(f'"{dep}"' for dep in deps)
  return f'{rule}(name = "{name}"' + (f", deps = [{listed}])" if deps else ")")


_MODULES = [(d, name) for d in package_directories() for name in module_names(d)]


@pytest.mark.parametrize("directory, name", _MODULES)
def test_module_has_a_target_with_what_it_imports(directory, name):
  call = targets(directory).get(name)
  rule = call.func.id if call else "files_module"
  expected = expected_deps(directory, name)
  should_read = f"{directory}/BUILD should have\n{line(rule, name, expected)}"
  assert call is not None, should_read
  assert sorted(deps_of(call)) == sorted(expected), should_read


@pytest.mark.parametrize("directory", package_directories())
def test_targets_have_modules(directory):
  assert sorted(targets(directory).keys() - _NO_MODULES) == module_names(directory)


_FILES_MODULES = [
  (directory, name)
  for directory in package_directories()
  for name, call in targets(directory).items()
  if call.func.id == "files_module"
]


@pytest.mark.parametrize("directory, name", _FILES_MODULES)
def test_files_half_never_imports_tensorflow_at_start(directory, name):
  path = _ROOT / directory / (name + ".py")
  at_start = {i.module.split(".")[0] for i in imports(path) if i.at_start}
  assert at_start.isdisjoint(_TENSORFLOW)
