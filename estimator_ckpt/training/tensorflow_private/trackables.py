"""Trackable objects and their object graph, which an object-based checkpoint saves."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tensorflow.python.training.saving.saveable_object import SaveableObject
from tensorflow.python.util import object_identity

from estimator_ckpt import errors
from estimator_ckpt.training.tensorflow_private.installed import tf
from estimator_ckpt.training.tensorflow_private.moved_modules import (
  graph_view,
  save_util_v1,
  trackable_base,
)

# `tf.train.Checkpoint` is the second in 2.4.4 to 2.15.1, and the first in 1.15.5.
CHECKPOINTS = (tf.compat.v1.train.Checkpoint, tf.compat.v2.train.Checkpoint)


class PythonState:
  """An object whose state is a Python string: a `tf.train.experimental.PythonState`.

  Args:
    saveable: TensorFlow's saveable of the object, whose callbacks are private.
  """

  def __init__(self, saveable: Any):
    self.key: str = saveable.name
    self._saveable = saveable

  def feed(self) -> dict[Any, Any]:
    """The saved tensor, with the present state as its value."""
    return dict(self._saveable.feed_dict_additions())

  def restore(self, state: bytes) -> None:
    """Sets the state of the object."""
    self._saveable._restore_callback(state)


def checkpoint_of(objects: Mapping[str, Any]) -> tf.train.Checkpoint:
  """A `tf.train.Checkpoint` of objects, among them lists and mappings of objects.

  Its constructor takes lists and mappings in 2.4.4 to 2.15.1. In 1.15.5 it takes none,
  though an attribute may be one.

  Args:
    objects: trackable objects by the names of the Checkpoint's attributes.

  Raises:
    ValueError: a value is not trackable.
  """
  holder = tf.Module()
  tracked = {}
  for name, value in objects.items():
    holder.tracked = value
    tracked[name] = holder.tracked
  return tf.compat.v2.train.Checkpoint(**tracked)


def serialize_objects(
  root: Any,
) -> tuple[list[SaveableObject], bytes, list[PythonState]]:
  """Makes the saveables and the object graph that tf.train.Checkpoint would write.

  Its `save` runs them in a graph or session of its own; here a Saver takes them.

  Args:
    root: a `tf.train.Checkpoint` or another trackable.

  Returns:
    Saveables whose names are checkpoint keys, a serialized TrackableObjectGraph, and
    the objects with Python state, which have saveables too.

  Raises:
    OptionError: an object has a registered saver of its own.
  """
  # With a cache, Python state is fed at each save. Without one it would be a constant.
  cache = object_identity.ObjectIdentityWeakKeyDictionary()
  if save_util_v1 is None:
    view = graph_view.ObjectGraphView(root, saveables_cache=cache)
    registered = None
    if hasattr(view, "serialize_object_graph_with_registered_savers"):
      # 2.8.4 has both methods. The other one leaves out what registered savers store.
      serialized = view.serialize_object_graph_with_registered_savers()
      saveables, graph, _, registered = serialized
    else:
      saveables, graph, _ = view.serialize_object_graph()
  else:
    saveables, graph, _, registered = save_util_v1.serialize_gathered_objects(
      graph_view.ObjectGraphView(root), saveables_cache=cache
    )
  if registered:
    names = sorted(name for objects in registered.values() for name in objects)
    raise errors.OptionError(
      "These objects are stored by a registered saver of their own, which a Saver cannot "
      f"run: {', '.join(names)}. Leave them out of checkpoint=, or save their variables."
    )
  states = [PythonState(s) for s in saveables if hasattr(s, "feed_dict_additions")]
  return saveables, graph.SerializeToString(), states


def frozen_objects(var_list: Any) -> tuple[list[SaveableObject], bytes] | None:
  """The objects in a var_list that has a model's object graph among its saveables.

  `tf.keras.estimator.model_to_estimator(checkpoint_format="checkpoint")` makes a Saver of
  such a var_list, whose saveables have object keys.

  Args:
    var_list: as for `tf.compat.v1.train.Saver`.

  Returns:
    The other saveables, and the serialized object graph; None for any other var_list.
  """
  if not isinstance(var_list, (list, tuple)):
    return None
  name = trackable_base.OBJECT_GRAPH_PROTO_KEY
  graphs = [s for s in var_list if isinstance(s, SaveableObject) and s.name == name]
  if len(graphs) != 1:
    return None
  data = tf.get_static_value(graphs[0].specs[0].tensor)
  if data is None:
    return None
  return [saveable for saveable in var_list if saveable is not graphs[0]], data.item()
