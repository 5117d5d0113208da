"""Converts every checkpoint that a test's training wrote to all formats and back."""

from __future__ import annotations

import os
import pathlib
from collections.abc import Iterator

import pytest
import tensorflow as tf

import estimator_ckpt as eckpt
from estimator_ckpt.bundle.index import Index
from estimator_ckpt.checkpoint import formats
from tests import round_trip

# Conversions do not use TensorFlow. The checkpoints of the version that most tests run
# with are enough.
_TESTED_WITH = "2.15."
# Each structure is converted once in a process, and each file is checked once.
_STRUCTURES: set[object] = set()
_SEEN: set[tuple[str, int]] = set()
# A directory name that no training uses.
_CONVERTED = "converted"


@pytest.fixture(autouse=True)
def every_checkpoint_converts_there_and_back(
  request: pytest.FixtureRequest,
  tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[None]:
  """After a test, converts the last checkpoint of each directory there and back.

  Includes directories of fixtures that several tests share. Leaves out a checkpoint
  that `verify` finds damaged, since tests damage some on purpose, and the checkpoints
  of a test with the marker `no_round_trip(reason)`.
  """
  yield
  if not tf.__version__.startswith(_TESTED_WITH):
    return
  prefixes = _last_checkpoints(tmp_path_factory.getbasetemp())
  if request.node.get_closest_marker("no_round_trip"):
    return
  for prefix in prefixes:
    if not eckpt.verify(prefix).ok:
      continue
    structure = _structure(prefix)
    if structure in _STRUCTURES:
      continue
    round_trip.check(prefix, tmp_path_factory.mktemp(_CONVERTED))
    _STRUCTURES.add(structure)


def _last_checkpoints(base: pathlib.Path) -> list[str]:
  """The last checkpoint of each directory, without those that existed before."""
  found = []
  for parent, directories, names in os.walk(base):
    if parent == str(base):
      directories[:] = [d for d in directories if not d.startswith(_CONVERTED)]
    indexes = []
    for name in names:
      if name.endswith(".index"):
        path = os.path.join(parent, name)
        file = path, os.stat(path).st_mtime_ns
        if file not in _SEEN:
          _SEEN.add(file)
          indexes.append(file)
    if indexes:
      path, _ = max(indexes, key=lambda file: file[1])
      found.append(path[: -len(".index")])
  return found


def _structure(prefix: str) -> object:
  """Everything that decides how a checkpoint converts: all but its values."""
  index = Index.read(prefix)
  graph = formats.read_object_graph(prefix, index)
  tensors = []
  for key in index.keys():
    entry = index.entry(key)
    parts = tuple(str(part) for part, _ in index.slice_entries(key))
    tensors.append((key, entry.dtype, tuple(entry.shape), parts))
  return tuple(tensors), graph and graph.serialize()
