"""An object graph as columns: what its objects store, and which lead to which.

A graph of 100,000 variables has 200,000 nodes and more. An object for each would take
ten times as long as these lists, which most questions are asked of. Nearly all nodes
are spelled alike: a variable stores its value and nothing else, and other objects have
children and nothing else. Regular expressions read thousands of such nodes at once, and
check every length in them. Where one node of these is spelled otherwise, each is read
by itself.
"""

from __future__ import annotations

import bisect
import itertools
import re
from collections.abc import Callable, Iterable

from estimator_ckpt import errors
from estimator_ckpt.bundle import coding
from estimator_ckpt.checkpoint import layout as layout_lib
from estimator_ckpt.checkpoint.graph_nodes import Node, SlotVariable

TYPE_CHECKING = False
if TYPE_CHECKING:
  from typing import Optional, Sequence, Tuple

  _Paths = Sequence[Optional[Tuple[str, ...]]]
else:
  from collections.abc import Sequence

  _Paths = Sequence

_NODES = 0x0A
_CHILDREN = 0x0A
_ATTRIBUTES = 0x12
_MAX_DEPTH = 1000
# So many nodes are read at once. Less are read one by one, since the regular expressions
# take as long to be compiled as some hundred nodes to be read.
_BATCH = 4096
_FEW = 200

# A length below 1024, and any number. Whether they are whole varints, and the length is
# the right one, is checked for all at once, which takes less than exact expressions do.
_SIZE = rb"(.[\1-\7]?)"
_NUMBER = rb"([\x80-\xff]*.)"
# Names of variables, and of attributes in Python. Each ends in front of the next tag.
_TEXT = rb"([^\0-\x1f]*)"
# TensorFlow leaves an empty full name out.
_VARIABLE = rb"(?s)\x12%b\n\x0eVARIABLE_VALUE(?:\x12%b%b)?\x1a%b%b" % (
  _SIZE,
  _SIZE,
  _TEXT,
  _SIZE,
  _TEXT,
)
_HIGH_BYTES = bytes(range(128, 256))
_VALUE_NAME_SIZE = 2 + len(layout_lib.VARIABLE_VALUE)
_CHILD = rb"(?s)\n%b\x08%b\x12%b%b" % (_SIZE, _NUMBER, _SIZE, _TEXT)


class _Lengths(dict):  # type: ignore[type-arg]
  """How the length of a text is written: the varint; nothing for an empty text."""

  def __missing__(self, size: int) -> bytes:
    self[size] = written = coding.encode_varint(size) if size else b""
    return written


class _Sizes(dict):  # type: ignore[type-arg]
  """The bytes of a field with a text: its tag, its length and itself."""

  def __missing__(self, size: int) -> int:
    self[size] = whole = 1 + len(coding.encode_varint(size)) + size if size else 0
    return whole


