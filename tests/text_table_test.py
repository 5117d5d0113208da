from __future__ import annotations

import io

from hypothesis import given
from hypothesis import strategies as st

from estimator_ckpt import text_table
from estimator_ckpt.text_table import Column, format_table


@given(st.text())
def test_printable_text_stays_and_everything_else_becomes_an_escape(text):
  shown = text_table.printable(text)
  assert shown.isprintable()
  if text.isprintable():
    assert shown == text


def test_what_moves_the_cursor_is_escaped():
  shown = text_table.printable("a\x1b[2J\r\n\tb\udcffc\u202e")
  assert shown == "a\\x1b[2J\\r\\n\\tb\\udcffc\\u202e"


@given(st.text(max_size=60), st.integers(4, 40))
def test_an_elided_text_keeps_its_ends_and_fits(text, columns):
  text = text_table.printable(text)
  elided = text_table.elide(text, columns)
  assert text_table.text_width(elided) <= columns
  if elided != text:
    head, mark, tail = elided.partition("…")
    assert mark
    assert text.startswith(head)
    assert text.endswith(tail)


def test_wide_characters_take_two_columns():
  assert text_table.text_width("漢字x") == 5
  assert text_table.elide("漢字漢字漢字", 7) == "漢…漢字"


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
    assert text_table.text_width(line) <= wide


def test_only_as_much_is_cut_as_has_to_be():
  columns = [Column("name", elastic=True), Column("path", elastic=True)]
  (_, line) = format_table(columns, [["n" * 30, "p" * 60]], 80)
  assert line == "n" * 30 + "  " + "p" * 18 + "…" + "p" * 29
  assert text_table.text_width(line) == 80


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


def test_an_ellipsis_is_three_dots_where_the_encoding_has_none(monkeypatch):
  monkeypatch.setattr("sys.stdout", io.TextIOWrapper(io.BytesIO(), encoding="ascii"))
  assert text_table.elide("abcdefghij", 7) == "a...hij"


def test_without_titles_there_is_no_heading():
  rows = [["a", "1"], ["bb", "2"]]
  assert list(format_table([Column(""), Column("")], rows)) == ["a   1", "bb  2"]
