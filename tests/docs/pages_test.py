"""Every block of code in the pages of docs/ runs, and prints what its page says."""

from __future__ import annotations

import pytest

from tests.docs.blocks import ROOT, Block, Page, blocks

_PAGES = sorted((ROOT / "docs").glob("*.md"))
_BLOCKS = [
  pytest.param(page, block, id=f"{page.name} line {block.line}")
  for page in _PAGES
  for block in blocks(page.read_text(encoding="utf-8"))
]


@pytest.fixture(scope="module")
def opened(tmp_path_factory):
  """The page that a test asks for, as its earlier blocks have left it."""
  pages: dict = {}

  def find(path):
    if path not in pages:
      pages[path] = tmp_path_factory.mktemp(path.stem)
      pages[path] = (pages[path], Page(path, pages[path]))
    return pages[path]

  return find


@pytest.mark.parametrize(("path", "block"), _BLOCKS)
def test_block_does_what_its_page_says(path, block, opened, monkeypatch):
  directory, page = opened(path)
  monkeypatch.chdir(directory)
  page.run(block)


_TEXT = """\
```python
print(1)
```

```text
1
```

Words.

```text
of nothing
```

```bash no-run
never
```

```bash
echo a
```
"""


def test_text_right_behind_code_is_what_it_prints():
  assert blocks(_TEXT) == [
    Block(2, "python", "print(1)\n", "1\n"),
    Block(20, "bash", "echo a\n"),
  ]


def test_a_page_that_is_wrong_fails_with_its_line(tmp_path):
  page = Page(tmp_path / "page.md", tmp_path)
  with pytest.raises(AssertionError, match="page.md, line 7: this was printed:\n2"):
    page.run(Block(7, "python", "print(2)\n", "1\n"))
  with pytest.raises(AssertionError, match="page.md, line 9: status 3"):
    page.run(Block(9, "bash", "exit 3\n"))
  with pytest.raises(ZeroDivisionError) as raised:
    page.run(Block(4, "python", "a = 0\n1 / a\n"))
  assert raised.traceback[-1].lineno + 1 == 5


def test_a_page_keeps_its_names_and_may_leave_out_what_varies(tmp_path):
  page = Page(tmp_path / "page.md", tmp_path)
  page.run(Block(1, "python", "a = 2\n"))
  page.run(Block(2, "python", "print(a, 0.1234)\n", "2 0.1...\n"))


def test_there_are_pages_with_blocks():
  assert len(_PAGES) > 5 and len(_BLOCKS) > 20
