"""The names of a TF2 checkpoint of an Estimator, where the object graph has all of them.

Training with this package, and `convert`, give each object a full name of its own. Then
these are the names, whatever paths the objects have, and no tensor need be looked at by
itself. `estimator_ckpt.checkpoint.tensor_names` has the rules for all other checkpoints.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping

from estimator_ckpt.bundle.index import Index
from estimator_ckpt.checkpoint import layout
from estimator_ckpt.checkpoint.object_graph import ObjectGraph
from estimator_ckpt.checkpoint.roles import GLOBAL_STEP
from estimator_ckpt.checkpoint.tensor_names import SAVE_COUNTER_KEY, small_content
from estimator_ckpt.value_classes import NamedTuple

# What the index of such a checkpoint has beside the variables.
_OTHERS = (SAVE_COUNTER_KEY, GLOBAL_STEP, layout.OBJECT_GRAPH_KEY)


class FullNames(NamedTuple):
  """The variables of a TF2 checkpoint, in the order of its object graph.

  Attributes:
    keys: the object key of each, by its name, which is its full name. The step is among
      them.
  """

  keys: Mapping[str, str]

  @classmethod
  def of(cls, index: Index, graph: ObjectGraph) -> FullNames | None:
    """Finds what `tensor_names.named_tensors` does, in a fraction of the time.

    Args:
      index: the checkpoint's index.
      graph: its object graph.

    Returns:
      None where a tensor has no full name, or something else is unusual: the index has
      nothing beside these variables but the counter of saves, the step, once more under
      its name, and the object graph.
    """
    columns = graph.columns
    count = len(columns.owners)
    if len(index) != count + 2 or index.has_slices or columns.slots:
      return None
    if columns.attributes.count(layout.VARIABLE_VALUE) < count:
      return None
    keys = [key for key in index.keys() if key not in _OTHERS]
    keys.append(SAVE_COUNTER_KEY)
    if len(keys) != count:
      return None
    # A graph that is made for names has their keys in order, and then the counter.
    if not columns.keys_are(keys):
      known, keys = set(keys), list(columns.read_keys())
      if len(set(keys)) < count or known.symmetric_difference(keys):
        return None
    row = keys.index(SAVE_COUNTER_KEY)
    names = columns.full_names
    node_id = columns.lookup([layout.SAVE_COUNTER])
    if names[row] or columns.owners[row] != node_id:
      return None
    del keys[row]
    by_name = dict(zip(itertools.chain(names[:row], names[row + 1 :]), keys))
    # No other name is a key, unless it is an object's too.
    if len(by_name) < len(keys) or "" in by_name or layout.SAVE_COUNTER in by_name:
      return None
    if GLOBAL_STEP not in by_name:
      return None
    if not _is_same(index, by_name[GLOBAL_STEP], GLOBAL_STEP):
      return None
    return cls(by_name)


def _is_same(index: Index, a: str, b: str) -> bool:
  """Whether two tensors are one, or small and equal."""
  if index.value(a) == index.value(b):
    return True
  content = small_content(index, a)
  return content is not None and content == small_content(index, b)
