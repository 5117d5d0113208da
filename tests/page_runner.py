"""Runs the blocks of a page as the page's reader would.

The blocks run from the first to the last in one directory; the Python blocks run in one
process. In the shell, `estimator-ckpt` and
`./bazelw run //estimator_ckpt/examples:NAME` start the code under test.
"""

from __future__ import annotations

import contextlib
import doctest
import io
import os
import pathlib
import subprocess
import sys

import pytest

from tests import pages

ROOT = pathlib.Path(os.path.abspath(__file__)).parent.parent

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
_OUTPUT = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


class Page:
  """A page, and the directory in which its blocks run.

  Args:
    path: the page.
    directory: an empty directory for the blocks.
  """

  def __init__(self, path: pathlib.Path, directory: pathlib.Path):
    self._path = path
    self._directory = directory
    self._namespace: dict[str, object] = {"__name__": "page"}
    for name, script in _PROGRAMS.items():
      program = directory / name
      program.write_text("#!/bin/bash\n" + script.format(python=sys.executable))
      program.chmod(0o755)
    # Files of a checkout that flags of the examples name.
    (directory / "testdata").symlink_to(ROOT / "testdata")

  def run(self, block: pages.Block) -> None:
    """Runs a block, and compares its output with the page."""
    run = self._python if block.language == "python" else self._shell
    printed = run(block)
    if block.output is not None:
      as_said = doctest.OutputChecker().check_output(block.output, printed, _OUTPUT)
      assert as_said, f"{self._where(block)} prints:\n{printed}"

  def _where(self, block: pages.Block) -> str:
    kind = "shell " if block.language == "bash" else ""
    return f"{self._path.name}, {kind}block at line {block.line}"

  def _python(self, block: pages.Block) -> str:
    # The empty lines give the lines of a traceback the numbers of the page.
    code = compile("\n" * (block.line - 1) + block.code, str(self._path), "exec")
    printed = io.StringIO()
    with pytest.MonkeyPatch.context() as patch:
      patch.chdir(self._directory)
      with contextlib.redirect_stdout(printed):
        exec(code, self._namespace)
    return printed.getvalue()

  def _shell(self, block: pages.Block) -> str:
    path = [str(self._directory), os.environ["PATH"]]
    done = subprocess.run(
      ["bash", "-euxo", "pipefail", "-c", block.code],
      cwd=self._directory,
      env={
        **os.environ,
        "PATH": os.pathsep.join(path),
        "PYTHONPATH": os.pathsep.join([str(ROOT), *filter(None, sys.path)]),
      },
      stdin=subprocess.DEVNULL,
      capture_output=True,
      text=True,
      check=False,
    )
    said = f"{self._where(block)}:\n{done.stdout}{done.stderr}"
    assert done.returncode == 0, said
    return done.stdout
