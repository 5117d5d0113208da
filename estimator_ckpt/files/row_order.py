"""Rows of partitioned embeddings in a conversion: put into the order of ids, or noted.

Names keep the parts that TensorFlow 1 looks rows up in. Objects get the whole embedding.
"""

from __future__ import annotations

import functools

from estimator_ckpt import errors, value_classes
from estimator_ckpt.checkpoint import layout as layout_lib
from estimator_ckpt.checkpoint import tensor_names
from estimator_ckpt.checkpoint.formats import CheckpointFormat
from estimator_ckpt.checkpoint.partition_strategy import (
  PartitionStrategy,
  PartitionStrategyLike,
  note_untold,
  parts_of,
)
from estimator_ckpt.checkpoint.roles import RoleKind, classify
from estimator_ckpt.files import rewrite_plan
from estimator_ckpt.files import write as write_lib
from estimator_ckpt.files.rewrite_plan import RewritePlan


def with_row_order(
  plan: RewritePlan,
  source: write_lib.SourceCheckpoint,
  partition_strategy: PartitionStrategyLike,
) -> RewritePlan:
  """Gives objects the rows of embeddings in the order of ids.

  Args:
    plan: a conversion between formats.
    source: the checkpoint that it is made for.
    partition_strategy: how the source's partitioned embeddings were looked up.

  Returns:
    The plan, with new tensors for the embeddings that were looked up with `"mod"`, and
    with a note if nothing was said of others.

  Raises:
    OptionError: the strategy does not fit the checkpoint, or the result has no objects.
  """
  strategy = PartitionStrategy.parse(partition_strategy)
  if plan.checkpoint_format is CheckpointFormat.TF1:
    if strategy:
      raise errors.OptionError(
        f"{source.prefix}: partition_strategy= is for what joins the parts of an "
        "embedding, and a TF1 checkpoint keeps them. Leave it out."
      )
    return plan
  if strategy:
    plan = _in_order_of_ids(plan, source, strategy)
  if source.graph is not None:
    return plan
  untold = _untold(source, strategy)
  return rewrite_plan.with_notes(plan, [note_untold(untold)] if untold else [])


def _in_order_of_ids(
  plan: RewritePlan,
  source: write_lib.SourceCheckpoint,
  strategy: PartitionStrategy,
) -> RewritePlan:
  # NumPy is loaded here, which no other conversion needs.
  from estimator_ckpt.bundle.new_tensors import NewTensor
  from estimator_ckpt.checkpoint.reader import CheckpointReader

  reader = CheckpointReader(source.prefix, partition_strategy=strategy)
  keys, tensors = {}, dict(plan.tensors)
  for key, old in plan.keys.items():
    if old in reader.mod_parts and layout_lib.parse_object_key(key) is not None:
      entry = source.index.entry(old)
      make = functools.partial(reader.__getitem__, old)
      tensors[key] = NewTensor.of_array(entry.dtype, entry.shape, make)
    else:
      keys[key] = old
  kept = {source.index.location(old) for old in keys.values()}
  left_out = {
    old: "its rows were put into the order of ids"
    for old in reader.mod_parts
    if source.index.location(old) not in kept
  }
  plan = value_classes.replace(
    plan, keys=keys, tensors=tensors, left_out={**plan.left_out, **left_out}
  )
  rewrite_plan.check_complete(plan, source.index)
  return plan


def _untold(
  source: write_lib.SourceCheckpoint, strategy: PartitionStrategy
) -> list[str]:
  """The embeddings in several parts of which nothing was said."""
  index = source.index
  if not index.has_slices:
    return []
  tensors = tensor_names.named_tensors(index, source.graph)
  shapes = {tensor.full_name: index.entry(tensor.key).shape for tensor in tensors}
  in_parts = {t.full_name for t in tensors if parts_of(index, t.key) is not None}
  if not in_parts:
    return []
  roles = classify(shapes, shapes)
  return [
    name
    for name, shape in shapes.items()
    if name in in_parts
    and len(shape) > 1
    and roles[name].kind is RoleKind.VARIABLE
    and strategy.of(name) is None
  ]
