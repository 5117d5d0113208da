"""Loading a checkpoint's variables into the weights of a Keras model.

Layers that are built are matched and loaded at once. Every other layer is matched when
Keras builds it, just before its first use.
"""

from __future__ import annotations

import dataclasses
import functools
import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from estimator_ckpt import errors
from estimator_ckpt.checkpoint.name_map import NameMap, NameMapLike
from estimator_ckpt.checkpoint.name_pattern import NamePattern, matches_any
from estimator_ckpt.checkpoint.partition_strategy import PartitionStrategyLike
from estimator_ckpt.checkpoint.roles import GLOBAL_STEP
from estimator_ckpt.keras import matching as keras_matching
from estimator_ckpt.keras import source as keras_source
from estimator_ckpt.keras.forms import Form, untold_notes, variable_forms
from estimator_ckpt.keras.matching import Match
from estimator_ckpt.keras.model import KerasModel, ModelLayer, after_build, assign
from estimator_ckpt.keras.recipes import Recipe, Stored
from estimator_ckpt.keras.report import LoadReport, Row, mismatch_message
from estimator_ckpt.keras.scopes import ForgetBias, Layer, Scopes
from estimator_ckpt.keras.tied import with_copies

if TYPE_CHECKING:
  import numpy as np

  from estimator_ckpt.checkpoint.reader import CheckpointReader

_logger = logging.getLogger(__name__)


