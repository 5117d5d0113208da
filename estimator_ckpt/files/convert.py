"""Converts checkpoints between name-based (TF1), object-based (TF2) and dual.

A conversion reads the index and no tensors, so its time and memory do not grow with the
size of the checkpoint.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

from estimator_ckpt import errors
from estimator_ckpt.bundle import dtypes
from estimator_ckpt.checkpoint import layout as layout_lib
from estimator_ckpt.checkpoint import roles as roles_lib
from estimator_ckpt.checkpoint.formats import CheckpointFormat
from estimator_ckpt.checkpoint.name_map import NameMap, NameMapLike
from estimator_ckpt.files import conversion_plan, rewrite, rewrite_plan
from estimator_ckpt.files import write as write_lib
from estimator_ckpt.files.rewrite import RewriteReport

TYPE_CHECKING = False
if TYPE_CHECKING:
  from typing import Any

  from estimator_ckpt.checkpoint.partition_strategy import PartitionStrategyLike


def convert(
  source: str | os.PathLike[str],
  target: str | os.PathLike[str],
  to: CheckpointFormat | str,
  *,
  layout: layout_lib.Layout = "default",
  name_map: NameMapLike = None,
  optimizer: str | None = None,
  keras: str | None = None,
  like: str | os.PathLike[str] | None = None,
  keras_options: Mapping[str, Any] | None = None,
  partition_strategy: PartitionStrategyLike = None,
  data: str = "auto",
  overwrite: bool = False,
  dry_run: bool = False,
  progress: write_lib.Progress | None = None,
) -> RewriteReport:
  """Writes a checkpoint, or all of a model_dir, in another format.

  What becomes of names:

  *   TF1 to TF2 or dual: a new object graph gives each name the place that training with
      this package gives it. The program's own objects are not known. So restore by name,
      or along the scopes: `dense/kernel` is also the attribute `kernel` of the attribute
      `dense`.
  *   TF2 to TF1: from the object graph, see `estimator_ckpt.checkpoint.tensor_names`.
  *   A dual checkpoint has both, and only loses one.
  *   TF1 to Keras, and back, with `keras=`, `optimizer=` or `like=`: weights, slots and
      iterations become those of a Keras model and its optimizer, see
      `estimator_ckpt.files.keras.keras_conversion`.

  Args:
    source: a checkpoint, in any of the forms `estimator_ckpt.checkpoint.prefix.resolve` takes; or
      a directory with checkpoints, for all of them and a new state file.
    target: the prefix to write, or a directory.
    to: `"tf1"`, `"tf2"` or `"dual"`.
    layout: where names stand in the object graph of a TF1 checkpoint; see
      `estimator_ckpt.checkpoint.layout.object_paths`.
    name_map: rules `old:new` that give variables other names; see
      `estimator_ckpt.checkpoint.name_map`.
    optimizer: with Keras, the optimizer's name, `"adam"`, or `"none"` for the model
      alone; by default it is recognised by the variables' names.
    keras: whose model and optimizer, `"2-legacy"`, `"2"` or `"3"`; by default that of
      `like`.
    like: for Keras, a checkpoint that the model and its optimizer wrote, untrained; on
      the way back, one of the TF1 code.
    keras_options: further options of a conversion to or from Keras: `settings`,
      `ignore`, `keep`, `iterations`, `forget_bias`, `trainable`, `allow_approximate`;
      see `estimator_ckpt.keras.keras_options.KerasOptions`.
    partition_strategy: `{scope: "mod"}` for partitioned embeddings that TensorFlow 1
      looked up with `partition_strategy="mod"`, its default: objects get their rows in
      the order of ids, and names keep the parts. A checkpoint does not store the
      strategy. Without it, parts are joined row after row, and the report says so.
    data: how the data files get there. `"auto"` links, else shares (reflink), else
      copies; `"link"`, `"reflink"` and `"copy"` insist.
    overwrite: whether a checkpoint that is there may be replaced.
    dry_run: whether to say what would be written, with its bytes, and write nothing.
    progress: is called with the bytes that are done and those there are in all.

  Returns:
    What was written, how the data got there, which names changed, what was left out.

  Raises:
    CheckpointNotFoundError: there is no checkpoint at `source`.
    CheckpointExistsError: there is one at `target` already.
    CorruptCheckpointError: the source is damaged.
    OptionError: the destination is the source; names clash; a rule matches nothing; the
      optimizer is ambiguous.
    VariableMismatchError: with Keras, a variable has no counterpart.
    UnsupportedCheckpointError: the optimizer's state cannot mean the same there.
    CheckpointIOError: the file system refused. `target` is as it was before.

  Example:
    print(convert("model_dir", "model_dir_tf2", "tf2"))
  """
  to = CheckpointFormat.parse(to)
  if keras is not None or optimizer is not None or like is not None or keras_options:
    if layout != "default":
      raise errors.OptionError("layout= is not for Keras, whose models say where.")
    return _convert_keras(
      source,
      target,
      to,
      {
        "keras": keras,
        "optimizer": optimizer,
        "like": like,
        "name_map": name_map,
        "partition_strategy": partition_strategy,
        **(keras_options or {}),
      },
      data=data,
      overwrite=overwrite,
      dry_run=dry_run,
      progress=progress,
    )
  layout = layout_lib.check_layout(layout)
  names = NameMap.parse(name_map)

  def make_plan(read: write_lib.SourceCheckpoint) -> rewrite_plan.RewritePlan:
    if not names and partition_strategy is None:
      found = _plan_alone(read, to)
      if found is not None:
        return found
    plan = conversion_plan.plan_conversion(
      read.index,
      read.graph,
      to,
      layout=layout,
      name_map=names,
      step=read_small_step(read),
    )
    if partition_strategy is None and not read.index.has_slices:
      return plan
    from estimator_ckpt.files import row_order

    return row_order.with_row_order(plan, read, partition_strategy)

  return rewrite.rewrite_path(
    source,
    target,
    make_plan,
    data=data,
    overwrite=overwrite,
    dry_run=dry_run,
    progress=progress,
  )


def _plan_alone(
  read: write_lib.SourceCheckpoint, to: CheckpointFormat
) -> rewrite_plan.RewritePlan | None:
  """Plans a conversion by keys or by full names alone, if these tell all there is."""
  if roles_lib.GLOBAL_STEP not in read.index:
    return None
  if read.paired is not None:
    if to is CheckpointFormat.TF1:
      return conversion_plan.plan_names_alone(read.index, read.paired.names)
    if to is CheckpointFormat.TF2 and read.graph is not None:
      return conversion_plan.plan_objects_alone(read.index, read.graph, read.paired)
  elif to is not CheckpointFormat.TF2 and read.graph is not None:
    return conversion_plan.plan_full_names(read.index, read.graph, to)
  return None


def _convert_keras(
  source: str | os.PathLike[str],
  target: str | os.PathLike[str],
  to: CheckpointFormat,
  given: Mapping[str, Any],
  **write_options: Any,
) -> RewriteReport:
  # NumPy is loaded here, which no other conversion needs.
  from estimator_ckpt.files.keras import keras_conversion
  from estimator_ckpt.keras.keras_options import KerasOptions

  options = KerasOptions.of(given)
  if to is CheckpointFormat.TF1:
    return keras_conversion.convert_from_keras(source, target, options, **write_options)
  return keras_conversion.convert_to_keras(source, target, options, to, **write_options)


def read_small_step(read: write_lib.SourceCheckpoint) -> int | None:
  """The global step of a checkpoint that has it as an int32; None for any other.

  An int64 step need not be read: its bytes can have further keys.

  Args:
    read: the checkpoint.

  Returns:
    The step, or None.

  Raises:
    CorruptCheckpointError: it is damaged.
  """
  key = roles_lib.GLOBAL_STEP
  if key not in read.index:
    return None
  entry = read.index.entry(key)
  if dtypes.name(entry.dtype) != "int32" or entry.shape or entry.slices:
    return None
  return int.from_bytes(read.shards.read(entry, key), "little", signed=True)
