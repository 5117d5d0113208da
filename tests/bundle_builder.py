"""Writes small checkpoints for tests, sound ones or with any defect."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from estimator_ckpt.bundle import checksum, dtypes, strings
from estimator_ckpt.bundle.file_names import data_path
from estimator_ckpt.bundle.index import Index
from estimator_ckpt.bundle.messages import BundleEntry, TensorSlice
from estimator_ckpt.checkpoint import layout
from estimator_ckpt.checkpoint.object_graph import ObjectGraph


class BundleBuilder:
  """A bundle in the making: add tensors, change index entries, then write the bundle.

  Attributes:
    index: its index.
    shards: the data files' bytes.
  """

  def __init__(self, num_shards: int = 1):
    self.index = Index()
    self.index.header = dataclasses.replace(self.index.header, num_shards=num_shards)
    self.shards = [bytearray() for _ in range(num_shards)]

  def numbers(self, key: str, values: Any, dtype: str = "float32", shard: int = 0):
    """Adds a tensor of numbers; returns its entry."""
    entry = self._numbers(values, dtype, shard)
    self.index.put(key, entry)
    return entry

  def _numbers(self, values: Any, dtype: str, shard: int) -> BundleEntry:
    number = dtypes.number(dtype)
    array = np.asarray(values, dtypes.to_numpy(number))
    data = array.tobytes()
    crc = checksum.mask(checksum.crc32c(data))
    return self._append(data, number, array.shape, crc, shard)

  def strings(self, key: str, elements: Sequence[bytes], shape: Sequence[int] = ()):
    """Adds a string tensor; returns its entry."""
    data, crc = strings.encode(elements)
    entry = self._append(data, dtypes.STRING, tuple(shape), crc, 0)
    self.index.put(key, entry)
    return entry

  def partitioned(self, key: str, values: Any, cuts: Sequence[int]):
    """Adds a tensor cut along its first dimension; returns its slices."""
    array = np.asarray(values, np.float32)
    bounds = [0, *cuts, len(array)]
    rest = ((0, -1),) * (array.ndim - 1)
    parts = [TensorSlice(((a, b - a), *rest)) for a, b in zip(bounds, bounds[1:])]
    self.index.put(key, BundleEntry(1, array.shape, slices=tuple(parts)))
    for part, a, b in zip(parts, bounds, bounds[1:]):
      self.index.put(key, self._numbers(array[a:b], "float32", 0), part)
    return parts

  def object_graph(self, graph: ObjectGraph) -> None:
    """Adds the object graph."""
    self.strings(layout.OBJECT_GRAPH_KEY, [graph.serialize()])

  def change(self, key: str, **fields: Any) -> BundleEntry:
    """Changes fields of a tensor's index entry; returns the entry."""
    entry = self.index.entry(key)._replace(**fields)
    self.index.put(key, entry)
    return entry

  def write(self, prefix: str | os.PathLike[str]) -> str:
    """Writes the files; returns the prefix."""
    prefix = os.fspath(prefix)
    os.makedirs(os.path.dirname(prefix), exist_ok=True)
    for shard, data in enumerate(self.shards):
      with open(data_path(prefix, shard, len(self.shards)), "wb") as file:
        file.write(data)
    self.index.write(prefix, sync=False)
    return prefix

  def _append(
    self, data: bytes, dtype: int, shape: Sequence[int], crc: int, shard: int
  ) -> BundleEntry:
    offset = len(self.shards[shard])
    self.shards[shard] += data
    return BundleEntry(dtype, tuple(shape), shard, offset, len(data), crc)


def dual_builder() -> BundleBuilder:
  """A dual checkpoint of the step and two variables, each with an Adam slot."""
  builder = BundleBuilder()
  names = ["net/w", "net/w/Adam", "net/b", "net/b/Adam", "global_step"]
  for position, name in enumerate(names[:-1]):
    builder.numbers(name, np.arange(6) + 10 * position)
  builder.numbers("global_step", 7, "int64")
  graph = ObjectGraph()
  for name, paths in layout.object_paths(names).items():
    builder.index.alias(graph.add_variable(paths, name), name)
  counter = graph.add_variable([(layout.SAVE_COUNTER,)], layout.SAVE_COUNTER)
  builder.index.alias(counter, "global_step")
  builder.object_graph(graph)
  return builder
