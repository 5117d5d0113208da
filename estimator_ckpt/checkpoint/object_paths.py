"""The paths from an object graph's root to the objects that store something."""

from __future__ import annotations

import bisect
from collections.abc import Mapping

from estimator_ckpt.checkpoint import layout
from estimator_ckpt.checkpoint.object_graph import ObjectGraph
from estimator_ckpt.older_pythons import cached_property

# An object graph is data: a few bytes of it can spell very long and very many paths.
_MAX_PATH_LENGTH = 1024
_MAX_PATHS = 8


class ObjectPaths:
  """The paths from an object graph's root to the objects that store something.

  Args:
    graph: the object graph.

  >>> graph = ObjectGraph()
  >>> key = graph.add_variable([("var_list", "net/w"), ("net", "w")], "net/w")
  >>> ObjectPaths(graph).of(key)
  ['net/w', 'var_list/net.Sw']
  """

  def __init__(self, graph: ObjectGraph):
    self._columns = graph.columns
    # One object may have many keys.
    self._found: dict[int, list[str]] = {}

  @cached_property
  def _nodes(self) -> dict[str, int]:
    return dict(zip(self._columns.keys, self._columns.owners))

  @cached_property
  def _steps(self) -> list[str]:
    return layout.escape_local_names(self._columns.names)

  @cached_property
  def _starts(self) -> dict[int, str]:
    """The shortest path of each object that has children, with a slash behind it."""
    shortest, steps = self._columns.paths(), self._steps
    starts = {0: ""}
    for node_id in shortest.parents[1:]:
      path = f"{starts[shortest.above[node_id]]}{steps[shortest.steps[node_id]]}/"
      starts[node_id] = path[-2 * _MAX_PATH_LENGTH :]
    return starts

  @cached_property
  def _edges(self) -> tuple[list[int], list[int]]:
    """The places of edges in the columns, by the nodes they lead to; and these nodes."""
    children = self._columns.children
    places = sorted(range(len(children)), key=children.__getitem__)
    return places, list(map(children.__getitem__, places))

  def _find(self, node_id: int) -> list[str]:
    """The paths of an object, in the order of their edges."""
    columns, (places, children) = self._columns, self._edges
    found: list[str] = []
    place = bisect.bisect_left(children, node_id)
    while (
      place < len(places) and children[place] == node_id and len(found) < _MAX_PATHS
    ):
      edge = places[place]
      parent = columns.parents[bisect.bisect_right(columns.ends, edge)]
      start = self._starts.get(parent)
      if start is not None:
        path = start + self._steps[edge]
        if len(path) > _MAX_PATH_LENGTH:
          path = "..." + path[-_MAX_PATH_LENGTH:]
        found.append(path)
      place += 1
    return found

  def follow(self, names: Mapping[str, str]) -> bool:
    """Whether the paths of objects follow from names, without making the paths.

    Args:
      names: a name for each checkpoint key that is asked for.

    Returns:
      Whether all paths of these objects are, for certain, the name below `var_list/`, or
      the nested path that the name's scopes spell, or that of the counter of saves.
    """
    columns, names_of_steps, steps = self._columns, self._columns.names, self._steps
    by_node = dict(zip(columns.owners, map(names.get, columns.keys)))
    called = list(map(by_node.get, columns.children))
    if not (set(by_node.values()) - {None}).issubset(called):
      return False  # Slot variables have no parent.
    starts: list[str] = []
    begin = 0
    for parent, end in zip(columns.parents, columns.ends):
      # Nothing follows from the path of an object that has none.
      starts += [self._starts.get(parent, "\0")] * (end - begin)
      begin = end
    flat = layout.VAR_LIST + "/"
    for start, step, name, said in zip(starts, steps, called, names_of_steps):
      if name is None:
        continue
      path = start + step
      follows = said == name if start == flat else path == layout.nested_path(name)
      if len(path) > _MAX_PATH_LENGTH or not (follows or path == layout.SAVE_COUNTER):
        return False
    return True

  def of(self, key: str) -> list[str]:
    """The paths of the object that stores a key, each up to its parents the shortest.

    Args:
      key: a checkpoint key of the object graph.

    Returns:
      The paths, first those that end in a name rather than a number, as in a list,
      and of these the shortest; none for a slot variable, which has no parent, and for
      a key that the graph does not have. Beyond some number they are left out, and
      beyond some length their beginning is.
    """
    node_id = self._nodes.get(key, -1)
    paths = self._found.get(node_id)
    if paths is None:
      paths = self._found[node_id] = self._find(node_id)
    if len(paths) == 2:  # most often; to compare takes less than to sort
      first, second = paths
      in_order = _plainness(first) <= _plainness(second)
      return paths if in_order else [second, first]
    return sorted(paths, key=_plainness) if len(paths) > 1 else paths

  def of_value(self, key: str) -> list[str]:
    """The paths of a variable that stores its value under a key.

    Args:
      key: a checkpoint key of the object graph.

    Returns:
      The paths; of a slot variable, to which no edge leads, that which the key spells.
    """
    own = self.of(key) or [key.rpartition(layout.ATTRIBUTES)[0]]
    return own if all(own) else [path for path in own if path]


def _plainness(path: str) -> tuple[bool, int, str]:
  is_number = path[-1:].isdigit() and path.rpartition("/")[2].isdigit()
  return (is_number, path.count("/"), path)
