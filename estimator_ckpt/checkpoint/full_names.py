"""The names of a TF2 checkpoint of an Estimator, where the object graph has all of them.

Training with this package, and `convert`, give each object a full name of its own. Then
these are the names, whatever paths the objects have, and no tensor need be looked at by
itself. `estimator_ckpt.checkpoint.tensor_names` has the rules for all other checkpoints.
"""

from __future__ import annotations

from estimator_ckpt.bundle.index import Index
from estimator_ckpt.checkpoint import layout
from estimator_ckpt.checkpoint.object_graph import ObjectGraph
from estimator_ckpt.checkpoint.roles import GLOBAL_STEP
from estimator_ckpt.checkpoint.tensor_names import SAVE_COUNTER_KEY, small_content


def keys_by_name(index: Index, graph: ObjectGraph) -> dict[str, str] | None:
  """The names that `tensor_names.named_tensors` finds, in a fraction of the time.

  Args:
    index: the checkpoint's index.
    graph: its object graph.

  Returns:
    The object key of each name, in the order of the object graph, without the counter of
    saves; None where a tensor has no full name, or something else is unusual.
  """
  columns = graph.columns
  count = len(columns.keys)
  # With the step and the object graph, the index has nothing beside these values.
  if len(index) != count + 2 or index.has_slices or columns.slots:
    return None
  if columns.attributes.count(layout.VARIABLE_VALUE) < count:
    return None
  named = dict(zip(columns.full_names, columns.keys))
  counter = layout.SAVE_COUNTER
  if len(named) < count or named.pop("", None) != SAVE_COUNTER_KEY or counter in named:
    return None
  if columns.owners[columns.keys.index(SAVE_COUNTER_KEY)] != columns.lookup([counter]):
    return None
  keys = dict.fromkeys([*columns.keys, GLOBAL_STEP, layout.OBJECT_GRAPH_KEY])
  if len(keys) < len(index) or None in index.values(list(keys)):
    return None
  # The step is there twice. No other name is a key, unless it is an object's too.
  if GLOBAL_STEP not in named or not _is_same(index, named[GLOBAL_STEP], GLOBAL_STEP):
    return None
  return named


def _is_same(index: Index, a: str, b: str) -> bool:
  """Whether two tensors are one, or small and equal."""
  if index.value(a) == index.value(b):
    return True
  content = small_content(index, a)
  return content is not None and content == small_content(index, b)
