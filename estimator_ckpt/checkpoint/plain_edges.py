"""Writes the nodes of an object graph that have others below them, by NumPy.

The fields are those of `estimator_ckpt.checkpoint.graph_nodes`. Each edge is a row of
parts: sizes, the number of a node, and the attribute name. `graph_writer` does the same
without NumPy.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from estimator_ckpt.bundle import varint_arrays
from estimator_ckpt.bundle.coding import BATCH
from estimator_ckpt.bundle.key_rows import joined, masks, row_width, windows
from estimator_ckpt.value_classes import NamedTuple

# Tags: field number * 8 + wire type (0 a varint, 2 length-delimited).
_FIELD_1 = 1 << 3 | 2
_NODE_ID = 1 << 3
_TEXT_2 = 2 << 3 | 2


class Edges(NamedTuple):
  """Edges of an object graph, in the order of the nodes they lead from.

  Attributes:
    data: the bytes that attribute names stand in.
    owners: the number of the node that each leads from.
    children: the number of the node that it leads to.
    starts: where its attribute name begins in `data`.
    stops: the position behind that.
  """

  data: bytes
  owners: np.ndarray
  children: np.ndarray
  starts: np.ndarray
  stops: np.ndarray

  def nodes(self) -> Iterator[bytes]:
    """Iterates over parts of the message: the nodes that the edges lead from."""
    sizes = self.stops - self.starts
    messages = 2 + varint_arrays.sizes(self.children) + varint_arrays.sizes(sizes)
    messages += sizes
    fields = 1 + varint_arrays.sizes(messages) + messages
    is_first = np.append(True, self.owners[1:] != self.owners[:-1])
    node_sizes = np.zeros(len(sizes), np.int64)
    node_sizes[is_first] = np.add.reduceat(fields, np.flatnonzero(is_first))
    for first in range(0, len(sizes), BATCH):
      batch = slice(first, first + BATCH)
      own = sizes[batch]
      width = row_width(int(own.max()))
      tags = np.ones((len(own), 1), np.uint8)
      node_head, of_first = varint_arrays.encode(node_sizes[batch]), is_first[batch]
      parts = [
        (tags * _FIELD_1, of_first[:, None]),
        (node_head[0], node_head[1] & of_first[:, None]),
        (tags * _FIELD_1, tags > 0),
        varint_arrays.encode(messages[batch]),
        (tags * _NODE_ID, tags > 0),
        varint_arrays.encode(self.children[batch]),
        (tags * _TEXT_2, tags > 0),
        varint_arrays.encode(own),
        (
          windows(self.data, self.starts[batch], width),
          masks(width).view(bool).take(own, 0),
        ),
      ]
      yield joined(parts)
