"""The scopes of many sorted names, and the edges that lead to their objects, by NumPy.

In sorted order, the names below a scope stand together. So a scope begins at the first
name that has it, and the bytes that each name shares with the one before tell which of
its scopes are new. Names that are unusual are left to `layout.nested_places`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from estimator_ckpt.bundle.coding import BATCH
from estimator_ckpt.bundle.key_rows import KeyRows
from estimator_ckpt.bundle.table import UnusualTable
from estimator_ckpt.checkpoint import layout
from estimator_ckpt.checkpoint.plain_edges import Edges
from estimator_ckpt.value_classes import NamedTuple

_SLASH = ord("/")
# Each further scope of a name is a step for all names.
_DEEPEST = 64
# So many names are looked at between a variable and a scope of the same name.
_MOST_BETWEEN = 64
# In texts with zeros between them: empty names and steps, and what stands at the root
# beside nested paths.
_UNUSUAL = (
  *("\0\0", "//", "\0/", "/\0"),
  *("\0" + layout.VAR_LIST, "\0" + layout.SAVE_COUNTER),
)


class Holders(NamedTuple):
  """The nodes that hold others: the root, scopes, and the dict of all flat names.

  Attributes:
    in_dict: for each name, whether it has a flat path.
    edges: the edges from these nodes, in their order. The nodes of the names are numbered
      behind them, in the order of the names, and that of the counter of saves is last.
  """

  in_dict: list[bool]
  edges: Edges

  @classmethod
  def of(cls, names: Sequence[str], is_flat: bool, nests: bool) -> Holders:
    """Finds them.

    Args:
      names: variables' names.
      is_flat: whether all names have a flat path, and not only those without a nested.
      nests: whether names have nested paths.

    Raises:
      UnusualTable: the names are not sorted, not ASCII, very long, or in each other's
        way.
    """
    texts = _Texts.of(names)
    tree = _Tree.of(texts, nests)
    is_nested = tree.places >= 0
    in_dict = np.ones(len(names), bool) if is_flat else ~is_nested
    dict_number = 1 + len(tree.rows)
    count = dict_number + int(in_dict.any())
    scopes = np.arange(1, dict_number)
    dicts = np.arange(dict_number, count)
    own = np.arange(count, count + len(names))
    counter = np.array([count + len(names)])

    special = layout.VAR_LIST + layout.SAVE_COUNTER
    start, middle, end = len(texts.data) + np.array(
      [[0], [len(layout.VAR_LIST)], [len(special)]]
    )
    nested, flat = np.flatnonzero(is_nested), np.flatnonzero(in_dict)
    scope_ends = texts.starts[tree.rows] + tree.sizes
    above = [
      (tree.above, scopes, tree.starts, scope_ends),
      (0 * dicts, dicts, start[: len(dicts)], middle[: len(dicts)]),
      (tree.places[nested], own[nested], tree.last[nested], texts.ends[nested]),
      (0 * counter, counter, middle, end),
    ]
    columns = [np.concatenate(column) for column in zip(*above)]
    order = np.argsort(columns[0], kind="stable")
    below_dict = (
      0 * flat + dict_number,
      own[flat],
      texts.starts[flat],
      texts.ends[flat],
    )
    edges = [np.append(a[order], b) for a, b in zip(columns, below_dict)]
    return cls(in_dict.tolist(), Edges(texts.data + special.encode(), *edges))


class _Texts(NamedTuple):
  """Names as bytes.

  Attributes:
    data: all of them, with a zero behind each.
    starts: where each begins.
    ends: the position behind it.
    shared: how many bytes each has in common with the one before.
  """

  data: bytes
  starts: np.ndarray
  ends: np.ndarray
  shared: np.ndarray

  @classmethod
  def of(cls, names: Sequence[str]) -> _Texts:
    joined = "\0".join(["", *names, ""])
    if not joined.isascii() or any(each in joined for each in _UNUSUAL):
      raise UnusualTable
    data = joined[1:].encode()
    ends = np.flatnonzero(np.frombuffer(data, np.uint8) == 0)
    shared = []
    for first in range(0, len(names), BATCH):
      # Also the name before, so that the order of all names is checked.
      before = min(first, 1)
      rows = KeyRows.of([], names[first - before : first + BATCH])
      shared.append(rows.shared_sizes()[before:])
    if len(ends) != len(names):
      raise UnusualTable
    return cls(data, np.append(0, ends[:-1] + 1), ends, np.concatenate(shared))


class _Tree(NamedTuple):
  """The scopes on nested paths, numbered from 1 on, each behind those above it.

  Attributes:
    rows: for each scope, the first name that it is in.
    sizes: how many bytes its path has.
    starts: where the last step of its path begins in the names' bytes.
    above: the number of the scope that it stands in, or 0 for the root.
    places: for each name the number of the scope that it stands in, or 0 for the root,
      or -1 where it has no nested path.
    last: where the last step of each name begins in the names' bytes.
  """

  rows: np.ndarray
  sizes: np.ndarray
  starts: np.ndarray
  above: np.ndarray
  places: np.ndarray
  last: np.ndarray

  @classmethod
  def of(cls, texts: _Texts, nests: bool) -> _Tree:
    found = _all_scopes(texts) if nests else _no_scopes(texts)
    is_name = _are_names(texts, found)
    # A variable has nothing below it.
    places = np.where(is_name[found.places], -1, found.places)
    needed = _needed(places, found.above)
    if is_name[needed].any():
      raise UnusualTable
    ordered = needed[np.argsort(found.sizes[needed], kind="stable")]
    # The last one is that of the place -1.
    number_of = np.append(np.zeros(len(found.sizes), np.int64), -1)
    number_of[ordered] = np.arange(1, 1 + len(ordered))
    return cls(
      found.rows[ordered],
      found.sizes[ordered],
      found.starts[ordered],
      number_of[found.above[ordered]],
      number_of[places],
      found.last,
    )


def _no_scopes(texts: _Texts) -> _Tree:
  root = np.zeros(1, np.int64)
  nowhere = np.zeros(len(texts.starts), np.int64)
  return _Tree(root, root, root, root, nowhere - 1, texts.starts)


def _all_scopes(texts: _Texts) -> _Tree:
  """All scopes, in the order in which they are found; number 0 is the root."""
  slashes = np.flatnonzero(np.frombuffer(texts.data, np.uint8) == _SLASH)
  first = np.searchsorted(slashes, texts.starts)
  depths = np.searchsorted(slashes, texts.ends) - first
  if int(depths.max()) > _DEEPEST:
    raise UnusualTable
  count = len(depths)
  root = np.zeros(1, np.int64)
  columns = [(root, root, root, root)]
  places = above = np.zeros(count, np.int64)
  last = texts.starts
  num_scopes = 1
  for depth in range(int(depths.max())):
    deep = np.flatnonzero(depths > depth)
    ends = slashes[first[deep] + depth]
    sizes = ends - texts.starts[deep]
    is_new = sizes >= texts.shared[deep]
    rows = deep[is_new]
    # At a name whose scope is not new, this is the last one that was.
    own = np.zeros(count, np.int64)
    own[rows] = np.arange(num_scopes, num_scopes + len(rows))
    own = np.maximum.accumulate(own)
    columns.append((rows, sizes[is_new], last[rows], above[rows]))
    num_scopes += len(rows)
    places = np.where(depths == depth + 1, own, places)
    last = last.copy()
    last[deep] = ends + 1
    above = own
  found = [np.concatenate(column) for column in zip(*columns)]
  return _Tree(found[0], found[1], found[2], found[3], places, last)


def _are_names(texts: _Texts, scopes: _Tree) -> np.ndarray:
  """Whether each scope is the name of a variable too."""
  is_name = np.zeros(len(scopes.rows), bool)
  left = np.arange(1, len(scopes.rows))
  rows = scopes.rows[left]
  sizes = texts.ends - texts.starts
  # Names that begin as the scope does stand before it, that of the variable first.
  for _ in range(_MOST_BETWEEN):
    begins_so = texts.shared[rows] >= scopes.sizes[left]
    left, rows = left[begins_so], rows[begins_so] - 1
    is_same = sizes[rows] == scopes.sizes[left]
    is_name[left[is_same]] = True
    left, rows = left[~is_same], rows[~is_same]
  if len(left):
    raise UnusualTable
  return is_name


def _needed(places: np.ndarray, above: np.ndarray) -> np.ndarray:
  """The scopes that names stand in, and behind them those above, level by level."""
  is_found = np.zeros(len(above), bool)
  is_found[0] = True  # the root
  found = []
  level = places[places > 0]
  while len(level):
    level = level[~is_found[level]]
    level = level[np.sort(np.unique(level, return_index=True)[1])]
    is_found[level] = True
    found.append(level)
    level = above[level]
  return np.concatenate(found or [above[:0]])
