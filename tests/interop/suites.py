"""Runs test files under the TensorFlow of another environment, in one process.

Each file of tests/training, tests/warm_start, tests/cluster and tests/nothing_lost is in one
suite. A new file is in that of its directory, without a line here.
"""

from __future__ import annotations

import dataclasses
import os
import pathlib
import subprocess
import xml.etree.ElementTree as ElementTree
from collections.abc import Sequence

from tests.interop import readers

ROOT = readers.HERE.parent.parent


def _tests(directory: str, but: Sequence[str] = ()) -> tuple[str, ...]:
  """The test files of a directory, without those below it and without some of its own."""
  found = {f"{directory}/{path.name}" for path in (ROOT / directory).glob("*_test.py")}
  return tuple(sorted(found.difference(but)))


def _named(directory: str, *names: str) -> tuple[str, ...]:
  return tuple(f"{directory}/{name}_test.py" for name in names)


# Environments that train Estimators, besides that of 2.15, under which CI runs all tests.
# BUILD has a target for each.
TRAINERS = ("tf115", "tf204", "tf208", "tf211", "tf212")

WARM_START = _tests("tests/training/warm_start") + _tests("tests/warm_start")
MODELS = _named(
  "tests/training",
  "contrib",
  "decorators",
  "dtypes_and_names",
  "held_state",
  "objects",
  "objects_in_jobs",
  "partitioned",
  "partitioned_columns",
  "reference_variables",
  "stock",
)
SAVES = _tests("tests/training", but=MODELS)
FACADE = _named("tests", "facade", "flags", "train_digits")
# What holds under every TensorFlow that trains Estimators. A version is one more name of
# an environment for these files: `run(interpreter("tf208"), TRAINING, directory)`.
TRAINING = WARM_START + MODELS + SAVES + FACADE

CLUSTERS = _tests("tests/cluster")
# Commands on files, without a job.
OFFLINE = _named("tests/nothing_lost", "at_once", "damage", "hostile", "offline_crash")
# Jobs that are killed, signalled, refused by their disk, and read while they save.
CRASHES = _tests("tests/nothing_lost", but=OFFLINE)

# What CI runs under 1.15.5, in parts that take some minutes each; BUILD has a target for
# each. No name is in that of another part or of a file.
PARTS = {
  "models": MODELS,
  "saves_one": SAVES[::2],
  "saves_two": SAVES[1::2],
  "starts": WARM_START + FACADE,
  "clusters": CLUSTERS,
}

# For pytest: of a test that runs in each format, the case that writes both names and
# objects. CI has no time for all cases under 1.15.5; `each_tensorflow_test` has them.
DUAL_ALONE = ("--checkpoint_format=dual",)

# What the machine lacks, whatever TensorFlow runs there.
_LACKS_OF_MACHINES = (
  "needs strace",
  "no Python ",
  "root may write anywhere",
  "this machine ",
  "this user has one group",
)

# Less than Bazel's limit, so that the report shows the test that hung.
_SECONDS = int(os.environ.get("TEST_TIMEOUT", 900)) * 0.95


@dataclasses.dataclass(frozen=True)
class Suite:
  """How the tests of one process ended.

  Attributes:
    passed: names of tests that passed, by file.
    skipped: reasons of skipped tests, by file and name.
    failed: reports of failed tests, by file and name.
    output: the text that the process printed.
  """

  passed: dict[str, list[str]]
  skipped: dict[str, dict[str, str]]
  failed: dict[str, dict[str, str]]
  output: str

  def assert_passed(self, file: str, known_limits: str = "") -> None:
    """Fails unless the file has tests and all passed, or were skipped for a known reason.

    Args:
      file: the path that was given to `run`.
      known_limits: a text that has the reasons for which a test may be skipped, besides
        what a machine may lack. What counts of a reason is what follows its "has no "
        (what TensorFlow lacks).
    """
    reports = self.failed.get(file, {}).values()
    assert not reports, "\n\n".join(reports)
    skipped = self.skipped.get(file, {})
    unknown = {
      name: reason
      for name, reason in skipped.items()
      if not any(lack in reason for lack in _LACKS_OF_MACHINES)
      and (reason.rpartition("has no ")[2] not in known_limits or not known_limits)
    }
    assert not unknown, unknown
    ran = self.passed.get(file) or skipped
    assert ran, f"{file}: no test ran\n{self.output[-4000:]}"


def run(
  python: str,
  files: Sequence[str],
  directory: pathlib.Path,
  options: Sequence[str] = (),
) -> Suite:
  """Runs pytest once.

  Args:
    python: the interpreter of an environment that has it.
    files: paths below the repository, of files or directories.
    directory: for the report and for the tests' temporary files.
    options: more for pytest.

  Returns:
    How the tests ended.
  """
  report = directory / "report.xml"
  command = [python, "-m", "pytest", "-q", "-W", "ignore", "-p", "no:cacheprovider"]
  command += ["-c", "pyproject.toml", "--rootdir=.", f"--basetemp={directory / 'temp'}"]
  # This family of reports names the file of each case.
  command += ["-o", "junit_family=xunit1", f"--junitxml={report}", *options, *files]
  done = subprocess.run(
    command,
    cwd=ROOT,
    env=readers.environ(),
    stdin=subprocess.DEVNULL,
    stdout=subprocess.PIPE,
    stderr=subprocess.STDOUT,
    timeout=_SECONDS,
    check=False,
  )
  output = done.stdout.decode(errors="replace")
  assert report.exists(), f"pytest ended with {done.returncode}:\n{output[-9000:]}"
  suite = _read(report, output)
  # An error while collecting a file is a case too; an error of pytest itself is not.
  assert done.returncode == (1 if suite.failed else 0), output[-9000:]
  return suite


def _read(report: pathlib.Path, output: str) -> Suite:
  suite = Suite({}, {}, {}, output)
  for case in ElementTree.parse(report).getroot().iter("testcase"):
    file = case.get("file") or case.get("classname", "").replace(".", "/") + ".py"
    name = case.get("name", "")
    parts = {part.tag: part for part in case}
    for tag in ("failure", "error"):
      if tag in parts:
        text = f"{file}::{name}\n{parts[tag].text or parts[tag].get('message')}"
        suite.failed.setdefault(file, {})[name] = text
        break
    else:
      if "skipped" in parts:
        reason = parts["skipped"].get("message", "")
        if reason == "collection skipped":  # Of a whole file; the text says why.
          reason = parts["skipped"].text or reason
        suite.skipped.setdefault(file, {})[name] = reason
      else:
        suite.passed.setdefault(file, []).append(name)
  return suite
