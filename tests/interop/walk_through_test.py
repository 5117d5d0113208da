"""docs/walk_through.md, as its reader does it: with TensorFlow 1.15.5, 2.15 and 2.21."""

from __future__ import annotations

import shlex
import sys

import numpy as np
import pytest

import estimator_ckpt as eckpt
from tests.page_runner import ROOT, Page
from tests.pages import blocks

_PAGE = ROOT / "docs" / "walk_through.md"
_BLOCKS = blocks(_PAGE.read_text(encoding="utf-8"))
_PYTHON = """#!/bin/bash
unset TF2_BEHAVIOR
export PYTHONPATH={root} PYTHONDONTWRITEBYTECODE=1
exec {python} "$@"
"""


def _changed(text, diff):
  """A text after a diff whose pieces stand at only one place each."""
  for piece in diff.split("@@\n"):
    lines = piece.splitlines(keepends=True)
    old = "".join(line[1:] or "\n" for line in lines if line[0] != "+")
    new = "".join(line[1:] or "\n" for line in lines if line[0] != "-")
    assert text.count(old) == 1, f"{text.count(old)} times there:\n{old}"
    text = text.replace(old, new)
  return text


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
  """The directory in which all steps are done."""
  return tmp_path_factory.mktemp("walk_through")


@pytest.fixture(scope="module")
def page(interpreter, directory):
  """`page(block)` does what a block says."""
  pythons = {name: interpreter(name) for name in ("tf115", "tf221")}
  pythons["tf215"] = sys.executable  # The tests' own environment.
  shell = Page(_PAGE, directory)

  def do(block):
    (word,) = block.words
    if block.language == "python":
      (directory / word).write_text(block.code)
    elif block.language == "diff":
      file = directory / word
      file.write_text(_changed(file.read_text(), block.code))
    else:
      python = directory / "python"
      python.write_text(
        _PYTHON.format(
          root=shlex.quote(str(ROOT)), python=shlex.quote(str(pythons[word]))
        )
      )
      python.chmod(0o755)
      shell.run(block)

  return do


@pytest.mark.parametrize(
  "block", [pytest.param(each, id=f"line {each.line}") for each in _BLOCKS]
)
def test_the_step_does_what_the_page_says(block, page):
  page(block)


def test_production_predicts_at_the_end_what_keras_has_learnt(directory):
  with eckpt.open_checkpoint(str(directory / "keras_dir")) as reader:
    stored = {
      attribute.full_name: reader[attribute.checkpoint_key]
      for _, attribute in reader.object_graph.attributes()
    }

  def dense(x, name):
    return x @ stored[f"sequential/{name}/kernel"] + stored[f"sequential/{name}/bias"]

  x = np.linspace(0, 1, 64, dtype=np.float32).reshape(32, 2)
  y = dense(np.tanh(dense(x, "hidden")), "out")
  np.testing.assert_allclose(np.load(str(directory / "y.npy")), y, rtol=1e-5, atol=1e-6)


def test_the_page_uses_each_version():
  used = {block.words[0] for block in _BLOCKS if block.language == "bash"}
  assert used == {"tf115", "tf215", "tf221"}
