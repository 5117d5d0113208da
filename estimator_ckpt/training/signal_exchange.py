"""Signals that the tasks of a cluster tell each other about.

A chief ends a job, so its workers have to hear of the chief's signal. Where all workers
step together, none can stop alone: the others would wait for it for good. They do so under
MultiWorkerMirroredStrategy, and with a SyncReplicasOptimizer on parameter servers.
"""

from __future__ import annotations

import signal
from typing import Any

from estimator_ckpt.training import tensorflow_private as tfp
from estimator_ckpt.training.tensorflow_private import tf

# Groups and instances of a strategy's own collectives are numbered from 1.
_COLLECTIVE_KEY = 2_011_811_520
_SHARED_NAME = "estimator_ckpt_signal"
# Where a chief leaves the signal that ends the job, and where a worker asks for the end.
_PLACES = _TOLD, _ASKED = 0, 1


class ServerExchange:
  """A place on the first parameter server, where a chief leaves its signal.

  A table needs no initialization, so workers may read it whenever they start.

  Args:
    device: of the parameter server.
    is_worker: whether this task reads what the chief leaves.
  """

  # Whether a task may stop while others step on.
  stops_alone = True

  def __init__(self, device: str, is_worker: bool):
    self._is_worker = is_worker
    with tf.device(device):
      table = tf.raw_ops.MutableHashTableV2(
        key_dtype=tf.int64, value_dtype=tf.int64, shared_name=_SHARED_NAME
      )
      key = tf.constant(_TOLD, tf.int64)
      self._number = tf.compat.v1.placeholder(tf.int64, [], name="signal")
      self._read = tf.raw_ops.LookupTableFindV2(
        table_handle=table, keys=key, default_value=tf.constant(0, tf.int64)
      )
      self._write = tf.raw_ops.LookupTableInsertV2(
        table_handle=table, keys=key, values=self._number
      )

  def begin(self, session: tf.compat.v1.Session) -> None:
    """Takes back what a chief left, when it creates a session."""
    if not self._is_worker:
      session.run(self._write, {self._number: 0})

  def run_args(self, number: int | None) -> Any:
    """What a step fetches and feeds.

    Args:
      number: of the signal that this task got.
    """
    del number
    return tf.compat.v1.train.SessionRunArgs(self._read) if self._is_worker else None

  def heard(self, session: Any, number: int | None, result: Any) -> int | None:
    """The signal of another task, by what a step has fetched.

    Until a chief has started again, a worker that starts ends too.
    """
    del session, number
    return int(result) if self._is_worker and result else None

  def tell(self, session: Any, number: int) -> None:
    """Leaves the signal that a chief got."""
    if not self._is_worker:
      session.run(self._write, {self._number: number})


