"""Saves that training does not wait for.

    training thread   wait for the last write, take a snapshot, go on
    writing thread    write it, publish it, enter it into the state file, delete old ones

A session is closed as soon as training ends, and with it whatever it is running. So the
last write is waited for before that: by the coordinator of a MonitoredSession, which
joins its threads before it closes the session, and by `close()` of any other session.
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

# Seconds that a user may want to know about.
_NOTICEABLE = 0.1
_logger = logging.getLogger(__name__)
# The session was closed or lost its devices, and with them what it held.
_LOST = (tf.errors.AbortedError, tf.errors.CancelledError)

# Called with what writes the snapshot to a prefix; publishes that.
Publish = Callable[[Callable[[str], None]], None]


class AsynchronousSaves:
  """Takes snapshots, and has them written while training goes on, one at a time.

  Args:
    snapshot: the ops.
  """

  def __init__(self, snapshot: Snapshot):
    self._snapshot = snapshot
    self._writer = Writer()
    # Whoever ends a session and waits for the last write.
    self._joined: weakref.WeakSet[Any] = weakref.WeakSet()
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
    """Saves; returns when the snapshot is taken.

    Args:
      session: the session.
      feed: values of tensors that are saved as they are fed.
      prefix: the checkpoint.
      publish: what is called on the writing thread.

    Raises:
      OptionError: the session runs on a server.
      Exception: what the last write raised, if nobody has raised it since.
    """
    if session.sess_str:
      raise errors.OptionError(
        "asynchronous=True is for jobs on one machine, and this session is one of "
        f"{tf.compat.as_text(session.sess_str)}. Leave it out; a save then waits until "
        "it is written."
      )
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
          self._drop(session)
          if not isinstance(error, _LOST):
            raise
          _logger.warning(
            "%s was not written, since its session ended: %s", prefix, error
          )
          return
        self._last_write = time.monotonic() - taken
        save_costs.report(waiting, taken - start, self._last_write, prefix, True)

    self._writer.start(write, functools.partial(_stop, call.coordinator))
    if call.has_listeners:
      self._say_listeners(call.hook)
      self._writer.wait()

  @property
  def is_writing(self) -> bool:
    """Whether a write is under way."""
    return self._writer.is_busy

  def wait_for_turn(self) -> None:
    """Waits for the last write, on behalf of a save that is about to come.

    Raises:
      Exception: what the last write raised, if nobody has raised it since.
    """
    start = time.monotonic()
    self._writer.wait()
    waited = time.monotonic() - start
    self._waited += waited
    if waited < _NOTICEABLE or self._last_start is None:
      return
    # The save at the end of training may follow any other one closely.
    self._waits += 1
    if self._waits == 2:
      _logger.warning(
        "A save was due while the one before was being written, and training waited "
        "%.1f s. Saves follow each other after %.1f s, and writing one takes %.1f s. Save "
        "less often, or to something faster.",
        waited,
        start - self._last_start,
        self._last_write,
      )

  def wait_until_finished(self) -> None:
    """Waits until the last save is whole on disk and named by the state file.

    Raises:
      Exception: what the last write raised, if nobody has raised it since.
    """
    self._writer.wait()

  def join(self) -> bool:
    """Waits for the last write, as the coordinator does for its threads at the end.

    Returns:
      Whether the last write failed. What training itself raised is raised rather than
      that.
    """
    training_failed = sys.exc_info()[0] is not None
    error = self._writer.join()
    if error is None:
      return False
    if not training_failed:
      self._writer.wait()
    _logger.error("The last checkpoint was not written: %s", error)
    return True

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
    """Frees the memory of a snapshot that is not going to be written."""
    try:
      self._snapshot.drop(session)
    except (tf.errors.OpError, RuntimeError):
      # The session is closed, and the snapshot gone.
      pass

  def _say_listeners(self, hook: Any) -> None:
    if not self._said_listeners:
      self._said_listeners = True
      _logger.warning(
        "The %s that saves has listeners, which expect a whole checkpoint as soon as it "
        "is saved. So training waits for each write, in spite of asynchronous=True.",
        type(hook).__name__,
      )


class _Joined:
  """A write as a thread that a coordinator joins, however long it takes.

  A coordinator gives threads two minutes to end, and then closes the session.
  """

  name = "checkpoint-writer"

  def __init__(self, saves: AsynchronousSaves):
    self._saves = saves

  def is_alive(self) -> bool:
    """Waits for the write; raises what it raised."""
    self._saves.join()
    return False


def _stop(coordinator: tf.train.Coordinator | None, error: BaseException) -> None:
  """Has training stop at its next step, with what a write raised."""
  if coordinator is not None and not coordinator.joined:
    coordinator.request_stop((type(error), error, error.__traceback__))


def _close(session: Any, saves: AsynchronousSaves) -> None:
  """Closes a session when the last write is done."""
  session = session()
  try:
    saves.join()
  finally:
    type(session).close(session)
