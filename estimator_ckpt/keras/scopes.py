"""A checkpoint's variables by scope, and how a layer's weights are made of a scope's.

Within a layer, a weight takes the variable of its own name, then one of a name that
means the same (`kernel` and `weights`), then the only one of its shape. The module
`layers` has the recipes for the weights of recurrent cells.
"""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Collection, Iterable, Iterator
from typing import Any, Mapping, Union

from estimator_ckpt import errors
from estimator_ckpt.keras import layers as keras_layers
from estimator_ckpt.keras.layer_shapes import shape_form
from estimator_ckpt.keras.recipes import (
  Recipe,
  Refusal,
  Shape,
  Stored,
  rearranged,
  with_forms,
)

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
    path: the weight's whole name, unique in the model.
    leaf: the weight's name in its layer.
    shape: its dimensions.
    dtype: the name of its data type, such as `"float32"`.
  """

  path: str
  leaf: str
  shape: Shape
  dtype: str = "float32"


@dataclasses.dataclass(frozen=True)
class Layer:
  """A layer of a model with weights of its own.

  Attributes:
    kind: the name of the layer's class.
    names: possible names of its scope in the checkpoint, the most specific first.
    weights: the layer's own weights; None if it is not built yet.
    settings: the layer's settings that matter to a conversion: `reset_after`,
      `use_bias`, `equation`.
  """

  kind: str
  names: tuple[str, ...]
  weights: tuple[Weight, ...] | None
  settings: Mapping[str, Any] = dataclasses.field(default_factory=dict)


# The reason begins so for a weight whose TF1 cell is known but cannot be converted.
REFUSED = "cannot be made of"
ForgetBias = Union[float, Mapping[str, float], None]


class Scopes:
  """The variables of a checkpoint, by scope.

  Args:
    variables: each variable by its name after a name map was applied.
    forget_bias: what LSTM cells added to their forget gates: a number, or a dict from
      scopes to numbers; None for the defaults of `cell_recipes`. The scopes are the
      checkpoint's own, whatever a name map makes of them.

  Raises:
    OptionError: `forget_bias` has a scope in which the checkpoint has no variable.

  Attributes:
    variables: each variable by its name after a name map was applied.
  """

  def __init__(self, variables: Mapping[str, Stored], forget_bias: ForgetBias = None):
    self.variables = dict(variables)
    self._forget_bias = forget_bias
    self._check_forget_bias()
    self._inside: dict[str, dict[str, Stored]] = collections.defaultdict(dict)
    for name, stored in variables.items():
      parts = name.split("/")
      # No layer has more levels of scopes than a recurrent cell.
      for depth in range(1, min(len(parts), 3) + 1):
        scope = "/".join(parts[:-depth])
        self._inside[scope]["/".join(parts[-depth:])] = stored

  def __contains__(self, scope: str) -> bool:
    return scope in self._inside

  def __iter__(self) -> Iterator[str]:
    return iter(self._inside)

  def inside(self, scope: str) -> Mapping[str, Stored]:
    """Looks up the variables of a scope.

    Args:
      scope: a scope's name, without a `/` at the end.

    Returns:
      The variables by their names relative to the scope; empty for an unknown scope.
    """
    return self._inside.get(scope, {})

  def _check_forget_bias(self) -> None:
    if isinstance(self._forget_bias, Mapping):
      names = [stored.name for stored in self.variables.values()]
      for scope in self._forget_bias:
        if not any(_is_in(name, scope) for name in names):
          raise self._unused_scope(scope, names, "variable")

  def _unused_scope(
    self, scope: str, names: Iterable[str], what: str
  ) -> errors.OptionError:
    parts = [name.split("/") for name in names]
    scopes = dict.fromkeys("/".join(p[:n]) for p in parts for n in range(1, len(p)))
    near = errors.nearest(scope.rstrip("/"), scopes)
    hint = f" Did you mean {near!r}?" if near else ""
    return errors.OptionError(
      f"forget_bias= has the scope {scope!r}, and the checkpoint has no {what} in it."
      f"{hint} Scopes are those of the checkpoint's own names."
    )

  def check_forget_bias_used(self, recipes: Iterable[Recipe]) -> None:
    """Refuses a scope of `forget_bias` in which there is no LSTM cell.

    Args:
      recipes: how all of the model's weights are made.

    Raises:
      OptionError: `forget_bias` has such a scope.
    """
    if not isinstance(self._forget_bias, Mapping):
      return
    biases = [r.sources[0] for r in recipes if r.forget_bias is not None]
    for scope in self._forget_bias:
      if not any(_is_in(name, scope) for name in biases):
        raise self._unused_scope(scope, biases, "LSTM cell that is loaded")

  def _forget_bias_of(self, inside: Mapping[str, Stored]) -> float | None:
    """The forget bias of a cell; of several scopes that it is in, the innermost's."""
    if not isinstance(self._forget_bias, Mapping):
      return self._forget_bias
    fitting = [
      scope
      for scope in self._forget_bias
      if inside and all(_is_in(stored.name, scope) for stored in inside.values())
    ]
    return self._forget_bias[max(fitting, key=len)] if fitting else None

  def recipes(
    self, layer: Layer, scope: str, free: Collection[str]
  ) -> tuple[dict[str, Recipe], dict[str, str]]:
    """Finds how a layer's weights are made of a scope's variables.

    Args:
      layer: a layer that is built.
      scope: a scope's name, without a `/` at the end.
      free: the names of the checkpoint's variables that may be taken.

    Returns:
      Recipes by the weights' leaf names; for weights without a recipe, the reasons.
    """
    inside = {k: v for k, v in self.inside(scope).items() if v.name in free}
    direct = {leaf: stored for leaf, stored in inside.items() if "/" not in leaf}
    weights = {weight.leaf: weight.shape for weight in layer.weights or ()}
    recipes = self._pair(layer, weights, direct)
    if keras_layers.is_cell(layer.kind) and not any(
      leaf.lstrip("_") == "recurrent_kernel" for leaf in self.inside(scope)
    ):
      # The scope is not a Keras cell's. Its gates are in another order, even where the
      # shapes are equal.
      recipes = {}
    if len(recipes) < len(weights):
      found = keras_layers.cell_recipes(
        layer.kind, layer.settings, weights, inside, self._forget_bias_of(inside)
      )
      if isinstance(found, Refusal):
        return {}, dict.fromkeys(weights, f"{REFUSED} {scope}: {found.reason}")
      if found is not None:
        return {k: with_forms(r, inside) for k, r in found.items()}, {}
    return recipes, {
      leaf: _why_not(leaf, shape, scope, direct)
      for leaf, shape in weights.items()
      if leaf not in recipes
    }

  def recipe(self, layer: Layer, weight: Weight, stored: Stored) -> Recipe | None:
    """Makes a weight of one variable.

    Args:
      layer: the layer that the weight is of.
      weight: the weight.
      stored: a variable of the checkpoint.

    Returns:
      The recipe; None where the shapes differ, and neither a rule of the name map nor
      the layer says how one becomes the other.
    """
    found = stored.recipe(weight.shape)
    if found is not None or stored.form.axes or stored.form.reshape:
      return found
    form = shape_form(
      layer.kind, layer.settings, weight.leaf, weight.shape, stored.shape
    )
    if form is None:
      return None
    form = dataclasses.replace(form, mod_parts=stored.form.mod_parts)
    recipe = rearranged(stored.name, form, weight.shape)
    why = layer.settings.get("equation", layer.kind)
    return dataclasses.replace(recipe, how=f"{recipe.how} by {why}")

  def _pair(
    self, layer: Layer, weights: Mapping[str, Shape], stored: Mapping[str, Stored]
  ) -> dict[str, Recipe]:
    """Pairs weights with variables: by name, by synonym, by shape alone."""
    found: dict[str, Recipe] = {}
    left = dict(stored)
    by_leaf = {weight.leaf: weight for weight in layer.weights or ()}

    def take(leaf: str, candidates: Iterable[str], by_layer: bool = True) -> None:
      recipes = {
        name: self.recipe(layer, by_leaf[leaf], left[name])
        if by_layer
        else left[name].recipe(weights[leaf])
        for name in candidates
        if name in left
      }
      fitting = [(name, recipe) for name, recipe in recipes.items() if recipe]
      if len(fitting) == 1:
        [(name, found[leaf])] = fitting
        del left[name]

    for leaf in weights:
      take(leaf, [leaf])
    for leaf in weights:
      if leaf not in found:
        # A variable with the name of another weight belongs to that weight.
        take(leaf, [c for c in _same_meaning(leaf) if c not in weights])
    for leaf, shape in weights.items():
      rivals = [w for w in weights if w not in found and weights[w] == shape]
      if leaf not in found and len(rivals) == 1:
        take(leaf, [name for name in left if may_be(leaf, name)], by_layer=False)
    return found


