"""The object graph of a TF2 checkpoint: read it, build it, add to it.

A TF2 checkpoint stores one `TrackableObjectGraph` message, as a scalar string under
`_CHECKPOINTABLE_OBJECT_GRAPH`. Each object is a node; nodes are numbered by their
place, and the root is node 0. In TensorFlow's trackable_object_graph.proto:

    TrackableObjectGraph  1 nodes: repeated TrackableObject
    TrackableObject       1 children        2 attributes       3 slot_variables
                          4 registered_saver                   5 has_checkpoint_values
    ObjectReference       1 node_id         2 local_name
    SerializedTensor      1 name            2 full_name        3 checkpoint_key
    SlotVariableReference 1 original_variable_node_id          2 slot_name
                          3 slot_variable_node_id
    RegisteredSaver       1 name            2 object_name
    BoolValue             1 value
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from estimator_ckpt import errors, value_classes
from estimator_ckpt.bundle import coding, wire
from estimator_ckpt.checkpoint import layout as layout_lib

TYPE_CHECKING = False
if TYPE_CHECKING:
  from typing import Any, Optional, Sequence, Tuple

  _Paths = Sequence[Optional[Tuple[str, ...]]]
else:
  from collections.abc import Sequence

  _Paths = Sequence

# Tags: field number * 8 + wire type (0 a varint, 2 length-delimited).
_NODES = 1 << 3 | 2
_CHILDREN = 1 << 3 | 2
_ATTRIBUTES = 2 << 3 | 2
_SLOT_VARIABLES = 3 << 3 | 2
_REGISTERED_SAVER = 4 << 3 | 2
_HAS_CHECKPOINT_VALUES = 5 << 3 | 2
_INT_1 = 1 << 3
_INT_3 = 3 << 3
_TEXT_1 = 1 << 3 | 2
_TEXT_2 = 2 << 3 | 2
_TEXT_3 = 3 << 3 | 2

# How the message for a variable's value begins.
_VALUE = layout_lib.VARIABLE_VALUE.encode()
_VALUE_NAME = bytes([_TEXT_1, len(_VALUE)]) + _VALUE
_VALUE_START = _VALUE_NAME + bytes([_TEXT_2])

_MAX_DEPTH = 1000


@value_classes.dataclass
class Attribute:
  """One stored value of an object.

  Attributes:
    name: what of the object it is; `VARIABLE_VALUE` for a variable.
    full_name: the variable's name, by which name-based Savers find it, or "".
    checkpoint_key: the key of the tensor in the bundle.
  """

  name: str
  full_name: str
  checkpoint_key: str


@value_classes.dataclass
class SlotVariable:
  """An optimizer's variable that belongs to another variable.

  Attributes:
    original_variable_node_id: the node of the variable it belongs to.
    slot_name: for example `m` and `v` of Adam.
    slot_variable_node_id: the node of the slot variable itself.
  """

  original_variable_node_id: int
  slot_name: str
  slot_variable_node_id: int


@value_classes.dataclass
class Node:
  """One object.

  Attributes:
    children: node numbers by attribute name.
    attributes: the stored values.
    slot_variables: for an optimizer, its slot variables.
    registered_saver: the name of a registered saver and the object's name there.
    has_checkpoint_values: whether the node or anything below it stores a value;
      None when the writer did not say. A false one makes TensorFlow skip the
      subtree, so it is dropped from every node that gets something added.
    unknown: fields of newer versions, as they stood.
  """

  children: dict[str, int] = value_classes.field(default_factory=dict)
  attributes: list[Attribute] = value_classes.field(default_factory=list)
  slot_variables: list[SlotVariable] = value_classes.field(default_factory=list)
  registered_saver: tuple[str, str] | None = None
  has_checkpoint_values: bool | None = None
  unknown: bytes = b""


class Paths(_Paths):
  """The paths of an object graph's nodes, by node number; each is made when asked for.

  Keeping them all would take a deep graph's size squared.
  """

  def __init__(self, parents: list[tuple[int, str] | None]):
    self._parents = parents

  def __len__(self) -> int:
    return len(self._parents)

  def parent(self, node_id: int) -> tuple[int, str] | None:
    """The node before this one on its path, and the step from there; the root has none."""
    return self._parents[node_id]

  def __getitem__(self, node_id):  # type: ignore[no-untyped-def]
    """The path of a node, or None; the root's is empty."""
    if isinstance(node_id, slice):
      return [self[i] for i in range(len(self))[node_id]]
    path = []
    parent = self._parents[node_id]
    if parent is None:
      return () if node_id == 0 else None
    while parent is not None:
      node_id, name = parent
      path.append(name)
      parent = self._parents[node_id]
    return tuple(reversed(path))


