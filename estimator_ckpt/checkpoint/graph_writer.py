"""Writes an object graph from columns, without an object for each node.

The fields are those of `estimator_ckpt.checkpoint.graph_nodes`.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence

from estimator_ckpt.bundle import coding
from estimator_ckpt.bundle.memo import Memo

TYPE_CHECKING = False
if TYPE_CHECKING:
  from typing import IO, Any

# So many are written at once, since what all consist of would take much memory.
_BATCH = 4096


def write_scopes(
  file: IO[bytes],
  scopes: Iterable[str],
  paths: Iterable[str],
  numbers: Iterable[bytes],
) -> None:
  """Writes the root, and a node for each scope.

  Args:
    file: is written to.
    scopes: each has an object below it.
    paths: of all objects below the root and the scopes.
    numbers: the number of each node, as a varint.
  """
  edges: dict[str, list[bytes]] = {scope: [] for scope in ["", *scopes]}
  for own_paths, own_numbers in _batches(paths, numbers):
    above, _, names = zip(*[path.rpartition("/") for path in own_paths])
    for scope, edge in zip(above, map(b"".join, _edges(names, own_numbers))):
      edges[scope].append(edge)
  for [batch] in _batches(map(b"".join, edges.values())):
    starts = map(_NODE.__getitem__, map(len, batch))
    file.writelines(itertools.chain.from_iterable(zip(starts, batch)))


def write_dict(file: IO[bytes], names: Iterable[str], numbers: Iterable[bytes]) -> None:
  """Writes a node with objects below it.

  Args:
    file: is written to.
    names: the attribute name of each object.
    numbers: the number of its node, as a varint.
  """
  edges = [
    b"".join(itertools.chain.from_iterable(_edges(*batch)))
    for batch in _batches(names, numbers)
  ]
  file.write(_NODE[sum(map(len, edges))])
  file.writelines(edges)


def write_values(
  file: IO[bytes],
  attributes: Iterable[str],
  full_names: Iterable[str],
  keys: Iterable[str],
) -> None:
  """Writes nodes that store one value each.

  Args:
    file: is written to.
    attributes: what of each object is stored.
    full_names: the variable's name, or "".
    keys: the checkpoint key.
  """
  for batch in _batches(attributes, full_names, keys):
    file.writelines(itertools.chain.from_iterable(_values(*batch)))


def _batches(*columns: Iterable[Any]) -> Iterator[list[list[Any]]]:
  left = list(map(iter, columns))
  while True:
    batch = [list(itertools.islice(column, _BATCH)) for column in left]
    if not batch[0]:
      return
    yield batch


def _edges(
  names: Sequence[str], numbers: Sequence[bytes]
) -> Iterator[tuple[bytes, ...]]:
  """The parts of the field for each edge."""
  texts = coding.encode_texts(names)
  sizes = list(map(len, texts))
  starts = map(_EDGE.__getitem__, zip(map(len, numbers), sizes))
  return zip(starts, numbers, map(_NAME.__getitem__, sizes), texts)


def _values(
  attributes: Sequence[str], full_names: Sequence[str], keys: Sequence[str]
) -> Iterator[tuple[bytes, ...]]:
  """The parts of the field for each node with a value."""
  names, own_keys = coding.encode_texts(full_names), coding.encode_texts(keys)
  sizes = list(map(len, own_keys))
  starts = map(_VALUE.__getitem__, zip(attributes, map(len, names), sizes))
  return zip(starts, names, map(_KEY.__getitem__, sizes), own_keys)


def _text_start(tag: bytes) -> Callable[[int], bytes]:
  """What stands in front of a text, by its size; nothing, where there is no text."""
  return lambda size: tag + coding.encode_varint(size) if size else b""


def _edge_start(sizes: tuple[int, int]) -> bytes:
  """What stands in front of an edge's number, by the sizes of that and of the name."""
  number, name = sizes
  whole = 1 + number + len(_NAME[name]) + name
  return b"\n%b\x08" % coding.encode_varint(whole)


def _value_start(found: tuple[str, int, int]) -> bytes:
  """What stands in front of a value's full name, by the sizes of that and of the key."""
  attribute, name, key = found
  encoded = attribute.encode()
  start = _ATTRIBUTE[len(encoded)] + encoded + _NAME[name]
  behind = name + len(_KEY[key]) + key
  message = b"\x12" + coding.encode_varint(len(start) + behind) + start
  return _NODE[len(message) + behind] + message


_ATTRIBUTE = Memo(_text_start(b"\n"))
_NAME = Memo(_text_start(b"\x12"))
_KEY = Memo(_text_start(b"\x1a"))
_NODE = Memo(lambda size: b"\n" + coding.encode_varint(size))
_EDGE = Memo(_edge_start)
_VALUE = Memo(_value_start)
