"""Plans the conversion of a checkpoint into another format.

A conversion gives tensors other keys, and moves no bytes. Every plan is checked: nothing
may be lost that the plan does not list as left out.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence

from estimator_ckpt import errors, value_classes
from estimator_ckpt.bundle import dtypes
from estimator_ckpt.bundle.entry_columns import first_types
from estimator_ckpt.bundle.index import Index
from estimator_ckpt.bundle.joined import joined_entry, tensorflow_stitches
from estimator_ckpt.checkpoint import layout as layout_lib
from estimator_ckpt.checkpoint import roles as roles_lib
from estimator_ckpt.checkpoint import tensor_names
from estimator_ckpt.checkpoint.formats import CheckpointFormat
from estimator_ckpt.checkpoint.name_map import NameMap
from estimator_ckpt.checkpoint.object_graph import ObjectGraph
from estimator_ckpt.checkpoint.paired_keys import PairedKeys
from estimator_ckpt.checkpoint.roles import GLOBAL_STEP
from estimator_ckpt.checkpoint.tensor_names import SAVE_COUNTER_KEY, NamedTensor
from estimator_ckpt.files import rewrite_plan
from estimator_ckpt.files.rewrite_plan import RewritePlan

_NOT_IN_TF1 = "name-based checkpoints have none"


def plan_conversion(
  index: Index,
  graph: ObjectGraph | None,
  to: CheckpointFormat,
  *,
  layout: layout_lib.Layout = "default",
  name_map: NameMap | None = None,
  step: int | None = None,
) -> RewritePlan:
  """Plans the conversion of a checkpoint.

  Args:
    index: the checkpoint's index; it is only read.
    graph: its object graph, if it has one.
    to: the format of the result.
    layout: where names stand in the object graph that a name-based checkpoint gets; see
      `layout.object_paths`.
    name_map: rules that give variables other names.
    step: the global step, where that is no int64 scalar.

  Returns:
    What the result has, and what it leaves out.

  Raises:
    OptionError: names clash, a rule of the name map matches nothing, or the layout is
      unknown.
    CorruptCheckpointError: an entry is damaged.
  """
  layout_lib.check_layout(layout)
  tensors = tensor_names.named_tensors(index, graph)
  names = new_names(index, tensors, name_map or NameMap())
  if to is CheckpointFormat.TF1:
    plan = _plan_tf1(index, tensors, names)
  elif graph is None:
    plan = _plan_from_names(index, tensors, names, to, layout, step)
  else:
    plan = _plan_from_graph(index, graph, tensors, names, to, step)
  notes = _notes(index, plan, tensors, names)
  left_out = {**plan.left_out, **_other_form(index, plan, tensors)}
  changed = {
    tensor.name: new for tensor, new in zip(tensors, names) if tensor.name != new
  }
  plan = value_classes.replace(
    rewrite_plan.with_notes(plan, notes), names=changed, left_out=left_out
  )
  rewrite_plan.check_complete(plan, index)
  return plan


def plan_names_alone(index: Index, names: Sequence[str]) -> RewritePlan:
  """Plans a conversion to TF1 as `plan_conversion` does, without the object graph.

  Args:
    index: the checkpoint's index; it is only read.
    names: those of its `PairedKeys`, the step among them.

  Returns:
    What the result has, and what it leaves out.
  """
  others = (layout_lib.OBJECT_GRAPH_KEY, SAVE_COUNTER_KEY)
  left_out = {key: _NOT_IN_TF1 for key in others if key in index}
  plan = RewritePlan(CheckpointFormat.TF1, dict(zip(names, names)), left_out=left_out)
  rewrite_plan.check_complete(plan, index)
  return rewrite_plan.with_notes(plan, _notes(index, plan, (), names))


def plan_objects_alone(
  index: Index, graph: ObjectGraph, pairs: PairedKeys
) -> RewritePlan | None:
  """Plans a conversion from dual to TF2 as `plan_conversion` does, in less time.

  Args:
    index: the checkpoint's index; it is only read.
    graph: its object graph.
    pairs: its keys, the step among the names.

  Returns:
    What the result has; None where the object graph has to be edited, or has something
    beside these objects.
  """
  names = pairs.names_in(graph, index)
  if names is None or "" not in names:
    return None
  # The counter of saves may be called anything.
  if not graph.columns.full_names_are(names, but=names.index("")):
    return None
  kept = [key or name for name, key in zip(pairs.names, pairs.object_keys)]
  kept += [SAVE_COUNTER_KEY, layout_lib.OBJECT_GRAPH_KEY]
  keys = dict(zip(kept, kept))
  if GLOBAL_STEP not in keys:
    keys[GLOBAL_STEP] = kept[pairs.names.index(GLOBAL_STEP)]
  plan = RewritePlan(CheckpointFormat.TF2, keys)
  rewrite_plan.check_complete(plan, index)
  return plan


def plan_full_names(
  index: Index, graph: ObjectGraph, to: CheckpointFormat
) -> RewritePlan | None:
  """Plans a conversion from TF2 to another format as `plan_conversion` does, in less time.

  Args:
    index: the checkpoint's index, which has the step as a name; it is only read.
    graph: its object graph.
    to: the format of the result, TF1 or dual.

  Returns:
    What the result has; None where some name is not the full name that the object graph
    has for it.
  """
  from estimator_ckpt.checkpoint.full_names import FullNames

  found = FullNames.of(index, graph)
  if found is None:
    return None
  keys = dict(found.keys)
  left_out: dict[str, str] = {}
  if to is CheckpointFormat.TF1:
    others = (SAVE_COUNTER_KEY, layout_lib.OBJECT_GRAPH_KEY)
    left_out = dict.fromkeys(others, _NOT_IN_TF1)
  else:
    own = [*found.keys.values(), SAVE_COUNTER_KEY, layout_lib.OBJECT_GRAPH_KEY]
    keys.update(zip(own, own))
    if len(keys) < len(found.keys) + len(own):
      return None  # A name is a key of another tensor.
  keys[GLOBAL_STEP] = GLOBAL_STEP
  plan = RewritePlan(to, keys, left_out=left_out)
  rewrite_plan.check_complete(plan, index)
  return rewrite_plan.with_notes(plan, _notes(index, plan, (), found.keys))


def new_names(
  index: Index, tensors: Sequence[NamedTensor], name_map: NameMap
) -> list[str]:
  """Gives every tensor the name, without suffix, that it has in the result.

  Args:
    index: the checkpoint's index.
    tensors: all tensors of the checkpoint.
    name_map: the rules. They may give a key or an object path in place of a name.

  Returns:
    The name of each tensor, in their order.

  Raises:
    OptionError: two tensors would get one name, or a rule matches nothing.
  """
  names = [tensor.name for tensor in tensors]
  if not name_map and len(set(names)) == len(names):
    return names
  first: dict[str, str] = {}
  shared = {t.name for t in tensors if first.setdefault(t.name, t.owner) != t.owner}
  # A tensor that shares its name with another goes by its key, until a rule names it.
  called = {t.owner: t.owner if t.name in shared else t.name for t in tensors}
  unnamed = list({t.owner: t for t in tensors if t.name in shared}.values())
  if not name_map:
    _check_named(unnamed, {})
    return names
  # TensorFlow looks for its counter of saves at one place, so no rule renames it.
  movable = [tensor for tensor in tensors if not tensor.is_save_counter]
  further: dict[str, str] = {}
  for tensor in movable:
    for key in (tensor.object_key, tensor.path_name):
      if key:
        further.setdefault(key, called[tensor.owner])
  shapes = {called[t.owner]: index.entry(t.key).shape for t in tensors}
  roles = roles_lib.classify(called.values(), shapes)
  mapped = name_map.apply([called[t.owner] for t in movable], further, roles)
  for old, new in mapped.items():
    if new == layout_lib.OBJECT_GRAPH_KEY:
      raise errors.OptionError(
        f"{old!r} cannot be called {new!r}, which is the key of the object graph and of"
        " no variable; choose another name"
      )
  _check_named(unnamed, mapped)
  return [t.name if t.is_save_counter else mapped[called[t.owner]] for t in tensors]


def _check_named(unnamed: Sequence[NamedTensor], mapped: Mapping[str, str]) -> None:
  # A tensor whose key is the name keeps the name, once the others have names of their own.
  clashes = [t for t in unnamed if mapped.get(t.owner, t.owner) == t.owner != t.name]
  if not clashes:
    return
  lines = errors.shorten([f"{t.owner} is called {t.name!r}" for t in clashes])
  rules = errors.shorten([f"{t.owner}:{t.path_name or 'NAME'}" for t in clashes])
  raise errors.OptionError(
    "the object graph gives several variables one name:\n"
    + "\n".join(f"  {line}" for line in lines)
    + "\nName them with a name_map; by their object paths that is\n"
    + "\n".join(f"  {rule}" for rule in rules)
  )


def _plan_tf1(
  index: Index, tensors: Sequence[NamedTensor], names: Sequence[str]
) -> RewritePlan:
  keys: dict[str, str] = {}
  left_out: dict[str, str] = {}
  strings = 0
  for tensor, name in zip(tensors, names):
    if tensor.is_save_counter:
      left_out[tensor.key] = _NOT_IN_TF1
      continue
    keys[name + tensor.suffix] = tensor.bare_key or tensor.key
    strings += tensor.attribute not in (None, layout_lib.VARIABLE_VALUE, "table")
  if layout_lib.OBJECT_GRAPH_KEY in index:
    left_out[layout_lib.OBJECT_GRAPH_KEY] = _NOT_IN_TF1
  plan = RewritePlan(CheckpointFormat.TF1, keys, left_out=left_out)
  if not strings:
    return plan
  note = (
    f"{strings} tensors are state of Python objects (configurations, iterators), which"
    " TF1 has no use for; they are kept under their object paths"
  )
  return rewrite_plan.with_notes(plan, [note])


def _plan_from_names(
  index: Index,
  tensors: Sequence[NamedTensor],
  names: Sequence[str],
  to: CheckpointFormat,
  layout: layout_lib.Layout,
  step: int | None,
) -> RewritePlan:
  """Builds an object graph, as training in the target format does."""
  from estimator_ckpt.checkpoint import key_plan

  own_keys = [tensor.key for tensor in tensors]
  opaque = _opaque_keys(index, own_keys)
  is_plain = not opaque and not any(tensor.suffix for tensor in tensors)
  if is_plain and isinstance(layout, str):
    sources = dict(zip(names, own_keys))
    has_step = GLOBAL_STEP in sources
    given = key_plan.plan_variables(names, to, layout, has_step)
    keys = dict(zip(given.keys.values(), own_keys))
    if given.aliases:
      keys.update(sources)
  else:
    sources = {name + t.suffix: t.key for t, name in zip(tensors, names)}
    has_step = GLOBAL_STEP in sources
    suffixes: dict[str, tuple[str, ...]] = {}
    for tensor, name in zip(tensors, names):
      suffixes[name] = (*suffixes.get(name, ()), tensor.suffix)
    saved = [
      key_plan.Saved(name, own, own == ("",) and sources[name] not in opaque)
      for name, own in suffixes.items()
    ]
    given = key_plan.plan_save(saved, to, None, layout, has_step)
    keys = {
      given.keys[name] + suffix: sources[name + suffix]
      for name, own in suffixes.items()
      for suffix in own
    }
    keys.update((alias, sources[alias]) for alias in given.aliases)
  if given.needs_step_key:
    keys[GLOBAL_STEP] = sources[GLOBAL_STEP]
  scalars: dict[str, int] = {}
  if given.needs_save_counter:
    _add_save_counter(index, keys, scalars, sources.get(GLOBAL_STEP), step)
  notes: tuple[str, ...] = ()
  if given.name_only:
    listed = _listed(given.name_only)
    notes = (f"kept under their names alone, as they have no TF2 form: {listed}",)
  return RewritePlan(to, keys, given.object_graph, scalars, notes=notes)


def _plan_from_graph(
  index: Index,
  graph: ObjectGraph,
  tensors: Sequence[NamedTensor],
  names: Sequence[str],
  to: CheckpointFormat,
  step: int | None,
) -> RewritePlan:
  """Keeps the object graph, as far as names did not change."""
  by_owner = {
    t.owner: (t, name) for t, name in zip(tensors, names) if t.object_key is not None
  }
  renames = {
    owner: (t.name, name) for owner, (t, name) in by_owner.items() if t.name != name
  }
  full_names: dict[str, str] = {}
  if to is CheckpointFormat.DUAL or GLOBAL_STEP in names:
    # Readers take the object graph's full names for names of variables where the key
    # `global_step` is there. So each name that is a key has to be a full name.
    said = dict(zip(graph.columns.keys, graph.columns.full_names))
    full_names = {
      owner: name
      for owner, (t, name) in by_owner.items()
      if _has_tf1_form(t) and said[owner] != name
    }
  needs_counter = graph.lookup([layout_lib.SAVE_COUNTER]) is None
  edited: ObjectGraph | None = None
  moved: dict[str, str] = {}
  if renames or full_names or needs_counter:
    from estimator_ckpt.checkpoint import object_graph_edit

    edited = graph.copy()
    object_graph_edit.set_full_names(edited, full_names)
    moved = object_graph_edit.rename_variables(edited, renames)
  keys: dict[str, str] = {}
  for tensor, name in zip(tensors, names):
    if tensor.object_key is not None:
      owner = tensor.owner
      keys[moved.get(owner, owner) + tensor.suffix] = tensor.key
    if tensor.object_key is None or (
      to is CheckpointFormat.DUAL and _has_tf1_form(tensor)
    ):
      rewrite_plan.claim(keys, name + tensor.suffix, tensor.bare_key or tensor.key)
  steps = [tensor.key for tensor, name in zip(tensors, names) if name == GLOBAL_STEP]
  if steps:
    keys.setdefault(GLOBAL_STEP, steps[0])
  scalars: dict[str, int] = {}
  if edited is None:
    keys[layout_lib.OBJECT_GRAPH_KEY] = layout_lib.OBJECT_GRAPH_KEY
  elif needs_counter:
    edited.add_variable([[layout_lib.SAVE_COUNTER]], "")
    _add_save_counter(index, keys, scalars, steps[0] if steps else None, step)
  return RewritePlan(to, keys, edited, scalars)


def _other_form(
  index: Index, plan: RewritePlan, tensors: Iterable[NamedTensor]
) -> dict[str, str]:
  """Keys left out because another key has the same tensor, in parts or as a whole."""
  parts = set(index.slice_keys())
  sources = set(plan.keys.values()) if parts else set()
  found = {}
  for tensor in tensors:
    if tensor.bare_key in parts and tensor.object_key is not None:
      pair = {tensor.bare_key, tensor.object_key}
      if (
        len(pair & sources) == 1
        and len({rewrite_plan.whole_entry(index, k) for k in pair}) == 2
      ):
        [key] = pair - sources
        by_name = key == tensor.object_key
        found[key] = f"the same is kept {'in parts' if by_name else 'in one piece'}"
  return found


def _has_tf1_form(tensor: NamedTensor) -> bool:
  return (
    tensor.attribute in (layout_lib.VARIABLE_VALUE, "table")
    and not tensor.is_save_counter
  )


def _add_save_counter(
  index: Index,
  keys: dict[str, str],
  scalars: dict[str, int],
  step_key: str | None,
  step: int | None,
) -> None:
  """Adds the counter of saves, which begins at the step, as in training."""
  if step_key is not None:
    entry = index.entry(step_key)
    if entry.dtype == dtypes.INT64 and not entry.shape and not entry.slices:
      keys[SAVE_COUNTER_KEY] = step_key
      return
  scalars[SAVE_COUNTER_KEY] = 1 if step is None else step


def _opaque_keys(index: Index, keys: Sequence[str]) -> set[str]:
  """The keys of variants and resources, which are no variables."""
  opaque = (dtypes.VARIANT, dtypes.RESOURCE)
  types = first_types(index.all_values())
  if types is not None and types.isdisjoint(opaque):
    return set()
  return {key for key in keys if key in index and index.entry(key).dtype in opaque}


def _notes(
  index: Index,
  plan: RewritePlan,
  tensors: Sequence[NamedTensor],
  names: Collection[str],
) -> list[str]:
  """What an Estimator or TensorFlow would miss in the result."""
  notes = _parts_notes(index, plan)
  if plan.checkpoint_format is CheckpointFormat.TF2:
    return notes
  slots = [name for name in names if name.endswith("/Adam")]
  if slots and not any(name.endswith("beta1_power") for name in names):
    if not {f"{name}_1" for name in slots}.isdisjoint(names):
      notes.append(
        "Adam's slots are there and its beta1_power and beta2_power, which Keras does not"
        " keep, are not; an Estimator with AdamOptimizer wants them"
      )
  if GLOBAL_STEP not in plan.keys:
    notes.append(_no_step_note(index, tensors))
  return notes


def _parts_notes(index: Index, plan: RewritePlan) -> list[str]:
  """Notes on tensors in parts that TensorFlow cannot put together."""
  torn = {
    key
    for key in index.slice_keys()
    if key in index
    and index.entry(key).slices
    and not tensorflow_stitches(index.entry(key).dtype)
    and joined_entry(index, key) is None
  }
  if not torn:
    return []
  found = sorted(
    {s for k, s in plan.keys.items() if s in torn and layout_lib.parse_object_key(k)}
  )
  if not found:
    return []
  listed = [f"{key!r} ({dtypes.name(index.entry(key).dtype)})" for key in found]
  note = (
    f"tf.train.Checkpoint cannot restore {_listed(listed)}: TensorFlow does not put"
    " parts of that type together, and they do not stand in one data file row after"
    " row; save it in one part first"
  )
  return [note]


def _no_step_note(index: Index, tensors: Iterable[NamedTensor]) -> str:
  candidates = [
    tensor.path_name or tensor.name
    for tensor in tensors
    if tensor.name.rpartition("/")[2] in ("step", "iter", "_iterations", "iteration")
    and not tensor.suffix
    and index.entry(tensor.key).dtype == dtypes.INT64
    and not index.entry(tensor.key).shape
  ]
  hint = ""
  if candidates:
    hint = f"; to use {candidates[0]!r}, map it: {candidates[0]}:{GLOBAL_STEP}"
  return (
    f"no variable is called {GLOBAL_STEP!r}, so an Estimator counts from step 0{hint}"
  )


def _listed(names: Sequence[str]) -> str:
  return ", ".join(errors.shorten(names))
