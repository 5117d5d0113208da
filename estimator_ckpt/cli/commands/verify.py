"""`estimator-ckpt verify`: checks what TensorFlow believes without looking."""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator

from estimator_ckpt.cli import terminal
from estimator_ckpt.cli.exit_statuses import FAILED, FINE, NO
from estimator_ckpt.errors import CheckpointError

TYPE_CHECKING = False
if TYPE_CHECKING:
  from typing import Any

  from estimator_ckpt.checkpoint.verify.findings import Finding, VerifyReport

HELP = "Checks a checkpoint, or all of a directory, down to every tensor's checksum."
EXAMPLES = """\
estimator-ckpt verify model_dir
estimator-ckpt verify model_dir/model.ckpt-300 --fast
estimator-ckpt verify model_dir other_dir/model.ckpt-9
estimator-ckpt verify experiments --recursive --fast
estimator-ckpt verify model_dir --json | jq '.findings[].code'
"""

# Findings of one kind. A damaged file may have one for each tensor in it.
_SHOWN = 20


def add_arguments(parser: argparse.ArgumentParser) -> None:
  """Adds this command's flags to its parser."""
  parser.description = f"{parser.description}\nWarnings do not count as errors."
  parser.add_argument(
    "paths", metavar="PATH", nargs="+", help="a checkpoint, or a directory of them"
  )
  parser.add_argument(
    "--recursive",
    action="store_true",
    help="check every directory below PATH that has checkpoints",
  )
  parser.add_argument(
    "--fast",
    action="store_true",
    help="do not read the tensors: check the index and the files' sizes only",
  )
  parser.add_argument("--json", action="store_true", help="print JSON")


def run(args: argparse.Namespace) -> int:
  """Prints what was found.

  Args:
    args: the parsed flags.

  Returns:
    The exit status: `NO` if there is an error, `FAILED` if a path was not verified.
  """
  from estimator_ckpt.checkpoint.verify import verify
  from estimator_ckpt.files.checkpoints import checkpoint_directories

  paths = args.paths
  if args.recursive:
    paths = [below for path in paths for below in checkpoint_directories(path)]
  reports = []
  failures = []
  for path in paths:
    begin = time.monotonic()
    with terminal.ProgressBar("verifying") as bar:
      try:
        report = verify(path, fast=args.fast, progress=bar.update)
      except CheckpointError as error:
        if len(paths) == 1:
          raise
        # One path that cannot be verified does not hide the others.
        failures.append((path, str(error)))
        if not args.json:
          print(
            f"{terminal.printable(path)}\nnot verified: {terminal.printable(str(error))}\n"
          )
        continue
    reports.append(report)
    if not args.json:
      if len(paths) > 1:
        print(terminal.printable(path))
      terminal.print_lines(_lines(report, args.fast, time.monotonic() - begin))
      if len(paths) > 1:
        print()
  if args.json:
    described = [_json(report, args.fast) for report in reports]
    described += [{"path": path, "error": error} for path, error in failures]
    several = args.recursive or len(args.paths) > 1
    terminal.print_json({"reports": described} if several else described[0])
  elif len(paths) > 1:
    sound = sum(report.ok for report in reports)
    print(f"{sound:,} of {terminal.plural(len(paths), 'path')} sound.")
  if failures:
    return FAILED
  return FINE if all(report.ok for report in reports) else NO


def _lines(report: VerifyReport, fast: bool, seconds: float) -> Iterator[str]:
  by_code: dict[str, list[Finding]] = {}
  for finding in report.findings:
    by_code.setdefault(finding.code, []).append(finding)
  for code, findings in by_code.items():
    for finding in findings[:_SHOWN]:
      yield from _finding_lines(finding)
    if len(findings) > _SHOWN:
      yield f"... and {len(findings) - _SHOWN:,} more [{code}]; --json has all of them"
  if by_code:
    yield ""
  yield _verdict(report)
  what = f"{terminal.plural(len(report.checkpoints), 'checkpoint')}"
  what += f", {terminal.plural(report.tensors, 'tensor')}"
  if fast:
    yield f"{what}; checksums of tensors not verified (--fast)"
    return
  what += f", {terminal.human_bytes(report.bytes_read)} read"
  if seconds >= 1:
    rate = terminal.human_bytes(int(report.bytes_read / seconds))
    what += f" in {seconds:.1f} s ({rate}/s)"
  yield what


def _verdict(report: VerifyReport) -> str:
  errors = sum(finding.severity.value == "error" for finding in report.findings)
  warnings = len(report.findings) - errors
  if not report.findings:
    return terminal.style("Sound: nothing found.", "green")
  counts = [
    terminal.plural(count, noun)
    for count, noun in ((errors, "error"), (warnings, "warning"))
    if count
  ]
  text = ", ".join(counts) + ("." if errors else "; no error.")
  return terminal.style(text, "red" if errors else "yellow")


def _finding_lines(finding: Finding) -> Iterator[str]:
  """In a pipe, one line; on a terminal, as many lines as the finding takes."""
  if terminal.width() is None:
    yield terminal.printable(str(finding))
    return
  text = terminal.printable(finding.message)
  if finding.key is not None:
    text = f"{terminal.printable(repr(finding.key))}: {text}"
  severity = finding.severity.value
  word = terminal.style(f"{severity}:", "red" if severity == "error" else "yellow")
  yield f"{word} {terminal.printable(finding.file)} [{finding.code}]"
  yield from terminal.wrap(f"  {text}", indent=0)


def _json(report: VerifyReport, fast: bool) -> dict[str, Any]:
  return {
    "path": report.path,
    "ok": report.ok,
    "fast": fast,
    "checkpoints": list(report.checkpoints),
    "tensors": report.tensors,
    "bytes_read": report.bytes_read,
    "findings": [
      {
        "severity": finding.severity.value,
        "code": finding.code,
        "file": finding.file,
        "key": finding.key,
        "message": finding.message,
      }
      for finding in report.findings
    ],
  }
