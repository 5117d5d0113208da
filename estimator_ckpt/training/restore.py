"""Carries a restore plan out in a session, by the ops that a saver added to the graph."""

from __future__ import annotations

import dataclasses
import itertools
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from estimator_ckpt import errors
from estimator_ckpt.bundle import slice_specs, slices
from estimator_ckpt.checkpoint import prefix as prefix_lib
from estimator_ckpt.checkpoint.reader import CheckpointReader
from estimator_ckpt.checkpoint.verify import Severity, verify
from estimator_ckpt.older_pythons import cached_property
from estimator_ckpt.training import restore_plan, restore_targets
from estimator_ckpt.training.saveables import RecordedSaveable
from estimator_ckpt.training.tensorflow_private import tf

if TYPE_CHECKING:
  import numpy as np

_SHOWN = 5


@dataclasses.dataclass(frozen=True)
class RestoreOp:
  """One RestoreV2 op of the graph.

  Attributes:
    op: its outputs are the tensors, its inputs 1 and 2 their keys and slice specs.
    saveables: what the op restores.
    targets: one for each output, in order.
    reads: where each output is read, unless other keys are fed.
  """

  op: tf.Operation
  saveables: list[RecordedSaveable]
  targets: list[restore_targets.RestoreTarget]
  reads: list[restore_targets.RestoreSource]

  @cached_property
  def iterators(self) -> list[tf.Tensor]:
    """The handles of iterators that the op restores."""
    # A variable's saveable has a handle too, and to look at thousands takes time.
    others = [saveable.op for saveable in self.saveables if not saveable.is_variable]
    return [handle for handle in others if isinstance(handle, tf.Tensor)]


def run(
  session: tf.compat.v1.Session,
  plan: restore_plan.RestorePlan,
  restore_ops: Sequence[RestoreOp],
  saver_def: Any,
) -> None:
  """Restores everything that a plan has sources for.

  Args:
    session: holds the variables.
    plan: its targets are those of `restore_ops`, one after the other.
    restore_ops: each is run if the plan has a source for every target of it.
    saver_def: names the tensor of the file name, and the op that restores everything.

  Raises:
    CheckpointNotFoundError: a file of the checkpoint disappeared meanwhile.
    CorruptCheckpointError: a data file is damaged. Nothing was restored then.
  """
  feed: dict[Any, Any] = {saver_def.filename_tensor_name: plan.prefix}
  is_complete = None not in plan.sources
  fetches: list[Any] = [saver_def.restore_op_name] if is_complete else []
  values = _Values(plan.prefix)
  sources = iter(plan.sources)
  for restore_op in restore_ops:
    count = len(restore_op.targets)
    own = [source for source in itertools.islice(sources, count) if source is not None]
    if len(own) < count:
      continue
    if own != restore_op.reads:
      feed.update(_fed(restore_op, own, values))
    if not is_complete:
      fetches += [saveable.restored for saveable in restore_op.saveables]
  _initialize_iterators(session, restore_ops)
  try:
    session.run(fetches, feed)
  except tf.errors.NotFoundError as e:
    raise errors.CheckpointNotFoundError(
      f"{plan.prefix}: the checkpoint disappeared or lost a file while it was being "
      f"restored. If a running job deletes old checkpoints, raise keep_checkpoint_max. "
      f"({e.message.splitlines()[0]})"
    ) from e
  except (tf.errors.DataLossError, tf.errors.OutOfRangeError) as e:
    raise errors.CorruptCheckpointError(_damage(plan.prefix, e.message)) from e


def _fed(
  restore_op: RestoreOp,
  sources: Sequence[restore_targets.RestoreSource],
  values: _Values,
) -> dict[Any, Any]:
  """What an op is fed to read other sources than those in the graph."""
  reads = [source.stand_in or source[:2] for source in sources]
  feed: dict[Any, Any] = {
    restore_op.op.inputs[1]: [key for key, _ in reads],
    restore_op.op.inputs[2]: [slice_spec for _, slice_spec in reads],
  }
  for output, source in zip(restore_op.op.outputs, sources):
    if source.stand_in is not None:
      feed[output] = values.read(source, output.dtype)
  return feed


