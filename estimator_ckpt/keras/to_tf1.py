"""Plans of what TF1 names a checkpoint of a Keras model can supply, and how.

The names are those of `like=`, a checkpoint of the TF1 code in question, or what the
name map makes of the Keras model's. TF1's optimizers restore their slots by name too,
and Adam the powers of its betas, which Keras does not keep.
"""

from __future__ import annotations

import collections
import copy
import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from estimator_ckpt import errors
from estimator_ckpt.bundle import dtypes
from estimator_ckpt.bundle.new_tensors import NewTensor
from estimator_ckpt.checkpoint.name_map import NameMap
from estimator_ckpt.checkpoint.optimizers import CONVERTED, family
from estimator_ckpt.checkpoint.reader import CheckpointReader
from estimator_ckpt.checkpoint.roles import GLOBAL_STEP
from estimator_ckpt.keras import matching as keras_matching
from estimator_ckpt.keras import source as keras_source
from estimator_ckpt.keras.forms import Form, untold_notes, variable_forms
from estimator_ckpt.keras.inverse import invert
from estimator_ckpt.keras.iterations import (
  BETAS,
  Iterations,
  beta_power,
)
from estimator_ckpt.keras.keras_options import KerasOptions
from estimator_ckpt.keras.recipes import Recipe, Stored
from estimator_ckpt.keras.report import (
  LoadReport,
  OptimizerReport,
  Row,
  mismatch_message,
)
from estimator_ckpt.keras.scopes import Scopes
from estimator_ckpt.keras.slot_formulas import Flavor, Optimizer, parse_kind
from estimator_ckpt.keras.state_plan import StatePlan, plan_state
from estimator_ckpt.keras.template import template_layers
from estimator_ckpt.keras.tf1_names import BackwardsMap, Tf1Names
from estimator_ckpt.keras.tf1_plan import ModelNames, Tf1Plan
from estimator_ckpt.keras.tied import Supplies, stored_tensor, with_targets
from estimator_ckpt.keras.transposition import transposed_back

if TYPE_CHECKING:
  import numpy as np


