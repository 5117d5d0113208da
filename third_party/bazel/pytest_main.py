"""Runs pytest on one file, as the program of one Bazel test.

pytest is a child process. A test that ends its process early, by os._exit(0) say, ends
the child before pytest has written its report; without a report that names a test,
there is no pass.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ElementTree

NO_TESTS_COLLECTED = 5  # pytest's exit code


def reported_cases(report: str) -> int:
  """The number of test cases in a JUnit report; 0 when it is missing or cut short."""
  try:
    return sum(1 for _ in ElementTree.parse(report).getroot().iter("testcase"))
  except (OSError, ElementTree.ParseError):
    return 0


def child_environment(scratch: str) -> dict[str, str]:
  """What pytest and its tests get to see: a home of their own, above all."""
  environ = dict(os.environ)
  environ.update(
    HOME=scratch,
    TMPDIR=scratch,
    PYTHONNOUSERSITE="1",
    # Bazel's repositories lie beside this one.
    ESTIMATOR_CKPT_ENVIRONMENTS=os.path.dirname(os.getcwd()),
  )
  return environ


def main() -> int:
  """Runs pytest and gives the exit code of the test."""
  scratch = os.environ.get("TEST_TMPDIR") or tempfile.mkdtemp()
  report = os.environ.get("XML_OUTPUT_FILE") or os.path.join(scratch, "report.xml")
  command = [sys.executable, "-m", "pytest", "-v", "-ra", "-p", "no:cacheprovider"]
  command += ["-c", "pyproject.toml", "--rootdir=.", "--junitxml=" + report]
  seconds = os.environ.get("TEST_TIMEOUT")
  if seconds:  # says where a test hangs, before Bazel ends it
    command += ["-o", f"faulthandler_timeout={int(seconds) * 0.9:.0f}"]
  selected = os.environ.get("TESTBRIDGE_TEST_ONLY")  # bazel test --test_filter=...
  if selected:
    command += ["-k", selected]
  code = subprocess.call(command + sys.argv[1:], env=child_environment(scratch))
  if code == NO_TESTS_COLLECTED and selected:
    return 0
  if code == NO_TESTS_COLLECTED:
    print("pytest_main: there is no test in this file: a failure", file=sys.stderr)
  elif code == 0 and not reported_cases(report):
    print("pytest_main: pytest left no report: a failure", file=sys.stderr)
    return 1
  return code if code >= 0 else 128 - code


if __name__ == "__main__":
  sys.exit(main())
