"""The names of a bundle's files.

PREFIX.index                   the index
PREFIX.data-00000-of-00002     a data file, shard 0 of 2
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from estimator_ckpt.value_classes import NamedTuple

INDEX_SUFFIX = ".index"

_DATA = r"(?s)(?P<prefix>.*)\.data-(?P<shard>\d{5})-of-(?P<count>\d{5})"


class DataName(NamedTuple):
  """What the name of a data file says.

  Attributes:
    prefix: the checkpoint's path.
    shard: the file's number, from 0.
    num_shards: how many there are.
  """

  prefix: str
  shard: int
  num_shards: int


def index_path(prefix: str) -> str:
  """The path of the index file."""
  return prefix + INDEX_SUFFIX


def data_path(prefix: str, shard: int, num_shards: int) -> str:
  """The path of a data file.

  >>> data_path("model.ckpt-3", 0, 2)
  'model.ckpt-3.data-00000-of-00002'
  """
  return f"{prefix}.data-{shard:05d}-of-{num_shards:05d}"


def parse_data_path(path: str) -> DataName | None:
  """Takes the path of a data file apart.

  Args:
    path: any path.

  Returns:
    Its parts, or None when it is not one of a data file.

  >>> parse_data_path("model.ckpt-3.data-00000-of-00002")
  DataName(prefix='model.ckpt-3', shard=0, num_shards=2)
  """
  match = re.fullmatch(_DATA, path)
  if match is None:
    return None
  return DataName(match["prefix"], int(match["shard"]), int(match["count"]))


def parse_data_paths(paths: Iterable[str]) -> list[DataName]:
  """Takes the paths of data files apart, in order; leaves out all others.

  >>> [name.shard for name in parse_data_paths(["m.data-00001-of-00002", "m.index"])]
  [1]
  """
  names = map(parse_data_path, paths)
  return [name for name in names if name is not None]
