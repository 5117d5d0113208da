"""The code blocks of a page, and running them as a reader would.

Blocks run from the first to the last, in one directory and one namespace. A block of
text right behind a block of code is what that code prints; `...` in it stands for
anything. A block that is not to run says so: ```python no-run
"""

from __future__ import annotations

import contextlib
import doctest
import io
import os
import pathlib
import re
import subprocess
import sys
from typing import NamedTuple

ROOT = pathlib.Path(os.path.abspath(__file__)).parent.parent.parent

_FENCE = re.compile(r"^```(\S*)[ \t]*(\S*)[ \t]*\n(.*?)^```[ \t]*$", re.M | re.S)
_FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


class Block(NamedTuple):
  line: int  # of the block's first line of code
  language: str
  code: str
  output: str | None = None  # what it prints, if the page says so


def blocks(text: str) -> list[Block]:
  """The blocks of a page that are to run."""
  found: list[Block] = []
  end = None  # of a block whose output may come next
  for match in _FENCE.finditer(text):
    language, flag, code = match.groups()
    if language == "text" and end is not None and not text[end : match.start()].strip():
      found[-1] = found[-1]._replace(output=code)
    end = None
    if language in ("python", "bash") and flag != "no-run":
      found.append(Block(text.count("\n", 0, match.start(3)) + 1, language, code))
      end = match.end()
  return found


class Page:
  """A page whose blocks are run one after the other.

  Args:
    path: the page.
    directory: where its blocks run; it has to be the current one.
  """

  def __init__(self, path: pathlib.Path, directory: pathlib.Path):
    self._path = path
    self._directory = directory
    self._namespace: dict[str, object] = {"__name__": path.stem}

  def run(self, block: Block) -> None:
    """Runs a block, and compares what it prints with what the page says."""
    run = self._python if block.language == "python" else self._bash
    printed = run(block)
    if block.output is not None:
      checker = doctest.OutputChecker()
      assert checker.check_output(block.output, printed, _FLAGS), (
        f"{self._path.name}, line {block.line}: this was printed:\n{printed}"
      )

  def _python(self, block: Block) -> str:
    # The empty lines make a traceback name the line of the page.
    code = compile("\n" * (block.line - 1) + block.code, str(self._path), "exec")
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
      exec(code, self._namespace)
    return printed.getvalue()

  def _bash(self, block: Block) -> str:
    programs = self._directory / ".programs"
    programs.mkdir(exist_ok=True)
    program = programs / "estimator-ckpt"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m estimator_ckpt "$@"\n')
    program.chmod(0o755)
    done = subprocess.run(
      ["bash", "-euo", "pipefail", "-c", block.code],
      cwd=self._directory,
      env={
        **os.environ,
        "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path]),
      },
      stdin=subprocess.DEVNULL,
      capture_output=True,
      text=True,
      timeout=300,
      check=False,
    )
    assert done.returncode == 0, (
      f"{self._path.name}, line {block.line}: status {done.returncode}\n"
      f"{done.stdout}{done.stderr}"
    )
    return done.stdout
