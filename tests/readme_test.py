"""The pages' blocks run, Python's and the shell's, and README's table names real tests.

The blocks of a page run from the first to the last in one directory of their own,
Python in one process. One that is not to run says so: ```bash no-run
In the shell, `estimator-ckpt` and `./bazelw run //estimator_ckpt/examples:NAME` start
what is tested here.
"""

from __future__ import annotations

import functools
import os
import pathlib
import re
import subprocess
import sys
from typing import NamedTuple

import pytest

from tests import pages

_ROOT = pathlib.Path(os.path.abspath(__file__)).parent.parent
_README = _ROOT / "README.md"
_PAGES = [p for p in (_README, *sorted((_ROOT / "docs").rglob("*.md"))) if p.exists()]

_PROGRAMS = {
  "estimator-ckpt": 'exec "{python}" -m estimator_ckpt "$@"',
  "bazelw": """
    case "$1 $2" in
      "run //estimator_ckpt/examples:"*) name="${{2#*:}}" ;;
      *) echo "not run here: ./bazelw $*; is the block no-run?" >&2; exit 1 ;;
    esac
    shift 2
    if [[ "${{1:-}}" == -- ]]; then shift; fi
    exec "{python}" -m "estimator_ckpt.examples.$name" "$@"
  """,
}


class Page(NamedTuple):
  """Where the blocks of a page run."""

  path: pathlib.Path
  directory: pathlib.Path
  namespace: dict[str, object]

  def run(self, block: pages.Block) -> None:
    if block.language == "python":
      # The empty lines make a traceback name the line of the page.
      code = "\n" * (block.line - 1) + block.code
      with pytest.MonkeyPatch.context() as patch:
        patch.chdir(self.directory)
        exec(compile(code, str(self.path), "exec"), self.namespace)
      return
    path = [str(self.directory), os.environ["PATH"]]
    done = subprocess.run(
      ["bash", "-euxo", "pipefail", "-c", block.code],
      cwd=self.directory,
      env={
        **os.environ,
        "PATH": os.pathsep.join(path),
        "PYTHONPATH": os.pathsep.join([str(_ROOT), *filter(None, sys.path)]),
      },
      stdin=subprocess.DEVNULL,
      stdout=subprocess.PIPE,
      stderr=subprocess.STDOUT,
      text=True,
      check=False,
    )
    where = f"{self.path.name}, shell block at line {block.line}"
    assert done.returncode == 0, f"{where}:\n{done.stdout}"


@pytest.fixture(scope="module")
def page_of(tmp_path_factory):
  """`page_of(path)` is where the blocks of that page run, one after the other."""

  @functools.cache
  def make(path: pathlib.Path) -> Page:
    directory = tmp_path_factory.mktemp(path.stem)
    for name, script in _PROGRAMS.items():
      program = directory / name
      program.write_text("#!/bin/bash\n" + script.format(python=sys.executable))
      program.chmod(0o755)
    # What the examples' flags name in a checkout.
    (directory / "testdata").symlink_to(_ROOT / "testdata")
    return Page(path, directory, {"__name__": "page"})

  return make


def test_only_blocks_that_are_to_run_run():
  text = (
    "# Title\n"
    "```python\n1 + 1\n```\n"
    "```python no-run\nnever()\n```\n"
    "```bash\nls\n```\n"
    "```\noutput\n```\n"
    "```bash no-run\nrm\n```\n"
    "```python\na = 2\n\nb = 3\n```\n"
  )
  assert pages.blocks(text) == [
    pages.Block("python", 3, "1 + 1\n"),
    pages.Block("python", 6, "never()\n", False),
    pages.Block("bash", 9, "ls\n"),
    pages.Block("bash", 15, "rm\n", False),
    pages.Block("python", 18, "a = 2\n\nb = 3\n"),
  ]


def test_a_failing_block_names_its_line_of_the_page(tmp_path):
  page = Page(_README, tmp_path, {})
  with pytest.raises(ZeroDivisionError) as raised:
    page.run(pages.Block("python", 7, "a = 0\n1 / a\n"))
  assert raised.traceback[-1].lineno + 1 == 8
  assert str(raised.traceback[-1].path) == str(_README)
  with pytest.raises(
    AssertionError, match="README.md, shell block at line 9:\n.*false"
  ):
    page.run(pages.Block("bash", 9, "false\ntrue\n"))


_BLOCKS = [
  pytest.param(path, block, id=f"{path.relative_to(_ROOT)} line {block.line}")
  for path in _PAGES
  for block in pages.blocks(path.read_text(encoding="utf-8"))
  if block.runs
]


def test_the_readme_has_blocks_of_both_kinds():
  found = [p.values[1].language for p in _BLOCKS if p.values[0] == _README]
  assert {"python", "bash"} == set(found)


@pytest.mark.parametrize("path, block", _BLOCKS)
def test_block_runs(path, block, page_of):
  page_of(path).run(block)


def test_what_does_not_run_here_runs_elsewhere():
  """Pip's commands are run by .ci/wheel.py, and Bazel's by .ci/debian."""
  for path in _PAGES:
    for block in pages.blocks(path.read_text(encoding="utf-8")):
      if block.language == "bash" and not block.runs:
        for line in filter(None, block.code.splitlines()):
          assert line.startswith(_ELSEWHERE), f"{path.name}: {line}"


_ELSEWHERE = ("pip ", "python3 -m venv ", "./bazelw test ", "apt-get ")


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