class ObjectGraph:
  """A `TrackableObjectGraph`: nodes, of which number 0 is the root.

  Args:
    nodes: the nodes; a single root when left out.

  Example:
    >>> graph = ObjectGraph()
    >>> key = graph.add_variable([("var_list", "net/w"), ("net", "w")], "net/w")
    >>> key
    'var_list/net.Sw/.ATTRIBUTES/VARIABLE_VALUE'
    >>> ObjectGraph.parse(graph.serialize()).lookup(("net", "w"))
    2
  """

  def __init__(self, nodes: list[Node] | None = None):
    self.nodes = nodes if nodes is not None else [Node()]

  @classmethod
  def parse(cls, data: bytes, source: str = "the object graph") -> ObjectGraph:
    """Reads a serialized object graph.

    Args:
      data: the message's bytes.
      source: where they come from, for error messages.

    Returns:
      The graph.

    Raises:
      CorruptCheckpointError: not a `TrackableObjectGraph`, or one whose references
        point at nodes that are not there.
    """
    try:
      nodes = [_parse_node(value) for tag, value, _ in wire.scan(data) if tag == _NODES]
    except errors.CorruptCheckpointError as e:
      raise errors.CorruptCheckpointError(f"{source}: {e}") from e
    graph = cls(nodes or [Node()])
    graph._check_references(source)
    return graph

  def _check_references(self, source: str) -> None:
    count = len(self.nodes)
    for node_id, node in enumerate(self.nodes):
      ids = list(node.children.values())
      for slot in node.slot_variables:
        ids += [slot.original_variable_node_id, slot.slot_variable_node_id]
      for target in ids:
        if not 0 <= target < count:
          raise errors.CorruptCheckpointError(
            f"{source}: node {node_id} of the object graph refers to node {target}, and "
            f"there are {count} nodes"
          )

  def serialize(self) -> bytes:
    """The bytes of the message, as TensorFlow reads them."""
    out = bytearray()
    for node in self.nodes:
      message = _serialize_node(node)
      out += b"\x0a%b%b" % (coding.encode_varint(len(message)), message)
    return bytes(out)

  def lookup(self, path: Sequence[str]) -> int | None:
    """The number of the node at a path from the root, or None."""
    node_id = 0
    for name in path:
      next_id = self.nodes[node_id].children.get(name)
      if next_id is None:
        return None
      node_id = next_id
    return node_id

  def add_path(self, path: Sequence[str]) -> int:
    """Returns the node at a path, adding the nodes that are not there yet.

    Args:
      path: attribute names from the root.

    Returns:
      The number of the last node.
    """
    node_id = 0
    for name in path:
      node_id = self._child(node_id, name)
    return node_id

  def _child(self, node_id: int, name: str) -> int:
    node = self.nodes[node_id]
    if node.has_checkpoint_values is False:
      node.has_checkpoint_values = None
    if name not in node.children:
      node.children[name] = len(self.nodes)
      self.nodes.append(Node())
    return node.children[name]

  def add_variable(
    self,
    paths: Sequence[Sequence[str]],
    full_name: str,
    key: str | None = None,
    attribute: str = layout_lib.VARIABLE_VALUE,
  ) -> str:
    """Adds one object with one stored value, reachable along every path given.

    All paths lead to one node: TensorFlow restores both ways then, whereas of two
    nodes with the same checkpoint key it would silently restore only one.

    Args:
      paths: one or more paths from the root, none of them in use.
      full_name: the variable's name.
      key: the tensor's key; by default the one the first path spells.
      attribute: what of the object is stored.

    Returns:
      The tensor's key.

    Raises:
      OptionError: a path is in use.
    """
    for path in paths:
      if self.lookup(path) is not None:
        raise errors.OptionError(
          f"The object path {'/'.join(path)!r}, meant for {full_name!r}, is in use in the "
          "object graph. Choose another layout for it."
        )
    first, *others = paths
    key = key or layout_lib.object_key(first, attribute)
    node_id = self.add_path(first)
    self.nodes[node_id].attributes.append(Attribute(attribute, full_name, key))
    for path in others:
      parent = self.add_path(path[:-1])
      self.nodes[parent].children[path[-1]] = node_id
      if self.nodes[parent].has_checkpoint_values is False:
        self.nodes[parent].has_checkpoint_values = None
    return key

  def attributes(self) -> Iterator[tuple[int, Attribute]]:
    """Iterates over `(node number, attribute)` of everything stored."""
    for node_id, node in enumerate(self.nodes):
      for attribute in node.attributes:
        yield node_id, attribute

  def nodes_by_key(self) -> dict[str, int]:
    """The number of the node that stores each checkpoint key.

    Of two nodes with one key, it is the later one: TensorFlow restores that alone.
    """
    return {
      attribute.checkpoint_key: node_id
      for node_id, node in enumerate(self.nodes)
      for attribute in node.attributes
    }

  def keys_by_full_name(self) -> dict[str, str | None]:
    """Checkpoint keys by variable name; None for a name that several objects have."""
    keys: dict[str, str | None] = {}
    for _, attribute in self.attributes():
      if attribute.full_name:
        known = keys.setdefault(attribute.full_name, attribute.checkpoint_key)
        if known != attribute.checkpoint_key:
          keys[attribute.full_name] = None
    return keys

  def paths(self) -> Paths:
    """The shortest path to each node, by number; None for one that has no path.

    Slot variables, which have no parent, get none; cycles are followed once.

    Raises:
      UnsupportedCheckpointError: objects nested deeper than any program's are.
    """
    parents: list[tuple[int, str] | None] = [None] * len(self.nodes)
    level = [0]
    depth = 0
    while level:
      depth += 1
      if depth > _MAX_DEPTH:
        raise errors.UnsupportedCheckpointError(
          f"the object graph nests objects deeper than {_MAX_DEPTH}"
        )
      below = []
      for node_id in level:
        for name, child in self.nodes[node_id].children.items():
          if child and parents[child] is None:
            parents[child] = (node_id, name)
            below.append(child)
      level = below
    return Paths(parents)

  def edges(self) -> Iterator[tuple[int, str, int]]:
    """Iterates over `(parent, attribute name, child)` of every edge."""
    for node_id, node in enumerate(self.nodes):
      for name, child in node.children.items():
        yield node_id, name, child


