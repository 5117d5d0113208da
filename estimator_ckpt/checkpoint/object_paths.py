"""The paths from an object graph's root to the objects that store something."""

from __future__ import annotations

from collections.abc import Mapping

from estimator_ckpt.checkpoint import layout
from estimator_ckpt.checkpoint.object_graph import ObjectGraph
from estimator_ckpt.older_pythons import cached_property

# An object graph is data: a few bytes of it can spell very long and very many paths.
_MAX_PATH_LENGTH = 1024
_MAX_PATHS = 8
# The edges of objects with more than these are compared all at once.
_MANY = 100


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
    self._nodes = dict(zip(self._columns.keys, self._columns.owners))
    self._shortest = self._columns.paths()
    self._steps = layout.escape_local_names(self._columns.names)
    self._spelled: dict[int, str | None] = {0: ""}

  @cached_property
  def _found(self) -> dict[int, list[str]]:
    """The paths of each object that stores something, in the order of their edges."""
    columns, steps = self._columns, self._steps
    found: dict[int, list[str]] = {}
    stores = set(columns.owners)
    begin = 0
    for parent, end in zip(columns.parents, columns.ends):
      start: str | None = None
      for place in range(begin, end):
        child = columns.children[place]
        if child not in stores:
          continue
        if start is None:
          start = self._spell(parent)
          if start is None:
            break
        path = start + steps[place]
        if len(path) > _MAX_PATH_LENGTH:
          path = "..." + path[-_MAX_PATH_LENGTH:]
        paths = found.get(child)
        if paths is None:
          found[child] = [path]
        elif len(paths) < _MAX_PATHS:
          paths.append(path)
      begin = end
    return found

  def follow(self, names: Mapping[str, str]) -> bool:
    """Whether the paths of objects follow from names, without making the paths.

    Args:
      names: a name for each checkpoint key that is asked for.

    Returns:
      Whether all paths of these objects are, for certain, the name below `var_list/`, or
      the nested path that the name's scopes spell, or that of the counter of saves.
    """
    columns, steps = self._columns, self._steps
    by_node = dict(zip(map(self._nodes.__getitem__, names), names.values()))
    if not by_node.keys() <= set(columns.children):
      return False  # Slot variables have no parent.
    called = list(map(by_node.get, columns.children))
    flat = layout.VAR_LIST + "/"
    begin = 0
    for parent, end in zip(columns.parents, columns.ends):
      places = range(begin, end)
      if end - begin > _MANY and self._spell(parent) == flat:
        # Most often of all variables, so that no path needs to be made.
        if called[begin:end] == columns.names[begin:end]:
          if max(map(len, steps[begin:end])) + len(flat) <= _MAX_PATH_LENGTH:
            places = range(0)
      for place in places:
        name = called[place]
        if name is None:
          continue
        start = self._spell(parent)
        if start is None:
          return False
        path = start + steps[place]
        if len(path) > _MAX_PATH_LENGTH or not (
          columns.names[place] == name
          if start == flat
          else path in (layout.nested_path(name), layout.SAVE_COUNTER)
        ):
          return False
      begin = end
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
    paths = self._found.get(self._nodes.get(key, -1), [])
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

  def _spell(self, node_id: int) -> str | None:
    """The shortest path of a node, with a slash behind it, made once for all children."""
    spelled = self._spelled
    if node_id in spelled:
      return spelled[node_id]
    above = self._shortest.above
    below = []
    while node_id not in self._spelled:
      if above[node_id] < 0:
        self._spelled[node_id] = None
        break
      below.append(node_id)
      node_id = above[node_id]
    path = self._spelled[node_id]
    for node_id in reversed(below):
      if path is not None:
        path = f"{path}{self._steps[self._shortest.steps[node_id]]}/"
        path = path[-2 * _MAX_PATH_LENGTH :]
      self._spelled[node_id] = path
    return path


def _plainness(path: str) -> tuple[bool, int, str]:
  is_number = path[-1:].isdigit() and path.rpartition("/")[2].isdigit()
  return (is_number, path.count("/"), path)


class LatePaths:
  """The paths of a variable, found when they are asked for.

  Attributes:
    finder: finds them.
    key: the checkpoint key of its value.
  """

  __slots__ = ("finder", "key")

  def __init__(self, finder: ObjectPaths, key: str):
    """Finds nothing yet."""
    self.finder = finder
    self.key = key

  def found(self) -> tuple[str, ...]:
    """The paths; see `ObjectPaths.of_value`."""
    return tuple(self.finder.of_value(self.key))
