"""The keys of a dual checkpoint in pairs, found without its object graph.

To read the object graph takes longer than to read the index. Where the bytes of each
object have one name, the keys alone tell all names.
"""

from __future__ import annotations

from collections.abc import Sequence

from estimator_ckpt.bundle.index import Index
from estimator_ckpt.checkpoint import layout
from estimator_ckpt.checkpoint.object_graph import ObjectGraph
from estimator_ckpt.checkpoint.roles import GLOBAL_STEP
from estimator_ckpt.checkpoint.tensor_names import SAVE_COUNTER_KEY
from estimator_ckpt.value_classes import NamedTuple

_OTHERS = (layout.OBJECT_GRAPH_KEY, SAVE_COUNTER_KEY)


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
    is_name = [layout.ATTRIBUTES not in key for key in keys]
    # In a TF2 checkpoint, the object graph and the step are the only names.
    count = len(keys) - sum(key in index for key in _OTHERS)
    num_names = sum(is_name) - 1
    if not num_names < count <= 2 * num_names:
      return None
    names, places, by_place = [], [], {}
    for key, place, own in zip(keys, values, is_name):
      if own:
        names.append(key)
        places.append(place)
      elif key != SAVE_COUNTER_KEY:
        by_place[place] = key
    row = names.index(layout.OBJECT_GRAPH_KEY)
    del names[row], places[row]
    if names == [GLOBAL_STEP]:
      return None
    known = set(places)
    if len(known) + len(by_place) < count or not by_place.keys() <= known:
      return None
    return cls(names, places, list(map(by_place.get, places)))

  def are_all_of(self, graph: ObjectGraph, index: Index) -> bool:
    """Whether an object graph stores these objects and nothing else.

    Args:
      graph: that of the checkpoint.
      index: lists its tensors; it may have the counter of saves.
    """
    stored = set(filter(None, self.object_keys))
    if SAVE_COUNTER_KEY in index:
      stored.add(SAVE_COUNTER_KEY)
    keys, attributes = graph.columns.read_keys(), graph.columns.attributes
    return (
      len(keys) == len(stored)
      and stored.issuperset(keys)
      and attributes.count(layout.VARIABLE_VALUE) == len(stored)
    )
