"""An object graph as columns: what its objects store, and which lead to which.

A graph of 100,000 variables has 200,000 nodes and more. An object for each would take
ten times as long as these lists, which most questions are asked of.
`estimator_ckpt.checkpoint.plain_nodes` reads most nodes of a large graph.
"""

from __future__ import annotations

import bisect
import itertools
import sys
from collections.abc import Callable

from estimator_ckpt import errors
from estimator_ckpt.bundle import wire
from estimator_ckpt.checkpoint import layout as layout_lib
from estimator_ckpt.checkpoint.graph_nodes import Node, SlotVariable
from estimator_ckpt.older_pythons import cached_property

TYPE_CHECKING = False
if TYPE_CHECKING:
  from typing import Optional, Sequence, Tuple

  from estimator_ckpt.checkpoint.plain_nodes import PlainNodes

  _Paths = Sequence[Optional[Tuple[str, ...]]]
else:
  from collections.abc import Sequence

  _Paths = Sequence

_NODES = 1 << 3 | 2
_MAX_DEPTH = 1000
# A message of so many bytes is read by NumPy: where that is loaded, as in training, and
# where it is not. Its import takes as long as it saves with 2 MB.
_LARGE = 1 << 15
_LARGE_ENOUGH_TO_IMPORT = 2 << 20


