"""The pages name everything that exists, and nothing that does not exist."""

from __future__ import annotations

import ast
import json
import re

import pytest

from estimator_ckpt import errors
from estimator_ckpt.cli import main
from tests import golden
from tests.page_runner import ROOT

_PACKAGE = ROOT / "estimator_ckpt"


def page(name: str) -> str:
  return (ROOT / name).read_text(encoding="utf-8")


def sources() -> list[ast.Module]:
  return [ast.parse(path.read_text("utf-8")) for path in _PACKAGE.rglob("*.py")]


def messages() -> str:
  """Every text of the package, one a line, with ... for a value that is filled in."""
  found = []
  for tree in sources():
    for node in ast.walk(tree):
      if isinstance(node, ast.JoinedStr):
        parts = [str(getattr(p, "value", "...")) for p in node.values]
        found.append("".join(p if isinstance(p, str) else "..." for p in parts))
      elif isinstance(node, ast.Constant) and isinstance(node.value, str):
        found.append(node.value)
  return re.sub(r"[ \t]+", " ", "\n".join(found))


# README


def test_the_readme_is_short():
  assert len(page("README.md").splitlines()) <= 200


@pytest.mark.parametrize("name", main.command_names())
def test_the_readme_and_the_page_have_each_command(name):
  assert f"| `{name}` |" in page("README.md")
  assert f"\n## {name}\n" in page("docs/command_line.md")


# Paths


@pytest.mark.parametrize(
  ("name", "directory"),
  [
    ("docs/architecture.md", "estimator_ckpt"),
    ("docs/format.md", "estimator_ckpt"),
    ("docs/guarantees.md", "tests/*"),
    ("CONTRIBUTING.md", "tests"),
  ],
)
def test_files_that_a_page_names_are_there(name, directory):
  paths = re.findall(r"`((?:\w+/)*\w+\.py)`", page(name))
  assert paths
  for path in paths:
    places = [ROOT, *ROOT.glob(directory)]
    assert any((place / path).exists() for place in places), path


def test_the_architecture_has_each_room():
  text = page("docs/architecture.md")
  rooms = [p.name for p in _PACKAGE.iterdir() if (p / "__init__.py").exists()]
  assert rooms
  for room in rooms:
    assert f"| `{room}/` |" in text


def test_the_architecture_has_each_use_of_private_tensorflow_api():
  paths = (_PACKAGE / "training" / "tensorflow_private").glob("*.py")
  nodes = [
    node for path in paths for node in ast.walk(ast.parse(path.read_text("utf-8")))
  ]
  imported = {
    alias.asname or alias.name
    for node in nodes
    if isinstance(node, ast.ImportFrom)
    and (node.module or "").startswith("tensorflow.python")
    for alias in node.names
  }
  modules = {name for name in imported if name[0].islower()}
  used = {
    node.attr
    for node in nodes
    if isinstance(node, ast.Attribute)
    and isinstance(node.value, ast.Name)
    and node.value.id in modules
  }
  assert len(used) > 5
  text = page("docs/architecture.md")
  assert [name for name in used | (imported - modules) if f"`{name}`" not in text] == []


# Errors


def test_troubleshooting_has_each_class_of_error():
  text = page("docs/troubleshooting.md")
  classes = [
    c for c in vars(errors).values() if isinstance(c, type) and issubclass(c, Exception)
  ]
  assert len(classes) > 5
  for error in classes:
    if error is not errors.CheckpointError:
      also = ", ".join(f"`{base.__name__}`" for base in error.__bases__[1:])
      assert f"| `{error.__name__}` | {also} |" in text


def test_troubleshooting_has_each_finding():
  codes = {
    node.args[0].value
    for path in (_PACKAGE / "checkpoint" / "verify").glob("*.py")
    for node in ast.walk(ast.parse(path.read_text("utf-8")))
    if isinstance(node, ast.Call)
    and getattr(node.func, "attr", "") in ("error", "warning")
    and node.args
    and isinstance(node.args[0], ast.Constant)
  }
  table = page("docs/troubleshooting.md").partition("## Findings of verify")[2]
  assert len(codes) > 30
  assert codes == set(re.findall(r"`([a-z0-9-]+)`", table))


def test_messages_that_troubleshooting_quotes_are_the_packages():
  known = messages()
  text = page("docs/troubleshooting.md").partition("## Findings of verify")[0]
  quoted = re.findall(
    r'(?:^\| |\*\*|", )"([^"\n]+)"(, from TensorFlow|\*\*, from)?', text, re.M
  )
  ours = [message for message, of_tensorflow in quoted if not of_tensorflow]
  assert len(ours) > 50
  parts = {
    (message, part.strip(" ,:;()."))
    for message in ours
    for part in re.split(r"\.\.\.|\b[NM]\b", message)
  }
  assert sorted(message for message, part in parts if part not in known) == []


# The command line


def _fields(value: object) -> set[str]:
  if isinstance(value, list):
    return {field for item in value for field in _fields(item)}
  return set(value) if isinstance(value, dict) else set()


_ADAM = golden.path("tf1.15/adam_dense")


@pytest.mark.parametrize(
  "argv",
  [
    ["inspect", _ADAM, "--values"],
    ["convert", _ADAM, "{}/a", "--to=tf2"],
    ["rename", _ADAM, "{}/b", "--name_map=net/:n/"],
    ["strip", _ADAM, "{}/c", "--optimizer_state"],
    ["diff", _ADAM, golden.path("tf1.15/batch_norm")],
    ["verify", _ADAM],
    ["plan-warm-start", _ADAM, f"--to={_ADAM}"],
    ["view", _ADAM, "-o", "{}/page.html"],
    ["make-map", _ADAM, golden.path("tf1.15/batch_norm")],
  ],
  ids=lambda argv: argv[0],
)
def test_the_page_has_each_field_of_json(argv, tmp_path, capsys):
  main.run([part.format(tmp_path) for part in argv] + ["--json"])
  value = json.loads(capsys.readouterr().out)
  text = page("docs/command_line.md").partition("## inspect")[2]
  by_name = {"source_only", "target_only"}  # objects whose keys are names of variables
  wanted = _fields(value)
  for name, inner in value.items():
    if name not in by_name:
      wanted |= _fields(inner)
  assert wanted
  assert [field for field in sorted(wanted) if f"`{field}`" not in text] == []
