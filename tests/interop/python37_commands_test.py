"""The command line on Python 3.7, where TensorFlow 1.15 is."""

from __future__ import annotations

import functools
import subprocess
import sys

import pytest

from tests.interop import readers, suites

_SOURCES = suites.ROOT / "testdata"


def _run(python, *arguments):
  """Runs a command, and returns what it prints."""
  done = subprocess.run(
    [python, "-m", "estimator_ckpt", *map(str, arguments)],
    cwd=suites.ROOT,
    env=readers.environ(),
    stdin=subprocess.DEVNULL,
    stdout=subprocess.PIPE,
    stderr=subprocess.STDOUT,
    timeout=300,
    check=False,
  )
  output = done.stdout.decode(errors="replace")
  assert done.returncode == 0, output
  return output


@pytest.fixture(scope="module")
def run(interpreter):
  """Runs a command in Python 3.7, and returns what it prints."""
  return functools.partial(_run, interpreter("tf115"))


@pytest.mark.parametrize(
  "source",
  [
    "promised/0.1/dual/model.ckpt-7",
    "tf1.15/momentum_partitioned/model.ckpt-7",
    "tf2.21/keras3_adam/ckpt-1",
  ],
)
def test_it_shows_checks_and_converts(run, source, tmp_path):
  checkpoint = _SOURCES / source
  assert "float32" in run("inspect", checkpoint)
  run("verify", checkpoint)
  run("convert", checkpoint, tmp_path / "converted", "--to=tf1")
  run("diff", checkpoint, tmp_path / "converted")


def test_it_draws_a_page(run, tmp_path):
  page = tmp_path / "page.html"
  run("view", _SOURCES / "promised/0.1/dual/model.ckpt-7", "-o", page, "--values")
  assert page.read_text(encoding="utf-8").lstrip().lower().startswith("<!doctype html")


def test_it_has_bfloat16_of_1_15(run):
  """There is no ml_dtypes for Python 3.7, and nobody imports TensorFlow for a command."""
  command = ("inspect", _SOURCES / "tf1.15" / "many_dtypes", "--values")
  said = [run(*command), _run(sys.executable, *command)]
  rows = [[row for row in text.splitlines() if "bfloat16" in row] for text in said]
  assert rows[0] == rows[1] and len(rows[0]) == 4
