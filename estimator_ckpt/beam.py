"""Converts or verifies thousands of model_dirs, as an Apache Beam pipeline.

    python -m estimator_ckpt.beam --input='gs://bucket/**/model_dir' --to=dual --runner=...
    python -m estimator_ckpt.beam verify --input=gs://bucket --fast --runner=...

Each model_dir is an element, which `estimator_ckpt.files.conversions` or
`estimator_ckpt.checkpoint.verify` works on, as in `estimator-ckpt convert` and `verify`.

Workers expand the patterns, not the launcher: they have the credentials and are close to
the store, and the job that is sent to a runner stays small whatever the number of
model_dirs. Elements are grouped by destination, so no two elements write to one place, and
a model_dir that two patterns match is worked on once.

A runner may try an element again. A conversion that was done is recognised and skipped, as
in a run that follows one that was killed.
"""

from __future__ import annotations

import argparse
import functools
import importlib
import logging
import os
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence

from estimator_ckpt import errors
from estimator_ckpt.bundle import files, paths
from estimator_ckpt.checkpoint.name_map import NameMap
from estimator_ckpt.cli import exit_statuses, terminal
from estimator_ckpt.cli.commands import convert as convert_command
from estimator_ckpt.cli.commands import verify as verify_command
from estimator_ckpt.files import conversions, selection
from estimator_ckpt.files.several import Outcome

TYPE_CHECKING = False
if TYPE_CHECKING:
  from typing import Any

PROGRAM = "python -m estimator_ckpt.beam"

_COMMANDS = ("convert", "verify")
_NAMESPACE = "estimator_ckpt"  # of the counters
_REPORT = "report.json"
# Findings that are printed of one path; the report has all of them.
_SHOWN = 20
# Their workers are on this machine, so they can write a file that this process reads.
_LOCAL_RUNNERS = ("FnApiRunner", "BundleBasedDirectRunner", "PrismRunner")
_FN_API_RUNNER = "apache_beam.runners.portability.fn_api_runner.FnApiRunner"
_logger = logging.getLogger(__name__)


def run(argv: Sequence[str] | None = None) -> int:
  """Runs a pipeline, and prints what became of each model_dir.

  Args:
    argv: the arguments, without the program's name; those of the process by default.

  Returns:
    The exit status; see `estimator_ckpt.cli.exit_statuses`.
  """
  try:
    return _run(list(sys.argv[1:] if argv is None else argv))
  except errors.CheckpointError as error:
    print(f"{PROGRAM}: error: {error}", file=sys.stderr)
    return exit_statuses.FAILED
  except KeyboardInterrupt:
    print(f"{PROGRAM}: error: interrupted", file=sys.stderr)
    return exit_statuses.INTERRUPTED


def _run(argv: list[str]) -> int:
  command = argv.pop(0) if argv and argv[0] in _COMMANDS else _COMMANDS[0]
  parser = _parser(command)
  args, rest = parser.parse_known_args(argv)
  try:
    import apache_beam
    from apache_beam.options import pipeline_options
  except ImportError as error:
    raise errors.OptionError(
      f"Apache Beam cannot be imported ({error}): pip install 'estimator-ckpt[beam]'"
    ) from None
  options = _beam_options(parser, rest)
  for place in ("input", "output", "report", "like"):
    setattr(args, place, _absolute(getattr(args, place, None)))
  work = _work(command, args)
  with tempfile.TemporaryDirectory() as directory:
    pipeline = apache_beam.Pipeline(options=options)
    report = args.report
    if report is None and type(pipeline.runner).__name__ in _LOCAL_RUNNERS:
      report = os.path.join(directory, _REPORT)
    _build(pipeline, command, args, work, report)
    result = pipeline.run()
    standard = options.view_as(pipeline_options.StandardOptions)
    if getattr(standard, "no_wait_until_finish", False):  # an option of newer versions
      print("The pipeline was started.")
      return exit_statuses.FINE
    state = result.wait_until_finish()
    if state not in (None, "DONE"):
      raise errors.CheckpointError(
        f"the pipeline ended in the state {state}; run again, it goes on from there"
      )
    found = _read_report(report)
  return _print(args, found, _counters(result))


def _parser(command: str) -> argparse.ArgumentParser:
  parser = argparse.ArgumentParser(
    prog=f"{PROGRAM} {command}",
    description=f"As `estimator-ckpt {command}`, of many model_dirs, as an Apache Beam"
    " pipeline. Options of Beam and of its runners are passed on: --runner,"
    " --direct_running_mode, --direct_num_workers, ...",
    allow_abbrev=False,
  )
  parser.add_argument(
    "--input",
    metavar="PATTERN|TREE",
    action="append",
    required=True,
    help="a pattern, as 'gs://bucket/**/model_dir', or a directory, for every model_dir"
    " in it and below it. May be repeated",
  )
  parser.add_argument(
    "--report",
    metavar="PATH",
    help="a JSON file to write, with what became of each model_dir; the workers and"
    " this machine have to reach it. Runners on this machine need none",
  )
  if command == "verify":
    verify_command.add_options(parser)
    return parser
  parser.add_argument(
    "--output",
    metavar="DIRECTORY",
    help="where to write; each model_dir gets the place there that it has below its"
    " pattern or tree. By default, model_dir_dual beside model_dir, for --to=dual",
  )
  convert_command.add_options(parser)
  return parser


