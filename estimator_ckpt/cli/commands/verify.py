"""`estimator-ckpt verify`: checks what TensorFlow believes without looking."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator, Sequence

from estimator_ckpt.cli import arguments, terminal
from estimator_ckpt.cli.exit_statuses import FAILED, FINE, NO

TYPE_CHECKING = False
if TYPE_CHECKING:
  from typing import Any

  from estimator_ckpt.checkpoint.verify.findings import Finding, VerifyReport
  from estimator_ckpt.files.several import Outcome

HELP = "Checks a checkpoint, or all of a directory, down to every tensor's checksum."
EXAMPLES = """\
estimator-ckpt verify model_dir
estimator-ckpt verify model_dir/model.ckpt-300 --fast
estimator-ckpt verify model_dir other_dir/model.ckpt-9
estimator-ckpt verify experiments --recursive --fast
estimator-ckpt verify 'gs://bucket/**/model_dir' --fast
estimator-ckpt verify model_dir --json | jq '.findings[].code'
"""

# Findings of one kind. A damaged file may have one for each tensor in it.
_SHOWN = 20


def add_arguments(parser: argparse.ArgumentParser) -> None:
  """Adds this command's flags to its parser."""
  parser.description = "Warnings do not count as errors."
  parser.add_argument(
    "paths",
    metavar="PATH",
    nargs="+",
    help="a checkpoint, or a directory of them; or a pattern, as 'runs/*/model_dir'",
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

  if len(args.paths) > 1 or arguments.means_several(args.paths[0], args.recursive):
    return _verify_several(args)
  begin = time.monotonic()
  with terminal.ProgressBar("verifying") as bar:
    report = verify(args.paths[0], fast=args.fast, progress=bar.update)
  if args.json:
    terminal.print_json(_json(report, args.fast))
  else:
    terminal.print_lines(_lines(report, args.fast, time.monotonic() - begin))
  return FINE if report.ok else NO


def _verify_several(args: argparse.Namespace) -> int:
  from estimator_ckpt.checkpoint.verify import verify
  from estimator_ckpt.files import several
  from estimator_ckpt.files.selection import select

  def work(
    path: str, progress: Callable[[int, int], None]
  ) -> tuple[VerifyReport, float]:
    begin = time.monotonic()
    report = verify(path, fast=args.fast, progress=progress)
    return report, time.monotonic() - begin

  paths = [each.path for path in args.paths for each in select(path, args.recursive)]
  with terminal.ProgressBar("verifying") as bar:
    outcomes = several.work_on(paths, work, bar.update)
  reports = [outcome.result[0] for outcome in outcomes if outcome.error is None]
  # One path that cannot be verified does not hide the others.
  failures = [outcome for outcome in outcomes if outcome.error is not None]
  if args.json:
    described = [_json(report, args.fast) for report in reports]
    described += [{"path": each.item, "error": str(each.error)} for each in failures]
    terminal.print_json({"reports": described})
  else:
    for outcome in outcomes:
      print(terminal.printable(outcome.item))
      if outcome.error is not None:
        print(f"not verified: {terminal.printable(str(outcome.error))}")
      else:
        report, seconds = outcome.result
        terminal.print_lines(_lines(report, args.fast, seconds))
      print()
    terminal.print_lines(_overview(outcomes))
    sound = sum(report.ok for report in reports)
    print(f"\n{sound:,} of {terminal.plural(len(paths), 'path')} sound.")
  if failures:
    return FAILED
  return FINE if all(report.ok for report in reports) else NO


def _overview(outcomes: Sequence[Outcome]) -> Iterator[str]:
  """A line for each of several paths."""
  columns = [
    terminal.Column("path", elastic=True),
    terminal.Column("result"),
    terminal.Column("checkpoints", right=True),
    terminal.Column("tensors", right=True),
    terminal.Column("read", right=True),
  ]
  rows = []
  for outcome in outcomes:
    if outcome.error is not None:
      rows.append([outcome.item, "not verified", "", "", ""])
      continue
    report = outcome.result[0]
    rows.append(
      [
        outcome.item,
        "sound" if report.ok else "errors",
        f"{len(report.checkpoints):,}",
        f"{report.tensors:,}",
        terminal.human_bytes(report.bytes_read),
      ]
    )
  return terminal.format_table(columns, rows, terminal.width())


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
