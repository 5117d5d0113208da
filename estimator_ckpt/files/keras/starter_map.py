"""A first name map between two checkpoints, made of names, shapes and order.

One checkpoint's variables are matched with another's as a model's are when it is
loaded. What is left then is paired by shape, where both have as many of a shape: by the
words of the names, and at last in the order of either. The result is for a person to look
through: each rule says how it was found, and why it is a guess if it is one. What found
no other is listed.
"""

from __future__ import annotations

import collections
import dataclasses
import os
import re
from collections.abc import Iterable
from typing import Any, Sequence, Tuple

from estimator_ckpt.checkpoint import meta_file
from estimator_ckpt.checkpoint import prefix as prefix_lib
from estimator_ckpt.files import write as write_lib
from estimator_ckpt.keras import matching as keras_matching
from estimator_ckpt.keras import source as keras_source
from estimator_ckpt.keras.forms import form_between
from estimator_ckpt.keras.recipes import Shape, Stored
from estimator_ckpt.keras.scopes import Scopes, mean_the_same
from estimator_ckpt.keras.slot_formulas import Flavor
from estimator_ckpt.keras.template import template_layers

_BY_ORDER = "shape and order"
_BY_SCOPE = "scope and shape"
_BY_WORDS = "shape and words"
_BY_SHAPE = "shape"
_BY_FORM = "shape, rearranged"
# Why a pair is a guess, by how it was found.
_GUESSES = {
  _BY_SCOPE: "the scopes agree, and no other variable in them has this shape",
  "shapes": "no name says so, and no other has these shapes",
  _BY_SHAPE: "no name says so, and no other is left of this shape",
  _BY_WORDS: "several are of one shape, and the words of the names pair them",
  _BY_FORM: "no name says so, and no other is left that can have this shape",
  _BY_ORDER: "look at each: several are of one shape, and only their order pairs them",
}
_NUMBERS = re.compile(r"(\d+)")
_WORD = re.compile(r"[a-z]+")


@dataclasses.dataclass(frozen=True)
class MapRule:
  """A rule of a name map.

  Attributes:
    old: a name, or a scope ending in `/`, of the first checkpoint.
    new: what stands for it in the second.
    how: how it was found: `"name"`, `"end of the name"`, `"rank"`, `"scope and shape"`,
      `"shapes"`, or what is tried last: `"shape"`, `"shape and words"`, `"shape and order"`, or
      `"shape, rearranged"`.
    shape: the variable's shape; None for a scope.
    form: how the array is rearranged: `"reshape"`, `"transpose=1,0"` or "".
    guess: why the rule is a guess; "" where the names say it.
  """

  old: str
  new: str
  how: str
  shape: Shape | None
  form: str = ""
  guess: str = ""

  def __str__(self) -> str:
    rule = ":".join(text.replace(":", "\\:") for text in (self.old, self.new))
    return f"{rule}{self.form and ' '}{self.form}"


@dataclasses.dataclass(frozen=True)
class StarterMap:
  """A first name map. `str()` of it is a file for `name_map=` and `--name_map`.

  Attributes:
    source: the first checkpoint.
    target: the second.
    rules: the rules, from names of the first to names of the second.
    source_only: variables of the first that found no other, with their shapes.
    target_only: those of the second.
  """

  source: str
  target: str
  rules: tuple[MapRule, ...]
  source_only: dict[str, Shape]
  target_only: dict[str, Shape]

  def __str__(self) -> str:
    lines = [f"# From {self.source}", f"# to {self.target}"]
    for how, rules in _grouped(self.rules):
      guess = f"; a guess: {rules[0].guess}" if rules[0].guess else ""
      lines.append(f"# By {how}{guess}")
      lines += map(str, rules)
    for title, names in (
      ("only in the first", self.source_only),
      ("only in the second", self.target_only),
    ):
      lines += [f"# {title}: {n} {list(shape)}" for n, shape in names.items()]
    return "\n".join(lines)

  def as_dict(self) -> dict[str, Any]:
    """The map as lists, dicts and texts."""
    return dataclasses.asdict(self)


