"""Gives variables of checkpoints other names."""

from __future__ import annotations

import os

from estimator_ckpt import errors
from estimator_ckpt.bundle.index import Index
from estimator_ckpt.checkpoint import layout as layout_lib
from estimator_ckpt.checkpoint import object_graph_edit, tensor_names
from estimator_ckpt.checkpoint.formats import format_of
from estimator_ckpt.checkpoint.name_map import NameMap, NameMapLike
from estimator_ckpt.checkpoint.object_graph import ObjectGraph
from estimator_ckpt.checkpoint.roles import GLOBAL_STEP
from estimator_ckpt.files import conversion_plan, rewrite, rewrite_plan
from estimator_ckpt.files import write as write_lib
from estimator_ckpt.files.rewrite import RewriteReport
from estimator_ckpt.files.rewrite_plan import RewritePlan


def rename(
  source: str | os.PathLike[str],
  target: str | os.PathLike[str],
  name_map: NameMapLike,
  *,
  data: str = "auto",
  overwrite: bool = False,
  dry_run: bool = False,
  progress: write_lib.Progress | None = None,
) -> RewriteReport:
  """Writes a checkpoint, or all of a model_dir, with other names for its variables.

  In a TF2 or dual checkpoint the object graph follows: the variables' names in it, and
  object paths that are such names. Paths of a program's own objects stay.

  Args:
    source: a checkpoint, in any of the forms `estimator_ckpt.checkpoint.prefix.resolve` takes; or
      a directory with checkpoints, for all of them and a new state file.
    target: the prefix to write, or a directory.
    name_map: rules `old:new`; see `estimator_ckpt.checkpoint.name_map`. Slots and moving averages
      go with their variables.
    data: how the data files get there: `"auto"`, `"link"`, `"reflink"` or `"copy"`.
    overwrite: whether a checkpoint that is there may be replaced.
    dry_run: whether to say what would be written, with its bytes, and write nothing.
    progress: is called with the bytes that are done and those there are in all.

  Returns:
    What was written, and which names changed.

  Raises:
    CheckpointNotFoundError: there is no checkpoint at `source`.
    CheckpointExistsError: there is one at `target` already.
    CorruptCheckpointError: the source is damaged.
    OptionError: the destination is the source; names clash; a rule matches nothing.
    CheckpointIOError: the file system refused. `target` is as it was before.

  Example:
    print(rename("old/model.ckpt-9", "new/model.ckpt-9", "tower/:net/tower/"))
  """
  names = NameMap.parse(name_map)
  if not names:
    raise errors.OptionError("rename needs a name_map with at least one rule 'old:new'")

  def make_plan(read: write_lib.SourceCheckpoint) -> RewritePlan:
    return plan_rename(read.index, read.graph, names)

  return rewrite.rewrite_path(
    source,
    target,
    make_plan,
    data=data,
    overwrite=overwrite,
    dry_run=dry_run,
    progress=progress,
  )


def plan_rename(
  index: Index, graph: ObjectGraph | None, name_map: NameMap
) -> RewritePlan:
  """Plans the renaming of variables; the format stays.

  Args:
    index: the checkpoint's index; it is only read.
    graph: its object graph, if it has one.
    name_map: the rules.

  Returns:
    What the result has, and which names change.

  Raises:
    OptionError: names clash, or a rule matches nothing.
  """
  tensors = tensor_names.named_tensors(index, graph)
  renamed = list(zip(tensors, conversion_plan.new_names(index, tensors, name_map)))
  edited: ObjectGraph | None = None
  moved: dict[str, str] = {}
  if graph is not None:
    edited = graph.copy()
    renames = {
      tensor.owner: (tensor.name, name)
      for tensor, name in renamed
      if tensor.object_key is not None and tensor.name != name
    }
    moved = object_graph_edit.rename_variables(edited, renames)
  keys: dict[str, str] = {}
  for tensor, name in renamed:
    if tensor.object_key is not None:
      owner = moved.get(tensor.owner, tensor.owner)
      rewrite_plan.claim(keys, owner + tensor.suffix, tensor.object_key)
    if tensor.bare_key is not None:
      rewrite_plan.claim(keys, name + tensor.suffix, tensor.bare_key)
  if graph is not None and edited is not None:
    if edited.serialize() == graph.serialize():
      edited = None
      keys[layout_lib.OBJECT_GRAPH_KEY] = layout_lib.OBJECT_GRAPH_KEY
  names = {tensor.name: name for tensor, name in renamed if tensor.name != name}
  plan = RewritePlan(format_of(index, graph), keys, edited, names=names)
  step = GLOBAL_STEP
  if step in names:
    note = (
      f"the step is called {names[step]!r} now, where an Estimator does not look for it;"
      f" a first rule {step}:{step} keeps its name"
    )
    plan = rewrite_plan.with_notes(plan, [note])
  rewrite_plan.check_complete(plan, index)
  return plan
