"""A warm start's report as a page."""

from __future__ import annotations

import json

import pytest

from tests.browser import chromium


def left(name: str, shape: list[int]) -> dict[str, object]:
  return {"name": name, "dtype": "float32", "shape": shape, "reason": f"of {name}"}


@pytest.fixture(scope="session")
def page_path(make_page, tmp_path_factory):
  path = tmp_path_factory.mktemp("warm") / "warm_start.json"
  started = {
    "variable": "net/w",
    "from": "old/w",
    "keys": ["old/w"],
    "dtype": "float32",
    "shape": [2],
    "matched_by": "assignment map",
    "vocabulary": {
      "old": "a",
      "new": "b",
      "axis": 0,
      "entries": 9,
      "oov_buckets": 1,
      "entries_kept": 7,
    },
  }
  report = {
    "checkpoint": "old_dir/model.ckpt-9",
    "started": [started],
    "left_in_graph": [left("net/dense/kernel", [3, 4]), left("net/new", [7])],
    "left_in_checkpoint": [left("net/dense/kernels", [3, 4]), left("<i>odd</i>", [1])],
    "problems": ["'net/<b>x</b>' is not there"],
  }  # fmt: skip
  path.write_text(json.dumps(report))
  return make_page(path)


def rows(page, label: str) -> list[str]:
  found = page.get_by_role("treegrid", name=label, exact=True).locator(".rows .row")
  return found.evaluate_all(
    "rows => rows.map(r => [...r.querySelectorAll('.cell')].map(c => c.textContent).join(' | '))"
  )


def test_each_variable_says_where_it_began(open_page, page_path):
  page = open_page(page_path)
  assert rows(page, "Started") == [
    "net/w | old/w | float32 | [2] | assignment map | 7 of 9 entries kept"
  ]
  kernel, new = rows(page, "Not started")
  assert kernel.endswith("of net/dense/kernel | net/dense/kernels")
  assert new.endswith("of net/new | ")
  assert rows(page, "Not used of the checkpoint")[0].startswith("<i>odd</i>")
  assert page.get_by_role("img", name="1 of 3 variables started").count() == 1
  assert "'net/<b>x</b>' is not there" in page.locator(".problems").inner_text()


def test_search_looks_in_all_tables(open_page, page_path):
  page = open_page(page_path)
  page.get_by_label("Find in these").fill("kernel")
  chromium.settle(page)
  assert len(rows(page, "Started")) == 0
  assert len(rows(page, "Not started")) == 1
  assert len(rows(page, "Not used of the checkpoint")) == 1
  assert "1 of 2" in page.locator("h3", has_text="Not started").inner_text()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1360, 360])
def test_it_is_accessible(open_page, page_path, violations, width, scheme):
  page = open_page(page_path, width, scheme)
  assert violations(page) == []
  assert page.evaluate("document.scrollingElement.scrollWidth") <= width
