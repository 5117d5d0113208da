from __future__ import annotations

import io
import json

import pytest

from estimator_ckpt.cli import terminal
from estimator_ckpt.cli.terminal import ProgressBar


class _Screen(io.StringIO):
  def isatty(self):
    return True


@pytest.fixture
def screen(monkeypatch):
  monkeypatch.setenv("COLUMNS", "80")
  monkeypatch.setenv("TERM", "xterm")
  return _Screen()


def test_a_pipe_has_no_width():
  assert terminal.width(io.StringIO()) is None


def test_a_terminals_width_is_what_it_says(screen, monkeypatch):
  assert terminal.width(screen) == 80
  monkeypatch.setenv("COLUMNS", "133")
  assert terminal.width(screen) == 133


@pytest.mark.parametrize(
  ("count", "text"),
  [
    (0, "0 B"),
    (1023, "1023 B"),
    (1024, "1.0 KiB"),
    (1024 * 1024 - 1, "1.0 MiB"),
    (int(1.5 * 2**30), "1.5 GiB"),
    (2**63, "8.0 EiB"),
    (2**80, "1048576.0 EiB"),
  ],
)
def test_sizes_are_for_people(count, text):
  assert terminal.human_bytes(count) == text


def test_colours_are_for_terminals_that_have_some(screen, monkeypatch):
  monkeypatch.delenv("NO_COLOR", raising=False)
  monkeypatch.setenv("TERM", "xterm")
  assert terminal.style("no", "red", screen) == "\x1b[31mno\x1b[0m"
  assert terminal.style("no", "red", io.StringIO()) == "no"
  monkeypatch.setenv("TERM", "dumb")
  assert terminal.style("no", "red", screen) == "no"
  monkeypatch.setenv("TERM", "xterm")
  monkeypatch.setenv("NO_COLOR", "1")
  assert terminal.style("no", "red", screen) == "no"


def test_json_can_be_printed_whatever_the_names_are(capsys):
  terminal.print_json({"a\udcff\x1b": [1, None, 0.5]})
  text = capsys.readouterr().out
  assert text.isascii()
  assert json.loads(text) == {"a\udcff\x1b": [1, None, 0.5]}


class _Clock:
  def __init__(self, monkeypatch):
    self.now = 100.0
    monkeypatch.setattr(terminal.time, "monotonic", lambda: self.now)


def test_a_bar_shows_after_a_second_and_is_removed_at_the_end(screen, monkeypatch):
  clock = _Clock(monkeypatch)
  with ProgressBar("verifying", stream=screen) as bar:
    bar.update(1 << 20, 4 << 20)
    clock.now += 0.9
    bar.update(2 << 20, 4 << 20)
    assert screen.getvalue() == ""
    clock.now += 0.1
    bar.update(2 << 20, 4 << 20)
    drawn = screen.getvalue()
  assert drawn.startswith("\rverifying:  50%|")
  assert "2.00M/4.00M" in drawn
  assert len(drawn) - len("\r") <= 77
  last = screen.getvalue().rstrip("\r").rpartition("\r")[2]
  assert last.strip() == ""  # written over with spaces


@pytest.mark.parametrize("columns", [20, 40, 60, 200])
def test_a_bar_fits_terminals_of_any_width(screen, monkeypatch, columns):
  monkeypatch.setenv("COLUMNS", str(columns))
  clock = _Clock(monkeypatch)
  with ProgressBar("verifying", total=10**13, stream=screen) as bar:
    clock.now += 5
    bar.advance(10**12)
  lines = [line for line in screen.getvalue().split("\r") if line.strip()]
  assert lines and max(map(terminal.text_width, lines)) < columns


def test_no_bar_in_a_pipe_or_on_a_dumb_terminal(screen, monkeypatch):
  clock = _Clock(monkeypatch)
  pipe = io.StringIO()
  monkeypatch.setenv("TERM", "dumb")
  for stream in (pipe, screen):
    with ProgressBar("copying", total=10, stream=stream) as bar:
      clock.now += 5
      bar.advance(5)
    assert stream.getvalue() == ""


def test_a_bar_without_a_total_does_not_divide_by_it(screen, monkeypatch):
  clock = _Clock(monkeypatch)
  with ProgressBar("copying", stream=screen) as bar:
    clock.now += 5
    bar.advance(5)
  assert "copying" in screen.getvalue()


def test_a_line_is_broken_between_words_on_a_terminal_and_never_in_a_pipe(
  screen, monkeypatch
):
  monkeypatch.setenv("COLUMNS", "30")
  line = "  note: " + "word " * 9 + "/a/path/that/is/longer/than/the/terminal/is/wide"
  lines = terminal.wrap(line, stream=screen)
  assert lines[0].startswith("  note: word")
  assert all(own.startswith("    ") for own in lines[1:])
  assert max(map(len, lines[:-1])) <= 30
  assert lines[-1].strip() == line.rpartition(" ")[2]
  assert terminal.wrap("short", stream=screen) == ["short"]
  assert terminal.wrap(line, stream=io.StringIO()) == [line]


def test_plurals():
  assert terminal.plural(1, "directory") == "1 directory"
  assert terminal.plural(2, "entry") == "2 entries"
  assert terminal.plural(12345, "tensor") == "12,345 tensors"
