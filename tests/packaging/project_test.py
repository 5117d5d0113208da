"""pyproject.toml, the lock files and the package agree."""

from __future__ import annotations

import ast
import pathlib
import re

import pytest

try:
  import tomllib
except ImportError:  # before Python 3.11
  import tomli as tomllib

_ROOT = pathlib.Path(__file__).parent.parent.parent
_PROJECT = tomllib.loads((_ROOT / "pyproject.toml").read_text())["project"]


def locked(lock: str, package: str) -> set[str]:
  text = (_ROOT / "third_party" / "python" / lock).read_text()
  return set(re.findall(rf"^{package}==(\S+)", text, re.MULTILINE))


def minor(version: str) -> list[str]:
  return version.split(".")[:2]


def test_version_is_the_package_s():
  source = (_ROOT / "estimator_ckpt" / "__init__.py").read_text()
  assert re.findall(r'^__version__ = "(.*)"$', source, re.M) == [_PROJECT["version"]]


def test_changelog_has_the_version_or_what_is_to_be_released():
  text = (_ROOT / "CHANGELOG.md").read_text()
  first = re.findall(r"^## (\S+)", text, re.MULTILINE)[0]
  assert first in ("Unreleased", _PROJECT["version"])


def test_console_script_is_a_function():
  module, _, function = _PROJECT["scripts"]["estimator-ckpt"].partition(":")
  path = _ROOT / (module.replace(".", "/") + ".py")
  functions = [n.name for n in ast.parse(path.read_text()).body if hasattr(n, "name")]
  assert function in functions


def test_every_directory_of_modules_is_a_package():
  for path in (_ROOT / "estimator_ckpt").rglob("*.py"):
    assert (path.parent / "__init__.py").exists(), path


def test_tensorflow_is_an_extra():
  assert not [d for d in _PROJECT["dependencies"] if d.startswith("tensorflow")]
  assert {
    re.match(r"[a-z-]+", d).group()
    for d in _PROJECT["optional-dependencies"]["tensorflow"]
  } == {"numpy", "protobuf", "tensorflow"}


def test_the_extra_refuses_a_numpy_that_no_tensorflow_with_estimator_goes_with():
  assert "numpy<2" in _PROJECT["optional-dependencies"]["tensorflow"]


def test_locked_tensorflow_goes_with_its_estimator():
  for lock in ("requirements", "tf204", "tf208", "tf211", "tf212"):
    lock += "_lock.txt"
    (tensorflow,) = locked(lock, "tensorflow")
    assert locked(lock, "tensorflow-cpu") == {tensorflow}
    (estimator,) = locked(lock, "tensorflow-estimator")
    assert minor(estimator) == minor(tensorflow)


@pytest.mark.parametrize(
  "lock, python",
  [
    ("requirements_lock.txt", (3, 11)),
    ("lint_lock.txt", (3, 11)),
    ("tf115_lock.txt", (3, 7)),
    ("tf204_lock.txt", (3, 7)),
    ("tf208_lock.txt", (3, 7)),
    ("tf211_lock.txt", (3, 7)),
    ("tf212_lock.txt", (3, 10)),
  ],
)
def test_what_the_package_needs_is_locked(lock, python):
  for dependency in _PROJECT["dependencies"]:
    requirement, _, marker = dependency.partition(";")
    bound = re.search(r"python_version (<|>=) '3\.(\d+)'", marker)
    if bound:
      newer = python >= (3, int(bound.group(2)))
      if newer != (bound.group(1) == ">="):
        continue
    name = re.match(r"[a-z0-9.-]+", requirement).group().replace(".", "-")
    assert locked(lock, name), f"{lock} lacks {name}"
