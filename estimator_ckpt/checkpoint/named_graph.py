"""The object graph of many names: an object for each, where a layout puts it."""

from __future__ import annotations

import collections
import itertools
import operator
from collections.abc import Iterable, Mapping, Sequence

from estimator_ckpt.checkpoint import graph_writer
from estimator_ckpt.checkpoint import layout as layout_lib
from estimator_ckpt.checkpoint.object_graph import ObjectGraph, path_in_use

_ROOT = 0
# In place of the object above, where a name has no nested path.
_NONE = -1


def named_graph(
  names: Sequence[str], attributes: Sequence[str], layout: str
) -> tuple[list[str], ObjectGraph]:
  """Makes the object graph of names, and of a counter of saves.

  It has the paths that `ObjectGraph.add_variable` gives name by name, in a fraction of
  the time.

  Args:
    names: variables' names.
    attributes: what of each object is stored.
    layout: the name of a layout; see `layout.each_path`.

  Returns:
    The keys of the tensors; and the graph: scopes first, then the names in their order,
    then the counter.

  Raises:
    OptionError: a name comes twice.

  Example:
    >>> keys, graph = named_graph(["net/w"], ["VARIABLE_VALUE"], "nested")
    >>> keys, graph.lookup(("net", "w"))
    (['net/w/.ATTRIBUTES/VARIABLE_VALUE'], 2)
  """
  unique = dict.fromkeys(names)
  if len(unique) < len(names):
    [(name, _)] = collections.Counter(names).most_common(1)
    raise path_in_use((layout_lib.VAR_LIST, name), name)
  edges = _Edges()
  is_flat = layout_lib.has_flat_paths(layout)
  above = [_NONE] * len(names)
  if layout_lib.has_nested_paths(layout):
    above = edges.add_scopes(unique)
  del unique
  nested = list(map(_NONE.__lt__, above))
  in_dict = [True] * len(names) if is_flat else list(map(operator.not_, nested))
  # Of the objects with others below them, the dict has the highest number.
  names_dict = edges.add_object(_ROOT, layout_lib.VAR_LIST) if any(in_dict) else _NONE
  owners = range(edges.count, edges.count + len(names))
  edges.count = owners.stop
  last_steps = (name.rpartition("/")[2] for name in itertools.compress(names, nested))
  edges.extend(
    itertools.compress(above, nested), last_steps, itertools.compress(owners, nested)
  )
  edges.add_object(_ROOT, layout_lib.SAVE_COUNTER)
  edges.sort()
  edges.extend(
    itertools.repeat(names_dict, sum(in_dict)),
    itertools.compress(names, in_dict),
    itertools.compress(owners, in_dict),
  )
  keys = _keys(names, attributes, in_dict)
  counts = collections.Counter(edges.above)
  data = graph_writer.write_graph(
    list(itertools.accumulate(counts.values())),
    edges.steps,
    edges.below,
    [*attributes, layout_lib.VARIABLE_VALUE],
    [*names, ""],
    [*keys, layout_lib.object_key([layout_lib.SAVE_COUNTER])],
  )
  return keys, ObjectGraph.of_message(data)


def _keys(
  names: Sequence[str], attributes: Sequence[str], in_dict: Sequence[bool]
) -> list[str]:
  """The keys of tensors: by the flat path of each name, or else by the nested one."""
  escaped = layout_lib.escape_local_names(names)
  endings = {each: layout_lib.ATTRIBUTES + each for each in set(attributes)}
  return [
    f"{layout_lib.VAR_LIST}/{path}{endings[attribute]}"
    if is_flat
    else layout_lib.nested_path(name) + endings[attribute]
    for name, path, attribute, is_flat in zip(names, escaped, attributes, in_dict)
  ]


class _Edges:
  """Numbers objects, and lists the edges that lead to them.

  Attributes:
    count: how many objects there are.
    above: the object that each edge starts from.
    steps: the attribute name of each edge.
    below: the object that each edge leads to.
  """

  def __init__(self) -> None:
    """Only a root."""
    self.count = 1
    self.above: list[int] = []
    self.steps: list[str] = []
    self.below: list[int] = []

  def add_object(self, above: int, step: str) -> int:
    """Adds an object below another; returns its number."""
    self.above.append(above)
    self.steps.append(step)
    self.below.append(self.count)
    self.count += 1
    return self.count - 1

  def extend(
    self, above: Iterable[int], steps: Iterable[str], below: Iterable[int]
  ) -> None:
    """Adds edges to objects that have numbers."""
    self.above += above
    self.steps += steps
    self.below += below

  def add_scopes(self, names: Mapping[str, object]) -> list[int]:
    """Adds the objects of scopes; returns the one above each name, or `_NONE`."""
    scopes: dict[str, int] = {}
    for scope in layout_lib.nested_scopes(names):
      above, slash, last = scope.rpartition("/")
      scopes[scope] = self.add_object(scopes[above] if slash else _ROOT, last)
    found = []
    for name in names:
      scope, slash, last = name.rpartition("/")
      if slash:
        found.append(scopes.get(scope, _NONE) if last else _NONE)
      else:
        found.append(_ROOT if layout_lib.can_nest(name, scopes) else _NONE)
    return found

  def sort(self) -> None:
    """Puts the edges in the order of the objects they start from."""
    order = sorted(range(len(self.above)), key=self.above.__getitem__)
    self.above = [self.above[place] for place in order]
    self.steps = [self.steps[place] for place in order]
    self.below = [self.below[place] for place in order]
