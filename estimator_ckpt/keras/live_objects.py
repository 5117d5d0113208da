"""What the live objects of a `tf.train.Checkpoint` know, and its files do not.

Files know variables by object paths; the model knows its layers and what they are called.
Files know an optimizer's slots; the optimizer knows its epsilon.
"""

from __future__ import annotations

import dataclasses
import weakref
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import tensorflow as tf

from estimator_ckpt import errors
from estimator_ckpt.checkpoint import layout as layout_lib
from estimator_ckpt.keras.model import KerasModel, KerasOptimizer, ModelLayer
from estimator_ckpt.keras.scopes import Layer
from estimator_ckpt.keras.tf1_plan import ModelNames

# The settings of an optimizer that its checkpoint lacks, in one Keras or another.
_SETTINGS = (
  "learning_rate",
  "learning_rate_varies",
  "momentum",
  "epsilon",
  "beta_1",
  "beta_2",
  "rho",
  "centered",
)


class LiveObjects:
  """The objects that a checkpoint saves, by their object paths.

  Args:
    checkpoint: a `tf.train.Checkpoint`.
  """

  def __init__(self, checkpoint: Any):
    root = getattr(checkpoint, "root", None)
    if isinstance(root, weakref.ref):
      root = root()
    self._root = checkpoint if root is None else root
    self._view = tf.train.TrackableView(self._root)
    self._children: dict[int, Mapping[str, Any]] = {}

  def find(self, path: Iterable[str]) -> Any:
    """Looks up an object.

    Args:
      path: attribute names from the root, unescaped.

    Returns:
      The object, or None.
    """
    found = self._root
    for name in path:
      found = self._children_of(found).get(name)
      if found is None:
        return None
    return found

  def _children_of(self, found: Any) -> Mapping[str, Any]:
    if id(found) not in self._children:
      self._children[id(found)] = self._view.children(found)
    return self._children[id(found)]

  def model_names(self, keys: Iterable[str]) -> ModelNames:
    """Finds the weights of Keras models among variables of the checkpoint.

    Args:
      keys: the variables' keys.

    Returns:
      The layers, and the paths of those variables that are weights of a model.
    """
    layers: list[Layer] = []
    paths: dict[int, str] = {}
    known = (self._root, *self._children_of(self._root).values())
    for model in {id(m): m for m in known if hasattr(m, "_flatten_layers")}.values():
      for layer in _without_root(model.name, KerasModel(model).layers()):
        new = {id(v): path for path, v in layer.variables.items() if id(v) not in paths}
        if new and len(new) == len(layer.variables):
          layers.append(layer.info)
          paths.update(new)
    if len(set(paths.values())) < len(paths):
      # Models with weights of the same name; their object paths tell them apart.
      return ModelNames((), {})
    by_key = {}
    for key in keys:
      parsed = layout_lib.parse_object_key(key)
      found = self.find(parsed.path) if parsed is not None else None
      if id(found) in paths:
        by_key[key] = paths[id(found)]
    return ModelNames(tuple(layers), by_key)

  def optimizer_settings(self, path: str) -> dict[str, Any]:
    """The settings of an optimizer, such as its learning rate.

    Args:
      path: its object path, with `/` between the names.

    Returns:
      The settings; none where there is no Keras optimizer of a known kind.
    """
    try:
      settings = KerasOptimizer(self.find(path.split("/"))).describe().settings
    except (errors.OptionError, errors.UnsupportedCheckpointError):
      # An optimizer of the user's own may have the state of a known one.
      return {}
    return {name: settings[name] for name in _SETTINGS if name in settings}


def _without_root(name: str, layers: Sequence[ModelLayer]) -> list[ModelLayer]:
  """The layers with paths that do not begin with the model's own name.

  Keras makes it up where nobody gives it, and Keras 2 leaves it out.
  """
  root = f"{name}/"
  if not all(path.startswith(root) for layer in layers for path in layer.variables):
    return list(layers)
  result = []
  for layer in layers:
    weights = tuple(
      dataclasses.replace(weight, path=weight.path[len(root) :])
      for weight in layer.info.weights or ()
    )
    info = dataclasses.replace(layer.info, weights=weights)
    paths = {path[len(root) :]: v for path, v in layer.variables.items()}
    result.append(dataclasses.replace(layer, info=info, variables=paths))
  return result
