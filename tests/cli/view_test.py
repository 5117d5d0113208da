from __future__ import annotations

import json
import pathlib
import tempfile
import webbrowser

import pytest

from estimator_ckpt.cli import main
from tests import golden

_ADAM = golden.path("tf1.15/adam_dense")


@pytest.fixture
def opened(monkeypatch, tmp_path):
  """The addresses that a browser was asked to open, on a machine with a screen."""
  addresses: list[str] = []
  monkeypatch.setattr(webbrowser, "open", addresses.append)
  monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
  monkeypatch.setenv("DISPLAY", ":0")
  return addresses


def test_without_o_it_is_a_temporary_file_that_is_opened(opened, tmp_path, capsys):
  assert main.run(["view", _ADAM]) == 0
  (printed,) = capsys.readouterr().out.splitlines()
  assert pathlib.Path(printed).read_bytes().startswith(b"<!doctype html>")
  assert printed.startswith(str(tmp_path))
  assert opened == [pathlib.Path(printed).as_uri()]


@pytest.mark.parametrize("flags", [["--no_open"], ["--no-open"], ["-o", "{}/a.html"]])
def test_it_is_not_opened(flags, opened, tmp_path, capsys):
  assert main.run(["view", _ADAM, *(flag.format(tmp_path) for flag in flags)]) == 0
  assert opened == []
  assert pathlib.Path(capsys.readouterr().out.strip()).is_file()


def test_it_is_not_opened_without_a_screen(opened, monkeypatch):
  monkeypatch.delenv("DISPLAY")
  monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
  assert main.run(["view", _ADAM]) == 0
  assert opened == []


def test_json(tmp_path, capsys):
  path = tmp_path / "page.html"
  assert main.run(["view", _ADAM, "-o", str(path), "--json"]) == 0
  assert json.loads(capsys.readouterr().out) == {
    "page": str(path),
    "bytes": path.stat().st_size,
    "sections": ["checkpoint"],
    "problems": [],
  }


def test_no_file_but_a_page_is_replaced(tmp_path, capsys):
  path = tmp_path / "model.ckpt-1.index"
  path.write_bytes(b"an index")
  assert main.run(["view", _ADAM, "-o", str(path)]) == 2
  assert "is no page of estimator-ckpt view" in capsys.readouterr().err
  assert path.read_bytes() == b"an index"


@pytest.mark.parametrize(
  ("argv", "words"),
  [
    (["view", "nowhere/at/all"], "nowhere/at/all"),
    (["view", _ADAM, "-o", ""], "-o is the page's file"),
    (["view", _ADAM, "-o", f"{_ADAM}.index/page.html"], "model.ckpt-7.index"),
  ],
)
def test_errors(argv, words, capsys):
  assert main.run(argv) == 2
  assert words in capsys.readouterr().err


def test_unreadable_values_are_shown_and_said(tmp_path, capsys):
  prefix = golden.copy("tf1.15/adam_dense", tmp_path / "m")
  data = pathlib.Path(prefix + ".data-00000-of-00001")
  data.write_bytes(data.read_bytes()[:40] + b"\xff" + data.read_bytes()[41:])
  path = str(tmp_path / "page.html")
  assert main.run(["view", prefix, "-o", path, "--values"]) == 2
  assert "problem: " in capsys.readouterr().out
  assert main.run(["view", prefix, "-o", path]) == 0