class GraphColumns:
  """What the nodes of an object graph have, in the order of their numbers.

  Attributes:
    count: how many nodes there are.
    owners: the node of each stored value.
    attributes: what of the object each stored value is.
    full_names: the variable's name of each stored value, or "".
    keys: the checkpoint key of each stored value.
    parents: the nodes that have children.
    ends: for each of these, the position behind its last edge in `names` and `children`.
    names: the attribute name of each edge.
    children: the node that each edge leads to.
    slots: the nodes that have slot variables, with these.
    valueless: the nodes that say that nothing is stored at or below them.
  """

  def __init__(self) -> None:
    """Columns without nodes."""
    self.count = 0
    self.owners: list[int] = []
    self.attributes: list[str] = []
    self.full_names: list[str] = []
    self.keys: list[str] = []
    self.parents: list[int] = []
    self.ends: list[int] = []
    self.names: list[str] = []
    self.children: list[int] = []
    self.slots: list[tuple[int, list[SlotVariable]]] = []
    self.valueless: list[int] = []
    self._found: dict[int, dict[str, int]] = {}

  @classmethod
  def of_nodes(cls, nodes: Sequence[Node]) -> GraphColumns:
    """Columns of nodes, as they are now."""
    columns = cls()
    for node in nodes:
      columns.add(node)
    return columns

  @classmethod
  def read(cls, data: bytes, parse: Callable[[bytes], Node]) -> GraphColumns | None:
    """Reads a serialized object graph.

    Args:
      data: the message's bytes.
      parse: reads the message of one node, where it is spelled otherwise than most.

    Returns:
      The columns; None where the message is damaged, or has something beside nodes.
    """
    columns = cls()
    position, end = 0, len(data)
    try:
      while position < end:
        batch: list[bytes] = []
        while position < end and len(batch) < _BATCH:
          if data[position] != _NODES:
            return None
          size, start = data[position + 1], position + 2
          if size > 127:
            if data[start] < 128:
              size, start = size & 127 | data[start] << 7, start + 1
            else:
              size, start = coding.read_varint(data, position + 1)
          position = start + size
          batch.append(data[start:position])
        if position > end:
          return None
        if len(batch) < _FEW or not columns._add_alike(batch):
          for message in batch:
            columns.add(parse(message))
    except (IndexError, errors.CorruptCheckpointError):
      return None
    return columns if columns._has_all() else None

  def _has_all(self) -> bool:
    """Whether all nodes that others refer to are there."""
    referred = [self.children]
    for _, slots in self.slots:
      referred.append([slot.original_variable_node_id for slot in slots])
      referred.append([slot.slot_variable_node_id for slot in slots])
    return all(0 <= min(ids) and max(ids) < self.count for ids in referred if ids)

  def add(self, node: Node) -> None:
    """Adds a node behind the others."""
    for attribute in node.attributes:
      self.owners.append(self.count)
      self.attributes.append(attribute.name)
      self.full_names.append(attribute.full_name)
      self.keys.append(attribute.checkpoint_key)
    if node.children:
      self.parents.append(self.count)
      self.names.extend(node.children)
      self.children.extend(node.children.values())
      self.ends.append(len(self.children))
    if node.slot_variables:
      self.slots.append((self.count, list(node.slot_variables)))
    if node.has_checkpoint_values is False:
      self.valueless.append(self.count)
    self.count += 1

  def _add_alike(self, batch: Sequence[bytes]) -> bool:
    """Adds nodes, by their messages, if all of them are spelled as most are."""
    owners: list[int] = []
    parents: list[int] = []
    values: list[bytes] = []
    links: list[bytes] = []
    for number, message in enumerate(batch, self.count):
      if message.startswith(b"\x12"):
        owners.append(number)
        values.append(message)
      elif message.startswith(b"\n"):
        parents.append(number)
        links.append(message)
      elif message:
        return False
    stored = _read_variables(values)
    edges = _read_children(links)
    if stored is None or edges is None:
      return False
    self.owners += owners
    self.attributes += itertools.repeat(layout_lib.VARIABLE_VALUE, len(owners))
    self.full_names += stored[0]
    self.keys += stored[1]
    behind = len(self.children)
    self.parents += parents
    self.names += edges[0]
    self.children += edges[1]
    self.ends += [behind + end for end in edges[2]]
    self.count += len(batch)
    return True

  def children_of(self, node_id: int) -> dict[str, int]:
    """The numbers of a node's children, by attribute name."""
    known = self._found.get(node_id)
    if known is None:
      place = bisect.bisect_left(self.parents, node_id)
      known = {}
      if place < len(self.parents) and self.parents[place] == node_id:
        start, end = self.ends[place - 1] if place else 0, self.ends[place]
        known = dict(zip(self.names[start:end], self.children[start:end]))
      self._found[node_id] = known
    return known

  def lookup(self, path: Sequence[str]) -> int | None:
    """The number of the node at a path from the root, or None."""
    node_id = 0
    for name in path:
      child = self.children_of(node_id).get(name)
      if child is None:
        return None
      node_id = child
    return node_id

  def paths(self) -> Paths:
    """The shortest path to each node, by number; None for one that has no path.

    Slot variables, which have no parent, get none; cycles are followed once.

    Raises:
      UnsupportedCheckpointError: objects nested deeper than any program's are.
    """
    above = [-1] * self.count
    steps = [-1] * self.count
    starts = itertools.chain([0], self.ends)
    edges = dict(zip(self.parents, zip(starts, self.ends)))
    children = self.children
    level, has_more, depth = [0], True, 0
    while has_more:
      depth += 1
      if depth > _MAX_DEPTH:
        raise errors.UnsupportedCheckpointError(
          f"the object graph nests objects deeper than {_MAX_DEPTH}"
        )
      has_more = False
      below = []
      for node_id in level:
        start, end = edges.get(node_id, (0, 0))
        for place in range(start, end):
          child = children[place]
          if child and above[child] < 0:
            above[child] = node_id
            steps[child] = place
            has_more = True
            if child in edges:
              below.append(child)
      level = below
    return Paths(self.names, above, steps)


