"""Which variable of a checkpoint belongs to which weight of a Keras model.

Layers are matched with scopes of the checkpoint, then the layer's weights with the
scope's variables. A name map has been applied before. A layer takes, in this order,

1.  the scope of one of its own names. A variable called `net/dense/kernel`, or an
    attribute `model.dense.kernel`, gives the layer the names `net/dense` and `dense`;
2.  the only scope that ends in one of the layer's names, or that one of the names ends
    in: `dense` and `encoder/dense`; a layer of one weight, as Embedding, also the only
    variable that does: `position_embeddings` and `bert/embeddings/position_embeddings`;
3.  where names differ only in numbers, the scope of the same rank: `dense_7` and
    `dense_8` take `dense` and `dense_1`, if there are as many scopes as layers and
    their shapes agree. Rank goes before equal names where some layers have no scope
    of their name: `dense_1` and `dense_2` take `dense` and `dense_1`. `fw` and `bw`
    mean `forward` and `backward`;
4.  the only scope with the same shapes, if the layer is the only one with these shapes.
"""

from __future__ import annotations

import collections
import dataclasses
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from estimator_ckpt.keras.layers import is_cell
from estimator_ckpt.keras.recipes import Recipe, Shape, Stored
from estimator_ckpt.keras.scopes import Layer, Scopes, Weight, may_be

_NUMBER = re.compile(r"\d+")
_SUFFIX = re.compile(r"_\d+$")
_CELL_WORDS = ("basic_", "cudnn_compatible_")


@dataclasses.dataclass(frozen=True)
class Match:
  """A weight and what it is made of.

  Attributes:
    weight: a weight of the model.
    recipe: the checkpoint's variables that make the weight, and the conversion.
    how: the rule that matched them: `"name"`, `"end of the name"`, `"rank"` or
      `"shapes"`.
  """

  weight: Weight
  recipe: Recipe
  how: str


@dataclasses.dataclass
class Matching:
  """The matched and the unmatched weights, layers and variables.

  Attributes:
    matches: the weights that are matched, in the model's order.
    unmatched: the weights that are not matched, each with the reason.
    pending: the layers that are not built yet, each with its scope or None.
    unused: names of variables that neither a weight nor a pending layer takes.
  """

  matches: list[Match]
  unmatched: list[tuple[Weight, str]]
  pending: list[tuple[Layer, str | None]]
  unused: list[str]


def match(
  layers: Sequence[Layer],
  scopes: Scopes,
  free: Iterable[str],
) -> Matching:
  """Matches the layers of a model with the variables of a checkpoint.

  Args:
    layers: the layers, in the model's order.
    scopes: the checkpoint's variables, by scope.
    free: the names of the variables that may be taken.

  Returns:
    The matching; every layer and every free variable has its place in it.

  Raises:
    OptionError: all weights are matched, and `forget_bias` has a scope without LSTM cell.
  """
  return _Matcher(layers, scopes, free).run()


