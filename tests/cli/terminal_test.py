from __future__ import annotations

import io
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from estimator_ckpt.cli import terminal
from estimator_ckpt.cli.terminal import Column, ProgressBar, format_table


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


@given(st.text())
def test_printable_text_stays_and_everything_else_becomes_an_escape(text):
  shown = terminal.printable(text)
  assert shown.isprintable()
  if text.isprintable():
    assert shown == text


def test_what_moves_the_cursor_is_escaped():
  shown = terminal.printable("a\x1b[2J\r\n\tb\udcffc\u202e")
  assert shown == "a\\x1b[2J\\r\\n\\tb\\udcffc\\u202e"


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


@given(st.text(max_size=60), st.integers(4, 40))
def test_an_elided_text_keeps_its_ends_and_fits(text, columns):
  text = terminal.printable(text)
  elided = terminal.elide(text, columns)
  assert terminal.text_width(elided) <= columns
  if elided != text:
    head, mark, tail = elided.partition("…")
    assert mark
    assert text.startswith(head)
    assert text.endswith(tail)


def test_wide_characters_take_two_columns():
  assert terminal.text_width("漢字x") == 5
  assert terminal.elide("漢字漢字漢字", 7) == "漢…漢字"


def test_a_table_in_a_pipe_is_aligned_and_never_cut():
  columns = [Column("name", elastic=True), Column("bytes", right=True), Column("shape")]
  rows = [["a/very/long/name" * 5, "8 B", "[2]"], ["b", "1024 B", ""]]
  lines = list(format_table(columns, rows))
  assert lines[1] == "a/very/long/name" * 5 + "     8 B  [2]"
  assert lines[2] == "b" + " " * 79 + "  1024 B"
  assert lines[0].endswith("   bytes  shape")


@given(
  st.lists(
    st.tuples(st.text(max_size=90), st.text(max_size=90), st.integers(0, 10**6)),
    max_size=8,
  ),
  st.integers(50, 120),
)
def test_a_table_on_a_terminal_fits_whatever_is_in_it(rows, wide):
  columns = [
    Column("name", elastic=True),
    Column("object path", elastic=True),
    Column("bytes", right=True),
  ]
  cells = [[a, b, str(c)] for a, b, c in rows]
  for line in format_table(columns, cells, wide):
    assert terminal.text_width(line) <= wide


def test_only_as_much_is_cut_as_has_to_be():
  columns = [Column("name", elastic=True), Column("path", elastic=True)]
  (_, line) = format_table(columns, [["n" * 30, "p" * 60]], 80)
  assert line == "n" * 30 + "  " + "p" * 18 + "…" + "p" * 29
  assert terminal.text_width(line) == 80


def test_cells_with_control_characters_do_not_break_the_table():
  lines = list(format_table([Column("a"), Column("b")], [["x\ny", "1"]]))
  assert lines == ["a     b", "x\\ny  1"]


def test_one_very_long_name_does_not_move_the_columns_of_the_others():
  rows = [["w", "1"], ["n" * 3000, "2"], ["kernel", "3"]]
  lines = list(format_table([Column("name"), Column("size", right=True)], rows))
  assert lines == [
    "name    size",
    "w          1",
    "n" * 3000 + "     2",
    "kernel     3",
  ]


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


def test_an_ellipsis_is_three_dots_where_the_encoding_has_none(monkeypatch):
  monkeypatch.setattr("sys.stdout", io.TextIOWrapper(io.BytesIO(), encoding="ascii"))
  assert terminal.elide("abcdefghij", 7) == "a...hij"
