"""The data of a page about two checkpoints: what became of each tensor, and how far."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from estimator_ckpt.files import size_tree
from estimator_ckpt.files.page.checkpoint_section import plain
from estimator_ckpt.files.page.distance import Distance
from estimator_ckpt.files.page.hierarchy import flatten
from estimator_ckpt.files.page.pairs import Pair, Status
from estimator_ckpt.files.summary import CheckpointSummary

# In the order in which the page shows them.
STATUSES = tuple(Status)


def comparison_section(
  a: CheckpointSummary,
  b: CheckpointSummary,
  pairs: Sequence[Pair],
  distances: Mapping[int, Distance] | None = None,
) -> dict[str, Any]:
  """The data about two checkpoints.

  Args:
    a: what the first is.
    b: what the second is.
    pairs: their tensors side by side.
    distances: how far those are that changed, by their place in `pairs`; None where
      nobody looked.

  Returns:
    Lists, dicts, texts and finite numbers.
  """
  # A tensor of one side may have the key of another's: the place is the key here.
  rows = [pair.shown._replace(keys=(str(place),)) for place, pair in enumerate(pairs)]
  places = {tensor.key: place for place, tensor in enumerate(rows)}
  section: dict[str, Any] = {
    "a": _side(a),
    "b": _side(b),
    "problems": [*a.problems, *b.problems],
    "statuses": [status.value for status in STATUSES],
    "name": [pair.shown.name for pair in pairs],
    "status": [STATUSES.index(pair.status) for pair in pairs],
    "bytes": [pair.shown.size for pair in pairs],
    "type": [[t and t.dtype for t in (pair.a, pair.b)] for pair in pairs],
    "shape": [[t and list(t.shape) for t in (pair.a, pair.b)] for pair in pairs],
    # Of what has another name in the first checkpoint, that.
    "was": {
      str(place): pair.a.name
      for place, pair in enumerate(pairs)
      if pair.a is not None and pair.a.name != pair.shown.name
    },
    "trees": [
      {"title": "Scopes", "nodes": flatten(size_tree.scope_tree(rows), places)}
    ],
  }
  if distances is not None:
    section["distances"] = {
      str(place): [plain(d.norm), plain(d.relative), plain(d.largest), d.changed]
      for place, d in distances.items()
    }
  return section


def _side(summary: CheckpointSummary) -> dict[str, Any]:
  return {
    "path": summary.prefix,
    "format": summary.format.value,
    "step": summary.step,
    "tensors": summary.total.tensors,
    "bytes": summary.total.size,
  }