class _Matcher:
  """Matches layers with scopes, the surest first."""

  def __init__(
    self,
    layers: Sequence[Layer],
    scopes: Scopes,
    free: Iterable[str],
  ):
    self._layers = layers
    self._scopes = scopes
    self._free = dict.fromkeys(free)
    self._result = Matching([], [], [], [])
    self._left = list(range(len(layers)))
    self._reasons: dict[str, str] = {}
    # Scopes of equal name that layers do not take, since their numbers are shifted.
    self._doubtful: dict[int, str] = {}

  def run(self) -> Matching:
    for step in (
      self._same_name,
      self._same_ending,
      self._same_ending_of_variable,
      self._same_rank,
      self._same_shapes,
    ):
      step()
    result = self._result
    for i in self._left:
      layer = self._layers[i]
      if layer.weights is None:
        result.pending.append((layer, None))
      for weight in layer.weights or ():
        reason = self._reasons.get(
          weight.path, "no variable has a similar name or scope"
        )
        result.unmatched.append((weight, reason))
    order = {
      w.path: n
      for n, w in enumerate(w for layer in self._layers for w in layer.weights or ())
    }
    result.matches.sort(key=lambda m: order[m.weight.path])
    result.unmatched.sort(key=lambda item: order[item[0].path])
    result.unused = list(self._free)
    if not result.pending and not result.unmatched:
      self._scopes.check_forget_bias_used(match.recipe for match in result.matches)
    return result

  def _take(self, i: int, scope: str, how: str, whole: bool = False) -> bool:
    """Gives a layer a scope; with `whole`, only if the scope has all its weights."""
    layer = self._layers[i]
    if layer.weights is None:
      self._result.pending.append((layer, scope))
      for stored in self._scopes.inside(scope).values():
        self._free.pop(stored.name, None)
      self._left.remove(i)
      return True
    recipes, reasons = self._scopes.recipes(layer, scope, self._free)
    if reasons and (whole or not recipes):
      self._note_reasons(i, scope)
      return False
    for weight in layer.weights:
      if weight.leaf in recipes:
        self._result.matches.append(Match(weight, recipes[weight.leaf], how))
      else:
        self._result.unmatched.append((weight, reasons[weight.leaf]))
    for recipe in recipes.values():
      for name in recipe.sources:
        self._free.pop(name, None)
    self._left.remove(i)
    return True

  def _note_reasons(self, i: int, scope: str) -> None:
    """Keeps the reasons why a layer does not take the scope that its name suggests."""
    layer = self._layers[i]
    if layer.weights is not None:
      _, reasons = self._scopes.recipes(layer, scope, self._free)
      for weight in layer.weights:
        if weight.leaf in reasons:
          self._reasons.setdefault(weight.path, reasons[weight.leaf])

  def _take_variable(self, i: int, name: str, how: str) -> bool:
    """Gives a layer of one weight the variable with the name of the layer."""
    layer = self._layers[i]
    stored = self._scopes.variables.get(name)
    if stored is None or stored.name not in self._free:
      return False
    if not layer.weights or len(layer.weights) != 1 or is_cell(layer.kind):
      return False
    recipe = self._scopes.recipe(layer, layer.weights[0], stored)
    if recipe is None:
      return False
    self._result.matches.append(Match(layer.weights[0], recipe, how))
    del self._free[stored.name]
    self._left.remove(i)
    return True

  def _names(self) -> dict[int, list[str]]:
    """The names that only one of the layers has."""
    count = collections.Counter(
      name for layer in self._layers for name in dict.fromkeys(layer.names)
    )
    return {
      i: [name for name in dict.fromkeys(self._layers[i].names) if count[name] == 1]
      for i in self._left
    }

  def _out_of_rank(self, wanted: Mapping[int, str]) -> set[int]:
    """Finds layers whose scope of the same name is that of another layer by rank.

    Where layers dense_1 and dense_2 are the scopes dense and dense_1, the scope dense_1
    belongs to the layer dense_2.
    """
    free = [*self._free_scopes()]
    free += [n for n, v in self._scopes.variables.items() if v.name in self._free]
    by_pattern: dict[str, list[str]] = collections.defaultdict(list)
    for scope in free:
      by_pattern[_pattern(scope)].append(scope)
    found: set[int] = set()
    for pattern in dict.fromkeys(_pattern(scope) for scope in wanted.values()):
      theirs = sorted(by_pattern[pattern], key=_numbers)
      ours = {}
      for i in self._left:
        if self._layers[i].weights == ():
          continue
        for name in self._layers[i].names:
          own = _pattern(name)
          if own in _endings(pattern) or pattern in _endings(own):
            # The longer name, cut to as many scopes as the shorter one has.
            ours[i] = "/".join(name.split("/")[-len(pattern.split("/")) :])
            break
      if len(ours) != len(theirs) or wanted.keys() >= ours.keys():
        continue
      ranked = sorted(ours, key=lambda i: _numbers(ours[i]))
      found |= {i for i, s in zip(ranked, theirs) if i in wanted and wanted[i] != s}
    self._doubtful.update((i, wanted[i]) for i in found)
    return found

  def _same_name(self) -> None:
    names = self._names()
    known = {*self._scopes, *self._scopes.variables}
    wanted = {
      i: next(name for name in names[i] if name in known)
      for i in self._left
      if any(name in known for name in names[i])
    }
    for i in self._out_of_rank(wanted):
      names[i] = []
    for rank in range(max(map(len, names.values()), default=0)):
      for i in list(self._left):
        if rank < len(names[i]):
          name = names[i][rank]
          if not (name in self._scopes and self._take(i, name, "name")):
            self._take_variable(i, name, "name")

  def _same_ending(self) -> None:
    names = self._names()
    endings: dict[str, list[str]] = collections.defaultdict(list)
    for scope in self._free_scopes():
      for ending in _endings(scope):
        endings[ending].append(scope)
    wanted: dict[int, str] = {}
    for i in self._left:
      for name in names[i]:
        longer = endings.get(name, [])
        shorter = [ending for ending in _endings(name) if ending in endings[ending]]
        if len(longer) == 1 or (not longer and shorter):
          wanted.setdefault(i, (longer or shorter)[0])
    claims = collections.Counter(wanted.values())
    out_of_rank = self._out_of_rank(wanted)
    for i, scope in wanted.items():
      if claims[scope] == 1 and i not in out_of_rank:
        self._take(i, scope, "end of the name", whole=True)

  def _same_ending_of_variable(self) -> None:
    """Gives layers of one weight the only variable that ends as their names do."""
    names = self._names()
    endings: dict[str, list[str]] = collections.defaultdict(list)
    free = [n for n, v in self._scopes.variables.items() if v.name in self._free]
    for name in free:
      for ending in _endings(name):
        endings[ending].append(name)
    wanted: dict[int, str] = {}
    for i in self._left:
      weights = self._layers[i].weights
      if not weights or len(weights) != 1:
        continue
      for name in names[i]:
        longer = endings.get(name, [])
        shorter = [ending for ending in _endings(name) if ending in free]
        if len(longer) == 1 or (not longer and shorter):
          wanted.setdefault(i, (longer or shorter)[0])
    claims = collections.Counter(wanted.values())
    for i, name in wanted.items():
      if claims[name] == 1:
        self._take_variable(i, name, "end of the name")

  def _same_rank(self) -> None:
    ours: dict[tuple[str, str], list[int]] = collections.defaultdict(list)
    for i in self._left:
      ours[_family(self._layers[i].names[0])].append(i)
    theirs: dict[tuple[str, str], list[str]] = collections.defaultdict(list)
    for scope in self._free_scopes():
      theirs[_family(scope)].append(scope)
    for family, members in ours.items():
      scopes = theirs.get(family, [])
      if len(members) != len(scopes):
        continue
      if not _one_pattern(scopes) or not _one_pattern(
        [self._layers[i].names[0] for i in members]
      ):
        continue
      members = sorted(members, key=lambda i: _natural(self._layers[i].names[0]))
      pairs = list(zip(members, sorted(scopes, key=_natural)))
      if any(self._doubtful.get(i) == scope for i, scope in pairs):
        continue
      fit = all(self._fits(i, scope) for i, scope in pairs)
      for i, scope in pairs:
        if fit:
          self._take(i, scope, "rank", whole=True)
        else:
          self._note_reasons(i, scope)

  def _same_shapes(self) -> None:
    found = True
    while found:
      found = False
      scopes = self._free_scopes()
      by_shapes: dict[Any, list[int]] = collections.defaultdict(list)
      for i in self._left:
        layer = self._layers[i]
        if layer.weights:
          by_shapes[_signature(layer)].append(i)
      fitting = {
        signature: [s for s in scopes if self._fits(members[0], s)]
        for signature, members in by_shapes.items()
      }
      claims = collections.Counter(s for found_ in fitting.values() for s in found_)
      for signature, members in by_shapes.items():
        options = fitting[signature]
        if len(members) == len(options) == 1 and claims[options[0]] == 1:
          found = self._take(members[0], options[0], "shapes", whole=True) or found
        elif options and len(members) + len(options) > 2:
          self._note_ambiguity(members, options)
    self._same_shape_alone()

  def _same_shape_alone(self) -> None:
    """Matches layers of one weight with variables that share a scope with others."""
    wanting: dict[Shape, list[int]] = collections.defaultdict(list)
    for i in self._left:
      weights = self._layers[i].weights
      if weights and len(weights) == 1:
        wanting[weights[0].shape].append(i)
    for shape, members in wanting.items():
      leaves = [w.leaf for i in members for w in self._layers[i].weights or ()]
      fitting = [
        name
        for name, stored in self._scopes.variables.items()
        if stored.shape == shape
        and stored.name in self._free
        and all(may_be(leaf, name.rpartition("/")[2]) for leaf in leaves)
      ]
      if len(members) == len(fitting) == 1:
        self._take_variable(members[0], fitting[0], "shapes")

  def _note_ambiguity(self, members: Sequence[int], options: Sequence[str]) -> None:
    for i in members:
      for weight in self._layers[i].weights or ():
        shown = ", ".join(repr(s) for s in options[:4])
        self._reasons.setdefault(
          weight.path,
          f"no variable has its name; by shapes it could be of {shown}",
        )

  def _fits(self, i: int, scope: str) -> bool:
    layer = self._layers[i]
    if layer.weights is None:
      return True
    recipes, reasons = self._scopes.recipes(layer, scope, self._free)
    if reasons:
      return False
    used = {name for recipe in recipes.values() for name in recipe.sources}
    return used >= {s.name for s in self._free_inside(scope)}

  def _free_scopes(self) -> list[str]:
    return [s for s in self._scopes if s and self._free_inside(s)]

  def _free_inside(self, scope: str) -> list[Stored]:
    """The free variables of a scope and of the scopes of a recurrent cell in it."""
    return [
      stored
      for leaf, stored in self._scopes.inside(scope).items()
      if stored.name in self._free
      and ("/" not in leaf or leaf.startswith(("gates/", "candidate/", "projection/")))
    ]


