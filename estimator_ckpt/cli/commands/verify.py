"""`estimator-ckpt verify`: checks what TensorFlow believes without looking."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator, Mapping, Sequence

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
  add_options(parser)


def add_options(parser: argparse.ArgumentParser) -> None:
  """Adds the flags that say how to verify."""
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
  found = [outcome_json(outcome, args.fast) for outcome in outcomes]
  if args.json:
    terminal.print_json({"reports": sorted(found, key=lambda each: "error" in each)})
    return several_status(found)
  for outcome in outcomes:
    print(terminal.printable(outcome.item))
    if outcome.error is not None:
      print(f"not verified: {terminal.printable(str(outcome.error))}")
    else:
      report, seconds = outcome.result
      terminal.print_lines(_lines(report, args.fast, seconds))
    print()
  print_several(found)
  return several_status(found)


def outcome_json(outcome: Outcome, fast: bool) -> dict[str, Any]:
  """What was found at one of several paths, for another program.

  Args:
    outcome: the item is the path, the result begins with the report.
    fast: whether tensors were left unread.
  """
  # One path that cannot be verified does not hide the others.
  if outcome.error is not None:
    return {"path": outcome.item, "error": str(outcome.error)}
  return _json(outcome.result[0], fast)


def several_status(found: Sequence[Mapping[str, Any]]) -> int:
  """The exit status of several: `FAILED` if a path was not verified, `NO` for an error.

  Args:
    found: what `outcome_json` says of each.
  """
  if any("error" in each for each in found):
    return FAILED
  return FINE if all(each["ok"] for each in found) else NO


def print_several(found: Sequence[Mapping[str, Any]]) -> None:
  """Prints a line for each of several paths, and how many are sound.

  Args:
    found: what `outcome_json` says of each.
  """
  columns = [
    terminal.Column("path", elastic=True),
    terminal.Column("result"),
    terminal.Column("checkpoints", right=True),
    terminal.Column("tensors", right=True),
    terminal.Column("read", right=True),
  ]
  rows = []
  for each in found:
    if "error" in each:
      rows.append([each["path"], "not verified", "", "", ""])
      continue
    rows.append(
      [
        each["path"],
        "sound" if each["ok"] else "errors",
        f"{len(each['checkpoints']):,}",
        f"{each['tensors']:,}",
        terminal.human_bytes(each["bytes_read"]),
      ]
    )
  terminal.print_lines(terminal.format_table(columns, rows, terminal.width()))
  sound = sum(each.get("ok", False) for each in found)
  print(f"\n{sound:,} of {terminal.plural(len(found), 'path')} sound.")


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
