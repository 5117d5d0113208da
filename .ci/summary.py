"""Counts what one `bazel test` did, and ends with one line for all of CI.

usage: summary.py EVENTS BAZEL_EXIT_CODE [STEP=EXIT_CODE ...]

EVENTS is the file of --build_event_json_file. Test cases are counted in the test.xml
files that it names. A test target that did not pass counts one failure at least, and
so does a target that was to run and did not. Each STEP, something that ran beside the
tests, counts as one more, passed or failed.

The last line is `N passed, N failed, N skipped`; the exit code is 0 when nothing
failed, something passed, and Bazel says so too.
"""

from __future__ import annotations

import collections
import dataclasses
import json
import sys
import urllib.parse
import urllib.request
import xml.etree.ElementTree as ElementTree

_PASSING = ("PASSED", "FLAKY")


@dataclasses.dataclass
class Counts:
  """How many test cases ended in which way."""

  passed: int = 0
  failed: int = 0
  skipped: int = 0
  reasons: collections.Counter = dataclasses.field(default_factory=collections.Counter)

  def add(self, other: Counts) -> None:
    """Adds another count to this one."""
    self.passed += other.passed
    self.failed += other.failed
    self.skipped += other.skipped
    self.reasons += other.reasons

  def __str__(self) -> str:
    return f"{self.passed} passed, {self.failed} failed, {self.skipped} skipped"


def count_cases(report: str) -> Counts:
  """Counts the cases of a JUnit report.

  Args:
    report: its path.

  Returns:
    The counts; none at all when there is no readable report.
  """
  counts = Counts()
  try:
    root = ElementTree.parse(report).getroot()
  except (OSError, ElementTree.ParseError) as e:
    print(f"summary: {report}: {e}")
    return counts
  for case in root.iter("testcase"):
    children = {child.tag: child for child in case}
    if "failure" in children or "error" in children:
      counts.failed += 1
    elif "skipped" in children:
      counts.skipped += 1
      counts.reasons[children["skipped"].get("message", "no reason given")] += 1
    else:
      counts.passed += 1
  return counts


def count_target(result: dict) -> Counts:
  """Counts one run of a test target.

  Args:
    result: the event's `testResult`.

  Returns:
    Its counts. Whatever the report says, a target that failed has a failure, and so
    has one that reports no test.
  """
  counts = Counts()
  for output in result.get("testActionOutput", []):
    if output["name"] == "test.xml":
      path = urllib.parse.urlparse(output["uri"]).path
      counts.add(count_cases(urllib.request.url2pathname(path)))
  if result.get("status") not in _PASSING:
    counts.failed = max(counts.failed, 1)
  elif counts.passed + counts.failed + counts.skipped == 0:
    counts.failed = 1
  return counts


def count_events(lines) -> tuple[Counts, bool]:
  """Counts all test targets of a run.

  Args:
    lines: the lines of the event file.

  Returns:
    The counts, and whether the events tell how the run ended.
  """
  results, expected, complete = {}, set(), False
  for line in lines:
    event = json.loads(line)
    identity = event.get("id", {})
    if "testResult" in event:
      of = identity["testResult"]
      # A flaky test has several attempts. The last is the one that counts.
      results[of["label"], of.get("run"), of.get("shard")] = event["testResult"]
    elif "targetConfigured" in identity:
      configured = event.get("configured", {})
      # What --config=full runs is left out of the others on purpose.
      if configured.get("testSize") and "full" not in configured.get("tag", []):
        expected.add(identity["targetConfigured"]["label"])
    elif "testSummary" in event:
      expected.add(identity["testSummary"]["label"])
    elif "finished" in event:
      complete = True
  total = Counts()
  for key in sorted(results, key=str):
    counts = count_target(results[key])
    if counts.failed:
      print(f"summary: {key[0]}: {counts}")
    total.add(counts)
  for label in sorted(expected.difference(key[0] for key in results)):
    print(f"summary: {label}: did not run")
    total.failed += 1
  return total, complete


def main(arguments: list[str]) -> int:
  """Prints the counts and gives the exit code."""
  events, bazel_code, *steps = arguments
  try:
    with open(events, encoding="utf-8") as lines:
      total, complete = count_events(lines)
  except (OSError, ValueError) as e:
    print(f"summary: {events}: {e}")
    total, complete = Counts(), False
  if total.passed == 0 or not complete or (int(bazel_code) and not total.failed):
    print(f"summary: bazel test ended with {bazel_code}, and {total}")
    total.failed += 1
  for step in steps:
    name, _, code = step.rpartition("=")
    if int(code):
      print(f"summary: {name}: failed (exit {code})")
      total.failed += 1
    else:
      total.passed += 1
  for reason, times in sorted(total.reasons.items()):
    print(f"summary: {times} skipped: {reason}")
  print(total)
  return 1 if total.failed else 0


if __name__ == "__main__":
  sys.exit(main(sys.argv[1:]))