class GraphColumns:
  """What the nodes of an object graph have, in the order of their numbers.

  Attributes:
    count: how many nodes there are.
    owners: the node of each stored value.
    parents: the nodes that have children.
    slots: the nodes that have slot variables, with these.
    valueless: the nodes that say that nothing is stored at or below them.
    plain: the nodes, where all are plain and were read at once.
  """

  def __init__(self, plain: PlainNodes | None = None) -> None:
    """Columns without nodes, or of plain nodes alone."""
    self.plain = plain
    self.count = 0 if plain is None else plain.num_nodes
    self.owners: list[int] = [] if plain is None else plain.owners.tolist()
    self.parents: list[int] = [] if plain is None else plain.parents.tolist()
    self.slots: list[tuple[int, list[SlotVariable]]] = []
    self.valueless: list[int] = []
    self._found: dict[int, dict[str, int]] = {}

  @cached_property
  def attributes(self) -> list[str]:
    """What of the object each stored value is."""
    count = 0 if self.plain is None else len(self.plain.owners)
    return [layout_lib.VARIABLE_VALUE] * count

  @cached_property
  def full_names(self) -> list[str]:
    """The variable's name of each stored value, or ""."""
    return [] if self.plain is None else self.plain.full_names.read()

  @cached_property
  def keys(self) -> list[str]:
    """The checkpoint key of each stored value."""
    return [] if self.plain is None else self.plain.keys.read()

  def read_keys(self) -> list[str]:
    """The `keys`, which a large graph does not keep in memory then."""
    if self.plain is None or "keys" in vars(self):
      return self.keys
    return self.plain.keys.read()

  def key_at(self, row: int) -> str:
    """One of the `keys`; of a large graph, no other text is made for that."""
    if self.plain is None or "keys" in vars(self):
      return self.keys[row]
    [key] = self.plain.keys.read(slice(row, row + 1))
    return key

  def keys_are(self, keys: Sequence[str]) -> bool:
    """Whether the `keys` are these; of a large graph, no text is made for that."""
    if self.plain is None or "keys" in vars(self):
      return self.keys == list(keys)
    return self.plain.keys.are(keys)

  def full_names_are(self, names: Sequence[str], but: int) -> bool:
    """Whether the `full_names` are these; of a large graph, no text is made for that.

    Args:
      names: the texts.
      but: the place of one that may be any other.
    """
    names, one = list(names), slice(but, but + 1)
    if self.plain is None or "full_names" in vars(self):
      names[one] = self.full_names[one]
      return self.full_names == names
    names[one] = self.plain.full_names.read(one)
    return self.plain.full_names.are(names)

  @property
  def names(self) -> list[str]:
    """The attribute name of each edge."""
    return self._edges[0]

  @property
  def children(self) -> list[int]:
    """The node that each edge leads to."""
    return self._edges[1]

  @property
  def ends(self) -> list[int]:
    """For each parent, the position behind its last edge in `names` and `children`."""
    return self._edges[2]

  @cached_property
  def _edges(self) -> tuple[list[str], list[int], list[int]]:
    plain = self.plain
    if plain is None:
      return [], [], []
    names, children = plain.names.read(), plain.children.tolist()
    ends = plain.ends.tolist()
    for start, end in zip([0, *ends], ends):
      if end - start > 1 and len(set(names[start:end])) < end - start:
        return _without_repeated(names, children, ends)
    return names, children, ends

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
    try:
      large = _LARGE if "numpy" in sys.modules else _LARGE_ENOUGH_TO_IMPORT
      if len(data) >= large:
        from estimator_ckpt.checkpoint import plain_nodes

        plain = plain_nodes.read(data)
        columns = None if plain is None else cls._of_plain(plain, parse)
      else:
        columns = cls()
        for tag, message, _ in wire.scan(data):
          if tag != _NODES:
            return None
          columns.add(parse(message))
    except errors.CorruptCheckpointError:
      return None
    return columns if columns is not None and columns._has_all() else None

  @classmethod
  def _of_plain(cls, plain: PlainNodes, parse: Callable[[bytes], Node]) -> GraphColumns:
    """Columns of plain nodes, and between them others."""
    if not plain.others:
      return cls(plain)
    known, columns = cls(plain), cls()
    owner = parent = 0
    for number, message in plain.others:
      owner, parent = columns._extend(known, owner, parent, number)
      columns.add(parse(message))
    columns._extend(known, owner, parent, plain.num_nodes)
    return columns

  def _extend(
    self, other: GraphColumns, owner: int, parent: int, count: int
  ) -> tuple[int, int]:
    """Adds those nodes of other columns that come before a number.

    Args:
      other: the other columns, whose nodes have the numbers they are to have here.
      owner: where to begin in `owners` there.
      parent: where to begin in `parents` there.
      count: the number.

    Returns:
      Where to go on in `owners`, and where in `parents`.
    """
    owners = slice(owner, bisect.bisect_left(other.owners, count, owner))
    parents = slice(parent, bisect.bisect_left(other.parents, count, parent))
    first = other.ends[parent - 1] if parent else 0
    ends = other.ends[parents]
    edges = slice(first, ends[-1] if ends else first)
    self.owners += other.owners[owners]
    self.attributes.extend(other.attributes[owners])
    self.full_names.extend(other.full_names[owners])
    self.keys.extend(other.keys[owners])
    self.parents += other.parents[parents]
    self.ends.extend([end - first + len(self.children) for end in ends])
    self.names.extend(other.names[edges])
    self.children.extend(other.children[edges])
    self.count = count
    return owners.stop, parents.stop

  def _has_all(self) -> bool:
    """Whether all nodes that others refer to are there."""
    plain = self.plain
    if plain is not None:
      return not len(plain.children) or int(plain.children.max()) < self.count
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

  def has_name(self, name: str) -> bool:
    """Whether any edge has an attribute name."""
    return name in self.names if self.plain is None else self.plain.names.have(name)

  def children_of(self, node_id: int) -> dict[str, int]:
    """The numbers of a node's children, by attribute name."""
    known = self._found.get(node_id)
    if known is None:
      place = bisect.bisect_left(self.parents, node_id)
      known = {}
      if place < len(self.parents) and self.parents[place] == node_id:
        known = self._children_at(place)
      self._found[node_id] = known
    return known

  def _children_at(self, place: int) -> dict[str, int]:
    """The children of a parent, by its place in `parents`."""
    plain = self.plain
    if plain is not None and "_edges" not in vars(self):
      # The names of all other edges need not be made.
      edges = slice(int(plain.ends[place - 1]) if place else 0, int(plain.ends[place]))
      return dict(zip(plain.names.read(edges), plain.children[edges].tolist()))
    start, end = self.ends[place - 1] if place else 0, self.ends[place]
    return dict(zip(self.names[start:end], self.children[start:end]))

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
    parents = []
    while has_more:
      depth += 1
      if depth > _MAX_DEPTH:
        raise errors.UnsupportedCheckpointError(
          f"the object graph nests objects deeper than {_MAX_DEPTH}"
        )
      has_more = False
      parents += level
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
    return Paths(self.names, above, steps, parents)


class Paths(_Paths):
  """The paths of an object graph's nodes, by node number; each is made when asked for.

  Keeping them all would take a deep graph's size squared.

  Attributes:
    above: the node in front of each node on its path; -1 where there is none.
    steps: the edge that leads from there, by its place in the columns.
    parents: the nodes on paths, the root first, each behind those in front of it.
  """

  def __init__(
    self, names: list[str], above: list[int], steps: list[int], parents: list[int]
  ):
    """Paths by their last steps.

    Args:
      names: the attribute name of each edge.
      above: see `above`.
      steps: see `steps`.
      parents: see `parents`.
    """
    self._names = names
    self.parents = parents
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


def _without_repeated(
  names: Sequence[str], children: Sequence[int], ends: Sequence[int]
) -> tuple[list[str], list[int], list[int]]:
  """Leaves out all but the last of the edges of one node that have one name."""
  own = [
    dict(zip(names[start:end], children[start:end]))
    for start, end in zip([0, *ends], ends)
  ]
  return (
    list(itertools.chain.from_iterable(own)),
    list(itertools.chain.from_iterable(edges.values() for edges in own)),
    list(itertools.accumulate(map(len, own))),
  )
