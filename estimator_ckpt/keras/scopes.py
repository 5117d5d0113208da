"""A checkpoint's variables by scope, and how a layer's weights are made of a scope's.

Within a layer, a weight takes the variable of its own name, then one of a name that
means the same (`kernel` and `weights`), then the only one of its shape; the weights of
a recurrent cell are made of a TF1 cell's as `keras_layers` says.
"""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any, Union

from estimator_ckpt.keras import layers as keras_layers
from estimator_ckpt.keras.layers import Recipe, Refusal, Shape, Stored

# Names that mean the same, in Keras, tf.layers, slim and Sonnet.
_SYNONYMS = [
  {"kernel", "weights", "weight", "w", "depthwise_kernel", "depthwise_weights"},
  {"pointwise_kernel", "pointwise_weights"},
  {"embeddings", "embedding", "embedding_weights", "embedding_matrix", "weights"},
  {"bias", "biases", "b"},
  {"gamma", "scale"},
  {"beta", "offset", "center", "bias"},
  {"moving_mean", "running_mean", "mean"},
  {"moving_variance", "moving_var", "running_variance", "variance"},
  {"alpha", "alphas"},
]


@dataclasses.dataclass(frozen=True)
class Weight:
  """A weight of a model.

  Attributes:
    path: its whole name, unique in the model.
    leaf: its own name in its layer.
    shape: its shape.
    dtype: the name of its type.
  """

  path: str
  leaf: str
  shape: Shape
  dtype: str = "float32"


@dataclasses.dataclass(frozen=True)
class Layer:
  """A layer of a model with weights of its own.

  Attributes:
    kind: the name of its class.
    names: what its scope may be called, most telling first.
    weights: its weights; None if it is not built yet.
    settings: settings that matter to a conversion.
  """

  kind: str
  names: tuple[str, ...]
  weights: tuple[Weight, ...] | None
  settings: Mapping[str, Any] = dataclasses.field(default_factory=dict)


# What the reason for a weight begins with whose cell is known, and not convertible.
REFUSED = "cannot be made of"
ForgetBias = Union[float, Mapping[str, float], None]


class Scopes:
  """The variables of a checkpoint, by scope.

  Args:
    variables: each variable by the name it goes by, which a name map may have changed.
    forget_bias: see `cell_recipes`; or a dict from scopes to such.

  Attributes:
    variables: as the argument.
  """

  def __init__(self, variables: Mapping[str, Stored], forget_bias: ForgetBias = None):
    self.variables = dict(variables)
    self._forget_bias = forget_bias
    self._inside: dict[str, dict[str, Stored]] = collections.defaultdict(dict)
    for name, stored in variables.items():
      parts = name.split("/")
      # Deeper than the scopes within a recurrent cell nothing is taken as a whole.
      for depth in range(1, min(len(parts), 3) + 1):
        scope = "/".join(parts[:-depth])
        self._inside[scope]["/".join(parts[-depth:])] = stored

  def __contains__(self, scope: str) -> bool:
    return scope in self._inside

  def __iter__(self) -> Iterator[str]:
    return iter(self._inside)

  def inside(self, scope: str) -> Mapping[str, Stored]:
    """The variables of a scope, by what their names have behind it."""
    return self._inside.get(scope, {})

  def recipes(
    self, layer: Layer, scope: str, free: Collection[str]
  ) -> tuple[dict[str, Recipe], dict[str, str]]:
    """How a layer's weights are made of a scope's variables.

    Args:
      layer: a layer that is built.
      scope: the scope.
      free: the names of the variables that may be taken.

    Returns:
      Recipes for weights by leaf, and for the weights that have none the reason.
    """
    inside = {k: v for k, v in self.inside(scope).items() if v.name in free}
    direct = {leaf: stored for leaf, stored in inside.items() if "/" not in leaf}
    weights = {weight.leaf: weight.shape for weight in layer.weights or ()}
    recipes = _pair(weights, direct)
    if keras_layers.is_cell(layer.kind) and not any(
      leaf.lstrip("_") == "recurrent_kernel" for leaf in self.inside(scope)
    ):
      # Not of a Keras cell, so its gates are in another order, whatever the shapes.
      recipes = {}
    if len(recipes) < len(weights):
      forget_bias = self._forget_bias
      if isinstance(forget_bias, Mapping):
        forget_bias = next(
          (v for k, v in forget_bias.items() if (scope + "/").startswith(k)), None
        )
      found = keras_layers.cell_recipes(
        layer.kind, layer.settings, weights, inside, forget_bias
      )
      if isinstance(found, Refusal):
        return {}, dict.fromkeys(weights, f"{REFUSED} {scope}: {found.reason}")
      if found is not None:
        return found, {}
    return recipes, {
      leaf: _why_not(leaf, shape, scope, direct)
      for leaf, shape in weights.items()
      if leaf not in recipes
    }


def _pair(
  weights: Mapping[str, Shape], stored: Mapping[str, Stored]
) -> dict[str, Recipe]:
  """Gives each weight a variable of its shape, by name, by meaning, by shape alone."""
  found: dict[str, str] = {}
  left = dict(stored)

  def take(leaf: str, candidates: Iterable[str]) -> None:
    fitting = [c for c in candidates if c in left and left[c].shape == weights[leaf]]
    if len(fitting) == 1:
      found[leaf] = fitting[0]
      del left[fitting[0]]

  for leaf in weights:
    take(leaf, [leaf])
  for leaf in weights:
    if leaf not in found:
      # A variable that is another weight's namesake is not taken for this one's.
      take(leaf, [c for c in _same_meaning(leaf) if c not in weights])
  for leaf, shape in weights.items():
    rivals = [w for w in weights if w not in found and weights[w] == shape]
    if leaf not in found and len(rivals) == 1:
      take(leaf, [name for name in left if may_be(leaf, name)])
  return {leaf: Recipe((stored[name].name,)) for leaf, name in found.items()}


def may_be(leaf: str, name: str) -> bool:
  """Whether names allow a variable to be a weight: beta is no moving_variance.

  Args:
    leaf: what the weight is called in its layer.
    name: what the variable is called in its scope.

  Returns:
    False if both are known, and mean different things.
  """
  ours, theirs = (
    [names for names in _SYNONYMS if plain.lstrip("_") in names]
    for plain in (leaf, name)
  )
  return not ours or not theirs or any(names in theirs for names in ours)


def _same_meaning(leaf: str) -> list[str]:
  # Two names without an underscore in Keras 3: `_kernel` is the attribute of `kernel`.
  plain = leaf.lstrip("_")
  means = [name for names in _SYNONYMS if plain in names for name in sorted(names)]
  return list(dict.fromkeys([plain, "_" + plain, *means]))


def _why_not(leaf: str, shape: Shape, scope: str, stored: Mapping[str, Stored]) -> str:
  for candidate in (leaf, *_same_meaning(leaf)):
    if candidate in stored:
      return (
        f"{stored[candidate].name} has the shape {list(stored[candidate].shape)}, not "
        f"{list(shape)}"
      )
  return f"the scope {scope!r} has no such variable" if scope else "no such variable"