def _beam_options(parser: argparse.ArgumentParser, flags: list[str]) -> Any:
  """Options for Beam: all flags that the parser does not know."""
  from apache_beam.options import pipeline_options

  options = pipeline_options.PipelineOptions(flags)
  own = [flag for flag in vars(parser)["_option_string_actions"] if flag[:2] == "--"]
  known = options.get_all_options()
  for flag in flags:
    name = flag.partition("=")[0]
    near = errors.nearest(name, own) if name.startswith("--") else None
    if near and name[2:].replace("no_", "", 1) not in known and name[2:] not in known:
      raise errors.OptionError(f"no flag {name}; did you mean {near}?")
  standard = options.view_as(pipeline_options.StandardOptions)
  if (standard.runner or "direct").lower() in ("direct", "directrunner"):
    # DirectRunner would download Prism, which knows no --direct_running_mode.
    standard.runner = _FN_API_RUNNER
  return options


def _absolute(path: Any) -> Any:
  """A path, or several, for workers in whatever directory."""
  if path is None:
    return None
  if isinstance(path, list):
    return [_absolute(each) for each in path]
  return path if "://" in path else os.path.abspath(path)


def _build(
  pipeline: Any, command: str, args: argparse.Namespace, work: Any, report: str | None
) -> None:
  """Makes the pipeline."""
  import apache_beam as beam

  expand = functools.partial(_expand, output=args.output, to=getattr(args, "to", None))
  found = (
    pipeline
    | "Inputs" >> beam.Create(args.input)
    | "ModelDirs" >> beam.FlatMap(expand)
    | "OneForEachPlace" >> beam.GroupByKey()
    | "Work" >> beam.FlatMap(functools.partial(_work_on, work=work))
  )
  if report is not None:
    write = functools.partial(_write_report, path=report, command=command)
    found | "All" >> beam.combiners.ToList() | "Report" >> beam.Map(write)


def _expand(
  path: str, output: str | None, to: str | None
) -> Iterator[tuple[str, tuple[str, str]]]:
  """Finds what an input means.

  Args:
    path: the input.
    output: the directory to write to; None for places beside the sources.
    to: the format to convert to; None to verify.

  Yields:
    A destination, or the path itself where nothing is written; and the path to work on
    with "", or the input with the reason why it cannot be worked on.
  """
  try:
    is_tree = not selection.is_pattern(path) and files.is_dir(path)
    selected = selection.select(path, recursive=is_tree)
    if to is None:
      found = [conversions.Conversion(each.path, each.path) for each in selected]
    elif output is None:
      found = conversions.conversions_beside(selected, to)
    else:
      found = conversions.conversions_into(selected, output)
  except errors.CheckpointError as error:
    yield path, (path, str(error))
    return
  for item in found:
    yield item.target, (item.source, "")


def _work_on(
  grouped: tuple[str, Iterable[tuple[str, str]]], work: Any
) -> Iterator[dict[str, Any]]:
  """Works on what goes to one destination.

  Args:
    grouped: the destination, and what `_expand` found for it.
    work: is called with a `Conversion`, and returns its outcome as JSON, and counts.

  Yields:
    What became of each, as JSON.
  """
  from apache_beam.metrics import Metrics

  target, values = grouped
  items = sorted(set(values))
  clash = ""
  if len(items) > 1:
    sources = " and ".join(source for source, _ in items)
    clash = (
      f"{sources} would all be written to {target}; convert them one after the other,"
      " each with an --output of its own"
    )
  for source, problem in items:
    problem = problem or clash
    item = conversions.Conversion(source, target)
    error = errors.OptionError(problem) if problem else None
    found, counts = work(item, error)
    for name, count in counts.items():
      Metrics.counter(_NAMESPACE, name).inc(count)
    if found.get("error") is not None:
      _logger.error("%s: %s", source, found["error"])
    yield found


def _work(command: str, args: argparse.Namespace) -> Any:
  """The function that works on one element."""
  if command == "verify":
    return functools.partial(_verify, fast=args.fast)
  options = convert_command.options_of(args)
  # A file of rules is on this machine.
  options["name_map"] = NameMap.parse(options["name_map"], "--name_map")
  options.update(data=args.data, overwrite=args.overwrite, dry_run=args.dry_run)
  return functools.partial(_convert, to=args.to, options=options)


