"""The values of one moment, held in a session until they are written.

    training thread   read -> Stage          milliseconds, then training goes on
    writing thread           Unstage -> SaveV2

In a cluster, all of this is on the server that has the variables.

A read of a resource variable shares the variable's buffer, and TensorFlow's optimizers
copy a buffer that is shared before they write to it. So the snapshot itself costs no
copy, and a variable that training does not change meanwhile exists once. TensorFlow
changes reference variables and the entries of a dense hash table in place, so these are
copied when the snapshot is taken.

Read in TensorFlow 2.12 and 2.15: `PrepareToUpdateVariable` and
`EnsureSparseVariableAccess` in core/framework/resource_var.h and
core/kernels/training_op_helpers.h, `MutableDenseHashTable::ExportValues` in
core/kernels/lookup_table_op.cc. `snapshot_test.py` and `asynchronous_test.py` hold it under
every version, from 1.15.5 on.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from estimator_ckpt import errors
from estimator_ckpt.training import tensorflow_private as tfp
from estimator_ckpt.training.tensorflow_private import tf

# Ops whose outputs nothing changes. The export of a table may be the table's memory.
_NEW_VALUES = frozenset(["Const", "SerializeIterator"])
# The write runs on the thread that calls it. TensorFlow's pool has a thread for each core:
# there the write would take the place of an op of the training step.
_OWN_THREAD = tf.compat.v1.RunOptions(inter_op_thread_pool=-1)
_LOST = "a server that held a part of the snapshot was started again"
# Types that DeepCopy does not know, and the types of the same bits that it copies.
_SAME_BITS = {
  tf.qint8: tf.int8,
  tf.quint8: tf.uint8,
  tf.qint16: tf.int16,
  tf.quint16: tf.uint16,
  tf.qint32: tf.int32,
}


@dataclasses.dataclass(frozen=True)
class WrittenTensor:
  """One tensor that is saved.

  Attributes:
    key: where it stands in the checkpoint.
    slice_spec: the part of a whole that it is, as SaveV2 takes it; "" for a whole.
    tensor: its value in the graph.
  """

  key: str
  slice_spec: str
  tensor: Any


@dataclasses.dataclass(frozen=True)
class WrittenShard:
  """The tensors of one data file.

  Attributes:
    device: where the file is written; "" leaves it to TensorFlow.
    tensors: what is written.
  """

  device: str
  tensors: Sequence[WrittenTensor]


class Snapshot:
  """Ops that take a snapshot and write it; they are added to the default graph.

  Each task of a cluster holds the values of its own variables, and writes its own data
  file from them. Nothing else goes over the network than with a stock Saver.

  Args:
    shards: what is saved, by data file.

  Raises:
    OptionError: a tensor has a type that cannot be copied.
  """

  def __init__(self, shards: Sequence[WrittenShard]):
    with tf.name_scope("snapshot"):
      self._prefix = tf.compat.v1.placeholder(tf.string, [], name="prefix")
      self._parts = tf.compat.v1.placeholder(tf.string, [], name="parts")
      stages = [_Stage(*each) for each in _by_task(shards).items()]
      self._stage = tf.group(*[stage.put for stage in stages])
      self._clear = tf.group(*[stage.clear for stage in stages])
      held = {key: value for stage in stages for key, value in stage.take().items()}
      if len(shards) == 1:
        self._save = _save_op(self._prefix, shards[0], held)
        return
      names = []
      for number, shard in enumerate(shards):
        with tf.device(shard.device):
          name = tf.raw_ops.ShardedFilename(
            basename=self._parts, shard=number, num_shards=len(shards)
          )
          with tf.control_dependencies([_save_op(name, shard, held)]):
            names.append(tf.identity(name))
      with tf.device(shards[-1].device):
        self._save = tf.raw_ops.MergeV2Checkpoints(
          checkpoint_prefixes=names, destination_prefix=self._prefix
        )

  def take(self, session: tf.compat.v1.Session, feed: Mapping[Any, Any]) -> None:
    """Takes a snapshot; must not be called while one is being written.

    Args:
      session: holds the variables.
      feed: tensors that are saved with a given value, and these values.
    """
    session.run(self._stage, dict(feed))

  def write(self, session: tf.compat.v1.Session, prefix: str) -> None:
    """Writes the snapshot as a bundle, and drops it.

    Args:
      session: the one that the snapshot was taken in.
      prefix: the path of the bundle.

    Raises:
      AbortedError: a server that held a part of the snapshot was started again.
    """
    feed = {self._prefix: prefix, self._parts: prefix + _parts_suffix(prefix)}
    try:
      session.run(self._save, feed, options=_OWN_THREAD)
    except tf.errors.InvalidArgumentError as error:
      if _LOST not in error.message:
        raise
      raise tf.errors.AbortedError(error.node_def, error.op, _LOST) from error

  def drop(self, session: tf.compat.v1.Session) -> None:
    """Drops a snapshot that was not written."""
    session.run(self._clear)


class _Stage:
  """Holds what a task has, from the snapshot until it is written.

  Args:
    device: the CPU of the task.
    written: what the task has.
  """

  def __init__(self, device: str, written: Sequence[WrittenTensor]):
    self._device = device
    self._written = written
    with tf.device(device):
      values = [_detached(each) for each in written]
      # A graph may have several savers. A server keeps what a lost chief left there; the
      # next chief drops it, since it uses the same name.
      name = tf.compat.v1.get_default_graph().unique_name("stage")
      dtypes = [value.dtype.base_dtype for value in values]
      self._options = {"dtypes": dtypes, "shared_name": name}
      self.clear = tf.raw_ops.StageClear(**self._options)
      # There is one snapshot at most: one that a failed write left is dropped first.
      with tf.control_dependencies([self.clear]):
        self.put = tf.raw_ops.Stage(values=values, shared_name=name)

  def take(self) -> dict[tuple[str, str], Any]:
    """Takes the values out; returns them by key and slice."""
    with tf.device(self._device):
      # A server that was started again holds nothing, and Unstage would wait for good.
      size = tf.raw_ops.StageSize(**self._options)
      with tf.control_dependencies([tf.debugging.Assert(size > 0, [_LOST])]):
        values = tf.raw_ops.Unstage(**self._options)
    return {(w.key, w.slice_spec): value for w, value in zip(self._written, values)}


def _by_task(shards: Sequence[WrittenShard]) -> dict[str, list[WrittenTensor]]:
  """Sorts what is written by the CPU of the task that has it."""
  by_task: dict[str, list[WrittenTensor]] = {}
  for shard in shards:
    for written in shard.tensors:
      device = written.tensor.device or ""
      if tf.DeviceSpec.from_string(device).job is None:
        device = shard.device
      by_task.setdefault(tfp.cpu_of(device), []).append(written)
  return by_task


def _save_op(
  filename: Any, shard: WrittenShard, held: Mapping[tuple[str, str], Any]
) -> Any:
  keys = [each.key for each in shard.tensors]
  slices = [each.slice_spec for each in shard.tensors]
  with tf.device(shard.device):
    return tfp.save_v2(filename, keys, slices, [held[k] for k in zip(keys, slices)])


def _parts_suffix(prefix: str) -> str:
  """What a stock Saver adds to a prefix, for the files that it merges."""
  return ".part" if prefix.startswith("s3://") else "_temp/part"


def _detached(written: WrittenTensor) -> Any:
  """A tensor whose value does not change while training goes on."""
  tensor = written.tensor
  is_read = _is_read(tensor)
  if tensor.dtype == tf.variant or tensor.op.type in _NEW_VALUES:
    return tensor
  if is_read and (tensor.dtype.is_floating or tensor.dtype.is_complex):
    return tensor
  dtype = tensor.dtype.base_dtype
  same_bits = _SAME_BITS.get(dtype, dtype)
  if same_bits is not dtype:
    copy = tf.raw_ops.DeepCopy(x=tf.bitcast(tensor, same_bits))
    return tf.bitcast(copy, dtype)
  if dtype.name in _COPIED:
    return tf.raw_ops.DeepCopy(x=tensor)
  if is_read:
    return tensor
  raise errors.OptionError(
    f"asynchronous=True cannot copy {written.key!r}, a {dtype.name} of "
    f"{tensor.op.type}. Make it a resource variable (use_resource=True), or leave "
    "asynchronous out."
  )


def _is_read(tensor: Any) -> bool:
  """Whether a tensor is the unchanged result of a resource variable's read."""
  while tensor.op.type == "Identity":
    tensor = tensor.op.inputs[0]
  return tensor.op.type == "ReadVariableOp"


# The types that DeepCopy knows; 1.15.5 lacks uint32 and uint64, and variables of them.
_COPIED = frozenset(
  "float16 bfloat16 float32 float64 int8 int16 int32 int64 uint8 uint16 uint32 uint64 "
  "bool string complex64 complex128".split()
)