def _parse_node(data: bytes) -> Node:
  node = Node()
  start = _parse_children(data, node.children)
  end = len(data)
  if start == end:
    return node
  if data[start] == _ATTRIBUTES and start + 1 < end:
    # A variable's node has nothing else.
    size, at = data[start + 1], start + 2
    if size > 127:
      size, at = coding.read_varint(data, start + 1)
    if at + size == end:
      node.attributes.append(_parse_attribute(data[at:]))
      return node
  for tag, value, end in wire.scan(data, start):
    if tag == _CHILDREN:
      child = _last_values(value, {_INT_1: 0, _TEXT_2: b""})
      node.children[_text(child[_TEXT_2])] = child[_INT_1]
    elif tag == _ATTRIBUTES:
      node.attributes.append(_parse_attribute(value))
    elif tag == _SLOT_VARIABLES:
      slot = _last_values(value, {_INT_1: 0, _TEXT_2: b"", _INT_3: 0})
      node.slot_variables.append(
        SlotVariable(slot[_INT_1], _text(slot[_TEXT_2]), slot[_INT_3])
      )
    elif tag == _REGISTERED_SAVER:
      saver = _last_values(value, {_TEXT_1: b"", _TEXT_2: b""})
      node.registered_saver = (_text(saver[_TEXT_1]), _text(saver[_TEXT_2]))
    elif tag == _HAS_CHECKPOINT_VALUES:
      flag = _last_values(value, {_INT_1: 0})
      node.has_checkpoint_values = bool(flag[_INT_1])
    else:
      node.unknown += data[start:end]
    start = end
  return node


