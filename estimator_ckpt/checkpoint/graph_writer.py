"""Writes an object graph from columns, without an object for each node.

The fields are those of `estimator_ckpt.checkpoint.graph_nodes`.
"""

from __future__ import annotations

import io
import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence

from estimator_ckpt.bundle import coding

TYPE_CHECKING = False
if TYPE_CHECKING:
  from typing import Any

# So many are written at once, since what all consist of would take much memory.
_BATCH = 4096


def write_graph(
  ends: Sequence[int],
  steps: Sequence[str],
  children: Sequence[int],
  attributes: Sequence[str],
  full_names: Sequence[str],
  keys: Sequence[str],
) -> bytes:
  """Writes a graph: nodes that have children, then nodes that store one value each.

  Args:
    ends: for each node of the first kind, the position behind its last edge.
    steps: the attribute name of each edge.
    children: the number of the node that each edge leads to.
    attributes: for each node of the second kind, what of its object is stored.
    full_names: the variable's name, or "".
    keys: the checkpoint key.

  Returns:
    The message's bytes.
  """
  sizes: list[int] = []
  for batch in _batches(steps, children):
    sizes += _edge_sizes(*batch)
  starts = [b""] * len(steps)  # what stands in front of each edge: that of its node
  first = 0
  for end in ends:
    starts[first] = b"\n" + coding.encode_varint(sum(sizes[first:end]))
    first = end
  del sizes
  written = io.BytesIO()  # Joining all of it would take its size once more.
  for batch in _batches(starts, steps, children):
    written.writelines(_edges(*batch))
  for batch in _batches(attributes, full_names, keys):
    written.writelines(_values(*batch))
  return written.getvalue()


class _Known(dict):  # type: ignore[type-arg]
  """What a function returns, by its argument: for `map`, faster than a cache is."""

  def __init__(self, function: Callable[[Any], Any]):
    self._function = function

  def __missing__(self, argument: Any) -> Any:
    self[argument] = value = self._function(argument)
    return value


def _batches(*columns: Sequence[Any]) -> Iterator[list[Sequence[Any]]]:
  for start in range(0, len(columns[0]), _BATCH):
    yield [column[start : start + _BATCH] for column in columns]


def _text_start(tag: bytes) -> Callable[[int], bytes]:
  """What stands in front of a text, by its size; nothing, where there is no text."""
  return lambda size: tag + coding.encode_varint(size) if size else b""


def _edge_start(sizes: tuple[int, int]) -> bytes:
  """What stands in front of an edge's number, by the sizes of that and of the name."""
  number, name = sizes
  whole = 1 + number + len(_SECOND[name]) + name
  return b"\n%b\x08" % coding.encode_varint(whole)


def _edge_size(sizes: tuple[int, int]) -> int:
  number, name = sizes
  return len(_EDGE[sizes]) + number + len(_SECOND[name]) + name


def _value_start(sizes: tuple[str, int, int]) -> bytes:
  """What stands in front of a value's full name, by the sizes of that and of the key."""
  attribute, name, key = sizes
  encoded = attribute.encode()
  start = _FIRST[len(encoded)] + encoded + _SECOND[name]
  whole = coding.encode_varint(len(start) + name + len(_THIRD[key]) + key)
  message = b"\x12" + whole + start
  node = len(message) + name + len(_THIRD[key]) + key
  return b"\n" + coding.encode_varint(node) + message


_FIRST = _Known(_text_start(b"\n"))
_SECOND = _Known(_text_start(b"\x12"))
_THIRD = _Known(_text_start(b"\x1a"))
_EDGE = _Known(_edge_start)
_EDGE_SIZE = _Known(_edge_size)
_VALUE = _Known(_value_start)


def _edge_sizes(steps: Sequence[str], children: Sequence[int]) -> Iterable[int]:
  """How many bytes the field of each edge takes."""
  # Seven bits a byte.
  numbers = [(n.bit_length() + 6) // 7 or 1 for n in children]
  names = steps if "".join(steps).isascii() else coding.encode_texts(steps)
  return map(_EDGE_SIZE.__getitem__, zip(numbers, map(len, names)))


def _edges(
  starts: Sequence[bytes], steps: Sequence[str], children: Sequence[int]
) -> Iterator[bytes]:
  """The fields for edges, in pieces."""
  numbers, names = coding.encode_varints(children), coding.encode_texts(steps)
  sizes = list(map(len, names))
  edges = map(_EDGE.__getitem__, zip(map(len, numbers), sizes))
  pieces = zip(starts, edges, numbers, map(_SECOND.__getitem__, sizes), names)
  return itertools.chain.from_iterable(pieces)


def _values(
  attributes: Sequence[str], full_names: Sequence[str], keys: Sequence[str]
) -> Iterator[bytes]:
  """The fields for nodes with a value each, in pieces."""
  names, own_keys = coding.encode_texts(full_names), coding.encode_texts(keys)
  sizes = list(map(len, own_keys))
  values = map(_VALUE.__getitem__, zip(attributes, map(len, names), sizes))
  pieces = zip(values, names, map(_THIRD.__getitem__, sizes), own_keys)
  return itertools.chain.from_iterable(pieces)
