"""The variables of a TF1 layer made of a Keras layer's weights: recipes, backwards.

A recipe moves numbers, and may add a constant. Which number goes where is found by
running it on numbers that say where they come from; so a recipe needs no other text to
be undone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from estimator_ckpt import errors
from estimator_ckpt.keras.recipes import Recipe, Shape

if TYPE_CHECKING:
  import numpy as np


def invert(
  recipes: Mapping[str, Recipe],
  shapes: Mapping[str, Shape],
  weights: Mapping[str, np.ndarray],
  slot: bool = False,
) -> dict[str, np.ndarray]:
  """The variables of which recipes would make given weights.

  Args:
    recipes: a recipe for each weight of a layer.
    shapes: the shapes of the variables that they take.
    weights: arrays of a layer's weights.
    slot: whether these are an optimizer's slots of the weights.

  Returns:
    The variables by name.

  Raises:
    UnsupportedCheckpointError: there are none, or they would not be all determined.

  Example:
    >>> import numpy as np
    >>> turned = Recipe(("w",), "turned", lambda w: w[::-1] + 1, lambda w: w[::-1])
    >>> invert({"v": turned}, {"w": (2,)}, {"v": np.array([3.0, 5.0])})
    {'w': array([4., 2.])}
  """
  import numpy as np

  names = list(dict.fromkeys(n for r in recipes.values() for n in r.sources))
  labels = _labels([shapes[name] for name in names])
  by_name = dict(zip(names, labels))
  count = sum(label.size for label in labels)
  some = next(iter(weights.values()))
  # Element 0 is what comes from nowhere.
  flat = np.zeros(count + 1, some.dtype)
  known = np.zeros(count + 1, bool)
  for weight, recipe in recipes.items():
    move = recipe.make_slot
    if move is None and slot:
      raise errors.UnsupportedCheckpointError(f"{weight}: {recipe.no_slot}.")
    own = [by_name[name] for name in recipe.sources]
    places = (move or recipe.make)(*own)
    values = weights[weight]
    if not slot:
      zeros = [np.zeros(label.shape, values.dtype) for label in own]
      values = values - recipe.make(*zeros)
    _check_places(weight, places, values, count, flat, known)
    flat[places] = values
    known[places] = True
  if not known[1:].all():
    raise errors.UnsupportedCheckpointError(
      f"{', '.join(weights)} do not determine {', '.join(names)}."
    )
  return {name: flat[labels[i]] for i, name in enumerate(names)}


def _labels(shapes: Sequence[Shape]) -> list[np.ndarray]:
  """Arrays of these shapes that count on from 1, through all of them."""
  import numpy as np

  labels = []
  start = 1
  for shape in shapes:
    size = int(np.prod(shape, dtype=np.int64))
    labels.append(np.arange(start, start + size).reshape(shape))
    start += size
  return labels


def _check_places(
  weight: str,
  places: np.ndarray,
  values: np.ndarray,
  count: int,
  flat: np.ndarray,
  known: np.ndarray,
) -> None:
  """Raises where a weight has numbers that the variables have no place for."""
  if places.max(initial=0) > count or places.shape != values.shape:
    raise errors.UnsupportedCheckpointError(
      f"{weight}: the TensorFlow 1 layer has one number where Keras has several."
    )
  if (values[places == 0] != 0).any():
    raise errors.UnsupportedCheckpointError(
      f"{weight}: it has numbers other than 0 where the TensorFlow 1 layer has none, "
      "as a Keras GRU with reset_after=True has once it is trained."
    )
  again = known[places] & (places > 0)
  if (flat[places][again] != values[again]).any():
    raise errors.UnsupportedCheckpointError(
      f"{weight}: numbers differ that are one in the TensorFlow 1 layer."
    )
