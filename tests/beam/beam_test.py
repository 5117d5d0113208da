"""Many model_dirs as a pipeline: runs what `checks/` holds, where Apache Beam is."""

from __future__ import annotations

import os
import pathlib
import subprocess
import sys

import pytest

from tests.interop import suites
from tests.page_runner import ROOT, Page
from tests.pages import blocks

_CHECKS = ["tests/beam/checks/beam_checks.py"]
_PAGE = ROOT / "docs/command_line.md"


@pytest.fixture(scope="module")
def suite(interpreter, tmp_path_factory):
  """Runs all checks in one process; holds how they ended."""
  return suites.run(interpreter("beam"), _CHECKS, tmp_path_factory.mktemp("beam"))


@pytest.mark.parametrize("file", _CHECKS)
def test_it_passes(file, suite):
  suite.assert_passed(file)


def test_the_page_s_block_runs(interpreter, tmp_path, monkeypatch):
  found = [
    block
    for block in blocks(_PAGE.read_text(encoding="utf-8"))
    if "beam" in block.words and block.runs
  ]
  assert found
  python = tmp_path / "bin" / "python"
  python.parent.mkdir()
  # The page's runner passes on what this process imports, which is of another environment.
  python.write_text(
    f'#!/bin/sh\nPYTHONPATH="{ROOT}" exec "{interpreter("beam")}" "$@"\n'
  )
  python.chmod(0o755)
  monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}")
  page = Page(_PAGE, tmp_path)
  for block in found:
    page.run(block)


def test_without_beam_one_sentence_says_what_to_install():
  done = subprocess.run(
    [sys.executable, "-m", "estimator_ckpt.beam", "--input=runs", "--to=dual"],
    cwd=ROOT,
    env={**os.environ, "PYTHONPATH": str(ROOT)},
    capture_output=True,
    text=True,
    check=False,
  )
  assert (done.returncode, done.stdout) == (2, "")
  assert done.stderr == (
    "python -m estimator_ckpt.beam: error: Apache Beam cannot be imported (No module"
    " named 'apache_beam'): pip install 'estimator-ckpt[beam]'\n"
  )


def test_checks_are_there():
  assert all((pathlib.Path(ROOT) / file).is_file() for file in _CHECKS)
