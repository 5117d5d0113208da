"""Checkpoints as values, for tests that compare them; no TensorFlow, no NumPy."""

from __future__ import annotations

import os
import struct
from collections.abc import Mapping
from typing import NamedTuple

from estimator_ckpt.bundle import checksum, dtypes, strings
from estimator_ckpt.bundle.file_names import data_path
from estimator_ckpt.bundle.index import Index
from estimator_ckpt.bundle.messages import BundleEntry
from estimator_ckpt.bundle.shards import Shards
from estimator_ckpt.checkpoint import formats, layout
from estimator_ckpt.checkpoint.object_graph import ObjectGraph

_FORMATS = {"float32": "f", "int64": "q", "int32": "i"}


class Stored(NamedTuple):
  """A tensor as a checkpoint stores it: type, shape, bytes.

  A partitioned tensor has several parts, each with its slice.
  """

  dtype: str
  shape: tuple[int, ...]
  parts: tuple[tuple[str, bytes], ...]

  def as_tf2_needs_it(self) -> Stored:
    """The same tensor, joined if TensorFlow could not join its parts."""
    if self.dtype != "float16" or len(self.parts) == 1:
      return self
    return self._replace(parts=(("", b"".join(data for _, data in self.parts)),))


def stored(prefix: str | os.PathLike[str]) -> dict[str, Stored]:
  """Every tensor of a checkpoint by its key; numbers' checksums are checked."""
  prefix = os.fspath(prefix)
  index = Index.read(prefix)
  shards = Shards(prefix, index.header.num_shards)
  found = {}
  for key in index.keys():
    entry = index.entry(key)
    parts = index.slice_entries(key) or [("", entry)]
    numbers = dtypes.item_size(entry.dtype) is not None
    found[key] = Stored(
      dtypes.name(entry.dtype),
      tuple(entry.shape),
      tuple((str(part), shards.read(own, key, verify=numbers)) for part, own in parts),
    )
  return found


def object_graph(prefix: str | os.PathLike[str]) -> ObjectGraph:
  """The object graph of a checkpoint that has one."""
  prefix = os.fspath(prefix)
  graph = formats.read_object_graph(prefix, Index.read(prefix))
  assert graph is not None
  return graph


def snapshot(directory: str | os.PathLike[str]) -> dict[str, bytes]:
  """The bytes of every file below a directory, by relative path."""
  found = {}
  for parent, _, names in os.walk(directory):
    for name in names:
      path = os.path.join(parent, name)
      with open(path, "rb") as file:
        found[os.path.relpath(path, directory)] = file.read()
  return found


def scalar(value: int, dtype: str = "int64") -> Stored:
  """A scalar, to write or to compare with."""
  return Stored(dtype, (), (("", struct.pack("<" + _FORMATS[dtype], value)),))


def vector(*values: float, dtype: str = "float32") -> Stored:
  """A vector, to write or to compare with."""
  data = struct.pack(f"<{len(values)}{_FORMATS[dtype]}", *values)
  return Stored(dtype, (len(values),), (("", data),))


def write(
  prefix: str | os.PathLike[str],
  tensors: Mapping[str, Stored],
  graph: ObjectGraph | None = None,
  num_shards: int = 1,
) -> str:
  """Writes a checkpoint; spreads the tensors over the data files in turn.

  Returns:
    The prefix.
  """
  prefix = os.fspath(prefix)
  os.makedirs(os.path.dirname(prefix) or ".", exist_ok=True)
  index = Index()
  files = [bytearray() for _ in range(num_shards)]
  items = {
    key: (dtypes.number(t.dtype), t.shape, t.parts[0][1], None)
    for key, t in tensors.items()
  }
  if graph is not None:
    data, crc = strings.encode([graph.serialize()])
    items[layout.OBJECT_GRAPH_KEY] = (dtypes.STRING, (), data, crc)
  for number, (key, (dtype, shape, data, crc)) in enumerate(items.items()):
    shard = number % num_shards
    if crc is None:
      crc = checksum.mask(checksum.crc32c(data))
    index.put(key, BundleEntry(dtype, shape, shard, len(files[shard]), len(data), crc))
    files[shard] += data
  for shard, data in enumerate(files):
    with open(data_path(prefix, shard, num_shards), "wb") as file:
      file.write(data)
  index.header = type(index.header)(num_shards=num_shards)
  index.write(prefix)
  return prefix
