"""The keys of a dual checkpoint in pairs, found without its object graph.

To read the object graph takes longer than to read the index. Where the bytes of each
object have one name, the keys alone tell all names.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from estimator_ckpt.bundle.index import Index
from estimator_ckpt.checkpoint import layout
from estimator_ckpt.checkpoint.object_graph import ObjectGraph
from estimator_ckpt.checkpoint.roles import GLOBAL_STEP
from estimator_ckpt.checkpoint.tensor_names import SAVE_COUNTER_KEY
from estimator_ckpt.value_classes import NamedTuple


class PairedKeys(NamedTuple):
  """The name-based keys of a dual checkpoint, and the object keys of the same bytes.

  Attributes:
    names: the name-based keys, in the table's order.
    places: the bytes of the entry of each.
    object_keys: the object key of each, if it has one beside that of the counter of saves.
  """

  names: Sequence[str]
  places: Sequence[bytes]
  object_keys: Sequence[str | None]

  @classmethod
  def of(cls, index: Index) -> PairedKeys | None:
    """Finds the pairs.

    Args:
      index: lists the tensors of the checkpoint.

    Returns:
      None where the bytes of an object have no name, or several: the checkpoint is not
      dual, or only the object graph tells which names it has.
    """
    if index.has_slices or layout.OBJECT_GRAPH_KEY not in index:
      return None
    keys, values = index.columns()
    is_object = [layout.ATTRIBUTES in key for key in keys]
    is_name = [not each for each in is_object]
    if SAVE_COUNTER_KEY in index:
      is_object[keys.index(SAVE_COUNTER_KEY)] = False
    is_name[keys.index(layout.OBJECT_GRAPH_KEY)] = False
    num_objects, num_names = sum(is_object), sum(is_name)
    # In a TF2 checkpoint, the step is the only name.
    if not 0 < num_objects <= num_names:
      return None
    names = list(itertools.compress(keys, is_name))
    places = list(itertools.compress(values, is_name))
    by_place = dict(itertools.compress(zip(values, keys), is_object))
    known = set(places)
    if (
      names == [GLOBAL_STEP]
      or len(known) + len(by_place) < num_names + num_objects
      or not by_place.keys() <= known
    ):
      return None
    return cls(names, places, list(map(by_place.get, places)))

  def names_in(self, graph: ObjectGraph, index: Index) -> list[str] | None:
    """The name of each value that an object graph stores.

    Args:
      graph: that of the checkpoint.
      index: lists its tensors; it may have the counter of saves.

    Returns:
      The names in the order of the graph, "" for the counter of saves; None where the
      graph does not store these objects, each once, and nothing else.
    """
    names: list[str | None] = list(itertools.compress(self.names, self.object_keys))
    keys = list(filter(None, self.object_keys))
    if SAVE_COUNTER_KEY in index:
      names.append("")
      keys.append(SAVE_COUNTER_KEY)
    columns = graph.columns
    if columns.attributes.count(layout.VARIABLE_VALUE) < len(names):
      return None
    # A graph that is made for names has them in order.
    if not columns.keys_are(keys):
      by_key = dict(zip(keys, names))
      names = [by_key.get(key) for key in columns.read_keys()]
      if not len(names) == len(set(names)) == len(by_key) or None in names:
        return None
    return names  # type: ignore[return-value]
