"""The data of a page about a warm start: what `warm_start.json` says, and near misses."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from estimator_ckpt import errors
from estimator_ckpt.bundle import files

REPORT_FILE = "warm_start.json"

# Names are compared with each other, which takes long for many.
_MOST_COMPARED = 200
_FIELDS = ("checkpoint", "started", "left_in_graph", "left_in_checkpoint", "problems")


def read_report(path: str) -> dict[str, Any]:
  """Reads the report that a training job writes about its warm start.

  Args:
    path: the file `warm_start.json`.

  Returns:
    Its fields, as `estimator-ckpt plan-warm-start --json` has them.

  Raises:
    CheckpointNotFoundError: there is no such file.
    CorruptCheckpointError: the file is something else.
    CheckpointIOError: the file system refused.
  """
  data = files.read(path)
  try:
    report = json.loads(data)
    lacks = [field for field in _FIELDS if field not in report]
    rows = [*report["started"], *report["left_in_graph"], *report["left_in_checkpoint"]]
    fine = not lacks and all(isinstance(row, dict) for row in rows)
  except (ValueError, TypeError, KeyError) as error:
    raise errors.CorruptCheckpointError(
      f"{path}: no report of a warm start: {type(error).__name__}: {error}"
    ) from error
  if not fine:
    raise errors.CorruptCheckpointError(
      f"{path}: no report of a warm start; it lacks {', '.join(lacks) or 'rows'}"
    )
  return report


def warm_start_section(report: dict[str, Any]) -> dict[str, Any]:
  """The data about a warm start.

  Args:
    report: what `read_report` gave.

  Returns:
    The report. Each variable that was left in the graph has `nearest` too: of the tensors
    that were not used and have its type and shape, the one with the nearest name.
  """
  section = {field: report[field] for field in _FIELDS}
  left = section["left_in_graph"]
  near = _nearest(left, section["left_in_checkpoint"])
  section["left_in_graph"] = [
    {**row, "nearest": nearest} for row, nearest in zip(left, near)
  ]
  return section


def _nearest(
  wanted: Sequence[dict[str, Any]], unused: Sequence[dict[str, Any]]
) -> list[str | None]:
  by_kind: dict[str, list[str]] = {}
  for row in unused:
    by_kind.setdefault(_kind(row), []).append(str(row.get("name", "")))
  found: list[str | None] = []
  for number, row in enumerate(wanted):
    name = str(row.get("name", ""))
    same_kind = by_kind.get(_kind(row), []) if number < _MOST_COMPARED else []
    # One of its own name was not overlooked, but not asked for.
    found.append(errors.nearest(name, [each for each in same_kind if each != name]))
  return found


def _kind(row: dict[str, Any]) -> str:
  return f"{row.get('dtype')} {row.get('shape')}"
