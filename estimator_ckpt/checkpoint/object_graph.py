"""The object graph of a TF2 checkpoint: read it, build it, add to it.

A TF2 checkpoint stores one `TrackableObjectGraph` message, as a scalar string under
`_CHECKPOINTABLE_OBJECT_GRAPH`. Each object is a node; nodes are numbered by their
place, and the root is node 0. `estimator_ckpt.checkpoint.graph_nodes` has the messages,
and `estimator_ckpt.checkpoint.graph_columns` lists of what all nodes have.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from estimator_ckpt import errors
from estimator_ckpt.bundle import coding, wire
from estimator_ckpt.checkpoint import graph_nodes
from estimator_ckpt.checkpoint import layout as layout_lib
from estimator_ckpt.checkpoint.graph_columns import GraphColumns
from estimator_ckpt.checkpoint.graph_columns import Paths as Paths
from estimator_ckpt.checkpoint.graph_nodes import Attribute as Attribute
from estimator_ckpt.checkpoint.graph_nodes import Node as Node
from estimator_ckpt.checkpoint.graph_nodes import SlotVariable as SlotVariable

# The tag of a node: field number * 8 + wire type 2, length-delimited.
_NODES = 1 << 3 | 2


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
    self._nodes: list[Node] | None = nodes if nodes is not None else [Node()]
    # As long as no node was asked for: the message, what was read of it, and whether
    # this package spelled it.
    self._data = b""
    self._columns: GraphColumns | None = None
    self._is_written = False

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
    columns = GraphColumns.read(data, graph_nodes.parse_node) if data else None
    if columns is not None:
      graph = cls()
      graph._nodes, graph._data, graph._columns = None, data, columns
      return graph
    try:
      nodes = _parse_nodes(data)
    except errors.CorruptCheckpointError as e:
      raise errors.CorruptCheckpointError(f"{source}: {e}") from e
    graph = cls(nodes or [Node()])
    graph._check_references(source)
    return graph

  @classmethod
  def of_message(cls, data: bytes) -> ObjectGraph:
    """A graph of which nothing is read before it is asked for.

    Args:
      data: the message's bytes, as `serialize` would return them.
    """
    graph = cls()
    graph._nodes, graph._data, graph._is_written = None, data, True
    return graph

  def copy(self) -> ObjectGraph:
    """A copy that can be edited while this graph stays as it is."""
    if self._nodes is None:
      # The copy makes nodes of its own when they are asked for.
      copied = ObjectGraph.of_message(self._data)
      copied._columns, copied._is_written = self._columns, self._is_written
      return copied
    return ObjectGraph(
      [
        Node(
          dict(node.children),
          list(node.attributes),
          list(node.slot_variables),
          node.registered_saver,
          node.has_checkpoint_values,
          node.unknown,
        )
        for node in self._nodes
      ]
    )

  @property
  def nodes(self) -> list[Node]:
    """The nodes, which may be changed. Made when they are first asked for."""
    if self._nodes is None:
      self._nodes = _parse_nodes(self._data)
      self._data, self._columns = b"", None
    return self._nodes

  @nodes.setter
  def nodes(self, nodes: list[Node]) -> None:
    self._nodes, self._data, self._columns = nodes, b"", None

  @property
  def columns(self) -> GraphColumns:
    """What the nodes have. It costs much less than the nodes of a graph that was read."""
    if self._columns is None and self._nodes is None:
      self._columns = GraphColumns.read(self._data, graph_nodes.parse_node)
    return self._columns or GraphColumns.of_nodes(self.nodes)

  @property
  def num_nodes(self) -> int:
    """How many nodes there are."""
    return len(self._nodes) if self._nodes is not None else self.columns.count

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
    if self._nodes is None and self._is_written:
      return self._data
    out = bytearray()
    for node in self.nodes:
      message = graph_nodes.serialize_node(node)
      out += b"\x0a%b%b" % (coding.encode_varint(len(message)), message)
    return bytes(out)

  def lookup(self, path: Sequence[str]) -> int | None:
    """The number of the node at a path from the root, or None."""
    if self._nodes is None:
      return self.columns.lookup(path)
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
      OptionError: a path is in use. If another of the paths leads through it, the graph
        is of no use then.
    """
    for path in paths:
      if self.lookup(path) is not None:
        raise path_in_use(path, full_name)
    first, *others = paths
    key = key or layout_lib.object_key(first, attribute)
    node_id = self.add_path(first)
    self.nodes[node_id].attributes.append(Attribute(attribute, full_name, key))
    for path in others:
      parent = self.add_path(path[:-1])
      # Another of the paths may lead through this one.
      if self.nodes[parent].children.setdefault(path[-1], node_id) != node_id:
        raise path_in_use(path, full_name)
      if self.nodes[parent].has_checkpoint_values is False:
        self.nodes[parent].has_checkpoint_values = None
    return key

  def attributes(self) -> Iterator[tuple[int, Attribute]]:
    """Iterates over `(node number, attribute)` of everything stored."""
    found = self.columns
    for owner, *said in zip(
      found.owners, found.attributes, found.full_names, found.keys
    ):
      yield owner, Attribute(*said)

  def nodes_by_key(self) -> dict[str, int]:
    """The number of the node that stores each checkpoint key.

    Of two nodes with one key, it is the later one: TensorFlow restores that alone.
    """
    return dict(zip(self.columns.keys, self.columns.owners))

  def keys_by_full_name(self) -> dict[str, str | None]:
    """Checkpoint keys by variable name; None for a name that several objects have."""
    keys: dict[str, str | None] = {}
    for name, key in zip(self.columns.full_names, self.columns.keys):
      if name and keys.setdefault(name, key) != key:
        keys[name] = None
    return keys

  def paths(self) -> Paths:
    """The shortest path to each node, by number; None for one that has no path.

    Slot variables, which have no parent, get none; cycles are followed once.

    Raises:
      UnsupportedCheckpointError: objects nested deeper than any program's are.
    """
    return self.columns.paths()

  def edges(self) -> Iterator[tuple[int, str, int]]:
    """Iterates over `(parent, attribute name, child)` of every edge."""
    found = self.columns
    start = 0
    for parent, end in zip(found.parents, found.ends):
      for place in range(start, end):
        yield parent, found.names[place], found.children[place]
      start = end


def path_in_use(path: Sequence[str], full_name: str) -> errors.OptionError:
  """The error that says that another object stands at a path."""
  return errors.OptionError(
    f"The object path {'/'.join(path)!r}, meant for {full_name!r}, is in use in the "
    "object graph. Choose another layout for it."
  )


def _parse_nodes(data: bytes) -> list[Node]:
  return [
    graph_nodes.parse_node(value) for tag, value, _ in wire.scan(data) if tag == _NODES
  ]
