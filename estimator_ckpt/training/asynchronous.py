"""Saves that training does not wait for.

    training thread   wait for the last write, take a snapshot, go on
    writing thread    write it, publish it, enter it into the state file, delete old ones

A session is closed as soon as training ends, which cancels a write that runs in it. So
the last write has to end first. The coordinator of a MonitoredSession waits for it, since
it joins its threads before it closes the session; `close()` of any other session waits too.
"""

from __future__ import annotations

import functools
import logging
import sys
import time
import weakref
from collections.abc import Mapping
from typing import Any, Callable

from estimator_ckpt import errors
from estimator_ckpt.training import save_costs
from estimator_ckpt.training import tensorflow_private as tfp
from estimator_ckpt.training.snapshot import Snapshot
from estimator_ckpt.training.tensorflow_private import tf
from estimator_ckpt.training.writer import Writer

# A wait of so many seconds is worth a warning.
_NOTICEABLE = 0.1
_logger = logging.getLogger(__name__)
# A session that was closed, or has lost a server, has lost the snapshot too.
_LOST = (tf.errors.AbortedError, tf.errors.CancelledError, tf.errors.UnavailableError)

# Publishes a checkpoint. It is given a function that writes the snapshot to a prefix.
Publish = Callable[[Callable[[str], None]], None]


class AsynchronousSaves:
  """Takes snapshots, and has them written while training goes on, one at a time.

  Args:
    snapshot: takes and writes snapshots in a session.
  """

  def __init__(self, snapshot: Snapshot):
    self._snapshot = snapshot
    self._writer = Writer()
    # The coordinators and sessions that wait for the last write before they end.
    self._joined: weakref.WeakSet[Any] = weakref.WeakSet()
    # How often training waited for a write, and how long for the latest one.
    self._waits = 0
    self._waited = 0.0
    self._last_start: float | None = None
    self._last_write = 0.0
    self._said_listeners = False

  def save(
    self,
    session: tf.compat.v1.Session,
    feed: Mapping[Any, Any],
    prefix: str,
    publish: Publish,
  ) -> None:
    """Saves a checkpoint; returns when the snapshot is taken.

    Args:
      session: holds the variables.
      feed: tensors that are saved with a given value, and these values.
      prefix: the path of the checkpoint, for messages.
      publish: writes and publishes the checkpoint, on the writing thread.

    Raises:
      Exception: the last write failed, and its error has not been raised yet.
    """
    call = tfp.save_call()
    self.wait_for_turn()
    waiting, self._waited = self._waited, 0.0
    self._wait_at_the_end(session, call.coordinator)
    start = self._last_start = time.monotonic()
    self._snapshot.take(session, feed)
    taken = time.monotonic()

    def write() -> None:
      # In a thread of its own TensorFlow would be eager.
      with session.graph.as_default():
        try:
          publish(lambda target: self._snapshot.write(session, target))
        except BaseException as error:
          if isinstance(error, _LOST):
            _logger.warning(
              "%s was not written, since its session was lost: %s", prefix, error
            )
            # From other errors than this one, a MonitoredSession does not recover.
            raise tf.errors.AbortedError(None, None, str(error)) from error
          self._drop(session)
          raise
        self._last_write = time.monotonic() - taken
        save_costs.report(waiting, taken - start, self._last_write, prefix, True)

    self._writer.start(
      write,
      functools.partial(_stop, call.coordinator),
      is_awaited=call.has_listeners or call.is_last,
    )
    if call.has_listeners:
      self._say_listeners(call.hook)
      self._writer.wait()

  @property
  def is_writing(self) -> bool:
    """Whether a write is under way."""
    return self._writer.is_busy

  def wait_for_turn(self) -> None:
    """Waits for the last write before another save; counts how long training waited.

    Raises:
      Exception: the last write failed, and its error has not been raised yet.
    """
    start = time.monotonic()
    self._writer.wait()
    waited = time.monotonic() - start
    self._waited += waited
    if waited < _NOTICEABLE or self._last_start is None:
      return
    # One wait is no sign: the save at the end may follow the one before closely.
    self._waits += 1
    if self._waits == 2:
      _logger.warning(
        "A save was due while the one before was being written, so training waited "
        "%.1f s. A save is due every %.1f s, and writing one takes %.1f s. Save less "
        "often, or to a faster disk.",
        waited,
        start - self._last_start,
        self._last_write,
      )

  def wait_until_finished(self) -> None:
    """Waits until the last save is whole on disk and named by the state file.

    Raises:
      Exception: the last write failed, and its error has not been raised yet.
    """
    self._writer.wait()

  def join(self) -> None:
    """Waits for the last write at the end of training.

    The error of the write is raised, unless training itself has failed: then it is
    logged, and the error of training goes on.

    Raises:
      Exception: the last write failed, and training did not.
    """
    training_failed = sys.exc_info()[0] is not None
    error = self._writer.join()
    if error is None:
      return
    is_lost = isinstance(error, _LOST)
    if training_failed and is_lost:
      # A session that takes its place begins with the checkpoint before.
      self._writer.forget()
    elif training_failed:
      _logger.error("The last checkpoint was not written: %s", error)
    elif is_lost:
      self._writer.forget()
      # A MonitoredSession would only log the error of a lost session when it is closed.
      raise errors.CheckpointIOError(
        "The last checkpoint was not written, since its session was lost. The checkpoint "
        f"before it stays, and the job goes on from it when it starts again. {error}"
      ) from error
    else:
      self._writer.wait()

  def _wait_at_the_end(
    self, session: tf.compat.v1.Session, coordinator: tf.train.Coordinator | None
  ) -> None:
    ends = coordinator if coordinator is not None else session
    if ends in self._joined:
      return
    self._joined.add(ends)
    if coordinator is not None:
      coordinator.register_thread(_Joined(self))
    else:
      session.close = functools.partial(_close, weakref.ref(session), self)

  def _drop(self, session: tf.compat.v1.Session) -> None:
    """Frees the memory of a snapshot that will not be written."""
    try:
      self._snapshot.drop(session)
    except (tf.errors.OpError, RuntimeError):
      # The session is closed, and the snapshot is gone.
      pass

  def _say_listeners(self, hook: Any) -> None:
    if not self._said_listeners:
      self._said_listeners = True
      _logger.warning(
        "The %s that saves has listeners, which expect a whole checkpoint when `save` "
        "returns. So training waits for each write, in spite of asynchronous=True.",
        type(hook).__name__,
      )


class _Joined:
  """Stands for a thread, so that a coordinator waits for the write however long it takes.

  A coordinator gives real threads two minutes to end, and then closes the session.
  """

  name = "checkpoint-writer"

  def __init__(self, saves: AsynchronousSaves):
    self._saves = saves

  def is_alive(self) -> bool:
    """Waits for the write; raises what it raised."""
    self._saves.join()
    return False


def _stop(coordinator: tf.train.Coordinator | None, error: BaseException) -> None:
  """Stops training at its next step, with the error of a write."""
  if coordinator is not None and not coordinator.joined:
    coordinator.request_stop((type(error), error, error.__traceback__))


def _close(session: Any, saves: AsynchronousSaves) -> None:
  """Closes a session, after the last write."""
  session = session()
  try:
    saves.join()
  finally:
    type(session).close(session)
