"""Which keys each thing in a graph is saved under, in each format.

A plan is made before an op is added to the graph or a byte is written. It needs no
TensorFlow, so it can be printed and tested as a value.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet

from estimator_ckpt import errors, value_classes
from estimator_ckpt.checkpoint import layout as layout_lib
from estimator_ckpt.checkpoint.formats import CheckpointFormat
from estimator_ckpt.checkpoint.named_graph import named_graph
from estimator_ckpt.checkpoint.object_graph import ObjectGraph
from estimator_ckpt.checkpoint.roles import GLOBAL_STEP

_TABLE_SUFFIXES = frozenset(["-keys", "-values"])


class Saved(value_classes.NamedTuple):
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
  def suffixed_names(self) -> list[str]:
    """What its tensors are called."""
    return [self.base + suffix for suffix in self.suffixes]

  @property
  def tensor_names(self) -> list[str]:
    """What a name-based Saver calls them: `suffixed_names`, or its parts' names."""
    if self.part_names:
      return [name for name, _ in self.part_names]
    return self.suffixed_names

  @property
  def attribute(self) -> str | None:
    """The object attribute TF2 code stores it under, or None if TF2 has no such object."""
    if self.is_variable:
      return layout_lib.VARIABLE_VALUE
    # Lookup tables are trackable in TF2 and keep the attribute name of their
    # SaveableObject; checked on TensorFlow 2.15 and 2.21.
    return "table" if set(self.suffixes) == _TABLE_SUFFIXES else None


