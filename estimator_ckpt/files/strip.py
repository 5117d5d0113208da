"""Writes checkpoints without what is not needed any more: optimizer state, averages."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping, Sequence

from estimator_ckpt import errors
from estimator_ckpt.bundle.index import Index
from estimator_ckpt.checkpoint import layout as layout_lib
from estimator_ckpt.checkpoint import object_graph_edit, object_roles, tensor_names
from estimator_ckpt.checkpoint import roles as roles_lib
from estimator_ckpt.checkpoint.formats import format_of
from estimator_ckpt.checkpoint.object_graph import ObjectGraph
from estimator_ckpt.checkpoint.roles import Role, RoleKind
from estimator_ckpt.checkpoint.tensor_names import NamedTensor
from estimator_ckpt.files import rewrite, rewrite_plan
from estimator_ckpt.files import write as write_lib
from estimator_ckpt.files.rewrite import RewriteReport
from estimator_ckpt.files.rewrite_plan import RewritePlan

TYPE_CHECKING = False
if TYPE_CHECKING:
  from typing import TypeAlias

Patterns: TypeAlias = "str | Sequence[str]"


def strip(
  source: str | os.PathLike[str],
  target: str | os.PathLike[str],
  *,
  optimizer_state: bool = False,
  moving_averages: bool = False,
  variables: Patterns = (),
  compact: bool = False,
  data: str = "auto",
  overwrite: bool = False,
  dry_run: bool = False,
  progress: write_lib.Progress | None = None,
) -> RewriteReport:
  """Writes a checkpoint, or all of a model_dir, without some of its variables.

  The data files are linked, so the bytes of what is left out stay in them. The report
  says how many these are. `compact` writes the data files anew, without them.

  Args:
    source: a checkpoint, in any of the forms `estimator_ckpt.checkpoint.prefix.resolve` takes; or
      a directory with checkpoints, for all of them and a new state file.
    target: the prefix to write, or a directory.
    optimizer_state: leaves out optimizers' slots, beta powers, iterations and
      hyperparameters; the global step stays. What looks like a slot and may be a
      variable stays too, and the report lists it.
    moving_averages: leaves out what `tf.train.ExponentialMovingAverage` keeps. Batch
      normalization's `moving_mean` and `moving_variance` are no such averages.
    variables: regular expressions. A variable is left out, with its slots and averages,
      if one of them matches its whole name.
    compact: whether the data files are written anew, without what is left out.
    data: how the data files get there: `"auto"`, `"link"`, `"reflink"` or `"copy"`; of
      no consequence with `compact`.
    overwrite: whether a checkpoint that is there may be replaced.
    dry_run: whether to say what would be written, with its bytes, and write nothing.
    progress: is called with the bytes that are done and those there are in all.

  Returns:
    What was written, and what was left out.

  Raises:
    CheckpointNotFoundError: there is no checkpoint at `source`.
    CheckpointExistsError: there is one at `target` already.
    CorruptCheckpointError: the source is damaged.
    OptionError: nothing is asked for; an expression matches nothing; nothing would be
      left.
    CheckpointIOError: the file system refused. `target` is as it was before.

  Example:
    print(strip("model_dir", "serving", optimizer_state=True, compact=True))
  """
  patterns = [variables] if isinstance(variables, str) else list(variables)
  if not (optimizer_state or moving_averages or patterns or compact):
    raise errors.OptionError(
      "nothing is to be left out: ask for optimizer_state, moving_averages, or"
      " variables by regular expressions; compact alone gives back bytes that no key"
      " needs"
    )

  def make_plan(read: write_lib.SourceCheckpoint) -> RewritePlan:
    plan = plan_strip(
      read.index,
      read.graph,
      optimizer_state=optimizer_state,
      moving_averages=moving_averages,
      variables=patterns,
    )
    return plan if compact else with_kept_bytes_note(plan, read.index)

  return rewrite.rewrite_path(
    source,
    target,
    make_plan,
    data=data,
    overwrite=overwrite,
    compact=compact,
    dry_run=dry_run,
    progress=progress,
  )


def plan_strip(
  index: Index,
  graph: ObjectGraph | None,
  *,
  optimizer_state: bool = False,
  moving_averages: bool = False,
  variables: Sequence[str] = (),
) -> RewritePlan:
  """Plans what is left out. The format stays.

  Args:
    index: the checkpoint's index; it is only read.
    graph: its object graph, if it has one.
    optimizer_state: see `strip`.
    moving_averages: see `strip`.
    variables: see `strip`.

  Returns:
    What the result keeps, and what it leaves out.

  Raises:
    OptionError: an expression matches nothing, or nothing would be left.
  """
  tensors = tensor_names.named_tensors(index, graph)
  roles = roles_of(index, graph, tensors)
  named = _named(tensors, variables)
  reasons: dict[NamedTensor, str] = {}
  for tensor in tensors:
    role = roles[tensor]
    if tensor.name in named:
      reasons[tensor] = f"matches {named[tensor.name]!r}"
    elif role.of is not None and role.of in named:
      reasons[tensor] = f"{role.kind.value.replace('_', ' ')} of {role.of!r}"
    elif optimizer_state and role.is_optimizer_state:
      reasons[tensor] = "optimizer state"
    elif moving_averages and role.kind is RoleKind.MOVING_AVERAGE:
      reasons[tensor] = "moving average"
  kept = [tensor for tensor in tensors if tensor not in reasons]
  if all(tensor.is_save_counter for tensor in kept):
    raise errors.OptionError(
      f"{index.name}: nothing would be left of {len(tensors)} tensors"
    )
  plan = plan_without(index, graph, tensors, reasons)
  notes = []
  if optimizer_state and not any(r.is_optimizer_state for r in roles.values()):
    notes.append("there is no optimizer state to leave out")
  if moving_averages and not _averages(roles.values()):
    notes.append("there are no moving averages to leave out")
  if optimizer_state or moving_averages:
    notes += _unclear_notes(kept, roles)
  return rewrite_plan.with_notes(plan, notes)


def with_kept_bytes_note(plan: RewritePlan, index: Index) -> RewritePlan:
  """Notes how many bytes of what a plan leaves out stay in the data files.

  Args:
    plan: what is to be written.
    index: that of the source.

  Returns:
    The same plan, with a note where there are such bytes.
  """
  kept = _places(index, plan.keys.values())
  gone = _places(index, plan.left_out).keys() - kept.keys()
  size = sum(place[2] for place in gone)
  if not size:
    return plan
  note = (
    f"{size:,} bytes of what was left out stay in the data files; compact=True"
    " (--compact) writes these without them"
  )
  return rewrite_plan.with_notes(plan, [note])


def _places(index: Index, keys: Iterable[str]) -> dict[tuple[int, int, int], None]:
  """The data file, offset and size of everything that keys stand for."""
  found: dict[tuple[int, int, int], None] = {}
  for key in keys:
    parts = [entry for _, entry in index.slice_entries(key)]
    for entry in parts or [index.entry(key)]:
      found[entry.shard_id, entry.offset, entry.size] = None
  return found


def _averages(roles: Iterable[Role]) -> bool:
  return any(role.kind is RoleKind.MOVING_AVERAGE for role in roles)


def plan_without(
  index: Index,
  graph: ObjectGraph | None,
  tensors: Sequence[NamedTensor],
  reasons: Mapping[NamedTensor, str],
) -> RewritePlan:
  """Plans a checkpoint that lacks some tensors.

  Args:
    index: the checkpoint's index; it is only read.
    graph: its object graph, if it has one.
    tensors: what the checkpoint has.
    reasons: the tensors to leave out, each with the reason.

  Returns:
    What the result keeps, and what it leaves out.
  """
  keys: dict[str, str] = {}
  left_out: dict[str, str] = {}
  for tensor in tensors:
    for key in (tensor.object_key, tensor.bare_key):
      if key is None:
        pass
      elif tensor in reasons:
        left_out[key] = reasons[tensor]
      else:
        keys[key] = key
  edited: ObjectGraph | None = None
  if graph is not None:
    edited = graph.copy()
    # A table goes with both of its tensors.
    kept = {tensor.owner for tensor in tensors if tensor not in reasons}
    gone = {t.owner for t in reasons if t.object_key is not None} - kept
    if gone:
      object_graph_edit.remove_values(edited, gone)
    else:
      edited = None
      keys[layout_lib.OBJECT_GRAPH_KEY] = layout_lib.OBJECT_GRAPH_KEY
  plan = RewritePlan(format_of(index, graph), keys, edited, left_out=left_out)
  rewrite_plan.check_complete(plan, index)
  return plan


def roles_of(
  index: Index, graph: ObjectGraph | None, tensors: Sequence[NamedTensor]
) -> dict[NamedTensor, Role]:
  """Finds what each tensor is for, by its name and by the object graph.

  Args:
    index: that of the checkpoint.
    graph: its object graph, if it has one.
    tensors: what the checkpoint has.

  Returns:
    A role for each tensor. `of` in it is a name.
  """
  shapes = {tensor.full_name: index.entry(tensor.key).shape for tensor in tensors}
  by_name = roles_lib.classify(shapes, shapes)
  roles = {tensor: by_name[tensor.full_name] for tensor in tensors}
  if graph is None:
    return roles
  by_key = object_roles.classify_objects(graph)
  names = {tensor.owner: tensor.name for tensor in tensors}
  for tensor in tensors:
    role = by_key.get(tensor.owner)
    if role is not None and not roles[tensor].is_optimizer_state:
      of = names.get(role.of) if role.of is not None else None
      roles[tensor] = Role(role.kind, of, role.slot, role.optimizer)
  return roles


def _named(tensors: Sequence[NamedTensor], variables: Sequence[str]) -> dict[str, str]:
  """The names that an expression matches, each with the expression."""
  named: dict[str, str] = {}
  for text in variables:
    try:
      pattern = re.compile(text)
    except re.error as error:
      raise errors.OptionError(f"{text!r} is no regular expression: {error}") from error
    matches = [t.name for t in tensors if pattern.fullmatch(t.name)]
    if not matches:
      names = [tensor.name for tensor in tensors]
      near = errors.nearest(text, names)
      hint = f"; the nearest is {near!r}" if near else ""
      raise errors.OptionError(
        f"{text!r} matches none of the {len(names)} names as a whole{hint}"
      )
    for name in matches:
      named.setdefault(name, text)
  return named


def _unclear_notes(
  kept: Sequence[NamedTensor], roles: Mapping[NamedTensor, Role]
) -> tuple[str, ...]:
  unclear = [(t.name, roles[t].unclear) for t in kept if roles[t].unclear]
  notes = [f"kept, as it may be a variable: {name}: {why}" for name, why in unclear]
  notes = errors.shorten(notes)
  if notes:
    notes.append("leave such variables out by name, if they are not needed")
  return tuple(notes)