def _is_in(name: str, scope: str) -> bool:
  """Whether a variable stands in a scope, which may end in a `/`."""
  return name.startswith(scope.rstrip("/") + "/")


def may_be(leaf: str, name: str) -> bool:
  """Whether names allow a variable to be a weight: beta is no moving_variance.

  Args:
    leaf: the weight's name in its layer.
    name: the variable's name in its scope.

  Returns:
    False if both names are known and mean different things.

  Example:
    >>> may_be("kernel", "weights"), may_be("moving_variance", "beta")
    (True, False)
  """
  ours, theirs = (
    [names for names in _SYNONYMS if plain.lstrip("_") in names]
    for plain in (leaf, name)
  )
  return not ours or not theirs or any(names in theirs for names in ours)


def mean_the_same(one: str, other: str) -> bool:
  """Whether two names of variables in their scopes mean the same, as far as is known.

  Args:
    one: a name, without its scope.
    other: another.

  Example:
    >>> mean_the_same("kernel", "weights"), mean_the_same("kernel", "q")
    (True, False)
  """
  pair = {one.lstrip("_"), other.lstrip("_")}
  return len(pair) == 1 or any(pair <= names for names in _SYNONYMS)


def _same_meaning(leaf: str) -> list[str]:
  # In Keras 3, `_kernel` is the attribute that holds the variable `kernel`.
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
