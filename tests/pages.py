"""The blocks of code of a Markdown page, in its order. Needs nothing but Python.

A block that is not to run says so behind its language:
```python no-run
"""

from __future__ import annotations

import re
from typing import NamedTuple

_BLOCK = re.compile(r"^```(\w+)([^\n`]*)\n(.*?)^```[ \t]*$", re.MULTILINE | re.DOTALL)


class Block(NamedTuple):
  """A block of code."""

  language: str  # python or bash
  line: int  # of the block's first line of code
  code: str
  runs: bool = True


def blocks(text: str) -> list[Block]:
  """The Python and shell blocks of a page."""
  return [
    Block(
      match.group(1),
      text.count("\n", 0, match.start(3)) + 1,
      match.group(3),
      "no-run" not in match.group(2).split(),
    )
    for match in _BLOCK.finditer(text)
    if match.group(1) in ("python", "bash")
  ]