def _endings(name: str) -> Iterator[str]:
  """Yields the name, then the name without its first scope, without two, and so on."""
  yield name
  start = name.find("/") + 1
  while start:
    yield name[start:]
    start = name.find("/", start) + 1


def _family(scope: str) -> tuple[str, str]:
  """The kind and direction in a name, which layers and scopes of one family share."""
  parts = scope.split("/")
  base = _SUFFIX.sub("", parts[-1])
  for word in _CELL_WORDS:
    base = base[len(word) :] if base.startswith(word) else base
  direction = ""
  for part in parts:
    if part in ("fw", "forward") or part.startswith("forward_"):
      direction = "forward"
    elif part in ("bw", "backward") or part.startswith("backward_"):
      direction = "backward"
  return base, direction


def _one_pattern(scopes: Sequence[str]) -> bool:
  """Whether scopes differ only in numbers; the first may have none (`dense`)."""
  return len({_NUMBER.sub("", _without_numbers(scope)) for scope in scopes}) == 1


def _without_numbers(scope: str) -> str:
  return "/".join(_SUFFIX.sub("", part) for part in scope.split("/"))


def _pattern(scope: str) -> str:
  """A name with `#` for numbers and without suffixes: `dense` and `dense_1` are equal."""
  return _NUMBER.sub("#", _without_numbers(scope))


def _numbers(scope: str) -> list[list[int]]:
  """The numbers of each part of a name; a part without a suffix ends in 0."""
  return [
    [*map(int, _NUMBER.findall(part)), *([] if _SUFFIX.search(part) else [0])]
    for part in scope.split("/")
  ]


def _natural(scope: str) -> list[tuple[str, int]]:
  """A sort key that puts dense first and dense_10 after dense_9."""
  key = []
  for part in scope.split("/"):
    match = _SUFFIX.search(part)
    key.append((part[: match.start()], int(match[0][1:])) if match else (part, 0))
  return key


def _signature(layer: Layer) -> tuple[Any, ...]:
  weights = layer.weights or ()
  return (layer.kind, *sorted((weight.leaf, weight.shape) for weight in weights))
