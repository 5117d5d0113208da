"""The nodes of a large object graph that are spelled as most are, read all at once.

A variable stores its value and nothing else; most other objects have children and nothing
else. Python walks from node to node, and NumPy finds in all of them at once where edges,
numbers and texts stand. Texts are made when they are asked for. To import NumPy takes as
long as to read some 40,000 nodes one by one.
"""

from __future__ import annotations

import array
import contextlib
from collections.abc import Callable, Sequence

import numpy as np

from estimator_ckpt.bundle import coding, varint_arrays
from estimator_ckpt.bundle.coding import BATCH
from estimator_ckpt.bundle.key_rows import WIDEST, masks, windows
from estimator_ckpt.checkpoint.layout import VARIABLE_VALUE
from estimator_ckpt.errors import CorruptCheckpointError
from estimator_ckpt.value_classes import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
  from typing import Any

# Tags: field number * 8 + wire type (0 a varint, 2 length-delimited). A graph consists of
# fields 1, its nodes, and so does a node that has children alone.
_FIELD_1 = 1 << 3 | 2
_ATTRIBUTES = 2 << 3 | 2
_NODE_ID = 1 << 3
_TEXT_2 = 2 << 3 | 2
_TEXT_3 = 3 << 3 | 2
# What the attribute of a variable begins with.
_VALUE_NAME = b"\n%c%b" % (len(VARIABLE_VALUE), VARIABLE_VALUE.encode())
# Lengths and node numbers of more bits are nobody's.
_MAX_BITS = 28
_TOO_LARGE = 1 << 40
# The fields of so few messages are found one by one.
_FEW_MESSAGES = 256


class TextSpans(NamedTuple):
  """Where texts stand in the bytes of a graph.

  Attributes:
    data: the bytes.
    starts: where each begins.
    stops: the position behind it.
  """

  data: bytes
  starts: np.ndarray
  stops: np.ndarray

  def read(self, places: slice = slice(None)) -> list[str]:
    """The texts, or some of them."""
    starts, stops = self.starts[places], self.stops[places]
    texts: list[str] = []
    for first in range(0, len(starts), BATCH):
      batch = slice(first, first + BATCH)
      texts += _joined(self.data, starts[batch], stops[batch]).split("\0")
      if len(texts) != min(first + BATCH, len(starts)):  # One has a zero byte.
        spans = zip(starts.tolist(), stops.tolist())
        return coding.decode_texts([self.data[start:stop] for start, stop in spans])
    return texts

  def are(self, texts: Sequence[str]) -> bool:
    """Whether the texts are these, in this order; False too if one has a zero byte."""
    if len(texts) != len(self.starts):
      return False
    for first in range(0, len(texts), BATCH):
      batch = slice(first, first + BATCH)
      own, wanted = "\0".join(texts[batch]), texts[batch]
      if own.count("\0") != len(wanted) - 1:
        return False
      if own != _joined(self.data, self.starts[batch], self.stops[batch]):
        return False
    return True

  def have(self, text: str) -> bool:
    """Whether a text is one of them."""
    wanted = text.encode()
    file = np.frombuffer(self.data, np.uint8)
    places = self.starts[self.stops - self.starts == len(wanted)]
    for byte in wanted:
      places = places[file[places] == byte] + 1
    return len(places) > 0


class PlainNodes(NamedTuple):
  """What plain nodes have, each column in the order of the nodes' numbers.

  Attributes:
    num_nodes: how many nodes there are, with those that are not plain.
    owners: the nodes that store a variable's value.
    full_names: the name of each of these variables, or "".
    keys: the checkpoint key of each.
    parents: the nodes that have children.
    ends: for each of these, the position behind its last edge in `names` and `children`.
    names: the attribute name of each edge.
    children: the node that each edge leads to.
    others: the number and the message of each node that is not plain.
  """

  num_nodes: int
  owners: np.ndarray
  full_names: TextSpans
  keys: TextSpans
  parents: np.ndarray
  ends: np.ndarray
  names: TextSpans
  children: np.ndarray
  others: list[tuple[int, bytes]]


def read(data: bytes) -> PlainNodes | None:
  """Reads the plain nodes of an object graph.

  Args:
    data: the message's bytes.

  Returns:
    What they have; None where the message is damaged, or has something beside nodes. A
    damaged node is one of the others.
  """
  fields, reached = _walk(data, 0, len(data))
  if reached != len(data):
    return None
  file = np.frombuffer(data, np.uint8)
  sizes, starts = _in_batches(_varints, file, fields + 1)
  if int(sizes.max()) >= _TOO_LARGE:
    return None
  return _read_nodes(data, file, starts, starts + sizes)


def _read_nodes(
  data: bytes, file: np.ndarray, starts: np.ndarray, stops: np.ndarray
) -> PlainNodes:
  """Reads the nodes whose messages stand at these places."""
  has_some = stops > starts
  first = file.take(starts, mode="clip")
  is_plain = ~has_some

  owners = np.flatnonzero(has_some & (first == _ATTRIBUTES))
  is_value, name_spans, key_spans = _in_batches(
    _values, file, starts[owners], stops[owners]
  )
  is_plain[owners] = is_value

  parents = np.flatnonzero(has_some & (first == _FIELD_1))
  fields, edge_counts, reached = _walk_all(data, file, starts[parents], stops[parents])
  is_edge, children, step_spans = _in_batches(_edges, file, fields)
  has_edges_alone = reached == stops[parents]
  if len(parents):
    has_edges_alone &= np.logical_and.reduceat(
      is_edge, np.cumsum(edge_counts) - edge_counts
    )
  is_plain[parents] = has_edges_alone

  of_plain = np.repeat(has_edges_alone, edge_counts)
  others = np.flatnonzero(~is_plain).tolist()
  return PlainNodes(
    len(starts),
    owners[is_value],
    TextSpans(data, *name_spans[:, is_value]),
    TextSpans(data, *key_spans[:, is_value]),
    parents[has_edges_alone],
    np.cumsum(edge_counts[has_edges_alone]),
    TextSpans(data, *step_spans[:, of_plain]),
    children[of_plain],
    [(number, data[starts[number] : stops[number]]) for number in others],
  )