class Paths(_Paths):
  """The paths of an object graph's nodes, by node number; each is made when asked for.

  Keeping them all would take a deep graph's size squared.

  Attributes:
    above: the node in front of each node on its path; -1 where there is none.
    steps: the edge that leads from there, by its place in the columns.
  """

  def __init__(self, names: list[str], above: list[int], steps: list[int]):
    """Paths by their last steps.

    Args:
      names: the attribute name of each edge.
      above: see `above`.
      steps: see `steps`.
    """
    self._names = names
    self.above = above
    self.steps = steps

  def __len__(self) -> int:
    return len(self.above)

  def __getitem__(self, node_id):  # type: ignore[no-untyped-def]
    """The path of a node, or None; the root's is empty."""
    if isinstance(node_id, slice):
      return [self[i] for i in range(len(self))[node_id]]
    above = self.above[node_id]
    if above < 0:
      return () if node_id == 0 else None
    path = []
    while above >= 0:
      path.append(self._names[self.steps[node_id]])
      node_id = above
      above = self.above[node_id]
    return tuple(reversed(path))


def _read_variables(messages: Sequence[bytes]) -> tuple[list[str], list[str]] | None:
  """The full names and the keys of nodes that store a variable's value alone.

  Args:
    messages: those of the nodes.

  Returns:
    None where any of them is spelled otherwise.
  """
  if not messages:
    return [], []
  found = re.findall(_VARIABLE, b"".join(messages))
  if len(found) != len(messages):
    return None
  sizes, name_sizes, names, key_sizes, keys = zip(*found)
  own = list(map(_FIELD.__getitem__, map(len, names)))
  own_keys = list(map(_FIELD.__getitem__, map(len, keys)))
  whole = [_VALUE_NAME_SIZE + name + key for name, key in zip(own, own_keys)]
  # What has the length of each message is what stands in each.
  if not (
    all(keys)
    and name_sizes == _lengths(map(len, names))
    and key_sizes == _lengths(map(len, keys))
    and sizes == _lengths(whole)
    and list(map(_FIELD.__getitem__, whole)) == list(map(len, messages))
  ):
    return None
  return coding.decode_texts(names), coding.decode_texts(keys)


def _read_children(
  messages: Sequence[bytes],
) -> tuple[list[str], list[int], list[int]] | None:
  """The children of nodes that have children alone.

  Args:
    messages: those of the nodes.

  Returns:
    The name of each edge, the number of the node it leads to, and for each message the
    position behind its last edge. None where any of them is spelled otherwise.
  """
  if not messages:
    return [], [], []
  found = re.findall(_CHILD, b"".join(messages))
  if not found:
    return None
  sizes, ids, name_sizes, names = zip(*found)
  whole = [
    1 + id_size + name
    for id_size, name in zip(map(len, ids), map(_FIELD.__getitem__, map(len, names)))
  ]
  if not (
    all(names)
    and name_sizes == _lengths(map(len, names))
    and sizes == _lengths(whole)
    # Of each number, the last byte alone is below 128.
    and len(b"".join(ids).translate(None, _HIGH_BYTES)) == len(ids)
  ):
    return None
  decoded = coding.decode_texts(names)
  fields = list(map(_FIELD.__getitem__, whole))
  ends = []
  end = 0
  for size in map(len, messages):
    start = end
    while size > 0 and end < len(fields):
      size -= fields[end]
      end += 1
    # Each message has to end with an edge, and the names of its edges differ.
    if size or end - start > 1 and len(set(decoded[start:end])) != end - start:
      return None
    ends.append(end)
  return (decoded, coding.read_varints(ids), ends) if end == len(fields) else None


_LENGTH = _Lengths()
_FIELD = _Sizes()


def _lengths(lengths: Iterable[int]) -> tuple[bytes, ...]:
  return tuple(map(_LENGTH.__getitem__, lengths))
