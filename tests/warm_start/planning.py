"""Plans for checkpoints and graphs that are given as names and shapes."""

from __future__ import annotations

from estimator_ckpt.bundle.index import Index
from estimator_ckpt.bundle.messages import BundleEntry
from estimator_ckpt.warm_start import WarmStart, planner
from estimator_ckpt.warm_start.matches import Target
from estimator_ckpt.warm_start.source_tensors import SourceTensors

FLOAT32, INT64, FLOAT16 = 1, 9, 19
_DTYPES = {"f": FLOAT32, "i": INT64, "h": FLOAT16}


def described(items):
  """Reads `{"w": (2, 3), "step": "i"}`: a shape is float32, a type is a scalar."""
  for name, kind in items.items():
    if isinstance(kind, str):
      yield name, _DTYPES[kind], ()
    else:
      yield name, FLOAT32, kind


def make_source(tensors):
  index = Index()
  for i, (name, dtype, shape) in enumerate(described(tensors)):
    index.put(name, BundleEntry(dtype, shape, 0, 1000 * i, 8, i))
  return SourceTensors("checkpoint", index, None)


def plan(tensors, graph, trainable=(), **options):
  """The plan for a checkpoint and a graph, given as names and shapes."""
  targets = [
    Target(name, dtype, shape, True if name in trainable else None)
    for name, dtype, shape in described(graph)
  ]
  warm_start = WarmStart("checkpoint", **options)
  return planner.make_plan(make_source(tensors), targets, warm_start.options)


def started(made):
  return {item.target.name: item.source.name for item in made.started}


def left(made):
  return {item.name: item.reason for item in made.left_in_graph}


def problems(made):
  return "\n".join(map(str, made.problems))