def _joined(data: bytes, starts: np.ndarray, stops: np.ndarray) -> str:
  """The texts at these places, with a zero between them."""
  sizes = stops - starts
  width = int(sizes.max()) + 1
  if width > WIDEST:
    texts = [data[start:stop] for start, stop in zip(starts.tolist(), stops.tolist())]
    return b"\0".join(texts).decode("utf-8", "surrogateescape")
  rows = windows(data, starts, width)
  rows[np.arange(len(rows)), sizes] = 0
  found = rows[masks(width).view(bool).take(sizes + 1, 0)]
  return found[:-1].tobytes().decode("utf-8", "surrogateescape")


def _walk(data: bytes, start: int, stop: int) -> tuple[np.ndarray, int]:
  """Finds the fields 1 that a message begins with.

  Args:
    data: the bytes.
    start: where the message begins.
    stop: the position behind it.

  Returns:
    Where these fields begin; and the position behind the last, which is another than
    `stop` where something else follows, or the last is damaged.
  """
  fields = array.array("q")  # A list would have an object for each number.
  position = start
  with contextlib.suppress(IndexError, CorruptCheckpointError):
    while position < stop and data[position] == _FIELD_1:
      size = data[position + 1]
      behind = position + 2
      if size > 127:
        high = data[behind]
        if high < 128:  # Nearly all have two bytes then.
          size += high - 1 << 7
          behind += 1
        else:
          size, behind = coding.read_varint(data, position + 1)
      fields.append(position)
      position = behind + size
  return np.array(fields), position


def _walk_all(
  data: bytes, file: np.ndarray, starts: np.ndarray, stops: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  """Finds the fields 1 that each of many messages begins with; see `_walk`.

  Returns:
    Where these fields begin; how many each message has; and the position behind the last
    of each.
  """
  reached = starts.copy()
  counts = np.zeros(len(starts), np.int64)
  parts: list[tuple[Any, Any, np.ndarray]] = []
  left = np.arange(len(starts))
  place = 0
  while len(left) > _FEW_MESSAGES:
    at = reached[left]
    goes_on = (at < stops[left]) & (file.take(at, mode="clip") == _FIELD_1)
    left, at = left[goes_on], at[goes_on]
    sizes, behind = _varints(file, at + 1)
    reached[left] = behind + sizes
    counts[left] += 1
    parts.append((left, place, at))
    place += 1
  for row in left.tolist():
    fields, reached[row] = _walk(data, int(reached[row]), int(stops[row]))
    counts[row] += len(fields)
    parts.append((row, np.arange(place, counts[row]), fields))
  first = np.cumsum(counts) - counts
  found = np.zeros(int(counts.sum()), np.int64)
  for rows, places, at in parts:
    found[first[rows] + places] = at
  return found, counts, reached


def _in_batches(
  read: Callable[..., tuple[np.ndarray, ...]], file: np.ndarray, *columns: np.ndarray
) -> list[np.ndarray]:
  """What a function reads at all places, a batch of them at a time."""
  count = len(columns[0])
  parts = [
    read(file, *[column[first : first + BATCH] for column in columns])
    for first in range(0, max(count, 1), BATCH)
  ]
  return [np.concatenate(part, axis=-1) for part in zip(*parts)]


def _values(
  file: np.ndarray, starts: np.ndarray, stops: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  """Reads nodes that begin with an attribute.

  Returns:
    Whether each stores a variable's value and nothing else; where the full names begin
    and end; and where the keys do.
  """
  size, at = _varints(file, starts + 1)
  is_value = at + size == stops
  for byte in _VALUE_NAME:
    is_value &= file.take(at, mode="clip") == byte
    at = at + 1
  # TensorFlow leaves an empty full name out.
  has_name = file.take(at, mode="clip") == _TEXT_2
  size, name = _varints(file, at + 1)
  name = np.where(has_name, name, at)
  name_end = np.where(has_name, name + size, at)
  is_value &= file.take(name_end, mode="clip") == _TEXT_3
  size, key = _varints(file, name_end + 1)
  is_value &= (key + size == stops) & (size > 0)
  return is_value, np.stack([name, name_end]), np.stack([key, stops])


def _edges(
  file: np.ndarray, fields: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  """Reads fields 1 as edges.

  Returns:
    Whether each is an edge with a number and a name; the number of the node it leads to;
    and where the names begin and end.
  """
  size, at = _varints(file, fields + 1)
  stops = at + size
  is_edge = file.take(at, mode="clip") == _NODE_ID
  children, at = _varints(file, at + 1)
  is_edge &= (children < _TOO_LARGE) & (file.take(at, mode="clip") == _TEXT_2)
  size, name = _varints(file, at + 1)
  is_edge &= (name + size == stops) & (size > 0)
  return is_edge, children, np.stack([name, stops])


def _varints(file: np.ndarray, at: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """The numbers at these positions, or some that no length is; and what is behind."""
  return varint_arrays.read(file, at, _MAX_BITS, _TOO_LARGE)