class TokenExchange:
  """Places on the first parameter server, for tasks with a SyncReplicasOptimizer.

  A step of such a task waits for gradients of the others, and ends with a token. A worker
  that gets a signal asks the chief to end the job, and steps on. The chief stops, and gives
  every worker a token. So the step that a worker is in ends, without the chief's gradient
  and without a change of the variables, and the worker stops too.

  Args:
    queue: of the tokens.
    step: the global step.
    is_worker: whether this task waits for a chief.
  """

  def __init__(self, queue: tf.Operation, step: Any, is_worker: bool):
    self._is_worker = is_worker
    self._has_asked = False
    handle = queue.outputs[0]
    with tf.device(step.device):
      table = tf.raw_ops.MutableHashTableV2(
        key_dtype=tf.int64, value_dtype=tf.int64, shared_name=_SHARED_NAME
      )
      self._numbers = tf.compat.v1.placeholder(tf.int64, [None], name="signals")
      self._keys = tf.compat.v1.placeholder(tf.int64, [None], name="signal_keys")
      self._read = tf.raw_ops.LookupTableFindV2(
        table_handle=table,
        keys=tf.constant(_PLACES, tf.int64),
        default_value=tf.constant(0, tf.int64),
      )
      self._write = tf.raw_ops.LookupTableInsertV2(
        table_handle=table, keys=self._keys, values=self._numbers
      )
      # As many as at the end of a step.
      count = max(
        op.inputs[1].shape.as_list()[0]
        for op in handle.consumers()
        if op.type == "QueueEnqueueManyV2"
      )
      self._end_steps = tf.raw_ops.QueueEnqueueManyV2(
        handle=handle, components=[tf.fill([count], step)]
      )

  @property
  def stops_alone(self) -> bool:
    """Whether a task may stop while others step on: the chief ends their steps."""
    return not self._is_worker

  def begin(self, session: tf.compat.v1.Session) -> None:
    """Takes back what was left, when a chief creates a session."""
    if not self._is_worker:
      session.run(self._write, {self._keys: _PLACES, self._numbers: [0, 0]})

  def run_args(self, number: int | None) -> Any:
    """What a step fetches and feeds: nothing, since a step may end long after it began."""
    del number

  def heard(self, session: Any, number: int | None, result: Any) -> int | None:
    """The signal of another task, after a step.

    Args:
      session: reads it.
      number: of the signal that this task got.
      result: what the step fetched.
    """
    del result
    if self._is_worker and number is not None and not self._has_asked:
      session.run(self._write, {self._keys: [_ASKED], self._numbers: [number]})
      self._has_asked = True
    told, asked = session.run(self._read)
    return int(told if self._is_worker else asked) or None

  def tell(self, session: Any, number: int) -> None:
    """Leaves the signal for which a chief ends the job, and ends the steps of all."""
    if not self._is_worker:
      session.run(self._write, {self._keys: [_TOLD], self._numbers: [number]})
      session.run(self._end_steps)


class CollectiveExchange:
  """The tasks that each signal has come to, which each of their steps counts.

  The largest number would be enough, but collectives of TensorFlow 1.15.5 only add and
  multiply.

  Args:
    tasks: how many step together.
  """

  stops_alone = False

  def __init__(self, tasks: int):
    with tf.device("CPU:0"):
      self._got = tf.compat.v1.placeholder(tf.int32, [signal.NSIG], name="signals")
      self._counts = tf.raw_ops.CollectiveReduce(
        input=self._got,
        group_size=tasks,
        group_key=_COLLECTIVE_KEY,
        instance_key=_COLLECTIVE_KEY,
        merge_op="Add",
        final_op="Id",
        subdiv_offsets=[0],
      )

  def begin(self, session: tf.compat.v1.Session) -> None:
    """Does nothing: each step begins anew."""

  def run_args(self, number: int | None) -> Any:
    """What a step fetches and feeds.

    Args:
      number: of the signal that this task got.
    """
    got = [int(n == number) for n in range(signal.NSIG)]
    return tf.compat.v1.train.SessionRunArgs(self._counts, feed_dict={self._got: got})

  def heard(self, session: Any, number: int | None, result: Any) -> int | None:
    """The largest signal of any task, by what a step has fetched; the same in all."""
    del session, number
    return max((n for n, count in enumerate(result) if count), default=None)

  def tell(self, session: Any, number: int) -> None:
    """Does nothing: all tasks heard it at the same step."""


def exchange_of_job(
  is_worker: bool,
) -> ServerExchange | TokenExchange | CollectiveExchange | None:
  """Adds to the default graph what the tasks of its cluster need.

  Args:
    is_worker: whether this task waits for a chief.

  Returns:
    The exchange; None for a job that is one task.
  """
  tasks = tfp.tasks_in_step()
  if tasks > 1:
    return CollectiveExchange(tasks)
  step = tf.compat.v1.train.get_global_step()
  device = "" if step is None else step.device
  if tf.DeviceSpec.from_string(device or "").job != "ps":
    return None
  queue = tfp.token_queue()
  if queue is not None:
    return TokenExchange(queue, step, is_worker)
  return ServerExchange(device, is_worker)
