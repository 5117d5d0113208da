"""The README's Python blocks run, from the first to the last, in one process.

A block that is not to run says so: ```python no-run
"""

from __future__ import annotations

import pathlib
import re
from typing import NamedTuple

import pytest

_README = pathlib.Path(__file__).parent.parent / "README.md"
_BLOCK = re.compile(r"^```python[ \t]*\n(.*?)^```[ \t]*$", re.MULTILINE | re.DOTALL)


class Block(NamedTuple):
  line: int  # of the block's first line of code
  code: str


def blocks(text: str) -> list[Block]:
  return [
    Block(text.count("\n", 0, match.start(1)) + 1, match.group(1))
    for match in _BLOCK.finditer(text)
  ]


def run(block: Block, namespace: dict[str, object]) -> None:
  # The empty lines make a traceback name the line of the README.
  code = compile("\n" * (block.line - 1) + block.code, str(_README), "exec")
  exec(code, namespace)


_BLOCKS = blocks(_README.read_text(encoding="utf-8")) if _README.exists() else []


@pytest.fixture(scope="module")
def namespace(tmp_path_factory):
  """What the blocks define; they run in a directory of their own."""
  with pytest.MonkeyPatch.context() as patch:
    patch.chdir(tmp_path_factory.mktemp("readme"))
    yield {"__name__": "readme"}


def test_only_python_blocks_that_are_to_run_are_found():
  text = (
    "# Title\n"
    "```python\n1 + 1\n```\n"
    "```python no-run\nnever()\n```\n"
    "```bash\nls\n```\n"
    "```python\na = 2\n\nb = 3\n```\n"
  )
  assert blocks(text) == [Block(3, "1 + 1\n"), Block(12, "a = 2\n\nb = 3\n")]


def test_a_failing_block_names_its_line_of_the_readme():
  with pytest.raises(ZeroDivisionError) as raised:
    run(Block(7, "a = 0\n1 / a\n"), {})
  assert raised.traceback[-1].lineno + 1 == 8
  assert str(raised.traceback[-1].path) == str(_README)


def test_the_readme_has_blocks_to_run():
  assert _BLOCKS


@pytest.mark.parametrize(
  "block", [pytest.param(b, id=f"line {b.line}") for b in _BLOCKS]
)
def test_block_runs(block, namespace):
  run(block, namespace)
