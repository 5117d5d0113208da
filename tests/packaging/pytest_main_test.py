"""A Bazel test passes when pytest ran tests and none failed, and not otherwise."""

from __future__ import annotations

import os
import pathlib
import subprocess
import sys

import pytest

_ROOT = pathlib.Path(__file__).parent.parent.parent
_MAIN = _ROOT / "third_party" / "bazel" / "pytest_main.py"


@pytest.fixture
def run(tmp_path):
  """`run(code)` is the exit status and the output of a test file with `code`."""

  def main(code: str, **environ: str) -> tuple[int, str]:
    (tmp_path / "pyproject.toml").write_text(
      '[tool.pytest.ini_options]\npython_files = ["*_test.py"]\n'
    )
    (tmp_path / "some_test.py").write_text(code)
    inherited = ("TEST_", "TESTBRIDGE", "XML_OUTPUT_FILE", "PYTEST")
    clean = {k: v for k, v in os.environ.items() if not k.startswith(inherited)}
    done = subprocess.run(
      [sys.executable, str(_MAIN), "some_test.py"],
      cwd=tmp_path,
      env={**clean, "TEST_TMPDIR": str(tmp_path), **environ},
      stdout=subprocess.PIPE,
      stderr=subprocess.STDOUT,
      text=True,
      check=False,
    )
    return done.returncode, done.stdout

  return main


def test_passing_test_passes(run):
  assert run("def test_it(): pass")[0] == 0


def test_failing_test_fails(run):
  assert run("def test_it(): assert 0")[0] == 1


def test_skipped_test_passes_and_says_why(run):
  code, output = run("import pytest\ndef test_it(): pytest.skip('no Python 3.7')")
  assert code == 0
  assert "no Python 3.7" in output


def test_no_test_fails(run):
  code, output = run("def it(): pass")
  assert code == 5
  assert "there is no test in this file" in output


def test_error_in_import_fails(run):
  assert run("import no_such_module")[0] == 2


def test_process_that_ends_itself_fails(run):
  code, output = run("import os\ndef test_it(): os._exit(0)")
  assert code == 1
  assert "pytest left no report" in output


def test_process_that_is_killed_fails(run):
  code, _ = run(
    "import os, signal\ndef test_it(): os.kill(os.getpid(), signal.SIGKILL)"
  )
  assert code == 128 + 9


def test_filter_selects_and_may_select_nothing_here(run):
  two = "def test_one(): assert 0\ndef test_two(): pass"
  assert run(two, TESTBRIDGE_TEST_ONLY="two")[0] == 0
  assert run(two, TESTBRIDGE_TEST_ONLY="one")[0] == 1
  assert run(two, TESTBRIDGE_TEST_ONLY="three")[0] == 0


def test_report_goes_where_bazel_looks_for_it(run, tmp_path):
  report = tmp_path / "test.xml"
  assert run("def test_it(): pass", XML_OUTPUT_FILE=str(report))[0] == 0
  assert 'name="test_it"' in report.read_text()


def test_home_is_the_tests_own(run, tmp_path):
  code = f"import os\ndef test_it(): assert os.environ['HOME'] == {str(tmp_path)!r}"
  assert run(code)[0] == 0