def _grouped(rules: Iterable[MapRule]) -> list[tuple[str, list[MapRule]]]:
  groups: dict[str, list[MapRule]] = collections.defaultdict(list)
  for rule in rules:
    groups[rule.how].append(rule)
  order = list(_GUESSES)
  return sorted(
    groups.items(), key=lambda g: order.index(g[0]) if g[0] in _GUESSES else -1
  )


def make_map(
  source: str | os.PathLike[str], target: str | os.PathLike[str]
) -> StarterMap:
  """Makes a first name map from one checkpoint's names to another's.

  Args:
    source: a checkpoint of any format.
    target: another, of the model that the first is to be converted for.

  Returns:
    The map.

  Raises:
    CheckpointNotFoundError: one of them is not there.
    CorruptCheckpointError: one of them is damaged.
  """
  ours, theirs = _Side(os.fspath(source)), _Side(os.fspath(target))
  # Recipes lead from a TF1 cell's variables to a Keras cell's.
  backwards = ours.is_keras and not theirs.is_keras
  pairs = _match(theirs, ours) if backwards else _match(ours, theirs)
  if backwards:
    pairs = [(theirs_, ours_, how) for ours_, theirs_, how in pairs]
  rules: list[MapRule] = []
  for olds, news, how in pairs:
    if len(olds) == len(news) == 1:
      rules.append(_rule(olds[0], news[0], how, ours.shapes[olds[0]]))
    else:
      rules.append(_rule(_scope(olds), _scope(news), how, None))
  rest = [
    _without(side.shapes, (name for pair in pairs for name in pair[i]))
    for i, side in enumerate((ours, theirs))
  ]
  guessed = _by_shape(ours.in_order(rest[0]), theirs.in_order(rest[1]))
  rest = [
    _without(names, (pair[i] for pair in guessed)) for i, names in enumerate(rest)
  ]
  rules += [_rule(old, new, how, ours.shapes[old]) for old, new, how in guessed]
  if ours.is_keras or theirs.is_keras:
    formed = _by_form(*rest)
    rules += [
      _rule(old, new, _BY_FORM, ours.shapes[old], form) for old, new, form in formed
    ]
    rest = [
      _without(names, (pair[i] for pair in formed)) for i, names in enumerate(rest)
    ]
  return StarterMap(ours.prefix, theirs.prefix, tuple(rules), *rest)


class _Side:
  """One of the two checkpoints."""

  def __init__(self, path: str):
    self.prefix = prefix_lib.resolve(path)
    self.source = write_lib.SourceCheckpoint.read(self.prefix)
    self.contents = keras_source.read_contents(
      self.prefix, self.source.index, self.source.graph
    )
    self.shapes = {name: v.shape for name, v in self.contents.variables.items()}
    self.layers = template_layers(self.contents, self.source.graph)
    states = self.contents.states
    self.is_keras = any(s.optimizer.flavor is not Flavor.TF1 for s in states) or any(
      layer.kind != "Layer" for layer in self.layers
    )

  def in_order(self, names: Iterable[str]) -> dict[str, Shape]:
    """Variables in the order of their making, as far as it is known."""
    listed = meta_file.trainable_variables(self.prefix) or []
    places = {name: place for place, name in enumerate(listed)}
    ordered = sorted(names, key=lambda n: (places.get(n, len(places)), _natural(n)))
    return {name: self.shapes[name] for name in ordered}


_Pair = Tuple[Sequence[str], Sequence[str], str]


def _match(source: _Side, target: _Side) -> list[_Pair]:
  """Names of the one, names of the other, and how they were found."""
  scopes = Scopes({name: Stored(name, shape) for name, shape in source.shapes.items()})
  matching = keras_matching.match(target.layers, scopes, source.shapes)
  by_path = {match.weight.path: match for match in matching.matches}
  pairs: list[_Pair] = []
  for layer in target.layers:
    made: dict[str, None] = {}
    news = []
    how = ""
    for weight in layer.weights or ():
      match = by_path.get(weight.path)
      if match is None:
        continue
      if match.recipe.how and not match.recipe.form or made:
        # A cell, which goes as a whole.
        made.update(dict.fromkeys(match.recipe.sources))
        news.append(weight.path)
        how = match.how
      else:
        [old] = match.recipe.sources
        how_found = match.how if _agree(old, weight.path) else _BY_SCOPE
        pairs.append(([old], [weight.path], how_found))
    if made:
      pairs.append((list(made), news, how))
  return pairs


