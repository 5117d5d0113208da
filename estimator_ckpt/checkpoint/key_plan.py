"""Which keys each thing in a graph is saved under, in each format.

A plan is made before an op is added to the graph or a byte is written. It needs no
TensorFlow, so it can be printed and tested as a value.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

from estimator_ckpt import errors
from estimator_ckpt.checkpoint import layout as layout_lib
from estimator_ckpt.checkpoint.formats import CheckpointFormat
from estimator_ckpt.checkpoint.object_graph import ObjectGraph

GLOBAL_STEP = "global_step"
_TABLE_SUFFIXES = frozenset(["-keys", "-values"])


@dataclasses.dataclass(frozen=True)
class Saved:
  """One thing that is saved: a variable, a partitioned variable, a table, other state.

  Attributes:
    name: the name a name-based Saver gives it.
    suffixes: what each of its tensors adds to the name; `("",)` for a variable.
    is_variable: whether it is a variable, partitioned or not.
    object_key: its key in the object graph the user gave, or None where that graph
      does not reach it.
    own_names: whether its tensors have names of their own, which `suffixes` are then.
    needs_whole: whether it is partitioned, and of a type whose parts TensorFlow cannot
      put together, so that TF2 code can only read it as a whole.
    is_joinable: whether the bytes of its parts, as they are written, are the whole's.
    part_keys: for parts that the user's object graph reaches one by one, their keys
      there, each with the part's slice spec.
    part_names: for parts that a name-based Saver stores under names of their own, each
      an incomplete tensor, those names with the parts' slice specs. `name` is then what
      the variable would be called in one part.
  """

  name: str
  suffixes: tuple[str, ...] = ("",)
  is_variable: bool = True
  object_key: str | None = None
  own_names: bool = False
  needs_whole: bool = False
  is_joinable: bool = False
  part_keys: tuple[tuple[str, str], ...] = ()
  part_names: tuple[tuple[str, str], ...] = ()

  @property
  def base(self) -> str:
    """What the names of its tensors begin with."""
    return "" if self.own_names else self.name

  @property
  def attribute(self) -> str | None:
    """The object attribute TF2 code stores it under, or None if TF2 has no such object."""
    if self.is_variable:
      return layout_lib.VARIABLE_VALUE
    # Lookup tables are trackable in TF2 and keep the attribute name of their
    # SaveableObject; checked on TensorFlow 2.15 and 2.21.
    return "table" if set(self.suffixes) == _TABLE_SUFFIXES else None


@dataclasses.dataclass(frozen=True)
class SavePlan:
  """The keys of a checkpoint that is to be written.

  Attributes:
    checkpoint_format: what is written.
    keys: for each saved name, the key its tensors are written under (without suffix).
    aliases: keys that are added to the index afterwards, with the key they stand for.
    part_aliases: further such keys, that stand for a slice: a key and a slice spec.
    partial_aliases: names, each of an incomplete tensor: a key and some of its slices.
    joined: further such keys, that stand for slices as one tensor, with their key.
    wholes: for each saved name whose parts are written under the name, and for TF2
      readers as one tensor too, the key of that.
    unwritten: names of which no parts are written, only the whole.
    tf1_names: every key that a name-based Saver would write.
    tf2_names: those of them that a TF2 checkpoint has too.
    object_graph: the graph that is stored with them; None for TF1.
    name_only: names that have no TF2 form and are stored under their name alone.
    needs_step_key: whether the bare key `global_step` has to be written beside.
    needs_save_counter: whether a `save_counter` has to be written beside.
    step_keys: further keys that the global step is written under.
  """

  checkpoint_format: CheckpointFormat
  keys: Mapping[str, str]
  aliases: Mapping[str, str]
  object_graph: ObjectGraph | None
  name_only: tuple[str, ...] = ()
  needs_step_key: bool = False
  needs_save_counter: bool = False
  part_aliases: Mapping[str, tuple[str, str]] = dataclasses.field(default_factory=dict)
  partial_aliases: Mapping[str, tuple[str, tuple[str, ...]]] = dataclasses.field(
    default_factory=dict
  )
  joined: Mapping[str, str] = dataclasses.field(default_factory=dict)
  wholes: Mapping[str, str] = dataclasses.field(default_factory=dict)
  unwritten: frozenset[str] = frozenset()
  tf1_names: frozenset[str] = frozenset()
  tf2_names: frozenset[str] = frozenset()
  step_keys: tuple[str, ...] = ()

  def object_key(self, name: str) -> str | None:
    """The object key of a saved name, or None for what has none."""
    key = self.wholes.get(name, self.keys[name])
    return key if key != name and layout_lib.parse_object_key(key) else None

  @property
  def save_counter_key(self) -> str:
    """The key of the save counter."""
    return layout_lib.object_key([layout_lib.SAVE_COUNTER])


def plan_save(
  saved: Sequence[Saved],
  checkpoint_format: CheckpointFormat,
  object_graph: ObjectGraph | None = None,
  layout: layout_lib.Layout = "default",
  has_global_step: bool = False,
) -> SavePlan:
  """Gives everything that is saved its keys.

  Args:
    saved: what is saved; names are distinct.
    checkpoint_format: what is written.
    object_graph: the user's own object graph, with the attributes of everything in
      `saved` that has an `object_key`; None for none. It is added to.
    layout: where what that graph does not reach is put, see `layout.object_paths`.
      With an object graph it goes to `var_list/` alone, unless a function says else.
    has_global_step: whether the graph has a global step variable.

  Returns:
    The plan.

  Raises:
    OptionError: two things would get one key.
  """
  if checkpoint_format is CheckpointFormat.TF1:
    plan = SavePlan(checkpoint_format, {s.name: s.base for s in saved}, {}, None)
    _check_distinct(plan, saved)
    return plan

  given = object_graph is not None
  graph = object_graph if object_graph is not None else ObjectGraph()
  if given and not callable(layout):
    layout = "flat"
  keys: dict[str, str] = {}
  name_only: list[str] = []
  unreached: list[Saved] = []
  for item in saved:
    if item.object_key is not None:
      keys[item.name] = item.object_key
    elif item.attribute is None:
      keys[item.name] = item.base
      name_only.append(item.name)
    else:
      unreached.append(item)
  wholes: dict[str, str] = {}
  taken = {path for path in graph.paths() if path} if given else set()
  paths = layout_lib.object_paths([s.name for s in unreached], layout, taken)
  for item in unreached:
    assert item.attribute is not None
    # The full name is a name-based Saver's. Several parts have no name in common.
    [(full_name, _)] = (
      item.part_names if len(item.part_names) == 1 else [(item.name, "")]
    )
    other = [] if full_name == item.name else _flat_path(full_name, layout, graph)
    keys[item.name] = graph.add_variable(
      [*paths[item.name], *other], full_name, attribute=item.attribute
    )
    if item.needs_whole:
      wholes[item.name] = keys[item.name]
      keys[item.name] = item.name
  needs_save_counter = graph.lookup([layout_lib.SAVE_COUNTER]) is None
  if needs_save_counter:
    graph.add_variable([[layout_lib.SAVE_COUNTER]], "")

  aliases: dict[str, str] = {}
  joined: dict[str, str] = {}
  partial: dict[str, tuple[str, tuple[str, ...]]] = {}
  unwritten: set[str] = set()
  if checkpoint_format is CheckpointFormat.DUAL:
    aliases = {
      item.base + suffix: keys[item.name] + suffix
      for item in saved
      for suffix in item.suffixes
      if keys[item.name] != item.base
    }
    joined = {
      wholes[s.name]: s.name for s in saved if s.name in wholes and s.is_joinable
    }
    for item in saved:
      for name, slice_spec in item.part_names:
        _, specs = partial.get(name, ("", ()))
        partial[name] = keys[item.name], (*specs, slice_spec)
  else:
    unwritten = {s.name for s in saved if s.name in wholes and not s.part_keys}
  written = {keys[item.name] + suffix for item in saved for suffix in item.suffixes}
  plan = SavePlan(
    checkpoint_format,
    keys,
    aliases,
    graph,
    tuple(name_only),
    has_global_step and GLOBAL_STEP not in aliases and GLOBAL_STEP not in written,
    needs_save_counter,
    {
      part_key: (keys[item.name], slice_spec)
      for item in saved
      for part_key, slice_spec in item.part_keys
    },
    partial,
    joined,
    wholes,
    frozenset(unwritten),
    frozenset(
      name
      for item in saved
      for name in (
        [part for part, _ in item.part_names]
        or [item.base + suffix for suffix in item.suffixes]
      )
    )
    | ({GLOBAL_STEP} if has_global_step else set()),
    frozenset(
      item.base + suffix
      for item in saved
      if item.name in name_only
      for suffix in item.suffixes
    )
    | ({GLOBAL_STEP} if has_global_step else set()),
  )
  _check_distinct(plan, saved)
  return plan


def _flat_path(
  name: str, layout: layout_lib.Layout, graph: ObjectGraph
) -> list[layout_lib.Path]:
  """The flat path of another name, where the layout has flat ones and it is free."""
  path = (layout_lib.VAR_LIST, name)
  is_flat = layout in ("default", "flat") and graph.lookup(path) is None
  return [path] if is_flat else []


def _check_distinct(plan: SavePlan, saved: Sequence[Saved]) -> None:
  owners: dict[str, str] = {}
  if plan.object_graph is not None:
    owners[layout_lib.OBJECT_GRAPH_KEY] = "the object graph"
    if plan.needs_save_counter:
      owners[plan.save_counter_key] = "the save counter"
  claims = [
    (key, item.name)
    for item in saved
    for suffix in item.suffixes
    for key in {plan.keys[item.name] + suffix, *_alias(plan, item, suffix)}
  ]
  claims += [(key, name) for name, key in plan.wholes.items()]
  claims += [(part, item.name) for item in saved for part, _ in item.part_names]
  for key, name in claims:
    owner = owners.setdefault(key, repr(name))
    if owner != repr(name):
      raise errors.OptionError(
        f"{name!r} and {owner} would both be stored under the key {key!r}, and one of them "
        "would be lost. Rename one, or choose another layout."
      )


def _alias(plan: SavePlan, item: Saved, suffix: str) -> list[str]:
  alias = item.base + suffix
  return [alias] if alias in plan.aliases else []
