"""Plans how a TF1 checkpoint becomes one that Keras restores.

Everything is decided by names, shapes and a few scalars; tensors that have to be
converted are read when they are written.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from estimator_ckpt import errors
from estimator_ckpt.bundle import dtypes
from estimator_ckpt.bundle.new_tensors import NewTensor
from estimator_ckpt.checkpoint import layout as layout_lib
from estimator_ckpt.checkpoint import meta_file
from estimator_ckpt.checkpoint.formats import CheckpointFormat
from estimator_ckpt.checkpoint.name_map import NameMap
from estimator_ckpt.checkpoint.object_graph import ObjectGraph
from estimator_ckpt.checkpoint.optimizers import CONVERTED, family, of_class
from estimator_ckpt.checkpoint.reader import CheckpointReader
from estimator_ckpt.checkpoint.roles import GLOBAL_STEP
from estimator_ckpt.files import rewrite_plan
from estimator_ckpt.files import write as write_lib
from estimator_ckpt.keras import graph as keras_graph
from estimator_ckpt.keras import source as keras_source
from estimator_ckpt.keras.forms import Form, untold_notes, variable_forms
from estimator_ckpt.keras.keras_options import KerasOptions
from estimator_ckpt.keras.recipes import Recipe, Stored, rearranged
from estimator_ckpt.keras.report import (
  LoadReport,
  OptimizerReport,
  Row,
  mismatch_message,
)
from estimator_ckpt.keras.scopes import Scopes
from estimator_ckpt.keras.slot_formulas import Flavor, Optimizer, parse_kind
from estimator_ckpt.keras.state_plan import (
  SlotMove,
  StatePlan,
  plan_state,
)
from estimator_ckpt.keras.template import Template
from estimator_ckpt.keras.tied import with_copies
from estimator_ckpt.keras.transposition import transposed_tensor

if TYPE_CHECKING:
  import numpy as np

_CELL = re.compile(r"(?:.*/)?[^/]*(?:lstm|gru|rnn)_cell[^/]*(?=/)")


class ToKeras:
  """Plans the conversion of one checkpoint.

  Args:
    source: the checkpoint.
    options: what the user says.

  Attributes:
    source: the checkpoint.
    report: what becomes of every variable.
    tensors: what has to be written anew, by key.
  """

  def __init__(self, source: write_lib.SourceCheckpoint, options: KerasOptions):
    self.source = source
    prefix = source.prefix
    self.report = LoadReport(prefix)
    self.tensors: dict[str, NewTensor] = {}
    self._reader = CheckpointReader(prefix)
    contents = keras_source.read_contents(prefix, self.source.index, self.source.graph)
    name_map = NameMap.parse(options.name_map)
    self._contents, self._name_map = with_copies(contents, name_map)
    self._options = options
    self._template: Template | None = None
    self._state: keras_source.State | None = None
    self._state_plan: StatePlan | None = None
    self._keys: dict[str, str] = {}
    self._shapes: dict[str, tuple[int, ...]] = {}
    self._scalars: dict[str, int] = {}

  def choose(self) -> None:
    """Finds out which optimizer's state becomes which optimizer's.

    Raises:
      OptionError: the optimizer is ambiguous, or `like` has another.
      UnsupportedCheckpointError: there is no such state, or it cannot mean the same.
      VariableMismatchError: it cannot be told how many steps were made.
    """
    like, flavor = self._options.like_prefix(), self._options.flavor
    if like is not None:
      self._template = Template(like)
    elif flavor is None:
      raise errors.OptionError(
        "Say which Keras is meant: keras='2-legacy', '2' or '3'."
      )
    self._flavor = flavor
    wanted = self._wanted_kind(self._options.optimizer)
    if wanted is None:
      return
    target = self._target(wanted, flavor)
    self._state = keras_source.choose_state(self._contents, target)
    self._iterations = keras_source.read_iterations(
      self._contents, self._state, self._reader, target, self._options.iterations
    )
    self._state_plan = plan_state(
      keras_source.source_optimizer(self._state, self._reader, target),
      target,
      tuple(self._state.slots) if self._state else (),
      sparse=self._embeddings(),
      smallest=keras_source.smallest_of(self._state, self._reader),
      steps=self._iterations.value,
      allow_approximate=self._options.allow_approximate,
    )

  def _embeddings(self) -> list[str]:
    """The variables that get sparse gradients."""
    contents = self._template.contents if self._template else self._contents
    return keras_source.embeddings(contents.variables)

  def _wanted_kind(self, optimizer: str | None) -> str | None:
    """The kind of optimizer, as told or as recognised; None for none."""
    if optimizer == "none":
      return None
    if optimizer is not None:
      return parse_kind(optimizer, [s.optimizer.kind for s in self._contents.states])
    if self._template is not None:
      state = self._template.state
      if state is None or state.optimizer.keras_class != "SGD":
        return state.optimizer.kind if state is not None else None
      # Keras 2's SGD has momentums in any case; the source tells what it is.
      return parse_kind("sgd", [s.optimizer.kind for s in self._contents.states])
    kinds = sorted({state.optimizer.kind for state in self._contents.states})
    if len(kinds) == 1 and not self._contents.unknown:
      return kinds[0]
    if kinds or self._contents.unknown:
      candidates = self._contents.candidates()
      raise errors.OptionError(
        f"{self.source.prefix}: which optimizer is meant? The names are of "
        f"{candidates}. Say it with optimizer= (--optimizer), where 'none' is for the "
        "model alone."
      )
    return "GradientDescent"

  def _target(self, kind: str, flavor: Flavor | None) -> Optimizer:
    template = self._template
    settings: dict[str, Any] = {}
    if template is not None:
      state = template.state
      if state is None:
        raise errors.OptionError(
          f"{template.reader.prefix}: there is no optimizer in it. Write it with "
          "tf.train.Checkpoint(model=model, optimizer=optimizer) after "
          "optimizer.build(model.trainable_variables), or pass optimizer='none'."
        )
      if flavor is not None and flavor is not state.optimizer.flavor:
        raise errors.OptionError(
          f"{template.reader.prefix}: its optimizer is {state.optimizer}, and "
          f"keras={flavor.value!r} was asked for."
        )
      state.check_clear(template.reader.prefix)
      flavor = state.optimizer.flavor
      settings = {**state.optimizer.settings, **template.settings()}
      if {kind, state.optimizer.kind} == {"Momentum", "GradientDescent"}:
        # Keras 2's SGD has momentums in any case; the source tells what it is.
        settings["momentum"] = 0.9 if kind == "Momentum" else 0.0
      elif family(kind) != family(state.optimizer.kind):
        raise errors.OptionError(
          f"{template.reader.prefix}: its optimizer is {state.optimizer}, and "
          f"{kind} was asked for."
        )
    assert flavor is not None
    if template is None and kind == "RMSProp":
      found = [s for s in self._contents.states if s.optimizer.kind == kind]
      settings["centered"] = bool(found and found[0].optimizer.settings.get("centered"))
    # Of its program nothing is known; the report says what that has to do.
    settings["sums_sparse_gradients"] = True
    settings.update(self._options.settings)
    if family(kind) != "SGD":
      # Of Keras' own optimizers; TensorFlow 1's may have several for one of them.
      kind = of_class(CONVERTED[kind].keras) or kind
    return Optimizer(kind, flavor, settings)

  def match(self) -> None:
    """Finds for every variable of the model what it is made of.

    Raises:
      VariableMismatchError: something does not fit.
      OptionError: a rule or pattern matches nothing, or the order is not known.
    """
    options = self._options
    if self._template is None and (options.keep or options.forget_bias is not None):
      raise errors.OptionError(
        "keep= and forget_bias= need like=, a checkpoint of the model."
      )
    name_map = self._name_map
    names = list(self._contents.variables)
    if self._template is None:
      name_map.check_names_alone()
    renamed, rules = name_map.apply_with_forms(names)
    self.report.ignored = options.ignored(names)
    taken = [name for name in names if name not in self.report.ignored]
    variables = self._contents.variables
    forms = variable_forms(variables, options.partition_strategy, rules)
    self.report.notes = untold_notes(
      [variables[name] for name in taken], options.partition_strategy
    )
    if self._template is None:
      self._match_names({name: renamed[name] for name in taken}, forms)
      return
    stored = {
      renamed[name]: Stored.in_form(
        name, variables[name].shape, forms.get(name, Form())
      )
      for name in names
    }
    template = self._template
    matching = template.match(
      Scopes(stored, options.forget_bias), taken, options.keep, self.report
    )
    for match in matching.matches:
      weight, recipe = match.weight, match.recipe
      how = match.how + (f": {recipe.how}" if recipe.how else "")
      dtype = self._contents.variables[recipe.sources[0]].dtype
      problem = ""
      if dtype != weight.dtype:
        problem = f"{recipe.sources[0]} is {dtype}, and the model's is {weight.dtype}"
      row = Row(weight.path, weight.shape, recipe.sources, how, problem)
      self.report.rows.append(row)
      variable = template.contents.variables[weight.path]
      sources = [self._contents.variables[name].key for name in recipe.sources]
      self._make(variable.key, variable.shape, sources, recipe, None)
    self.report.rows += [
      Row(weight.path, weight.shape, (), "", reason)
      for weight, reason in matching.unmatched
    ]
    self.report.unused = matching.unused
    missing = [row for row in self.report.rows if row.problem]
    if missing or matching.unused:
      raise errors.VariableMismatchError(
        mismatch_message(self.report, missing, self._contents.variables)
      )
    recipes = {match.weight.path: match.recipe for match in matching.matches}
    if self._state_plan is not None:
      assert template.state is not None
      slots = {
        (slot, name): key
        for slot, members in template.state.slots.items()
        for name, key in members.items()
      }
      self._make_slots(slots, recipes, template.contents.variables)
      self._set_iterations(template.state.iterations)
    self._finish_template(template)

  def _match_names(self, renamed: Mapping[str, str], forms: Mapping[str, Form]) -> None:
    """Gives each variable the place that its name spells."""
    scopes = {match[0] for match in map(_CELL.match, renamed) if match}
    # Keras' own cells, trained in TF1, stay as they are.
    cells = sorted(s for s in scopes if f"{s}/recurrent_kernel" not in renamed)
    if cells:
      raise errors.OptionError(
        f"{self.source.prefix}: {', '.join(cells)} are recurrent cells, whose weights "
        "Keras orders and splits in another way. How is for the model to say: pass "
        "like= (--like), a checkpoint of the model and its optimizer."
      )
    target = self._state_plan.target if self._state_plan is not None else None
    with_slots = self._with_slots(renamed)
    order = self._order(with_slots, renamed)
    keras_3 = self._flavor is Flavor.KERAS_3
    built = keras_graph.build_graph(list(renamed.values()), order, target, keras_3)
    self._built = built
    olds = {new: old for old, new in renamed.items()}
    recipes = {}
    for new, key in built.variables.items():
      variable = self._contents.variables[olds[new]]
      form = forms.get(variable.name, Form())
      recipes[new] = rearranged(variable.name, form, variable.shape)
      how = f"name: {recipes[new].how}" if recipes[new].how else "name"
      self.report.rows.append(Row(new, variable.shape, (variable.name,), how))
      self._make(key, variable.shape, [variable.key], recipes[new], None)
    if target is not None:
      variables = {new: self._contents.variables[old] for new, old in olds.items()}
      self._make_slots(built.slots, recipes, variables)
      self._set_iterations(built.iterations)
    self._set_save_counter(built.save_counter)
    self._graph: ObjectGraph | None = built.graph

  def _with_slots(self, renamed: Mapping[str, str]) -> list[str]:
    if self._state is None:
      return []
    owners = {name for members in self._state.slots.values() for name in members}
    return [new for old, new in renamed.items() if old in owners]

  def _order(
    self,
    with_slots: Sequence[str],
    renamed: Mapping[str, str],
  ) -> list[str]:
    """The variables with slots, in the order of the model."""
    if self._flavor is Flavor.KERAS_2_LEGACY or len(with_slots) < 2:
      return list(with_slots)
    trainable = self._options.trainable
    if trainable is None:
      listed = meta_file.trainable_variables(self.source.prefix)
      if listed is None:
        raise errors.OptionError(
          f"{self.source.prefix}: Keras {self._flavor.value if self._flavor else ''} "
          "numbers an optimizer's variables in the order of model.trainable_variables, "
          "which a checkpoint does not tell. Pass like= (--like), a checkpoint of the "
          "model and its optimizer; or the names in their order, trainable=; or put the "
          ".meta file beside the checkpoint, whose order counts then."
        )
      trainable = [renamed.get(name, name) for name in listed]
    missing = [name for name in with_slots if name not in trainable]
    if missing:
      raise errors.OptionError(
        f"The order of trainable variables lacks {', '.join(missing)}, of which the "
        "checkpoint has slots."
      )
    return [name for name in trainable if name in with_slots]

  def _make(
    self,
    key: str,
    shape: tuple[int, ...],
    sources: Sequence[str],
    recipe: Recipe,
    move: SlotMove | None,
  ) -> None:
    """Has a key of the result made of keys of the source."""
    if recipe.keeps_bytes and (move is None or move.is_copy):
      if not recipe.form or self.source.can_reshape(sources[0]):
        self._keys[key] = sources[0]
        if recipe.form:
          self._shapes[key] = shape
        return
    if recipe.transposes:
      change = None if move is None or move.is_copy else move.apply
      self.tensors[key] = transposed_tensor(
        self._reader, sources[0], recipe.form, shape, change
      )
      return
    make = recipe.make if move is None else recipe.make_slot
    assert make is not None

    def array() -> np.ndarray:
      value = make(*(self._reader[source] for source in sources))
      return value if move is None else move.apply(value)

    dtype = self.source.index.entry(sources[0]).dtype
    self.tensors[key] = NewTensor.of_array(dtype, shape, array)

  def _make_slots(
    self,
    slots: Mapping[tuple[str, str], str],
    recipes: Mapping[str, Recipe],
    variables: Mapping[str, keras_source.Variable],
  ) -> None:
    plan = self._state_plan
    assert plan is not None
    missing = []
    moves = {move.target: move for move in plan.moves}
    for (slot, name), key in slots.items():
      shape = variables[name].shape
      move = moves.get(slot)
      recipe = recipes.get(name)
      if move is None:
        dtype = dtypes.number(variables[name].dtype)
        self.tensors[key] = NewTensor.zeros(dtype, shape)
      elif recipe is None:
        # A variable that is kept: so are its slots, as `like` has them.
        continue
      elif not move.source:
        sources = [self._contents.variables[n].key for n in recipe.sources]
        self._make(key, shape, sources, recipe, None)
      else:
        assert self._state is not None
        keys = self._state.slots[move.source]
        problem = recipe.missing_slot(move.source, keys)
        if problem:
          missing.append(f"{name}: {problem}")
        else:
          self._make(key, shape, [keys[n] for n in recipe.sources], recipe, move)
    if missing:
      raise errors.VariableMismatchError(
        f"{self.source.prefix}: the state of {plan.source} lacks slots:\n"
        + "".join(f"  {line}\n" for line in missing)
        + "Freeze these variables (trainable=False) in the model that writes like=."
      )
    notes = _sparse_notes(plan.target, self._embeddings())
    self.report.optimizer = OptimizerReport.of_plan(plan, self._iterations, notes)

  def _set_iterations(self, key: str | None) -> None:
    if key is None:
      return
    step = self._contents.global_step
    if step is not None and self._is_int64(step):
      if keras_source.scalar(self._reader, step) == self._iterations.value:
        self._keys[key] = step
        return
    self._scalars[key] = self._iterations.value

  def _is_int64(self, key: str) -> bool:
    entry = self.source.index.entry(key)
    return entry.dtype == dtypes.INT64 and not entry.shape and not entry.slices

  def _set_save_counter(self, key: str) -> None:
    step = self._contents.global_step
    if step is not None and self._is_int64(step):
      self._keys[key] = step
    else:
      self._scalars[key] = 1

  def _finish_template(self, template: Template) -> None:
    """What the model has besides, such as the learning rate, is as in `like`."""
    save_counter = layout_lib.object_key([layout_lib.SAVE_COUNTER])
    graph = template.graph.copy()
    for _, attribute in template.graph.attributes():
      key = attribute.checkpoint_key
      done = key in self._keys or key in self.tensors or key in self._scalars
      if not done and key != save_counter and key in template.reader.index:
        self.tensors[key] = template.tensor(key)
    if graph.lookup([layout_lib.SAVE_COUNTER]) is None:
      graph.add_variable([[layout_lib.SAVE_COUNTER]], "save_counter")
    self._set_save_counter(save_counter)
    self._graph = graph

  def plan(self, to: CheckpointFormat) -> rewrite_plan.RewritePlan:
    """The plan of what becomes keys."""
    index = self.source.index
    if self._contents.global_step is not None:
      self._keys[GLOBAL_STEP] = self._contents.global_step
    if to is CheckpointFormat.DUAL:
      for key in index.keys():
        if layout_lib.parse_object_key(key) is None and key not in self.tensors:
          self._keys.setdefault(key, key)
    self._keys.pop(layout_lib.OBJECT_GRAPH_KEY, None)
    used = {index.location(key) for key in self._keys.values()}
    converted = {s for row in self.report.rows for s in row.sources}
    left_out = {}
    for key in index.keys():
      if index.location(key) not in used:
        why = "Keras has no such state"
        if key in converted or self._state_plan is not None and self._is_slot(key):
          why = "converted"
        elif key == layout_lib.OBJECT_GRAPH_KEY or self._is_renewed(key):
          why = "written anew"
        left_out[key] = why
    return rewrite_plan.RewritePlan(
      to,
      self._keys,
      self._graph,
      self._scalars,
      left_out=left_out,
      notes=self._notes(),
      tensors=self.tensors,
      shapes=self._shapes,
    )

  def _notes(self) -> tuple[str, ...]:
    if self._template is not None:
      return ()
    first = self.report.rows[0].variable if self.report.rows else "dense/kernel"
    note = (
      "made without a checkpoint of the model (like=, --like), for one whose layers are "
      f"attributes called as the scopes: {first!r} is restored to "
      f"model.{first.replace('/', '.')}"
    )
    return (note,)

  def _is_renewed(self, key: str) -> bool:
    """Whether it counts steps or saves, or is a setting, and another stands for it."""
    parsed = layout_lib.parse_object_key(key)
    if parsed is not None and parsed.path == (layout_lib.SAVE_COUNTER,):
      return True
    state = self._state
    return state is not None and key in (state.iterations, *state.settings.values())

  def _is_slot(self, key: str) -> bool:
    slots = self._state.slots.values() if self._state is not None else ()
    return any(key in members.values() for members in slots)


def _sparse_notes(keras: Optimizer, sparse: Sequence[str]) -> list[str]:
  """What a program has to do for embeddings, where Keras 3 squares otherwise."""
  plain = Optimizer(keras.kind, keras.flavor)
  if not sparse or not plain.squares_parts:
    return []
  note = (
    f"{keras} squares the gradients of {', '.join(sparse)} look-up by look-up; pass it "
    "through estimator_ckpt.keras.sum_sparse_gradients(optimizer) for TensorFlow 1's sum"
  )
  return [note]
