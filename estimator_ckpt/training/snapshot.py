"""The values of one moment, held in a session until they are written.

    training thread   read -> Stage          milliseconds, then training goes on
    writing thread           Unstage -> SaveV2

A read of a resource variable shares the variable's buffer, and TensorFlow's optimizers
copy a buffer that is shared before they write to it. So the snapshot itself costs no
copy, and a variable that training does not change meanwhile exists once. TensorFlow
changes reference variables and the entries of a dense hash table in place, so these are
copied when the snapshot is taken.

Checked on TensorFlow 2.12 and 2.15: `PrepareToUpdateVariable` and
`EnsureSparseVariableAccess` in core/framework/resource_var.h and
core/kernels/training_op_helpers.h, `MutableDenseHashTable::ExportValues` in
core/kernels/lookup_table_op.cc.
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


class Snapshot:
  """Ops that take a snapshot and write it; they are added to the default graph.

  Args:
    written: the tensors that are saved.

  Raises:
    OptionError: a tensor is on another machine, or has a type that cannot be copied.
  """

  def __init__(self, written: Sequence[WrittenTensor]):
    for each in written:
      _check_is_local(each)
    with tf.name_scope("snapshot"), tf.device("CPU:0"):
      values = [_detached(each) for each in written]
      # A graph may have several savers.
      name = tf.compat.v1.get_default_graph().unique_name("stage")
      dtypes = [value.dtype.base_dtype for value in values]
      self._clear = tf.raw_ops.StageClear(dtypes=dtypes, shared_name=name)
      # There is one snapshot at most: one that a failed write left is dropped first.
      with tf.control_dependencies([self._clear]):
        self._stage = tf.raw_ops.Stage(values=values, shared_name=name)
      self._prefix = tf.compat.v1.placeholder(tf.string, [], name="prefix")
      self._save = tfp.save_v2(
        self._prefix,
        [each.key for each in written],
        [each.slice_spec for each in written],
        tf.raw_ops.Unstage(dtypes=dtypes, shared_name=name),
      )

  def take(self, session: tf.compat.v1.Session, feed: Mapping[Any, Any]) -> None:
    """Takes a snapshot; must not be called while one is being written.

    Args:
      session: holds the variables.
      feed: tensors that are saved with a given value, and these values.
    """
    session.run(self._stage, dict(feed))

  def write(self, session: tf.compat.v1.Session, prefix: str) -> None:
    """Writes the snapshot as a bundle with one data file, and drops it.

    Args:
      session: the one that the snapshot was taken in.
      prefix: the path of the bundle.
    """
    session.run(self._save, {self._prefix: prefix}, options=_OWN_THREAD)

  def drop(self, session: tf.compat.v1.Session) -> None:
    """Drops a snapshot that was not written."""
    session.run(self._clear)


def _check_is_local(written: WrittenTensor) -> None:
  device = tf.DeviceSpec.from_string(written.tensor.device or "")
  if device.job not in (None, "localhost"):
    raise errors.OptionError(
      f"asynchronous=True is for jobs on one machine, and {written.key!r} is on "
      f"{written.tensor.device}. Leave it out; a save then waits until it is written."
    )


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


# The types that DeepCopy knows; checked on TensorFlow 2.12 and 2.15.
_COPIED = frozenset(
  "float16 bfloat16 float32 float64 int8 int16 int32 int64 uint8 uint16 uint32 uint64 "
  "bool string complex64 complex128".split()
)
