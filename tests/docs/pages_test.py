"""Every block of code in the pages of docs/ runs, and prints the page's output.

`//tests/interop:walk_through_test` runs the blocks that need another TensorFlow.
"""

from __future__ import annotations

import functools

import pytest

from tests.page_runner import ROOT, Page
from tests.pages import Block, blocks

_PAGES = sorted((ROOT / "docs").glob("*.md"))
_BLOCKS = [
  pytest.param(page, block, id=f"{page.name} line {block.line}")
  for page in _PAGES
  for block in blocks(page.read_text(encoding="utf-8"))
  if block.runs and not block.words  # Others have a test of their own.
]


@pytest.fixture(scope="module")
def page_of(tmp_path_factory):
  """`page_of(path)` is a Page; the page's blocks run in it one after the other."""
  return functools.cache(lambda path: Page(path, tmp_path_factory.mktemp(path.stem)))


@pytest.mark.parametrize(("path", "block"), _BLOCKS)
def test_block_does_what_its_page_says(path, block, page_of):
  page_of(path).run(block)


def test_there_are_pages_with_blocks():
  assert len(_PAGES) > 5 and len(_BLOCKS) > 20


_TEXT = """\
# Title
```python
1 + 1
```
```python no-run
never()
```

```text
of nothing
```
```bash
ls
```
```
no output
```
```bash no-run
rm
```
```python
a = 2

b = 3
```

```text
what it prints
```
```text
of nothing
```
Words.
```text
of nothing
```
```diff job.py
+a = 1
```
"""


def test_blocks_and_what_they_print_are_found():
  assert blocks(_TEXT) == [
    Block("python", 3, "1 + 1\n"),
    Block("python", 6, "never()\n", False, "of nothing\n"),
    Block("bash", 13, "ls\n"),
    Block("bash", 19, "rm\n", False),
    Block("python", 22, "a = 2\n\nb = 3\n", True, "what it prints\n"),
    Block("diff", 38, "+a = 1\n", words=("job.py",)),
  ]


def test_a_block_that_fails_names_its_line_of_the_page(tmp_path):
  page = Page(ROOT / "README.md", tmp_path)
  with pytest.raises(ZeroDivisionError) as raised:
    page.run(Block("python", 7, "a = 0\n1 / a\n"))
  assert raised.traceback[-1].lineno + 1 == 8
  assert str(raised.traceback[-1].path) == str(ROOT / "README.md")
  with pytest.raises(AssertionError, match="README.md, shell block at line 9:\n.*fals"):
    page.run(Block("bash", 9, "false\ntrue\n"))


def test_a_block_that_prints_something_else_fails(tmp_path):
  page = Page(ROOT / "README.md", tmp_path)
  with pytest.raises(AssertionError, match="README.md, block at line 7 prints:\n2"):
    page.run(Block("python", 7, "print(2)\n", output="1\n"))
  with pytest.raises(AssertionError, match="README.md, shell block at line 9 prints"):
    page.run(Block("bash", 9, "echo 2\n", output="1\n"))
  page.run(Block("python", 7, "a = 2\n", output=None))
  page.run(Block("python", 8, "print(a, 0.1234)\n", output="2 0.1...\n"))
