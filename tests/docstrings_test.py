"""The examples in the package's docstrings do what they say."""

from __future__ import annotations

import doctest
import importlib
import pathlib

import pytest

_PACKAGE = pathlib.Path(__file__).parent.parent / "estimator_ckpt"
_OPTIONS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


def module_names() -> list[str]:
  """Modules with examples. Importing a program would define its flags."""
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
