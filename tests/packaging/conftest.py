"""Imports programs of the repository that do not belong to the package."""

from __future__ import annotations

import importlib.util
import pathlib
import sys

import pytest

_ROOT = pathlib.Path(__file__).parent.parent.parent


@pytest.fixture
def program(monkeypatch):
  """`program("dir/name.py")` imports the file anew and returns the module."""

  def load(path: str):
    name = pathlib.Path(path).stem
    spec = importlib.util.spec_from_file_location(name, _ROOT / path)
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, name, module)
    spec.loader.exec_module(module)
    return module

  return load