def _damage(prefix: str, message: str) -> str:
  """Says what is wrong with a checkpoint that TensorFlow could not read.

  TensorFlow gives up at the first problem, and names neither the file nor the variable.
  """
  findings = verify(prefix).findings
  damages = [f for f in findings if f.severity is Severity.ERROR]
  lines = [f"{prefix}: the checkpoint is damaged, and nothing was restored from it."]
  described = [
    f"{f.file if f.key is None else f'{f.file}: {f.key!r}'}: {f.message}"
    for f in damages
  ]
  lines += [f"  {line}" for line in errors.shorten(described, _SHOWN)]
  if not damages:
    lines.append(f"  {message.splitlines()[0]}")
  others = [
    p for p in prefix_lib.checkpoints_in(os.path.dirname(prefix)) if p != prefix
  ]
  lines.append(
    f"Take it from a backup, or restore an earlier one: {', '.join(others[-3:])}."
    if others
    else "Take it from a backup; its directory has no other checkpoint."
  )
  return "\n".join(lines)


def initialize(
  session: tf.compat.v1.Session,
  plan: restore_plan.RestorePlan,
  restore_ops: Sequence[RestoreOp],
) -> None:
  """Initializes the variables that a plan has no source for.

  Args:
    session: holds the variables.
    plan: its targets are those of `restore_ops`, one after the other.
    restore_ops: all RestoreV2 ops of the saver.
  """
  initializers = {v.op.name: v.initializer for v in tf.compat.v1.global_variables()}
  sources = iter(plan.sources)
  ops = []
  for restore_op in restore_ops:
    own = [next(sources) for _ in restore_op.targets]
    if not all(own):
      ops += [initializers.get(s.variable_name) for s in restore_op.saveables]
  session.run([op for op in ops if op is not None])


def _initialize_iterators(
  session: tf.compat.v1.Session, restore_ops: Sequence[RestoreOp]
) -> None:
  """Runs the initializers of iterators, which have to run before a restore.

  They belong in a Scaffold's init_op, and a session that starts from a checkpoint does
  not run it. The local_init_op runs after the restore, and would undo it.
  """
  handles = [handle for op in restore_ops for handle in op.iterators]
  initializers = [
    op for handle in handles for op in handle.consumers() if op.type == "MakeIterator"
  ]
  for initializer in initializers:
    try:
      session.run(initializer)
    except tf.errors.InvalidArgumentError:
      # Its dataset is fed, so whoever feeds it has initialized the iterator.
      continue


class _Values:
  """Reads what RestoreV2 cannot; a tensor that several parts are cut from, once."""

  def __init__(self, prefix: str):
    self._prefix = prefix
    self._reader: CheckpointReader | None = None
    self._key: tuple[str, ...] = ()
    self._value: np.ndarray | None = None

  def read(self, source: restore_targets.RestoreSource, dtype: tf.DType) -> np.ndarray:
    whole = self._whole(source.pieces or (source.key,), source.axis)
    if source.slice_spec:
      part = slice_specs.parse(source.slice_spec)
      whole = whole[tuple(slice(*pair) for pair in slices.bounds(part, whole.shape))]
    wanted = dtype.as_numpy_dtype
    # TensorFlow's quantized types have numpy types of their own.
    return (
      whole if whole.dtype == wanted or whole.dtype == object else whole.view(wanted)
    )

  def _whole(self, keys: tuple[str, ...], axis: int) -> np.ndarray:
    import numpy as np

    if self._reader is None:
      self._reader = CheckpointReader(self._prefix)
    if self._key != keys or self._value is None:
      self._value = None
      if self._reader.index.entry(keys[0]).slices and len(keys) > 1:
        self._value = self._reader.joined(keys)
      else:
        arrays = [self._reader[key] for key in keys]
        self._value = arrays[0] if len(arrays) == 1 else np.concatenate(arrays, axis)
      self._key = keys
    return self._value
