"""The blocks of code of a Markdown page, in order. Needs only the standard library.

A block that is not to run says so behind its language:
```python no-run

Other words there say what the page's own test does with the block: the file that it is, or
the environment that it runs in.
```python job.py
```bash tf115

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

  language: str  # `python`, `bash` or `diff`
  line: int  # the number of the first line of code in the page
  code: str
  runs: bool = True
  output: str | None = None  # the output, if the page shows it
  words: tuple[str, ...] = ()  # the words behind the language, but `no-run`


def blocks(text: str) -> list[Block]:
  """The blocks of Python, of shell and of changes to a file that a page has."""
  found: list[Block] = []
  end = None  # the block whose output may come next
  for match in _BLOCK.finditer(text):
    language, flags, code = match.groups()
    if language in ("python", "bash", "diff"):
      line = text.count("\n", 0, match.start(3)) + 1
      words = tuple(word for word in flags.split() if word != "no-run")
      runs = "no-run" not in flags.split()
      found.append(Block(language, line, code, runs, words=words))
      end = match.end()
      continue
    if language == "text" and end is not None and not text[end : match.start()].strip():
      found[-1] = found[-1]._replace(output=code)
    end = None
  return found
