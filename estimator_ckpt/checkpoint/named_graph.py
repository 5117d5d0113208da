"""The object graph of many names: an object for each, where a layout puts it."""

from __future__ import annotations

import collections
import io
import itertools
import operator
import sys
from collections.abc import Sequence

from estimator_ckpt.bundle import coding, table
from estimator_ckpt.checkpoint import graph_writer
from estimator_ckpt.checkpoint import layout as layout_lib
from estimator_ckpt.checkpoint.object_graph import ObjectGraph, path_in_use

TYPE_CHECKING = False
if TYPE_CHECKING:
  from typing import IO

# So many names are looked at by NumPy, in a third of the time, where it is loaded; and
# so many are worth to load it.
_MANY = 1000
_WORTH_NUMPY = 50_000


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
  file = io.BytesIO()  # Joining all of it would take its size once more.
  in_dict = _write_plain_holders(file, names, layout)
  if in_dict is None:
    in_dict = _write_holders(file, names, layout)
  keys = _keys(names, attributes, in_dict)
  graph_writer.write_values(
    file,
    itertools.chain(attributes, [layout_lib.VARIABLE_VALUE]),
    itertools.chain(names, [""]),
    itertools.chain(keys, [layout_lib.object_key([layout_lib.SAVE_COUNTER])]),
  )
  return keys, ObjectGraph.of_message(file.getvalue())


def _write_plain_holders(
  file: IO[bytes], names: Sequence[str], layout: str
) -> list[bool] | None:
  """Does what `_write_holders` does, where there are many names and NumPy can."""
  if len(names) < (_MANY if "numpy" in sys.modules else _WORTH_NUMPY):
    return None
  from estimator_ckpt.checkpoint import plain_scopes

  is_flat = layout_lib.has_flat_paths(layout)
  try:
    holders = plain_scopes.Holders.of(
      names, is_flat, layout_lib.has_nested_paths(layout)
    )
  except table.UnusualTable:
    return None
  file.writelines(holders.edges.nodes())
  return holders.in_dict


def _write_holders(file: IO[bytes], names: Sequence[str], layout: str) -> list[bool]:
  """Writes the root, scopes, and the dict of flat names.

  Returns:
    For each name, whether it is in the dict.
  """
  unique = dict.fromkeys(names)
  if len(unique) < len(names):
    [(name, _)] = collections.Counter(names).most_common(1)
    raise path_in_use((layout_lib.VAR_LIST, name), name)
  scopes: list[str] = []
  places: list[str | None] = [None] * len(names)
  if layout_lib.has_nested_paths(layout):
    scopes, places = layout_lib.nested_places(unique)
  nested = [place is not None for place in places]
  is_flat = layout_lib.has_flat_paths(layout)
  in_dict = [True] * len(names) if is_flat else list(map(operator.not_, nested))
  dicts = [layout_lib.VAR_LIST] if any(in_dict) else []
  # Of the objects with others below them, the dict has the highest number.
  first = 1 + len(scopes) + len(dicts)
  numbers = coding.first_varints(first + len(names) + 1)
  owners = numbers[first:-1]
  numbers[first:-1] = itertools.compress(owners, nested)
  paths = [*scopes, *dicts, *itertools.compress(names, nested), layout_lib.SAVE_COUNTER]
  graph_writer.write_scopes(file, scopes, paths, numbers[1:])
  if dicts:
    graph_writer.write_dict(
      file, itertools.compress(names, in_dict), itertools.compress(owners, in_dict)
    )
  return in_dict


def _keys(
  names: Sequence[str], attributes: Sequence[str], in_dict: Sequence[bool]
) -> list[str]:
  """The keys of tensors: by the flat path of each name, or else by the nested one."""
  flat = f"{layout_lib.VAR_LIST}/"
  endings = {each: layout_lib.ATTRIBUTES + each for each in set(attributes)}
  if len(endings) == 1 and all(in_dict):
    return layout_lib.escape_local_names(names, flat, *endings.values())
  columns = zip(names, layout_lib.escape_local_names(names, flat), in_dict, attributes)
  return [
    f"{flat_path if is_flat else layout_lib.nested_path(name)}{endings[attribute]}"
    for name, flat_path, is_flat, attribute in columns
  ]
