from __future__ import annotations

import html.parser

import pytest

from estimator_ckpt.checkpoint.reader import open_checkpoint
from estimator_ckpt.checkpoint.verify import verify
from estimator_ckpt.files.diff import diff
from estimator_ckpt.files.inspection import inspect
from estimator_ckpt.html_table import html_table
from estimator_ckpt.text_table import Column
from tests.bundle_builder import BundleBuilder
from tests.warm_start import planning

_NAME = "<script>alert('1')</script>&\u202e"
_SHOWN = "<script>alert('1')</script>&\\u202e"


class _Reader(html.parser.HTMLParser):
  """Reads tables, and checks that every element is closed."""

  def __init__(self):
    super().__init__()
    self.tags: list[str] = []
    self.open: list[str] = []
    self.rows: list[list[str]] = []
    self.text = ""

  def handle_starttag(self, tag, attrs):
    self.tags.append(tag)
    self.open.append(tag)
    if tag == "tr":
      self.rows.append([])

  def handle_endtag(self, tag):
    assert self.open.pop() == tag

  def handle_data(self, data):
    self.text += data
    if {"td", "th"} & set(self.open):
      self.rows[-1].append(data)


def read(text: str) -> _Reader:
  reader = _Reader()
  reader.feed(text)
  reader.close()
  assert reader.open == []
  assert set(reader.tags) <= set("div b bdi table thead tbody tr th td".split())
  return reader


def test_a_table():
  columns = [Column("name"), Column("size", right=True)]
  found = read(html_table("what", columns, [[_NAME, "8"]]))
  assert found.rows == [["name", "size"], [_SHOWN, "8"]]
  assert found.text.startswith("what")


def test_long_tables_say_how_many_more_there_are():
  rows = [[str(number)] for number in range(1500)]
  found = read(html_table("", [Column("n")], rows, shown=3))
  assert len(found.rows) == 4
  assert found.text.endswith("and 1,497 more")


def test_no_rows():
  assert "table" not in read(html_table("nothing", [Column("n")], [])).tags


@pytest.fixture
def prefix(tmp_path):
  builder = BundleBuilder()
  builder.numbers(_NAME, [1.0, float("nan")])
  builder.numbers("global_step", 1234, "int64")
  builder.partitioned("parts", [[1.0], [2.0], [3.0]], [1])
  return builder.write(tmp_path / "model.ckpt-1")


def test_a_reader(prefix):
  with open_checkpoint(prefix) as reader:
    found = read(reader._repr_html_())
  assert [_SHOWN, "float32", "[2]", "8"] in found.rows
  assert ["parts", "float32", "[3, 1]", "12"] in found.rows
  assert f"{prefix}: 3 keys" in found.text


def test_an_inspection(prefix):
  found = read(inspect(prefix, values=True)._repr_html_())
  assert found.rows[0] == [
    "name",
    "dtype",
    "shape",
    "bytes",
    "kind",
    "min",
    "max",
    "mean",
    "NaN",
  ]
  assert [_SHOWN, "float32", "[2]", "8", "variable", "1", "1", "1", "1"] in found.rows
  assert found.rows[1][0] == "parts"  # the largest first
  assert "tf1, step 1,234, 3 tensors, 28 bytes" in found.text


def test_a_comparison(prefix, tmp_path):
  builder = BundleBuilder()
  builder.numbers("global_step", 1235, "int64")
  other = builder.write(tmp_path / "model.ckpt-2")
  found = read(diff(prefix, other, values=True)._repr_html_())
  assert ["only in a", _SHOWN, "float32 [2]"] in [row[:3] for row in found.rows]
  assert ["values", "global_step", "int64 []", "int64 []", "1", "1"] in found.rows
  assert "equal" in read(diff(prefix, prefix)._repr_html_()).text


def test_a_report_of_verify(prefix, tmp_path):
  assert "sound; 1 checkpoint, 3 tensors" in read(verify(prefix)._repr_html_()).text
  (tmp_path / "model.ckpt-1.data-00000-of-00001").unlink()
  report = verify(prefix)
  found = read(report._repr_html_())
  assert "damaged" in found.text
  codes = [row[1] for row in found.rows[1:]]
  assert codes == [finding.code for finding in report.findings]


def test_a_plan_of_a_warm_start():
  plan = planning.plan({_NAME: (2,), "unused": (3,)}, {_NAME: (2,), "new": (9,)})
  found = read(plan._repr_html_())
  assert found.rows[1][:2] == [_SHOWN, _SHOWN]
  assert ["new", "float32 [9]"] in found.rows
  assert "starts 1 of 2 variables" in found.text