class ToTf1:
  """Plans the TF1 names of one checkpoint.

  Args:
    reader: the checkpoint.
    options: what the user says.
    names: the names of the TF1 code; by default those of `options.like`.
    model: the layers of the live model; by default as the checkpoint shows them.

  Attributes:
    report: what becomes of every variable.
    mismatch: after `match`, the words of the error that variables do not match, or "".
    tensors: what has to be written anew, by name.
  """

  def __init__(
    self,
    reader: CheckpointReader,
    options: KerasOptions,
    names: Tf1Names | None = None,
    model: ModelNames | None = None,
  ):
    prefix, graph = reader.prefix, reader.object_graph
    if graph is None:
      raise errors.OptionError(
        f"{prefix}: it is name-based, and not a checkpoint that tf.train.Checkpoint "
        "wrote for a Keras model."
      )
    if names is None:
      like = options.like_prefix()
      names = Tf1Names.read(like) if like is not None else None
    self.report = LoadReport(prefix)
    self.mismatch = ""
    self.tensors: dict[str, NewTensor] = {}
    self._made_of: dict[str, str] = {}
    self._prefix = prefix
    self._reader = reader
    self._index = reader.index
    self._graph = graph
    self._model = model or ModelNames((), {})
    contents = keras_source.read_contents(prefix, reader.index, graph)
    self._contents = self._model.rename(contents)
    self._state: keras_source.State | None = None
    self._options = options
    self._keys: dict[str, str] = {}
    self._like = names
    # Groups of weights of which one layer's variables are made.
    self._groups: list[dict[str, Recipe]] = []
    self._shapes: dict[str, tuple[int, ...]] = {}
    # Of names that have the bytes of weights of another shape.
    self._new_shapes: dict[str, tuple[int, ...]] = {}
    self._supplies = Supplies(prefix)

  def at(self, reader: CheckpointReader, options: KerasOptions) -> ToTf1:
    """The same conversion of a later checkpoint of the same structure.

    Args:
      reader: the checkpoint; see `tf1_plan.structure_of`.
      options: may have other settings.

    Returns:
      A conversion that has chosen and matched what this one has.
    """
    later = copy.copy(self)
    later.report = dataclasses.replace(self.report, checkpoint=reader.prefix)
    later.tensors, later._made_of, later._keys = {}, {}, {}
    later._new_shapes, later._supplies = {}, Supplies(reader.prefix)
    later._prefix, later._reader, later._index = reader.prefix, reader, reader.index
    later._options = options
    return later

  def choose(self) -> None:
    """Finds the optimizer whose state is converted.

    Raises:
      OptionError: the checkpoint has another.
      UnsupportedCheckpointError: it has several.
    """
    prefix, states = self._prefix, self._contents.states
    optimizer, flavor = self._options.optimizer, self._options.flavor
    if optimizer == "none":
      self.report.others += [f"the state of {s.optimizer}" for s in states]
      return
    if len(states) > 1:
      raise errors.UnsupportedCheckpointError(
        f"{prefix}: it has several optimizers: "
        + ", ".join(f"{state.label} ({state.optimizer})" for state in states)
      )
    self._state = states[0] if states else None
    found = f"its optimizer is {states[0].optimizer}" if states else "it has none"
    if flavor is not None and (not states or states[0].optimizer.flavor is not flavor):
      raise errors.OptionError(
        f"{prefix}: keras={flavor.value!r} was asked for, and {found}."
      )
    if optimizer is not None:
      kind = parse_kind(optimizer, [state.optimizer.kind for state in states])
      same = states and family(states[0].optimizer.kind) == family(kind)
      if not same or family(kind) == "SGD" and states[0].optimizer.kind != kind:
        raise errors.OptionError(
          f"{prefix}: optimizer={optimizer!r} was asked for, and {found}."
        )

  def match(self) -> None:
    """Finds the TF1 variables that the weights become.

    Raises:
      OptionError: a rule or pattern matches nothing.
    """
    contents = self._contents
    self.report.ignored = self._options.ignored(contents.variables)
    names = [name for name in contents.variables if name not in self.report.ignored]
    if self._like is not None:
      self._match_like(self._like, names)
      return
    if self._options.partition_strategy:
      raise errors.OptionError(
        "On the way back to TensorFlow 1, partition_strategy= needs like=, a checkpoint "
        "of the TF1 code, which says in how many parts the embedding is."
      )
    renamed = NameMap.parse(self._options.name_map).apply(names)
    for name in names:
      self._shapes[renamed[name]] = contents.variables[name].shape
      self._groups.append({name: Recipe((renamed[name],))})
      shape = contents.variables[name].shape
      self.report.rows.append(Row(name, shape, (renamed[name],), "name"))

  def _match_like(self, like: Tf1Names, names: Sequence[str]) -> None:
    # The rules lead from the Keras model's names to TF1's; here it goes the other way.
    name_map = NameMap.parse(self._options.name_map)
    contents, name_map = with_targets(like.contents, name_map, names)
    self._like = dataclasses.replace(like, contents=contents)
    wanted = contents.variables
    self._shapes = {name: variable.shape for name, variable in wanted.items()}
    mapped, rules = name_map.apply_with_forms(names)
    backwards = BackwardsMap(mapped)
    strategy = self._options.partition_strategy
    by_tf1 = {mapped[name]: rule for name, rule in rules.items()}
    forms = variable_forms(wanted, strategy, by_tf1, backwards=True)
    self.report.notes = untold_notes(wanted.values(), strategy)
    stored = {
      backwards.name(name): Stored.in_form(name, shape, forms.get(name, Form()))
      for name, shape in self._shapes.items()
    }
    live = set(self._model.paths.values())
    others = dataclasses.replace(
      self._contents,
      variables={n: v for n, v in self._contents.variables.items() if n not in live},
    )
    layers = [
      layer
      for layer in (*self._model.layers, *template_layers(others, self._graph))
      if any(weight.path in names for weight in layer.weights or ())
    ]
    scopes = Scopes(stored, self._options.forget_bias)
    matching = keras_matching.match(layers, scopes, list(wanted))
    by_path = {match.weight.path: match for match in matching.matches}
    for layer in layers:
      group = {}
      for weight in layer.weights or ():
        match = by_path.get(weight.path)
        if match is None:
          continue
        group[weight.path] = match.recipe
        how = match.how
        if match.recipe.how:
          how += f": backwards, {match.recipe.how}"
        self.report.rows.append(
          Row(weight.path, weight.shape, match.recipe.sources, how)
        )
      if group:
        self._groups.append(group)
    self.report.rows += [
      Row(weight.path, weight.shape, (), "", reason)
      for weight, reason in matching.unmatched
      if weight.path in names
    ]
    self.report.unused = matching.unused
    missing = [row for row in self.report.rows if row.problem]
    if missing or matching.unused:
      self.mismatch = mismatch_message(self.report, missing, wanted, to_tf1=True)

  def check_matched(self) -> None:
    """Raises an error if variables do not match.

    Raises:
      VariableMismatchError: they do not.
    """
    if self.mismatch:
      raise errors.VariableMismatchError(self.mismatch)

  def convert(self) -> None:
    """Makes the TF1 variables, slots and counters of Keras'.

    Raises:
      UnsupportedCheckpointError: something has no place in TF1.
      VariableMismatchError: a variable has no slot.
    """
    keys = {name: variable.key for name, variable in self._contents.variables.items()}
    for group in self._groups:
      sources = {name for recipe in group.values() for name in recipe.sources}
      self._make(group, keys, {name: self._original(name) for name in sources})
    plan = self._plan_state()
    if plan is not None:
      self._make_slots(plan)

  def _make(
    self,
    group: Mapping[str, Recipe],
    keys: Mapping[str, str],
    targets: Mapping[str, str],
    change: Any = None,
    slot: bool = False,
  ) -> None:
    """Has TF1 variables made of the weights of a layer.

    Args:
      group: the recipes of the layer's weights.
      keys: the weights' keys.
      targets: keys of the variables in the result, by name.
      change: what is done to the values, or None.
      slot: whether these are slots of the variables.
    """
    rest = {}
    uses = collections.Counter(n for r in group.values() for n in r.sources)
    for weight, recipe in group.items():
      if recipe.transposes and uses[recipe.sources[0]] == 1:
        [name] = recipe.sources
        tensor = transposed_back(
          self._reader, keys[weight], recipe.form, self._shapes[name], change
        )
        if self._supplies.add(targets[name], weight, tensor):
          self.tensors[targets[name]] = tensor
          self._made_of[targets[name]] = f"{keys[weight]}: {recipe.how}, backwards"
        continue
      # The bytes of parts cannot take another shape.
      whole = not recipe.form or not self._index.entry(keys[weight]).slices
      if not recipe.keeps_bytes or change is not None or not whole:
        rest[weight] = recipe
        continue
      target, shape = targets[recipe.sources[0]], self._shapes[recipe.sources[0]]
      tensor = stored_tensor(self._reader, keys[weight], shape)
      if self._supplies.add(target, weight, tensor):
        self._keys[target] = keys[weight]
        if recipe.form:
          self._new_shapes[target] = shape
    names = list(dict.fromkeys(n for r in rest.values() for n in r.sources))
    made = functools.lru_cache(maxsize=1)(
      functools.partial(self._inverted, rest, keys, change, slot)
    )
    for name in names:
      dtype = self._index.entry(keys[next(iter(rest))]).dtype
      tensor = NewTensor.of_array(
        dtype, self._shapes[name], functools.partial(_item, made, name)
      )
      if not self._supplies.add(targets[name], " and ".join(rest), tensor):
        continue
      self.tensors[targets[name]] = tensor
      sources = [keys[weight] for weight, r in rest.items() if name in r.sources]
      hows = dict.fromkeys(f": {r.how}, backwards" for r in rest.values() if r.how)
      self._made_of[targets[name]] = " + ".join(sources) + "".join(list(hows)[:1])

  def _inverted(
    self,
    recipes: Mapping[str, Recipe],
    keys: Mapping[str, str],
    change: Any,
    slot: bool,
  ) -> dict[str, np.ndarray]:
    arrays = {weight: self._reader[keys[weight]] for weight in recipes}
    made = invert(recipes, self._shapes, arrays, slot)
    return made if change is None else {n: change(a) for n, a in made.items()}

  def _plan_state(self) -> StatePlan | None:
    state = self._state
    if state is None:
      return None
    state.check_clear(self._prefix)
    kind = state.optimizer.kind
    if self._options.optimizer is not None:
      kind = parse_kind(self._options.optimizer, [kind])
    settings: dict[str, Any] = {}
    if self._like is not None:
      kinds = {other.optimizer.kind for other in self._like.contents.states}
      if kind == "Momentum" and not kinds:
        # Keras 2's SGD keeps momentums even when it has none.
        kind = "GradientDescent"
      elif len(kinds) == 1 and family(kind) == family(*kinds) != "SGD":
        [kind] = kinds
      elif kinds and kinds != {kind}:
        raise errors.UnsupportedCheckpointError(
          f"{self._prefix}: its optimizer is {state.optimizer}, and the names in "
          f"{self._like.prefix} are those of {', '.join(sorted(kinds))}."
        )
    if kind == "RMSProp":
      settings["centered"] = bool(state.optimizer.settings.get("centered"))
    target = Optimizer(kind, Flavor.TF1, settings)
    known = {"sums_sparse_gradients": True, **self._options.settings}
    given = Optimizer(state.optimizer.kind, state.optimizer.flavor, known)
    source = keras_source.source_optimizer(state, self._reader, given)
    if family(kind) == "SGD" and source.flavor is Flavor.KERAS_2:
      source = Optimizer(kind, source.flavor, source.settings)
    present = tuple(state.slots) if source.kind == state.optimizer.kind else ()
    return plan_state(
      source,
      target,
      present,
      sparse=keras_source.embeddings(self._contents.variables),
      smallest=keras_source.smallest_of(state, self._reader),
      steps=int(keras_source.scalar(self._reader, state.iterations) or 0),
      allow_approximate=self._options.allow_approximate,
    )

  def _make_slots(self, plan: StatePlan) -> None:
    state = self._state
    assert state is not None
    missing: list[str] = []
    for move in plan.moves:
      keys = state.slots[move.source]
      change = None if move.is_copy else move.apply
      for group in self._groups:
        having = {weight: recipe for weight, recipe in group.items() if weight in keys}
        if not having:
          continue
        missing += [
          f"{weight}: no slot {move.source!r}"
          for weight in group
          if weight not in keys
          if self._is_shared(group, weight, having)
        ]
        targets = self._slot_names(plan.target, move.target, having)
        self._make(having, keys, targets, change, slot=True)
    for slot in plan.zeros:
      self._make_zeros(plan.target, slot, next(iter(state.slots.values()), {}))
    if missing:
      raise errors.VariableMismatchError(
        f"{self._prefix}: slots are missing:\n"
        + "".join(f"  {line}\n" for line in missing)
      )
    own = keras_source.scalar(self._reader, state.iterations)
    iterations = Iterations(int(own or 0), "the optimizer's own")
    if state.iterations is not None:
      self._keys[GLOBAL_STEP] = state.iterations
    notes = self._make_powers(plan, iterations.value)
    self.report.optimizer = OptimizerReport.of_plan(plan, iterations, notes)

  def _is_shared(
    self, group: Mapping[str, Recipe], weight: str, having: Mapping[str, Recipe]
  ) -> bool:
    """Whether a weight without slot is made with one that has a slot."""
    others = {name for recipe in having.values() for name in recipe.sources}
    return bool(others.intersection(group[weight].sources))

  def _slot_names(
    self, target: Optimizer, slot: str, group: Mapping[str, Recipe]
  ) -> dict[str, str]:
    names = {name for recipe in group.values() for name in recipe.sources}
    known = self._like.slots(slot) if self._like is not None else {}
    if known and names <= set(known):
      return {name: known[name] for name in names}
    leaf = target.tf1_names()[slot]
    return {name: f"{self._original(name)}/{leaf}" for name in names}

  def _original(self, name: str) -> str:
    """The TF1 variable of a name that may be of a copy of it."""
    known = self._like.contents.variables if self._like is not None else {}
    return known[name].copy_of or name if name in known else name

  def _make_zeros(
    self, target: Optimizer, slot: str, having: Mapping[str, str]
  ) -> None:
    for group in self._groups:
      own = {weight: recipe for weight, recipe in group.items() if weight in having}
      for name, key in self._slot_names(target, slot, own).items():
        shape = self._shapes[name]
        self.tensors[key] = NewTensor.zeros(dtypes.number("float32"), shape)
        self._made_of[key] = "zeros"

  def _make_powers(self, plan: StatePlan, steps: int) -> list[str]:
    kept = [name for name, _, _ in CONVERTED[plan.target.kind].powers]
    assert self._state is not None
    notes = []
    like = self._like.state if self._like is not None else None
    known = like.powers if like is not None else {}
    for name in kept:
      setting, default = BETAS[name]
      stored = keras_source.scalar(self._reader, self._state.settings.get(setting))
      beta = self._options.settings.get(setting, stored)
      if beta is None:
        beta = default
        if self._like is not None and name in known:
          self._like.check_default(self._prefix, setting, default, known[name])
        notes.append(f"{name} is of {setting}={default}, which Keras does not store")
      power = beta_power(float(beta), steps)
      power_name = name
      if self._like is not None and name in known:
        power_name = self._like.name(known[name])
      self.tensors[power_name] = NewTensor.of_array(
        dtypes.number("float32"), (), functools.partial(_number, power)
      )
      self._made_of[power_name] = f"{setting}={float(beta):g} after {steps} steps"
    return notes

  def plan(self) -> Tf1Plan:
    """The plan of what the names stand for.

    Returns:
      The plan, as far as `match` and `convert` have made it.
    """
    index = self._index
    step = self._contents.global_step
    if step is not None:
      self._keys.setdefault(GLOBAL_STEP, step)
    used = {index.location(key) for key in self._keys.values()}
    converted = {row.variable for row in self.report.rows}
    by_key = {v.key: name for name, v in self._contents.variables.items()}
    slots = {
      key
      for members in (self._state.slots.values() if self._state else ())
      for key in members.values()
    }
    left_out = {}
    for key in index.keys():
      if index.location(key) not in used:
        done = by_key.get(key) in converted or key in slots
        left_out[key] = "converted" if done else "TensorFlow 1 has no such state"
    made = self.tensors, self._made_of
    return Tf1Plan(self._keys, *made, left_out, self.report, self._new_shapes)


def _item(made: Any, name: str) -> np.ndarray:
  return made()[name]


def _number(value: float) -> np.ndarray:
  import numpy as np

  return np.array(value, np.float32)