def _convert(
  item: conversions.Conversion,
  error: errors.CheckpointError | None,
  to: str,
  options: dict[str, Any],
) -> tuple[dict[str, Any], dict[str, int]]:
  if error is None:
    try:
      done = conversions.convert_unless_done(item, to, **options)
      outcome = Outcome(item, done)
    except errors.CheckpointError as raised:
      error = raised
  if error is not None:
    outcome = Outcome(item, error=error)
  found = convert_command.outcome_json(outcome, options["dry_run"])
  counts = {found["result"].replace(" ", "_"): 1}
  if found["report"] is not None:
    # Names and keys of each of thousands of checkpoints are too much for one report.
    checkpoints = [
      {name: each[name] for name in ("target", "data_bytes", "data_files", "notes")}
      for each in found["report"]["checkpoints"]
    ]
    found["report"] = {**found["report"], "checkpoints": checkpoints}
    counts["checkpoints"] = len(checkpoints)
    for each in checkpoints:
      counts["data_bytes"] = counts.get("data_bytes", 0) + each["data_bytes"]
      for how in each["data_files"]:
        name = f"data_files_{how}".replace(" ", "_")
        counts[name] = counts.get(name, 0) + 1
  return found, counts


def _verify(
  item: conversions.Conversion, error: errors.CheckpointError | None, fast: bool
) -> tuple[dict[str, Any], dict[str, int]]:
  from estimator_ckpt.checkpoint.verify import verify

  if error is None:
    try:
      outcome = Outcome(item.source, (verify(item.source, fast=fast),))
    except errors.CheckpointError as raised:
      error = raised
  if error is not None:
    outcome = Outcome(item.source, error=error)
    return verify_command.outcome_json(outcome, fast), {"not_verified": 1}
  found = verify_command.outcome_json(outcome, fast)
  return found, {
    "sound" if found["ok"] else "errors": 1,
    "checkpoints": len(found["checkpoints"]),
    "tensors": found["tensors"],
    "bytes_read": found["bytes_read"],
  }


def _write_report(found: list[dict[str, Any]], path: str, command: str) -> None:
  import json

  found.sort(key=lambda each: each.get("source") or each["path"])
  is_conversion = command == "convert"
  value = convert_command.several_json(found) if is_conversion else {"reports": found}
  directory = paths.parent(path)
  if directory:
    files.mkdirs(directory)
  files.write_atomic(path, json.dumps(value, indent=2).encode())


def _read_report(path: str | None) -> dict[str, Any] | None:
  """What a pipeline reported; None where this machine does not see it."""
  import json

  if path is None:
    return None
  try:
    return json.loads(files.read(path))
  except errors.CheckpointNotFoundError:
    return None


def _counters(result: Any) -> dict[str, int]:
  """The counters of a pipeline; none where its runner has none."""
  try:
    counters = result.metrics().query()["counters"]
  except NotImplementedError:
    return {}
  return {
    counter.key.metric.name: counter.result
    for counter in counters
    if counter.key.metric.namespace == _NAMESPACE
  }


def _print(
  args: argparse.Namespace, report: dict[str, Any] | None, counters: dict[str, int]
) -> int:
  """Prints what became of each model_dir, as far as it is known here."""
  if report is None:
    return _print_counters(counters)
  is_conversion = "conversions" in report
  found = report["conversions"] if is_conversion else report["reports"]
  if is_conversion:
    status = convert_command.several_status(found)
    if not args.json:
      convert_command.print_several(found, [each["source"] for each in found])
  else:
    status = verify_command.several_status(found)
    if not args.json:
      terminal.print_lines(_verified(found))
      verify_command.print_several(found)
  if args.json:
    terminal.print_json(report)
  return status


def _print_counters(counters: dict[str, int]) -> int:
  if not counters:
    raise errors.OptionError(
      "the runner gives no counters, so it is not known what became of the model_dirs;"
      " --report=PATH is a file that says so"
    )
  rows = [[name.replace("_", " "), f"{n:,}"] for name, n in sorted(counters.items())]
  columns = [terminal.Column("counter"), terminal.Column("count", right=True)]
  terminal.print_lines(terminal.format_table(columns, rows, terminal.width()))
  if counters.get("failed") or counters.get("not_verified"):
    return exit_statuses.FAILED
  return exit_statuses.NO if counters.get("errors") else exit_statuses.FINE


def _verified(found: list[dict[str, Any]]) -> Iterator[str]:
  """Lines that say what was found, and why a path was not verified."""
  for each in found:
    if "error" in each:
      text = each["error"]
      yield text if text.startswith(each["path"]) else f"{each['path']}: {text}"
      continue
    findings = each["findings"]
    for finding in findings[:_SHOWN]:
      key = "" if finding["key"] is None else f" {finding['key']!r}:"
      place = f"{finding['file']} [{finding['code']}]"
      yield terminal.printable(
        f"{finding['severity']}: {place}{key} {finding['message']}"
      )
    if len(findings) > _SHOWN:
      yield f"... and {len(findings) - _SHOWN:,} more of {each['path']}"


if __name__ == "__main__":
  # Workers import its functions by the module's name, which is not `__main__`.
  sys.exit(importlib.import_module("estimator_ckpt.beam").run())
