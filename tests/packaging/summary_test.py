"""CI's last line counts the tests that ran, and no others."""

from __future__ import annotations

import json

import pytest

_CASES = {
  "passed": "<testcase name='a'/>",
  "failed": "<testcase name='b'><failure message='m'/></testcase>",
  "error": "<testcase name='c'><error message='m'/></testcase>",
  "skipped": "<testcase name='d'><skipped message='no Python 3.7'/></testcase>",
}
_FINISHED = {"id": {"finished": {}}, "finished": {"exitCode": {"name": "SUCCESS"}}}


@pytest.fixture
def summary(program, tmp_path, capsys):
  """`summary(events, code, *steps)` is the exit status and the last line."""
  module = program(".ci/summary.py")

  def main(events, code=0, *steps):
    path = tmp_path / "events.json"
    path.write_text("".join(json.dumps(event) + "\n" for event in events))
    exit_code = module.main([str(path), str(code), *steps])
    return exit_code, capsys.readouterr().out.splitlines()[-1]

  return main


@pytest.fixture
def target(tmp_path):
  """`target(label, status, *cases)` is the event of a target that has run."""

  def event(label, status, *cases, attempt=1):
    report = tmp_path / f"{label.strip('/').replace(':', '_')}_{attempt}.xml"
    body = "".join(_CASES[case] for case in cases)
    report.write_text(f"<testsuites><testsuite>{body}</testsuite></testsuites>")
    output = {"name": "test.xml", "uri": report.as_uri()}
    return {
      "id": {"testResult": {"label": label, "run": 1, "shard": 1, "attempt": attempt}},
      "testResult": {"status": status, "testActionOutput": [output]},
    }

  return event


def configured(label):
  return {
    "id": {"targetConfigured": {"label": label}},
    "configured": {"targetKind": "py_test rule", "testSize": "MEDIUM"},
  }


def test_cases_of_all_targets_are_added(summary, target):
  events = [
    target("//a:x", "PASSED", "passed", "passed", "skipped"),
    target("//a:y", "FAILED", "passed", "failed", "error"),
    _FINISHED,
  ]
  assert summary(events, 3) == (1, "3 passed, 2 failed, 1 skipped")


def test_steps_count_one_each(summary, target):
  events = [target("//a:x", "PASSED", "passed"), _FINISHED]
  assert summary(events, 0, "mypy=0") == (0, "2 passed, 0 failed, 0 skipped")
  assert summary(events, 0, "mypy=2") == (1, "1 passed, 1 failed, 0 skipped")


def test_target_that_timed_out_counts_a_failure(summary, target):
  events = [target("//a:x", "TIMEOUT"), target("//a:y", "PASSED", "passed"), _FINISHED]
  assert summary(events, 3) == (1, "1 passed, 1 failed, 0 skipped")


def test_target_without_any_case_counts_a_failure(summary, target):
  events = [target("//a:x", "PASSED"), target("//a:y", "PASSED", "passed"), _FINISHED]
  assert summary(events) == (1, "1 passed, 1 failed, 0 skipped")


def test_target_that_did_not_run_counts_a_failure(summary, target):
  events = [
    configured("//a:x"),
    configured("//a:y"),
    target("//a:x", "PASSED", "passed"),
    _FINISHED,
  ]
  assert summary(events, 1) == (1, "1 passed, 1 failed, 0 skipped")


def test_target_that_is_left_out_on_purpose_does_not_count(summary, target):
  left_out = configured("//:wheel_test")
  left_out["configured"]["tag"] = ["full"]
  events = [left_out, target("//a:x", "PASSED", "passed"), _FINISHED]
  assert summary(events) == (0, "1 passed, 0 failed, 0 skipped")


def test_last_attempt_of_a_flaky_target_counts(summary, target):
  events = [
    target("//a:x", "FAILED", "failed", attempt=1),
    target("//a:x", "PASSED", "passed", attempt=2),
    _FINISHED,
  ]
  assert summary(events) == (0, "1 passed, 0 failed, 0 skipped")


def test_failure_of_bazel_without_a_failed_target_counts(summary, target):
  events = [target("//a:x", "PASSED", "passed"), _FINISHED]
  assert summary(events, 1) == (1, "1 passed, 1 failed, 0 skipped")


def test_run_that_was_cut_short_fails(summary, target):
  assert summary([target("//a:x", "PASSED", "passed")]) == (
    1,
    "1 passed, 1 failed, 0 skipped",
  )


def test_no_test_at_all_fails(summary):
  assert summary([_FINISHED]) == (1, "0 passed, 1 failed, 0 skipped")


def test_missing_event_file_fails(program, tmp_path, capsys):
  module = program(".ci/summary.py")
  assert module.main([str(tmp_path / "none.json"), "0"]) == 1
  assert capsys.readouterr().out.endswith("0 passed, 1 failed, 0 skipped\n")


def test_reasons_of_skipped_tests_are_said(program, target, tmp_path, capsys):
  module = program(".ci/summary.py")
  path = tmp_path / "events.json"
  events = [target("//a:x", "PASSED", "passed", "skipped", "skipped"), _FINISHED]
  path.write_text("".join(json.dumps(event) + "\n" for event in events))
  assert module.main([str(path), "0"]) == 0
  assert "summary: 2 skipped: no Python 3.7" in capsys.readouterr().out
