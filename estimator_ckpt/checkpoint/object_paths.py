"""The paths from an object graph's root to the objects that store something."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

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
    names: what each stored value is called, in the order of the graph, if that is known.

  >>> graph = ObjectGraph()
  >>> key = graph.add_variable([("var_list", "net/w"), ("net", "w")], "net/w")
  >>> ObjectPaths(graph).of(key)
  ['net/w', 'var_list/net.Sw']
  """

  def __init__(self, graph: ObjectGraph, names: Sequence[str] | None = None):
    self._columns = graph.columns
    self._names = names

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
      path = starts[shortest.above[node_id]] + steps[shortest.steps[node_id]] + "/"
      if len(path) > 2 * _MAX_PATH_LENGTH:
        path = path[-2 * _MAX_PATH_LENGTH :]
      starts[node_id] = path
    return starts

  @cached_property
  def _paths(self) -> dict[int, list[str]]:
    """The paths of each object that stores something, in the order of their edges."""
    columns = self._columns
    edges = zip(columns.children, self._steps)
    paths: dict[int, list[str]] = {owner: [] for owner in columns.owners}
    begin = 0
    for parent, end in zip(columns.parents, columns.ends):
      start = self._starts.get(parent)
      for child, step in itertools.islice(edges, end - begin):
        own = paths.get(child)
        if own is not None and start is not None and len(own) < _MAX_PATHS:
          path = start + step
          if len(path) > _MAX_PATH_LENGTH:
            path = "..." + path[-_MAX_PATH_LENGTH:]
          own.append(path)
      begin = end
    return paths

  def follow(self) -> bool:
    """Whether the paths of objects follow from the names, without making the paths.

    Returns:
      Whether all paths are, for certain, the name below `var_list/`, or the nested path
      that the name's scopes spell, or that of the counter of saves. False also where the
      graph is a small one, whose paths are soon made, or the names were not given.
    """
    plain = self._columns.plain
    if plain is None or self._names is None:
      return False
    from estimator_ckpt.checkpoint import plain_paths

    return plain_paths.follow(plain, self._names)

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
    paths = self._paths.get(self._nodes.get(key, -1), [])
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