class WeightLoader:
  """Loads the weights of one model from one checkpoint.

  Args:
    model: the model whose weights are loaded.
    reader: an open reader of the checkpoint.
    contents: the variables and optimizers of the same checkpoint.
    name_map: rules `checkpoint name: model name`, in any form that `NameMap.parse`
      takes.
    strict: whether every variable of the model and of the checkpoint must have a
      counterpart; if False, a warning lists those that have none.
    ignore: patterns of checkpoint variables that the model does not take.
    keep: patterns of variables of the model that keep their values.
    moving_averages: whether weights get their moving averages, where there are any.

  Attributes:
    report: every variable and where it came from; grows while layers are built.
    recipes: the recipe of each variable of the model that is matched, by the
      variable's `id`.
  """

  def __init__(
    self,
    model: KerasModel,
    reader: CheckpointReader,
    contents: keras_source.Contents,
    name_map: NameMapLike,
    strict: bool,
    ignore: Sequence[str],
    keep: Sequence[str],
    moving_averages: bool,
  ):
    self.model = model
    self.reader = reader
    self.contents, self._name_map = with_copies(contents, NameMap.parse(name_map))
    self._strict = strict
    self._ignore = [NamePattern(pattern, "ignore") for pattern in ignore]
    self._keep = [NamePattern(pattern, "keep") for pattern in keep]
    self._moving_averages = moving_averages
    self._free: dict[str, None] = {}
    self._waiting: set[int] = set()
    # The scopes reserved for layers that are not built yet, by the layers' ids.
    self._promised: dict[int, str] = {}
    self.recipes: dict[int, Recipe] = {}
    self.report = LoadReport(reader.prefix)
    self._matched: list[tuple[Any, Match]] = []

  def match(
    self, forget_bias: ForgetBias, partition_strategy: PartitionStrategyLike = None
  ) -> None:
    """Matches the layers that are built.

    Args:
      forget_bias: what TF1's LSTM cells added to their forget gates: a number, or a
        dict from scopes to numbers; None for the cells' defaults.
      partition_strategy: `"mod"` or `"div"` by scopes of partitioned embeddings.

    Raises:
      VariableMismatchError: a variable has no counterpart, and `strict` is set.
      OptionError: a rule or a pattern matches nothing.
    """
    names = list(self.contents.variables)
    renamed, rules = self._name_map.apply_with_forms(names)
    forms = variable_forms(self.contents.variables, partition_strategy, rules)
    stored = {
      renamed[name]: Stored.in_form(
        name, self.contents.variables[name].shape, forms.get(name, Form())
      )
      for name in names
    }
    self._scopes = Scopes(stored, forget_bias)
    self.report.ignored = [name for name in names if matches_any(name, self._ignore)]
    self._free = {name: None for name in names if name not in self.report.ignored}
    taken = [self.contents.variables[name] for name in self._free]
    self.report.notes = untold_notes(taken, partition_strategy)
    self.report.others = sorted(
      {*self.contents.others, *([GLOBAL_STEP] if self.contents.global_step else [])}
    )
    self._match_layers(self.model.layers())
    self._check_patterns()
    self._complain(final=not self.model.unbuilt())

  def _check_patterns(self) -> None:
    if not self.report.pending:
      ours = [weight for layer in self.model.layers() for weight in layer.variables]
      for pattern in self._ignore:
        pattern.check_used(self.contents.variables)
      for pattern in self._keep:
        pattern.check_used(ours)

  def _match_layers(self, layers: Sequence[ModelLayer]) -> None:
    variables: dict[str, Any] = {}
    infos = []
    for layer in layers:
      variables.update(layer.variables)
      infos.append(self._without_kept(layer))
    matching = keras_matching.match(infos, self._scopes, self._free)
    rows: list[Row] = []
    for match in matching.matches:
      variable = variables[match.weight.path]
      problem = self._dtype_problem(match)
      if not problem:
        self._matched.append((variable, match))
        self.recipes[id(variable)] = match.recipe
      how = match.how + (f": {match.recipe.how}" if match.recipe.how else "")
      weight = match.weight
      rows.append(Row(weight.path, weight.shape, match.recipe.sources, how, problem))
    for weight, reason in matching.unmatched:
      rows.append(Row(weight.path, weight.shape, (), "", reason))
    order = {path: n for n, path in enumerate(variables)}
    self.report.rows += sorted(rows, key=lambda row: order[row.variable])
    self._free = dict.fromkeys(matching.unused)
    self.report.unused = list(matching.unused)
    pending = {id(info): scope for info, scope in matching.pending}
    self.report.pending = {}
    for layer, info in zip(layers, infos):
      if id(info) in pending:
        scope = pending[id(info)]
        name = layer.info.names[0] if layer.info.names else layer.info.kind
        self.report.pending[name] = scope
        if scope is not None:
          self._promised.setdefault(id(layer.layer), scope)

  def _without_kept(self, layer: ModelLayer) -> Layer:
    info = layer.info
    scope = self._promised.get(id(layer.layer))
    if scope is not None:
      # A layer that is built alone has no neighbours to rank its number among.
      others = [n for n in info.names if n not in self._promised.values()]
      info = dataclasses.replace(info, names=tuple(dict.fromkeys([scope, *others])))
    if info.weights is None:
      return info
    kept = []
    for weight in info.weights:
      if matches_any(weight.path, self._keep):
        if weight.path not in self.report.kept:
          self.report.kept.append(weight.path)
      else:
        kept.append(weight)
    return dataclasses.replace(info, weights=tuple(kept))

  def _dtype_problem(self, match: Match) -> str:
    for name in match.recipe.sources:
      dtype = self.contents.variables[name].dtype
      if dtype != match.weight.dtype:
        return f"{name} is {dtype}, and the model's variable is {match.weight.dtype}"
    return ""

  def _complain(self, final: bool) -> None:
    """Raises, or warns, if a variable has no counterpart."""
    report = self.report
    missing = [row for row in report.rows if row.problem]
    if not missing and (not final or not report.unused):
      return
    message = mismatch_message(report, missing, self.contents.variables)
    if self._strict:
      raise errors.VariableMismatchError(message)
    _logger.warning("%s", message)

  def assign(self) -> None:
    """Assigns the matched variables, and hooks into layers that are not built yet."""
    values = [
      (variable, match.recipe.make(*map(self.value, match.recipe.sources)))
      for variable, match in self._matched
    ]
    for variable, value in values:
      assign(variable, value)
    self._matched = []
    self._wait()

  def value(self, name: str) -> np.ndarray:
    """Reads a variable of the checkpoint.

    Args:
      name: the variable's name in the checkpoint.

    Returns:
      Its value, or its moving average if these were asked for and there is one.
    """
    key = self.contents.variables[name].key
    if self._moving_averages:
      key = self.contents.averages.get(name, key)
    return self.reader[key]

  def _wait(self) -> None:
    for layer in self.model.unbuilt():
      if id(layer) not in self._waiting:
        self._waiting.add(id(layer))
        after_build(layer, "build", functools.partial(self._built, layer))
    if self.report.pending:
      _logger.info("Layers to load when they are built: %s", self.report.pending)

  def _built(self, layer: Any) -> None:
    done = set(self.recipes) | {
      id(v)
      for known in self.model.layers()
      for path, v in known.variables.items()
      if path in self.report.missing or path in self.report.kept
    }
    layers = []
    self._free.update(
      (stored.name, None)
      for scope in self.report.pending.values()
      if scope is not None
      for stored in self._scopes.inside(scope).values()
      if stored.name not in self._taken()
    )
    for found in self.model.layers():
      if found.variables and all(id(v) in done for v in found.variables.values()):
        continue
      layers.append(found)
    self._match_layers(layers)
    self._complain(final=not self.model.unbuilt())
    self.assign()

  def _taken(self) -> set[str]:
    return {name for recipe in self.recipes.values() for name in recipe.sources}
