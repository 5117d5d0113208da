"""Examples in docstrings give their output, and names in docstrings exist."""

from __future__ import annotations

import ast
import doctest
import functools
import importlib
import pathlib
import re

import pytest

_PACKAGE = pathlib.Path(__file__).parent.parent / "estimator_ckpt"
_OPTIONS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


def module_names() -> list[str]:
  """Modules with examples. Programs are left out: importing one defines its flags."""
  names = []
  for path in sorted(_PACKAGE.rglob("*.py")):
    parts = path.relative_to(_PACKAGE.parent).with_suffix("").parts
    if "examples" in parts or parts[-1] == "__main__":
      continue
    if ">>> " in path.read_text(encoding="utf-8"):
      names.append(".".join(parts[:-1] if parts[-1] == "__init__" else parts))
  return names


@pytest.mark.parametrize("name", module_names())
def test_examples_do_what_they_say(name, tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  module = importlib.import_module(name)
  output: list[str] = []
  runner = doctest.DocTestRunner(verbose=False, optionflags=_OPTIONS)
  for test in doctest.DocTestFinder().find(module):
    runner.run(test, out=output.append)
  assert not runner.failures, "".join(output)


_REFERENCE = re.compile(r"\bestimator_ckpt(?:\.[A-Za-z_]\w*)+")


@functools.cache
def names_in(path: pathlib.Path) -> dict[str, ast.AST]:
  """Names that a module defines or imports at its top, for the type checker too."""
  return _defined(ast.parse(path.read_text(encoding="utf-8")))


def _defined(tree: ast.AST) -> dict[str, ast.AST]:
  found: dict[str, ast.AST] = {}
  for node in ast.iter_child_nodes(tree):
    if isinstance(node, (ast.If, ast.Try)):
      found.update(_defined(node))
    elif isinstance(node, (ast.Import, ast.ImportFrom)):
      found.update((a.asname or a.name.split(".")[0], node) for a in node.names)
    elif isinstance(node, (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
      found[node.name] = node
    elif isinstance(node, (ast.Assign, ast.AnnAssign)):
      targets = node.targets if isinstance(node, ast.Assign) else [node.target]
      for target in targets:
        found.update((n.id, node) for n in ast.walk(target) if isinstance(n, ast.Name))
  return found


def missing_part(reference: str, root: pathlib.Path = _PACKAGE.parent) -> str:
  """The first missing part of a dotted name, or "" if all parts exist."""
  path, names = root, None
  for part in reference.split("."):
    if names is not None:
      if part not in names:
        return part
      node = names[part]
      if not isinstance(node, ast.ClassDef):  # its members are not known
        return ""
      names = _defined(node)
    elif (path / part / "__init__.py").exists():
      path = path / part
    elif (path / f"{part}.py").exists():
      names = names_in(path / f"{part}.py")
    elif part in names_in(path / "__init__.py"):
      return ""
    else:
      return part
  return ""


_TEXTS = [
  *sorted(_PACKAGE.rglob("*.py")),
  *sorted(_PACKAGE.parent.glob("*.md")),
  *sorted((_PACKAGE.parent / "docs").rglob("*.md")),
]


@pytest.mark.parametrize(
  "reference, missing",
  [
    ("estimator_ckpt.errors.CheckpointError", ""),
    ("estimator_ckpt.errors.CheckpointErrors", "CheckpointErrors"),
    ("estimator_ckpt.error", "error"),
    ("estimator_ckpt.open_checkpoint", ""),
    ("estimator_ckpt.bundle.index.Index.read", ""),
    ("estimator_ckpt.bundle.index.Index.reads", "reads"),
  ],
)
def test_a_reference_leads_to_a_name_or_not(reference, missing):
  assert missing_part(reference) == missing


def test_texts_refer_to_names_that_are_there():
  wrong = []
  for path in _TEXTS:
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
      for reference in _REFERENCE.findall(line):
        missing = missing_part(reference)
        if missing:
          where = path.relative_to(_PACKAGE.parent)
          wrong.append(f"{where}:{number}: {reference}: there is no {missing}")
  assert not wrong, "\n".join(wrong)
