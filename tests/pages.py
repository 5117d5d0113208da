"""The blocks of code of a Markdown page, in its order. Needs nothing but Python.

A block that is not to run says so behind its language:
```python no-run

A block of text right behind a block of code is what that code prints. `...` in it
stands for anything:
```text
"""

from __future__ import annotations

import re
from typing import NamedTuple

_BLOCK = re.compile(r"^```(\w*)([^\n`]*)\n(.*?)^```[ \t]*$", re.MULTILINE | re.DOTALL)


class Block(NamedTuple):
  """A block of code."""

  language: str  # python or bash
  line: int  # of the block's first line of code
  code: str
  runs: bool = True
  output: str | None = None  # what it prints, if the page says so


def blocks(text: str) -> list[Block]:
  """The Python and shell blocks of a page."""
  found: list[Block] = []
  end = None  # of a block whose output may come next
  for match in _BLOCK.finditer(text):
    language, flags, code = match.groups()
    if language in ("python", "bash"):
      line = text.count("\n", 0, match.start(3)) + 1
      found.append(Block(language, line, code, "no-run" not in flags.split()))
      end = match.end()
      continue
    if language == "text" and end is not None and not text[end : match.start()].strip():
      found[-1] = found[-1]._replace(output=code)
    end = None
  return found