def _agree(old: str, new: str) -> bool:
  """Whether the ends of names agree: `net/table` and `table/embeddings` too."""
  olds, news = old.split("/"), new.split("/")
  if mean_the_same(olds[-1], news[-1]):
    return True
  return olds[-1] in news[-2:] or news[-1] in olds[-2:]


def _rule(old: str, new: str, how: str, shape: Shape | None, form: str = "") -> MapRule:
  return MapRule(old, new, how, shape, form, _GUESSES.get(how, ""))


def _by_shape(
  ours: dict[str, Shape], theirs: dict[str, Shape]
) -> list[tuple[str, str, str]]:
  """Pairs of one shape, where both have as many of it: by words of names, then in order.

  Returns:
    For each pair the names, and how they were paired.
  """
  pairs = []
  for shape in dict.fromkeys(ours.values()):
    olds = [name for name, own in ours.items() if own == shape]
    news = [name for name, own in theirs.items() if own == shape]
    if len(olds) != len(news):
      continue
    if len(olds) == 1:
      pairs.append((olds[0], news[0], _BY_SHAPE))
      continue
    by_words = _by_words(olds, news)
    pairs += [(old, new, _BY_WORDS) for old, new in by_words.items()]
    olds = [name for name in olds if name not in by_words]
    news = [name for name in news if name not in by_words.values()]
    pairs += [(old, new, _BY_ORDER) for old, new in zip(olds, news)]
  return pairs


def _by_words(olds: Sequence[str], news: Sequence[str]) -> dict[str, str]:
  """Pairs of names of which each has more words in common with the other than any has."""
  common = {
    (old, new): len(_own_words(old, olds) & _own_words(new, news))
    for old in olds
    for new in news
  }
  found = {}
  for (old, new), count in common.items():
    rivals = [common[old, other] for other in news if other != new]
    rivals += [common[other, new] for other in olds if other != old]
    if count > max(rivals, default=0):
      found[old] = new
  return found


def _own_words(name: str, others: Sequence[str]) -> set[str]:
  """The words of a name that not all of the names have."""
  common = set.intersection(*(set(_WORD.findall(other.lower())) for other in others))
  return set(_WORD.findall(name.lower())) - common


def _by_form(
  ours: dict[str, Shape], theirs: dict[str, Shape]
) -> list[tuple[str, str, str]]:
  """Pairs of which only one fits the other, once it is rearranged."""
  fitting = [
    (old, new, form)
    for old, own in ours.items()
    for new, other in theirs.items()
    for form in [form_between(own, other)]
    if form
  ]
  olds = collections.Counter(old for old, _, _ in fitting)
  news = collections.Counter(new for _, new, _ in fitting)
  return [pair for pair in fitting if olds[pair[0]] == news[pair[1]] == 1]


def _without(names: dict[str, Shape], gone: Iterable[str]) -> dict[str, Shape]:
  known = set(gone)
  return {name: shape for name, shape in names.items() if name not in known}


def _scope(names: Sequence[str]) -> str:
  """The scope that names have in common, ending in `/`."""
  common = os.path.commonprefix([name.rpartition("/")[0] + "/" for name in names])
  return common.rpartition("/")[0] + "/"


def _natural(name: str) -> tuple[list[str], bool, str]:
  """A sort key by which dense_10 comes after dense_9, and a kernel before its bias."""
  scope, _, leaf = name.rpartition("/")
  padded = [part.zfill(9) if part.isdigit() else part for part in _NUMBERS.split(scope)]
  return padded, leaf.endswith("bias"), leaf
