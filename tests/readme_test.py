"""README's blocks run, in Python and in the shell."""

from __future__ import annotations

import pytest

from tests import page_runner, pages

_README = page_runner.ROOT / "README.md"
_BLOCKS = pages.blocks(_README.read_text(encoding="utf-8"))

# .ci/wheel.py runs the pip commands, and .ci/debian runs Bazel's.
_ELSEWHERE = ("pip ", "python3 -m venv ", "./bazelw test ")


@pytest.fixture(scope="module")
def page(tmp_path_factory):
  return page_runner.Page(_README, tmp_path_factory.mktemp("readme"))


@pytest.mark.parametrize(
  "block", [pytest.param(b, id=f"line {b.line}") for b in _BLOCKS if b.runs]
)
def test_block_runs(block, page):
  page.run(block)


def test_it_has_blocks_of_both_kinds():
  assert {"python", "bash"} == {block.language for block in _BLOCKS if block.runs}


def test_what_does_not_run_here_runs_elsewhere():
  for block in _BLOCKS:
    if block.language == "bash" and not block.runs:
      for line in filter(None, block.code.splitlines()):
        assert line.startswith(_ELSEWHERE), line