@value_classes.dataclass(frozen=True)
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
  part_aliases: Mapping[str, tuple[str, str]] = value_classes.field(
    default_factory=dict
  )
  partial_aliases: Mapping[str, tuple[str, tuple[str, ...]]] = value_classes.field(
    default_factory=dict
  )
  joined: Mapping[str, str] = value_classes.field(default_factory=dict)
  wholes: Mapping[str, str] = value_classes.field(default_factory=dict)
  unwritten: frozenset[str] = frozenset()
  tf1_names: AbstractSet[str] = frozenset()
  tf2_names: AbstractSet[str] = frozenset()
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
  """Plans the keys of everything that is saved.

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
  if object_graph is None and isinstance(layout, str):
    plain = Saved("")[1:]
    if all(item[1:] == plain for item in saved):
      names = [item.name for item in saved]
      return plan_variables(names, checkpoint_format, layout, has_global_step)
  if not checkpoint_format.has_objects:
    plan = SavePlan(
      checkpoint_format,
      keys={item.name: item.base for item in saved},
      aliases={},
      object_graph=None,
    )
  else:
    plan = _plan_objects(saved, checkpoint_format, object_graph, layout)
  keys = _keys_and_names(plan, saved)
  if checkpoint_format.has_objects:
    plan = _with_names(plan, saved, keys, has_global_step)
  _check_distinct(plan, saved, keys)
  return plan


def plan_variables(
  names: Sequence[str],
  checkpoint_format: CheckpointFormat,
  layout: str = "default",
  has_global_step: bool = False,
) -> SavePlan:
  """Plans the keys of variables that are whole, and that no object graph has.

  Args:
    names: their names, which are distinct.
    checkpoint_format: what is written.
    layout: the name of a layout.
    has_global_step: whether the graph has a global step variable.

  Returns:
    What `plan_save` would, in a fraction of the time.

  Raises:
    OptionError: two variables would get one key.
  """
  if not checkpoint_format.has_objects:
    keys = dict(zip(names, names))
    return SavePlan(checkpoint_format, keys=keys, aliases={}, object_graph=None)
  attributes = [layout_lib.VARIABLE_VALUE] * len(names)
  object_keys, graph = named_graph(names, attributes, layout)
  keys = dict(zip(names, object_keys))
  has_names = checkpoint_format.has_names
  step = frozenset([GLOBAL_STEP] if has_global_step else [])
  plan = SavePlan(
    checkpoint_format,
    keys=keys,
    aliases=keys if has_names else {},
    object_graph=graph,
    needs_step_key=has_global_step and not (has_names and GLOBAL_STEP in keys),
    needs_save_counter=True,
    tf1_names=keys.keys() if step <= keys.keys() else step.union(names),
    tf2_names=step,
  )
  # No other name can be a key that is needed for something else.
  if layout_lib.OBJECT_GRAPH_KEY in keys or layout_lib.ATTRIBUTES in "\0".join(names):
    _check_distinct(plan, list(map(Saved, names)), list(zip(object_keys, names)))
  return plan


def _plan_objects(
  saved: Sequence[Saved],
  checkpoint_format: CheckpointFormat,
  object_graph: ObjectGraph | None,
  layout: layout_lib.Layout,
) -> SavePlan:
  """The object keys, and the graph that has them."""
  # What has no TF2 form keeps its name.
  keys = {item.name: item.object_key or item.base for item in saved}
  unreached = [s for s in saved if s.object_key is None and s.attribute is not None]
  needs_save_counter = True
  has_parts = any(item.part_names for item in unreached)
  if object_graph is None and isinstance(layout, str) and not has_parts:
    attributes = [item.attribute or "" for item in unreached]
    names = [item.name for item in unreached]
    object_keys, object_graph = named_graph(names, attributes, layout)
  else:
    if object_graph is None:
      object_graph = ObjectGraph()
    else:
      layout = layout_lib.beside_objects(layout)
    object_keys = _add_to_graph(object_graph, unreached, layout)
    needs_save_counter = object_graph.lookup([layout_lib.SAVE_COUNTER]) is None
    if needs_save_counter:
      object_graph.add_variable([(layout_lib.SAVE_COUNTER,)], "")
  wholes: dict[str, str] = {}
  for item, key in zip(unreached, object_keys):
    if item.needs_whole:
      wholes[item.name] = key
    else:
      keys[item.name] = key
  return SavePlan(
    checkpoint_format,
    keys=keys,
    aliases={},
    object_graph=object_graph,
    name_only=tuple(
      s.name for s in saved if s.object_key is None and s.attribute is None
    ),
    needs_save_counter=needs_save_counter,
    part_aliases={
      part_key: (keys[item.name], slice_spec)
      for item in saved
      for part_key, slice_spec in item.part_keys
    },
    wholes=wholes,
  )


def _add_to_graph(
  graph: ObjectGraph, unreached: Sequence[Saved], layout: layout_lib.Layout
) -> list[str]:
  """Adds objects to a graph, one by one; returns their keys."""
  taken = {path for path in graph.paths() if path}
  keys = []
  paths = layout_lib.each_path([item.name for item in unreached], layout, taken)
  for item, own_paths in zip(unreached, paths):
    # The full name is a name-based Saver's. Several parts have no name in common.
    [(full_name, _)] = (
      item.part_names if len(item.part_names) == 1 else [(item.name, "")]
    )
    other = [] if full_name == item.name else _flat_path(full_name, layout, graph)
    attribute = item.attribute or ""
    keys.append(
      graph.add_variable([*own_paths, *other], full_name, attribute=attribute)
    )
  return keys


def _with_names(
  plan: SavePlan,
  saved: Sequence[Saved],
  keys: Sequence[tuple[str, str]],
  has_global_step: bool,
) -> SavePlan:
  """Adds to a plan the names that its format has beside the object keys."""
  step = frozenset([GLOBAL_STEP] if has_global_step else [])
  name_only = set(plan.name_only)
  plan = value_classes.replace(
    plan,
    tf1_names=step.union(
      [name for item in saved for name in item.tensor_names]
      if any(item.part_names for item in saved)
      else [name for _, name in keys]
    ),
    tf2_names=step.union(
      [n for item in saved if item.name in name_only for n in item.suffixed_names]
    ),
  )
  if plan.checkpoint_format.has_names:
    plan = _with_aliases(plan, saved, keys)
  else:
    plan = value_classes.replace(
      plan,
      unwritten=frozenset(
        s.name for s in saved if s.name in plan.wholes and not s.part_keys
      ),
    )
  needed = step.difference(plan.aliases, (key for key, _ in keys))
  return value_classes.replace(plan, needs_step_key=bool(needed))


def _keys_and_names(plan: SavePlan, saved: Sequence[Saved]) -> list[tuple[str, str]]:
  """Of each tensor, the key that it is written under, and its name without parts."""
  found = []
  for item in saved:
    key, base = plan.keys[item.name], item.base
    for suffix in item.suffixes:
      found.append((key + suffix, base + suffix))
  return found


def _with_aliases(
  plan: SavePlan, saved: Sequence[Saved], keys: Sequence[tuple[str, str]]
) -> SavePlan:
  """Adds to a plan each name, as an alias of an object key."""
  incomplete: dict[str, tuple[str, tuple[str, ...]]] = {}
  for item in saved:
    for name, slice_spec in item.part_names:
      _, specs = incomplete.get(name, ("", ()))
      incomplete[name] = plan.keys[item.name], (*specs, slice_spec)
  return value_classes.replace(
    plan,
    aliases={name: key for key, name in keys if key != name},
    joined={
      plan.wholes[s.name]: s.name
      for s in saved
      if s.name in plan.wholes and s.is_joinable
    },
    partial_aliases=incomplete,
  )


def _flat_path(
  name: str, layout: layout_lib.Layout, graph: ObjectGraph
) -> list[layout_lib.Path]:
  """The flat path of another name, where the layout has flat ones and it is free."""
  path = (layout_lib.VAR_LIST, name)
  is_free = layout_lib.has_flat_paths(layout) and graph.lookup(path) is None
  return [path] if is_free else []


def _check_distinct(
  plan: SavePlan, saved: Sequence[Saved], pairs: Sequence[tuple[str, str]]
) -> None:
  if _has_distinct_keys(plan, saved, pairs):
    return
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


def _has_distinct_keys(
  plan: SavePlan, saved: Sequence[Saved], pairs: Sequence[tuple[str, str]]
) -> bool:
  """Whether no two claims are for one key, so that nobody has to find whose they are."""
  keys = [*plan.wholes.values(), *[key for key, _ in pairs]]
  keys += [name for key, name in pairs if key != name and name in plan.aliases]
  keys += [part for item in saved for part, _ in item.part_names]
  if plan.object_graph is not None:
    keys += [layout_lib.OBJECT_GRAPH_KEY, plan.save_counter_key]
  return len(set(keys)) == len(keys)


def _alias(plan: SavePlan, item: Saved, suffix: str) -> list[str]:
  alias = item.base + suffix
  return [alias] if alias in plan.aliases else []
