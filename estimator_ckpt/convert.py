"""Converts checkpoints between name-based (TF1), object-based (TF2) and dual.

A conversion reads the index, never a tensor: its time and memory do not grow with the
bytes of the checkpoint.
"""

from __future__ import annotations

import os

from estimator_ckpt import conversion_plan, model_dirs, rewrite
from estimator_ckpt import layout as layout_lib
from estimator_ckpt.bundle import Shards, dtypes
from estimator_ckpt.formats import CheckpointFormat
from estimator_ckpt.model_dirs import Report
from estimator_ckpt.name_map import NameMap, NameMapLike
from estimator_ckpt.optimizers import names as optimizer_names


def convert(
  source: str | os.PathLike[str],
  target: str | os.PathLike[str],
  to: CheckpointFormat | str,
  *,
  layout: layout_lib.Layout = "default",
  name_map: NameMapLike = None,
  data: str = "auto",
  overwrite: bool = False,
  progress: rewrite.Progress | None = None,
) -> Report:
  """Writes a checkpoint, or all of a model_dir, in another format.

  What becomes of names:

  *   TF1 to TF2 or dual: an object graph is built in which each name has the place that
      training with this package gives it. Nothing of the objects a program had is
      known, so restore by name or along the scopes: `dense/kernel` is also the
      attribute `kernel` of the attribute `dense`.
  *   TF2 to TF1: from the object graph, see `estimator_ckpt.tensor_names`.
  *   A dual checkpoint has both, and only loses one.

  Args:
    source: a checkpoint, in any of the forms `estimator_ckpt.prefix.resolve` takes; or
      a directory with checkpoints, for all of them and a new state file.
    target: the prefix to write, or a directory.
    to: `"tf1"`, `"tf2"` or `"dual"`.
    layout: where names stand in the object graph of a TF1 checkpoint; see
      `estimator_ckpt.layout.object_paths`.
    name_map: rules `old:new` that give variables other names; see
      `estimator_ckpt.name_map`.
    data: how the data files get there. `"auto"` links, else shares (reflink), else
      copies; `"link"`, `"reflink"` and `"copy"` insist.
    overwrite: whether a checkpoint that is there may be replaced.
    progress: is called with the bytes that are done and those there are in all.

  Returns:
    What was written, how the data got there, which names changed, what was left out.

  Raises:
    CheckpointNotFoundError: there is no checkpoint at `source`.
    CheckpointExistsError: there is one at `target` already.
    CorruptCheckpointError: the source is damaged.
    OptionError: the destination is the source; names clash; a rule matches nothing.
    CheckpointIOError: the file system refused. `target` is as it was before.

  Example:
    print(convert("model_dir", "model_dir_tf2", "tf2"))
  """
  to = CheckpointFormat.parse(to)
  layout = layout_lib.check_layout(layout)
  names = NameMap.parse(name_map)

  def make_plan(read: rewrite.Source) -> conversion_plan.Plan:
    return conversion_plan.plan_conversion(
      read.index,
      read.graph,
      to,
      layout=layout,
      name_map=names,
      step=read_small_step(read),
    )

  return model_dirs.rewrite_path(
    source, target, make_plan, data=data, overwrite=overwrite, progress=progress
  )


def read_small_step(read: rewrite.Source) -> int | None:
  """The global step of a checkpoint that has it as an int32; None for any other.

  An int64 one needs not be read: other keys can stand for the same bytes.

  Args:
    read: the checkpoint.

  Returns:
    The step, or None.

  Raises:
    CorruptCheckpointError: it is damaged.
  """
  key = optimizer_names.GLOBAL_STEP
  if key not in read.index:
    return None
  entry = read.index.entry(key)
  if dtypes.name(entry.dtype) != "int32" or entry.shape or entry.slices:
    return None
  shards = Shards(read.prefix, read.index.header.num_shards)
  return int.from_bytes(shards.read(entry, key), "little", signed=True)
