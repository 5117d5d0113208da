"""The SaveV2 and RestoreV2 ops that a saver adds to a graph."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

from estimator_ckpt.checkpoint import key_plan, roles
from estimator_ckpt.checkpoint import layout as layout_lib
from estimator_ckpt.training import parallel_reads
from estimator_ckpt.training import restore as restore_lib
from estimator_ckpt.training import saveables as saveables_lib
from estimator_ckpt.training import tensorflow_private as tfp
from estimator_ckpt.training.restore_targets import RestoreSource
from estimator_ckpt.training.snapshot import WrittenShard, WrittenTensor
from estimator_ckpt.training.tensorflow_private import tf


class SaverBuilder(tfp.BulkSaverBuilder):
  """Writes extra tensors beside the saveables, and remembers what the ops do.

  Attributes:
    restores: the RestoreV2 ops that were added.
    shards: what the SaveV2 ops write, one shard each.

  Args:
    extras: keys of the extra tensors, and functions that make the tensors.
    bulk: whether an op may restore many saveables.
  """

  def __init__(self, extras: Sequence[tuple[str, Any]], bulk: bool):
    super().__init__()
    self._extras = list(extras)
    self._bulk = bulk
    self.restores: list[restore_lib.RestoreOp] = []
    self.shards: list[WrittenShard] = []

  def is_written(self, saveable: saveables_lib.RecordedSaveable) -> bool:
    """Whether the saveable itself is written, not only a whole that it is a part of."""
    return saveable.is_written

  def save_op(
    self, filename_tensor: Any, saveables: Sequence[saveables_lib.RecordedSaveable]
  ) -> Any:
    """Adds the SaveV2 op of a device, and returns it, as the base class does."""
    specs = [spec for s in saveables if s.is_written for spec in s.specs]
    names = [spec.name for spec in specs]
    slices = [spec.slice_spec for spec in specs]
    tensors = [spec.tensor for spec in specs]
    # A sharded saver calls this once for each device; the first takes the extras.
    for name, make_tensor in self._extras:
      names.append(name)
      slices.append("")
      tensors.append(make_tensor())
    self._extras = []
    op = tfp.save_v2(filename_tensor, names, slices, tensors)
    written = list(map(WrittenTensor, names, slices, tensors))
    self.shards.append(WrittenShard(op.device, written))
    return op

  def bulk_restore(
    self,
    filename_tensor: Any,
    saveables: Sequence[saveables_lib.RecordedSaveable],
    preferred_shard: int,
    restore_sequentially: bool,
  ) -> list[Any]:
    """Adds the RestoreV2 ops of a device; returns their outputs, as the base class does."""
    # An op fails as a whole if one of its keys is missing. So a saver that may leave
    # variables out has an op for each saveable.
    groups = [[number] for number in range(len(saveables))]
    if self._bulk and restore_sequentially:
      groups = [list(range(len(saveables)))]
    elif self._bulk:
      keys = [saveable.specs[0].name for saveable in saveables]
      groups = parallel_reads.read_groups(keys, [s.num_bytes for s in saveables])
    tensors: dict[int, list[Any]] = {}
    for group in groups:
      restore_op = _restore_op(filename_tensor, [saveables[number] for number in group])
      self.restores.append(restore_op)
      outputs = iter(restore_op.op.outputs)
      for number in group:
        count = len(saveables[number].specs)
        tensors[number] = list(itertools.islice(outputs, count))
    if self._bulk and len(groups) > 1:
      # If an op fails, nothing may have been assigned, as if there were one op.
      ops = [restore_op.op for restore_op in self.restores[-len(groups) :]]
      with tf.device("CPU:0"):
        all_read = tf.group(*ops)
      for saveable in saveables:
        saveable.assigned_after = all_read
    return [tensor for number in range(len(saveables)) for tensor in tensors[number]]


def _restore_op(
  filename_tensor: Any, saveables: list[saveables_lib.RecordedSaveable]
) -> restore_lib.RestoreOp:
  """Adds an op that reads all tensors of some saveables."""
  specs = [spec for saveable in saveables for spec in saveable.specs]
  reads = [RestoreSource(spec.name, spec.slice_spec) for spec in specs]
  with tf.device("CPU:0"):
    restored = tfp.restore_v2(
      filename_tensor,
      [read.key for read in reads],
      [read.slice_spec for read in reads],
      [spec.dtype for spec in specs],
    )
  targets = [target for saveable in saveables for target in saveable.targets]
  return restore_lib.RestoreOp(restored[0].op, saveables, targets, reads)


def extra_tensors(
  plan: key_plan.SavePlan, gathered: saveables_lib.Gathered, step: Any
) -> list[tuple[str, Any]]:
  """Lists the tensors that are written beside those of the saveables.

  Args:
    plan: says which keys the checkpoint has.
    gathered: everything that is saved.
    step: the global step variable, or None.

  Returns:
    Keys, and functions that make the tensors.
  """
  extras: list[tuple[str, Any]] = []
  if plan.object_graph is not None:
    extras += gathered.save_only
  for item in gathered.named:
    key = plan.wholes.get(item.saved.name)
    if key is not None and key not in plan.joined:
      extras.append((key, item.whole))
  if plan.object_graph is not None:
    data = plan.object_graph.serialize()
    extras.append((layout_lib.OBJECT_GRAPH_KEY, lambda: tf.constant(data)))
  extras += [(key, lambda: tf.cast(step, tf.int64)) for key in plan.step_keys]
  if plan.needs_step_key:
    extras.append((roles.GLOBAL_STEP, lambda: tf.identity(step)))
  if plan.needs_save_counter:
    # Eager code numbers its checkpoints by this counter. It goes on from the step, so it
    # does not write over older checkpoints.
    def save_counter() -> Any:
      return tf.constant(1, tf.int64) if step is None else tf.cast(step, tf.int64)

    extras.append((plan.save_counter_key, save_counter))
  return extras
