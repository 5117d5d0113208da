"""Every link between the pages leads to an existing page and heading."""

from __future__ import annotations

import importlib.util
import os
import re

import pytest

from tests.page_runner import ROOT

_CODE = re.compile(r"^(```.*?^```|(?:    |\t).*?)$|`[^`\n]*`", re.M | re.S)
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#{1,6} (.*)$", re.MULTILINE)


def _build_program():
  path = ROOT / "docs" / "build.py"
  spec = importlib.util.spec_from_file_location("build_docs", path)
  module = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(module)
  return module


build = _build_program()
_PAGES = build._PAGES


def links(text: str) -> list[str]:
  return _LINK.findall(_CODE.sub("", text))


def anchors(text: str) -> set[str]:
  without_code = re.sub(r"^```.*?^```", "", text, flags=re.M | re.S)
  return {build.slug(heading) for heading in _HEADING.findall(without_code)}


def broken(page: str) -> list[str]:
  found = []
  for link in links((ROOT / page).read_text(encoding="utf-8")):
    path, _, anchor = link.partition("#")
    if "://" in path:
      continue
    target = ROOT / page
    if path:
      target = ROOT / os.path.normpath(os.path.join(os.path.dirname(page), path))
    if not target.exists():
      found.append(f"{page}: {link}: there is no such file")
    elif anchor and anchor not in anchors(target.read_text(encoding="utf-8")):
      found.append(f"{page}: {link}: there is no such heading")
  return found


@pytest.mark.parametrize("page", _PAGES)
def test_links_lead_somewhere(page):
  assert not broken(page)


def test_links_and_headings_are_found():
  text = "# A `b`, c\n[x](y.md#z) `[no](code)`\n```\n[no](block)\n# no\n```\n"
  assert links(text) == ["y.md#z"]
  assert anchors(text) == {"a-b-c"}


def test_a_link_that_leads_nowhere_is_found(monkeypatch, tmp_path):
  (tmp_path / "a.md").write_text("# A\n[1](b.md) [2](#a) [3](#b) [4](a.md#a)\n")
  monkeypatch.setattr("tests.docs.links_test.ROOT", tmp_path)
  assert broken("a.md") == [
    "a.md: b.md: there is no such file",
    "a.md: #b: there is no such heading",
  ]


def test_every_page_is_linked_from_the_readme():
  linked = set(links((ROOT / "README.md").read_text(encoding="utf-8")))
  docs = {f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md")}
  assert docs <= linked | {f"docs/{p}" for p in linked}


def test_every_page_is_in_the_navigation():
  listed = {name for names in build._NAVIGATION.values() for name in names}
  assert {path.stem for path in (ROOT / "docs").glob("*.md")} <= listed
  assert {path.stem for path in ROOT.glob("*.md")} <= listed


def test_html_pages_keep_their_places():
  assert build.html_name("README.md") == "index.html"
  assert build.html_name("docs/keras.md") == "docs/keras.html"
  assert build._html_link("../README.md#install") == "../index.html#install"
  assert build._html_link("https://a.b/c.md") == "https://a.b/c.md"


def test_broken_links_of_html_are_found(tmp_path):
  (tmp_path / "docs").mkdir()
  (tmp_path / "index.html").write_text('<h1 id="a"></h1><img src="no.svg">')
  (tmp_path / "docs/b.html").write_text(
    '<a href="../index.html#a">1</a><a href="../index.html#b">2</a><a href="#c">3</a>'
  )
  assert build.broken_links(tmp_path) == [
    "docs/b.html: ../index.html#b: there is no such anchor",
    "docs/b.html: #c: there is no such anchor",
    "index.html: no.svg: there is no such file",
  ]
