from __future__ import annotations

import base64
import gzip
import hashlib
import json
import pathlib
import re

import pytest

from estimator_ckpt.errors import CheckpointExistsError
from estimator_ckpt.files.page import document

_ASSETS = pathlib.Path(document.__file__).parent / "assets"


def data_of(page: bytes):
  (packed,) = re.findall(rb'<script id="data"[^>]*>([^<]*)</script>', page)
  return json.loads(gzip.decompress(base64.b64decode(packed)))


def test_the_data_comes_out_as_it_went_in():
  data = {"sections": {"x": [1, None, "</script>", "\udc80", "שלום", "{{ data }}"]}}
  assert data_of(document.render("t", data)) == data


def test_nothing_of_the_data_stands_in_the_file():
  page = document.render("t", {"name": "</script><script>alert(1)</script>"})
  assert b"alert(1)" not in page
  assert page.count(b"<script") == page.count(b"</script>") == 2


@pytest.mark.parametrize(
  "title", ["<b>&amp;", "\udc80", "</title><script>", "{{ style }}"]
)
def test_a_title_is_text(title):
  page = document.render(title, {}).decode("ascii")
  (head,) = re.findall(r"<title>(.*?)</title>", page)
  assert "<" not in head
  assert page.count("<script") == 2


def test_equal_data_makes_equal_pages():
  assert document.render("t", {"a": 1}) == document.render("t", {"a": 1})


def test_the_policy_lets_nothing_in_but_what_is_there():
  page = document.render("t", {}).decode("ascii")
  (policy,) = re.findall(r'Content-Security-Policy" content="([^"]*)"', page)
  assert policy.startswith("default-src 'none';")
  for tag in ("script", "style"):
    (text,) = re.findall(rf"<{tag}>(.*?)</{tag}>", page, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
    assert f"{tag}-src 'sha256-{digest}'" in policy


def test_every_asset_is_used_and_plain():
  # Assets are ASCII: other bytes could change a script's hash or end the script early.
  names = {path.name for path in _ASSETS.iterdir()}
  assert names == {*document._SCRIPTS, *document._STYLES, "page.html"}
  for path in _ASSETS.iterdir():
    text = path.read_bytes().decode("ascii")
    assert "http" not in text.replace("http://www.w3.org/2000/svg", "").replace(
      "http-equiv", ""
    )
    if path.suffix == ".js":
      assert "</script" not in text
      assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|eval\(", text)


def test_a_page_takes_the_place_of_a_page(tmp_path):
  path = str(tmp_path / "page.html")
  document.write(path, document.render("one", {}))
  document.write(path, document.render("two", {"a": 2}))
  assert data_of(pathlib.Path(path).read_bytes()) == {"a": 2}
  assert [p.name for p in tmp_path.iterdir()] == ["page.html"]


@pytest.mark.parametrize("content", [b"", b"weights", b"<html></html>"])
def test_no_other_file_is_replaced(tmp_path, content):
  path = tmp_path / "model.ckpt-3.index"
  path.write_bytes(content)
  with pytest.raises(CheckpointExistsError, match="is no page of estimator-ckpt view"):
    document.write(str(path), document.render("t", {}))
  assert path.read_bytes() == content


def test_a_directory_is_no_target(tmp_path):
  with pytest.raises(CheckpointExistsError, match="a directory; the page is one file"):
    document.check_target(str(tmp_path))
