"""Converts every checkpoint that a test's training wrote to all formats and back."""

from __future__ import annotations

import os
import pathlib
import sys
from collections.abc import Collection, Iterator

# The directories of the conversions. No test calls its own so.
CONVERTED = "there_and_back"

# Conversions do not use TensorFlow. The checkpoints of the version that most tests run
# with are enough.
_TESTED_WITH = "2.15."
# Each structure is converted once in a process, and each file is looked at once.
_STRUCTURES: set[object] = set()
_SEEN: set[tuple[str, int]] = set()


def new_checkpoints(base: pathlib.Path, ended: Collection[str] = ()) -> list[str]:
  """The checkpoints of training below a directory, without those of an earlier call.

  Training writes its graph: `graph.pbtxt` into a model_dir, and a `.meta` file beside
  each checkpoint that a Saver writes. Other checkpoints (those that a test builds or
  converts, and those of a `tf.train.Checkpoint`) have neither.

  Args:
    base: the directory.
    ended: directories directly below it that cannot have new checkpoints.

  Returns:
    The prefixes, oldest first. Empty under another TensorFlow than the one that most
    tests run with.
  """
  tensorflow = sys.modules.get("tensorflow")
  if tensorflow and not tensorflow.__version__.startswith(_TESTED_WITH):
    return []
  found = []
  model_dirs: set[str] = set()
  for parent, directories, names in os.walk(base):
    if parent == str(base):
      directories[:] = [
        d for d in directories if d not in ended and not d.startswith(CONVERTED)
      ]
    # What is below a model_dir belongs to it, such as an export.
    if "graph.pbtxt" in names or os.path.dirname(parent) in model_dirs:
      model_dirs.add(parent)
    for name in names:
      path = os.path.join(parent, name)
      prefix, extension = os.path.splitext(path)
      if extension != ".index":
        continue
      file = path, os.stat(path).st_mtime_ns
      if file in _SEEN:
        continue
      _SEEN.add(file)
      if parent in model_dirs or f"{os.path.basename(prefix)}.meta" in names:
        found.append((file[1], prefix))
  return [prefix for _, prefix in sorted(found)]


def check(prefixes: Collection[str], directories: Iterator[pathlib.Path]) -> None:
  """Converts checkpoints there and back; fails unless names and values are the same.

  Leaves out a checkpoint that `verify` finds damaged, since tests damage some on
  purpose, and one of a structure that was converted before.

  Args:
    prefixes: checkpoints of any format.
    directories: gives an empty directory for each conversion.
  """
  if not prefixes:
    return
  # Imported late: this library is not there in every test of the repository.
  import estimator_ckpt as eckpt
  from tests import round_trip

  for prefix in prefixes:
    try:
      structure = _structure(prefix)
    except eckpt.CheckpointError:
      assert not eckpt.verify(prefix).ok, prefix
      continue
    if structure in _STRUCTURES or not eckpt.verify(prefix).ok:
      continue
    first = round_trip.check(prefix, next(directories))
    lost = _names_in_graph(prefix) - set(eckpt.open_checkpoint(first))
    assert not lost, (prefix, lost)
    _STRUCTURES.add(structure)


def _names_in_graph(prefix: str) -> set[str]:
  """What the object graph calls variables, where the graph that wrote it says so too."""
  import estimator_ckpt as eckpt
  from estimator_ckpt.bundle import coding

  meta = pathlib.Path(f"{prefix}.meta")
  with eckpt.open_checkpoint(prefix) as reader:
    graph = reader.object_graph
  if graph is None or not meta.exists():
    return set()
  data = meta.read_bytes()
  found = set()
  for name in {attribute.full_name for _, attribute in graph.attributes()}:
    # In TensorFlow's variable.proto: 1 variable_name, with the number of the output.
    output = f"{name}:0".encode()
    if b"\n" + coding.encode_varint(len(output)) + output in data:
      found.add(name)
  return found


def _structure(prefix: str) -> object:
  """Everything that decides how a checkpoint converts: all but its values."""
  from estimator_ckpt.bundle.index import Index
  from estimator_ckpt.checkpoint import formats

  index = Index.read(prefix)
  graph = formats.read_object_graph(prefix, index)
  tensors = []
  for key in index.keys():
    entry = index.entry(key)
    parts = tuple(str(part) for part, _ in index.slice_entries(key))
    tensors.append((key, entry.dtype, tuple(entry.shape), parts))
  return tuple(tensors), graph and graph.serialize()
