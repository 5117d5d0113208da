"""Whether the paths in a large object graph follow from the names of the variables.

In what this package writes they do, and then nobody needs the texts of 300,000 edges.
NumPy goes from the root of the graph down, all objects of a level at once. Each path is a
row of bytes, made of that of the parent and of the attribute name.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from estimator_ckpt.bundle.coding import BATCH
from estimator_ckpt.bundle.key_rows import WIDEST, KeyRows, masks, windows
from estimator_ckpt.bundle.table import UnusualTable
from estimator_ckpt.checkpoint import layout
from estimator_ckpt.checkpoint.plain_nodes import PlainNodes
from estimator_ckpt.value_classes import NamedTuple

_VAR_LIST, _SAVE_COUNTER = layout.VAR_LIST.encode(), layout.SAVE_COUNTER.encode()
_SLASH = ord("/")
# One for each eight bytes of a path. Its hash is the sum of the products, each mixed:
# digits in two of its steps would make up for each other otherwise.
_FACTORS = np.arange(1, 2 * WIDEST // 8, 2, np.uint64) * np.uint64(0x9E3779B97F4A7C15)


class _Level(NamedTuple):
  """Objects that have children, as far from the root as each other.

  Attributes:
    places: their places among the parents of the graph.
    paths: the path of each, without escapes, in a row.
    sizes: how many bytes it has.
  """

  places: np.ndarray
  paths: np.ndarray
  sizes: np.ndarray


def follow(nodes: PlainNodes, names: Sequence[str]) -> bool:
  """Whether the paths of variables follow from their names.

  Args:
    nodes: an object graph that has plain nodes alone.
    names: the name of each variable that the graph stores, in the order of
      `nodes.owners`.

  Returns:
    Whether all paths of these variables are, for certain, the name below `var_list/`, or
    what the name's scopes spell, or that of the counter of saves.
  """
  try:
    expected = KeyRows.of([_VAR_LIST, _SAVE_COUNTER], names)
    return _Walk(nodes, expected).is_complete()
  except UnusualTable:  # There are paths that no name spells, or very long ones.
    return False


class _Walk:
  """Goes through a graph and compares paths with names."""

  def __init__(self, nodes: PlainNodes, expected: KeyRows):
    self._nodes = nodes
    self._expected = expected.rows.view(np.uint64)
    self._width = expected.rows.shape[1]
    # For each edge, the row of the variable's name, or 0.
    row_of = np.zeros(nodes.num_nodes, np.int64)
    row_of[nodes.owners] = np.arange(2, 2 + len(nodes.owners))
    self._rows = row_of[nodes.children]
    # The place of each node among the parents, or -1.
    self._place_of = np.full(nodes.num_nodes, -1, np.int64)
    self._place_of[nodes.parents] = np.arange(len(nodes.parents))
    self._is_reached = np.zeros(len(expected.sizes), bool)
    self._num_edges = self._num_compared = 0
    # Of paths, none of which may come twice: an object may have two children of one
    # name, and TensorFlow follows the last.
    self._hashes: list[np.ndarray] = []

  def is_complete(self) -> bool:
    """Whether the walk reaches all variables, and each by its name alone."""
    root = self._place_of[:1]
    level = _Level(root, np.zeros((1, self._width), np.uint8), np.zeros(1, np.int64))
    while len(level.places) and level.places[0] >= 0:
      level = self._below(level)
    hashes = np.concatenate(self._hashes or [np.zeros(0)])
    # An edge may also lead from an object that has no path.
    return bool(
      self._is_reached[2:].all()
      and self._num_compared == np.count_nonzero(self._rows)
      and len(np.unique(hashes)) == len(hashes)
    )

  def _below(self, level: _Level) -> _Level:
    """Compares the paths of what is below a level, and finds the next one."""
    ends = self._nodes.ends[level.places]
    counts = ends - np.where(level.places > 0, self._nodes.ends[level.places - 1], 0)
    parents = np.repeat(np.arange(len(counts)), counts)
    self._num_edges += len(parents)
    if self._num_edges > len(self._rows):
      raise UnusualTable  # Objects have several paths, each of which is looked at.
    edges = np.arange(len(parents)) + np.repeat(ends - np.cumsum(counts), counts)
    found = [
      self._compare(level, edges[start : start + BATCH], parents[start : start + BATCH])
      for start in range(0, len(edges), BATCH)
    ]
    return _Level(*map(np.concatenate, zip(*found)))

  def _compare(self, level: _Level, edges: np.ndarray, parents: np.ndarray) -> _Level:
    """Compares the paths that some edges lead along.

    Args:
      level: where the edges begin.
      edges: the numbers of the edges.
      parents: for each, the row of its parent in the level.

    Returns:
      Those objects at their ends that have children.
    """
    names = self._nodes.names
    starts, sizes = names.starts[edges], names.stops[edges] - names.starts[edges]
    above, above_sizes = level.paths.view(np.uint64)[parents], level.sizes[parents]
    is_flat = (above == self._expected[0]).all(1)  # A whole name is one step there.
    before = np.where(is_flat | (above_sizes == 0), 0, above_sizes + 1)
    ends = before + sizes
    if int(ends.max()) > self._width or (starts < before).any():
      raise UnusualTable
    mask = masks(self._width).view(np.uint64)
    # What the file has before the name stands where the path of the parent is to be.
    paths = windows(self._nodes.names.data, starts - before, self._width)
    words = paths.view(np.uint64)
    words &= mask[ends] & ~mask[before]
    is_one_step = ~(paths == _SLASH).any(1)
    words |= np.where(is_flat[:, None], np.uint64(0), above)
    below = np.flatnonzero(before)
    paths[below, before[below] - 1] = _SLASH

    rows = self._rows[edges]
    is_counter = (above_sizes == 0) & (words == self._expected[1]).all(1)
    is_name = (words == self._expected[rows]).all(1) & (is_flat | is_one_step)
    places = self._place_of[self._nodes.children[edges]]
    is_parent = places >= 0
    follows = (rows == 0) | is_name | is_counter
    is_scope = is_one_step & ~is_flat
    if not (follows & (is_scope | ~is_parent)).all():
      raise UnusualTable
    hashed = words * _FACTORS[: words.shape[1]]
    hashed ^= hashed >> np.uint64(32)
    self._hashes.append(hashed.sum(1, dtype=np.uint64) + is_flat)
    self._is_reached[rows] = True
    self._num_compared += np.count_nonzero(rows)
    return _Level(places[is_parent], paths[is_parent], ends[is_parent])
