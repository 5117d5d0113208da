"""The data of a page about one checkpoint: its tensors in columns, and its trees.

A page of 100,000 tensors has to stay small. A text that follows from the name is a
number: in `paths`, 0 is `var_list/NAME` and 1 is the name itself, both escaped as in
keys; in `keys`, 0 is the name, and n+1 is the object key of the n-th path. A column
that repeats itself is `{"distinct": [...], "at": [...]}`: what there is, and for each row
the place in that.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple, Union

from estimator_ckpt.checkpoint import layout
from estimator_ckpt.checkpoint.roles import RoleKind
from estimator_ckpt.checkpoint.saved_tensor import SavedTensor
from estimator_ckpt.files import size_tree
from estimator_ckpt.files.page.hierarchy import flatten
from estimator_ckpt.files.page.statistics import Distribution
from estimator_ckpt.files.summary import CheckpointSummary
from estimator_ckpt.files.tensor_values import Value, ValueSummary

# What the page tells apart by colour, in its order, and the kinds that each is of.
CATEGORIES: tuple[tuple[str, tuple[RoleKind, ...]], ...] = (
  ("Weights", (RoleKind.VARIABLE,)),
  ("Optimizer slots", (RoleKind.SLOT,)),
  ("Other optimizer state", (RoleKind.NON_SLOT,)),
  ("Moving averages", (RoleKind.MOVING_AVERAGE,)),
  ("Step and other state", (RoleKind.GLOBAL_STEP, RoleKind.OTHER)),
)
_CATEGORY_OF = {
  kind: number for number, (_, kinds) in enumerate(CATEGORIES) for kind in kinds
}
_VALUE_SUFFIX = layout.ATTRIBUTES + layout.VARIABLE_VALUE
_SHOWN_OF_STRING = 60

Text = Union[int, str]


class TensorValues(NamedTuple):
  """What `--values` found in a tensor.

  Attributes:
    summary: the values in a few numbers.
    distribution: how they are spread; None for strings.
  """

  summary: ValueSummary
  distribution: Distribution | None


def checkpoint_section(
  summary: CheckpointSummary, values: Mapping[str, TensorValues] | None = None
) -> dict[str, Any]:
  """The data about one checkpoint.

  Args:
    summary: what it is and what it holds.
    values: what its tensors' values are like, by key; None where nobody looked.

  Returns:
    Lists, dicts, texts and finite numbers.
  """
  tensors = summary.tensors
  rows = {tensor.key: row for row, tensor in enumerate(tensors)}
  trees = [
    {"title": "Scopes", "nodes": flatten(size_tree.scope_tree(tensors), rows)},
  ]
  if summary.graph is not None:
    objects = size_tree.object_tree(tensors, summary.graph)
    trees.append({"title": "Objects", "nodes": flatten(objects, rows)})
  section: dict[str, Any] = {
    "path": summary.prefix,
    "format": summary.format.value,
    "is_v1": summary.is_v1,
    "tensorflow_version": summary.tensorflow_version,
    "step": summary.step,
    "objects": summary.graph.num_nodes if summary.graph is not None else None,
    "index_bytes": summary.index_size,
    "data_files": [
      {"path": file.path, "bytes": file.size, "is_cut": file.is_cut}
      for file in summary.data_files
    ],
    "problems": list(summary.problems),
    "categories": [title for title, _ in CATEGORIES],
    "tensors": _tensor_columns(summary, rows),
    "trees": trees,
  }
  if values is not None:
    section["values"] = value_columns([values.get(tensor.key) for tensor in tensors])
  return section


def _tensor_columns(
  summary: CheckpointSummary, rows: Mapping[str, int]
) -> dict[str, Any]:
  tensors, roles = summary.tensors, summary.roles
  by_name = {tensor.name: row for row, tensor in enumerate(tensors)}
  by_key = {key: row for row, tensor in enumerate(tensors) for key in tensor.keys}
  by_key.update(rows)
  of = []
  for row, role in enumerate(roles):
    found = by_name.get(role.of, by_key.get(role.of, -1)) if role.of is not None else -1
    of.append(found if found != row else -1)
  # Of each part with bytes, where there are several: data file, offset, bytes, slice.
  slices = {
    str(row): [
      [part.entry.shard_id, part.entry.offset, part.entry.size, str(part.tensor_slice)]
      for part in tensor.parts
    ]
    for row, tensor in enumerate(tensors)
    if tensor.entry.slices
  }
  return {
    "name": [tensor.name for tensor in tensors],
    "paths": _distinct(_coded_paths(tensor) for tensor in tensors),
    "keys": _distinct(_coded_keys(tensor) for tensor in tensors),
    "dtype": _distinct(tensor.dtype for tensor in tensors),
    "shape": _distinct(list(tensor.shape) for tensor in tensors),
    "bytes": [tensor.size for tensor in tensors],
    "category": [_CATEGORY_OF[role.kind] for role in roles],
    "of": of,
    "slot": _distinct(role.slot for role in roles),
    "optimizer": _distinct(role.optimizer for role in roles),
    "file": _distinct(tensor.entry.shard_id for tensor in tensors),
    "offset": [tensor.entry.offset for tensor in tensors],
    "slices": slices,
    "trouble": _distinct(summary.trouble(tensor) for tensor in tensors),
  }


def _distinct(column: Iterable[Any]) -> dict[str, list[Any]]:
  """A column that repeats itself."""
  places: dict[str, int] = {}
  distinct: list[Any] = []
  at = []
  for value in column:
    place = places.setdefault(repr(value), len(distinct))
    if place == len(distinct):
      distinct.append(value)
    at.append(place)
  return {"distinct": distinct, "at": at}


def _coded_paths(tensor: SavedTensor) -> list[Text]:
  if not tensor.object_paths:
    return []
  flat = f"{layout.VAR_LIST}/{layout.escape_local_name(tensor.name)}"
  codes: dict[str, Text] = {layout.nested_path(tensor.name): 1, flat: 0}
  return [codes.get(path, path) for path in tensor.object_paths]


def _coded_keys(tensor: SavedTensor) -> list[Text]:
  codes: dict[str, Text] = {
    path + _VALUE_SUFFIX: number + 1 for number, path in enumerate(tensor.object_paths)
  }
  codes[tensor.name] = 0
  return [codes.get(key, key) for key in tensor.keys]


def value_columns(values: Sequence[TensorValues | None]) -> dict[str, list[Any]]:
  """What tensors' values are like, in columns.

  Args:
    values: what is known of each tensor; None where it has not been read.

  Returns:
    A list for each column, with None where nothing is known. An infinity is the text
    "Infinity" or "-Infinity".
  """
  summaries = [found.summary if found else None for found in values]
  spreads = [found.distribution if found else None for found in values]
  return {
    "count": [s.count if s else None for s in summaries],
    "min": [plain(s.minimum) if s else None for s in summaries],
    "max": [plain(s.maximum) if s else None for s in summaries],
    "mean": [plain(s.mean) if s else None for s in summaries],
    "zeros": [s.zeros if s else None for s in summaries],
    "nans": [s.nans if s else None for s in summaries],
    "infinities": [s.infinities if s else None for s in summaries],
    "std": [plain(d.standard_deviation) if d else None for d in spreads],
    "norm": [plain(d.norm) if d else None for d in spreads],
    "low": [plain(d.low) if d else None for d in spreads],
    "high": [plain(d.high) if d else None for d in spreads],
    "bins": [list(d.bins) if d else None for d in spreads],
  }


def plain(value: Value | None) -> int | float | str | None:
  """A value as a page has it: six digits, and a text where JSON has no number.

  >>> plain(1 / 3), plain(-math.inf), plain(7), plain(b"a")
  (0.333333, '-Infinity', 7, 'a')
  """
  if isinstance(value, bytes):
    text = value[: _SHOWN_OF_STRING + 1].decode("utf-8", "backslashreplace")
    return text if len(text) <= _SHOWN_OF_STRING else text[:_SHOWN_OF_STRING] + "…"
  if not isinstance(value, float):
    return value
  if math.isinf(value):
    return "Infinity" if value > 0 else "-Infinity"
  return None if math.isnan(value) else float(f"{value:.6g}")
