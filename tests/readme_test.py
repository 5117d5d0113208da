"""The README's Python blocks run, and the tests that its table names are there.

Blocks run from the first to the last, in one process. One that is not to run says so:
```python no-run
"""

from __future__ import annotations

import os
import pathlib
import re
import subprocess
import sys
from typing import NamedTuple

import pytest

_ROOT = pathlib.Path(os.path.abspath(__file__)).parent.parent
_README = _ROOT / "README.md"
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


_FORMATS = ("tf1", "tf2", "dual")
_NAMED = re.compile(r"`(test_\w+)(?:\[(\w+)(-\.\.\.)?\])?`")


class Named(NamedTuple):
  column: str  # the format whose cell it is in
  test: str
  parameter: str  # the first of its parameters, or "" where the table tells none
  more: bool  # whether it has more

  def is_one_of(self, ids: set[str]) -> bool:
    if not self.parameter:
      return any(i.partition("[")[0] == self.test for i in ids)
    if not self.more:
      return f"{self.test}[{self.parameter}]" in ids
    return any(i.startswith(f"{self.test}[{self.parameter}-") for i in ids)


def named_tests(text: str) -> list[Named]:
  """The tests in the table of what an Estimator can hold."""
  found = []
  table = text.partition("\n| what an Estimator holds |")[2].partition("\n\n")[0]
  for row in table.splitlines()[2:]:
    cells = row.strip("| ").split(" | ")
    assert len(cells) == 1 + len(_FORMATS), row
    for column, cell in zip(_FORMATS, cells[1:]):
      for test, parameter, more in _NAMED.findall(cell):
        found.append(Named(column, test, parameter, bool(more)))
  return found


@pytest.fixture(scope="module")
def ids():
  """What pytest collects from the files that have a test of the table."""
  tests = {named.test for named in named_tests(_README.read_text(encoding="utf-8"))}
  files = [
    str(path.relative_to(_ROOT))
    for path in sorted((_ROOT / "tests").rglob("*_test.py"))
    if tests & set(re.findall(r"^def (test_\w+)\(", path.read_text(), re.MULTILINE))
  ]
  command = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-W", "ignore"]
  command += ["-p", "no:cacheprovider", "-c", "pyproject.toml", "--rootdir=.", *files]
  done = subprocess.run(command, cwd=_ROOT, capture_output=True, text=True, check=False)
  assert done.returncode == 0, done.stdout + done.stderr
  return {line.partition("::")[2] for line in done.stdout.splitlines() if "::" in line}


def test_a_cell_names_a_test_of_its_format():
  text = (
    "\n| what an Estimator holds | tf1 | tf2 | dual |\n|---|---|---|---|\n"
    "| it | `test_a[tf1]` | `test_a[tf2-...]`, under its name | same |\n\n"
  )
  [first, second] = named_tests(text)
  assert first == Named("tf1", "test_a", "tf1", False)
  assert second == Named("tf2", "test_a", "tf2", True)
  assert first.is_one_of({"test_a[tf1]"}) and not first.is_one_of({"test_a[tf1-x]"})
  assert second.is_one_of({"test_a[tf2-x]"}) and not second.is_one_of({"test_a[tf1-x]"})


def test_the_table_names_tests_that_are_there(ids):
  named = named_tests(_README.read_text(encoding="utf-8"))
  assert len(named) > 50
  assert not [n for n in named if n.parameter not in ("", n.column)]
  assert not [n for n in named if not n.is_one_of(ids)]
