"""The blocks of code of a Markdown page, in order. Needs only the standard library.

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

  language: str  # `python` or `bash`
  line: int  # the number of the first line of code in the page
  code: str
  runs: bool = True
  output: str | None = None  # the output, if the page shows it


def blocks(text: str) -> list[Block]:
  """The Python and shell blocks of a page."""
  found: list[Block] = []
  end = None  # the block whose output may come next
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
