"""The BUILD files match the modules: one target each, with the modules it imports.

A module's target is one line, and this test prints the line that is missing or wrong.
"""

from __future__ import annotations

import ast
import pathlib

import pytest

from tests.packaging import imports

_ROOT = pathlib.Path(__file__).parent.parent.parent
_PACKAGE = "estimator_ckpt"
_RULE = "module"
# These names and all programs have other kinds of targets.
_NO_MODULES = {"__init__", "__main__"}
_NO_PACKAGES = (f"{_PACKAGE}/examples",)


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
    label(module, directory)
    for module in imports.modules(path)
    if module.split(".")[0] == _PACKAGE
  }
  return sorted(deps, key=lambda dep: (not dep.startswith(":"), dep))


def targets(directory: str) -> dict[str, ast.Call]:
  """The calls of `module` in a BUILD file, parsed as Python."""
  build = _ROOT / directory / "BUILD"
  if not build.exists():
    return {}
  calls = {}
  for node in ast.walk(ast.parse(build.read_text(encoding="utf-8"))):
    if isinstance(node, ast.Call) and getattr(node.func, "id", "") == _RULE:
      arguments = {k.arg: k.value for k in node.keywords}
      calls[ast.literal_eval(arguments["name"])] = node
  return calls


def deps_of(call: ast.Call) -> list[str]:
  arguments = {k.arg: k.value for k in call.keywords}
  return ast.literal_eval(arguments["deps"]) if "deps" in arguments else []


def line(name: str, deps: list[str]) -> str:
  listed = ", ".join(f'"{dep}"' for dep in deps)
  return f'{_RULE}(name = "{name}"' + (f", deps = [{listed}])" if deps else ")")


_MODULES = [(d, name) for d in package_directories() for name in module_names(d)]


@pytest.mark.parametrize("directory, name", _MODULES)
def test_module_has_a_target_with_what_it_imports(directory, name):
  call = targets(directory).get(name)
  expected = expected_deps(directory, name)
  should_read = f"{directory}/BUILD should have\n{line(name, expected)}"
  assert call is not None, should_read
  assert sorted(deps_of(call)) == sorted(expected), should_read


@pytest.mark.parametrize("directory", package_directories())
def test_targets_have_modules(directory):
  assert sorted(targets(directory).keys() - _NO_MODULES) == module_names(directory)


@pytest.mark.parametrize("directory", package_directories())
def test_targets_stand_below_what_they_import(directory):
  # Bazel reads a BUILD file from top to bottom; `module` looks up targets above itself.
  above: set[str] = set()
  for name, call in targets(directory).items():
    local = {dep[1:] for dep in deps_of(call) if dep.startswith(":")}
    assert local <= above, f"{directory}/BUILD: {name} stands above {local - above}"
    above.add(name)
