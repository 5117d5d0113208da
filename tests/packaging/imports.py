"""The modules that a module imports, read from its source."""

from __future__ import annotations

import ast
import functools
import pathlib

ROOT = pathlib.Path(__file__).parent.parent.parent
PACKAGE = "estimator_ckpt"


@functools.cache
def modules(path: pathlib.Path, for_types: bool = False) -> frozenset[str]:
  """What a module imports.

  Args:
    path: the module's source.
    for_types: whether to count imports that only the type checker sees.

  Returns:
    Dotted names of modules; for a name inside a module, the module.
  """
  found = set()

  def visit(node: ast.AST) -> None:
    is_for_types = isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)
    if is_for_types and not for_types:
      return
    if isinstance(node, ast.Import):
      found.update(alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
      assert node.level == 0, f"{path}:{node.lineno}: a relative import"
      for alias in node.names:
        inner = f"{node.module}.{alias.name}"
        if inner == f"{PACKAGE}.__version__":  # the file itself
          inner = f"{PACKAGE}.__init__"
        found.add(inner if is_module(inner) else node.module)
    for child in ast.iter_child_nodes(node):
      visit(child)

  visit(ast.parse(path.read_text(encoding="utf-8")))
  return frozenset(found)


def is_module(dotted: str) -> bool:
  """Whether this repository has a module or package of a dotted name."""
  path = ROOT / dotted.replace(".", "/")
  return path.with_suffix(".py").exists() or (path / "__init__.py").exists()