def _last_values(message: bytes, values: dict[int, Any]) -> dict[int, Any]:
  """Sets fields of a message, by tag, over their defaults; the last of each counts."""
  for tag, value, _ in wire.scan(message):
    values[tag] = value
  return values


# Children and the attributes of variables are most of a graph. Every writer spells them
# alike, and these two functions read that spelling in place; `wire.scan` reads others.
# With `wire.scan` alone, a graph of 100,000 variables takes 2.7 s of processor time to
# parse in place of 1.9 s, where all of `inspect` takes 8 s.
def _parse_children(data: bytes, children: dict[str, int]) -> int:
  """Reads the children a node begins with; returns the position behind them."""
  position = 0
  end = len(data)
  while position < end and data[position] == _CHILDREN:
    at = position + 4
    stop = position + 2 + data[position + 1] if at < end else end + 1
    # A length of two bytes would be one above 127.
    if stop > end or stop - position > 129 or data[position + 2] != _INT_1:
      break
    child = data[position + 3]
    if child > 127:
      child, at = coding.read_varint(data, position + 3, stop)
    if stop - at < 3 or data[at] != _TEXT_2 or data[at + 1] != stop - at - 2:
      break
    children[_text(data[at + 2 : stop])] = child
    position = stop
  return position


def _parse_attribute(data: bytes) -> Attribute:
  at = len(_VALUE_START)
  if data.startswith(_VALUE_START) and at < len(data):
    start = at + 1
    length = data[at]
    if length > 127:
      length, start = coding.read_varint(data, at)
    at = start + length
    if at + 1 < len(data) and data[at] == _TEXT_3:
      key = at + 2
      length = data[at + 1]
      if length > 127:
        length, key = coding.read_varint(data, at + 1)
      if length and key + length == len(data):
        full_name = _text(data[start:at])
        return Attribute(layout_lib.VARIABLE_VALUE, full_name, _text(data[key:]))
  texts = _last_values(data, {_TEXT_1: b"", _TEXT_2: b"", _TEXT_3: b""})
  return Attribute(*(_text(texts[tag]) for tag in (_TEXT_1, _TEXT_2, _TEXT_3)))


def _text(value: bytes) -> str:
  return value.decode("utf-8", "surrogateescape")


def _serialize_node(node: Node) -> bytes:
  varint = coding.encode_varint
  out = bytearray()
  for name, child in node.children.items():
    message = _int(_INT_1, child) + _string(_TEXT_2, name)
    out += b"\x0a%b%b" % (varint(len(message)), message)
  for attribute in node.attributes:
    is_value = attribute.name == layout_lib.VARIABLE_VALUE
    message = _VALUE_NAME if is_value else _string(_TEXT_1, attribute.name)
    message += _string(_TEXT_2, attribute.full_name)
    message += _string(_TEXT_3, attribute.checkpoint_key)
    out += b"\x12%b%b" % (varint(len(message)), message)
  for slot in node.slot_variables:
    message = _int(_INT_1, slot.original_variable_node_id)
    message += _string(_TEXT_2, slot.slot_name)
    wire.write_bytes(out, 3, message + _int(_INT_3, slot.slot_variable_node_id))
  if node.registered_saver is not None:
    name, object_name = node.registered_saver
    wire.write_bytes(out, 4, _string(_TEXT_1, name) + _string(_TEXT_2, object_name))
  if node.has_checkpoint_values is not None:
    wire.write_bytes(out, 5, _int(_INT_1, node.has_checkpoint_values))
  return bytes(out) + node.unknown


def _int(tag: int, value: int) -> bytes:
  """A field, or nothing for 0, as in proto3."""
  return bytes((tag,)) + coding.encode_varint(value) if value else b""


def _string(tag: int, value: str) -> bytes:
  """A field, or nothing for an empty text, as in proto3."""
  if not value:
    return b""
  text = value.encode("utf-8", "surrogateescape")
  return b"%c%b%b" % (tag, coding.encode_varint(len(text)), text)
