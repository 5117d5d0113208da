"""Sessions that stop before their time: which one is being created, and when it closes."""

from __future__ import annotations

import functools
import sys
import types
import weakref
from collections.abc import Iterable
from typing import Any, Callable, NamedTuple

from tensorflow.python.distribute import distribute_coordinator_context
from tensorflow.python.training import monitored_session
from tensorflow_estimator.python.estimator import training

from estimator_ckpt.training.tensorflow_private.installed import tf

_CoordinatedSessionCreator = (
  monitored_session._MonitoredSession._CoordinatedSessionCreator
)


class SessionInCreation(NamedTuple):
  """A MonitoredSession that is finalizing its Scaffold.

  Attributes:
    session: the MonitoredSession.
    hooks: its hooks; it calls those that are appended, too, but not their `begin`.
    directory: where a chief's checkpoints are; None where the session restores a given
      checkpoint, or none, or is a worker's.
    is_worker: whether another task, the chief, saves.
  """

  session: Any
  hooks: list[Any]
  directory: str | None
  is_worker: bool


def session_in_creation() -> SessionInCreation | None:
  """Finds the MonitoredSession that calls `Saver.build`, through its Scaffold.

  A Scaffold does not hear of its session, and has no way to give it a hook. So the
  session is found in the callers' frames. It calls `_CoordinatedSessionCreator`, which
  calls a ChiefSessionCreator or WorkerSessionCreator, which finalizes the Scaffold.

  Returns:
    The session; None where no MonitoredSession calls.
  """
  creator = None
  frame: types.FrameType | None = sys._getframe(1)
  while frame is not None:
    owner = frame.f_locals.get("self")
    if creator is None and isinstance(owner, _CoordinatedSessionCreator):
      creator = owner
    elif creator is not None and isinstance(owner, monitored_session._MonitoredSession):
      # The list may be the user's, who may use it for another session.
      creator._hooks = owner._hooks = list(creator._hooks)
      directory = getattr(creator._session_creator, "_checkpoint_dir", None)
      is_worker = isinstance(
        creator._session_creator, tf.compat.v1.train.WorkerSessionCreator
      )
      context = distribute_coordinator_context.get_current_worker_context()
      if context is not None and not context.should_checkpoint:
        is_worker = True
      return SessionInCreation(owner, creator._hooks, directory, is_worker)
    frame = frame.f_back
  return None


def is_open(session: Any) -> bool:
  """Whether a MonitoredSession has been created and not been closed.

  `should_stop` cannot tell: it raises what a coordinator was told.
  """
  return getattr(session, "_sess", None) is not None


def call_when_closed(session: Any, function: Callable[[], None]) -> None:
  """Has a function called when a MonitoredSession has closed for good.

  Hooks hear of an end without an error only. A coordinator is joined too early, and also
  where a session is lost and created anew.

  Args:
    session: a MonitoredSession.
    function: is called after its hooks have ended and its writes are done.
  """
  reference = weakref.ref(session)

  def close(*args: Any, **named: Any) -> None:
    closing: Any = reference()
    try:
      type(closing)._close_internal(closing, *args, **named)
    finally:
      function()

  session._close_internal = close


def tasks_in_step() -> int:
  """How many tasks of the current distribution strategy make each step together.

  A strategy has no public name for it. MultiWorkerMirroredStrategy has several.
  """
  extended = tf.distribute.get_strategy().extended
  return int(getattr(extended, "_num_workers", 1))


def token_queue() -> tf.Operation | None:
  """The queue whose tokens end the steps of a SyncReplicasOptimizer, in this graph.

  The optimizer is out of reach, and keeps the queue to itself. Its name is fixed.

  Returns:
    The op of the queue; None without such an optimizer.
  """
  try:
    return tf.compat.v1.get_default_graph().get_operation_by_name("sync_token_q")
  except KeyError:
    return None


def hurry(session: Any, seconds: float) -> None:
  """Shortens the time that threads of a MonitoredSession have when it closes.

  It is two minutes otherwise, and an Estimator cannot set it.

  Args:
    session: a MonitoredSession.
    seconds: for all threads together.
  """
  while session is not None:
    if isinstance(session, monitored_session._CoordinatedSession):
      session._stop_grace_period_secs = seconds
    session = getattr(session, "_sess", None)


def frame_of_training() -> types.FrameType | None:
  """The call of `Estimator.train` that calls a model_fn; None if no Estimator calls."""
  found = None
  frame: types.FrameType | None = sys._getframe(1)
  while frame is not None:
    # The class of compat.v1 is the base of the other one.
    if isinstance(frame.f_locals.get("self"), tf.compat.v1.estimator.Estimator):
      found = frame
    frame = frame.f_back
  return found


def wrap_evaluations(
  hooks: Iterable[Any], wrapper: Callable[[Callable[[int], None], int], None]
) -> None:
  """Has a function called in place of each evaluation of `train_and_evaluate`.

  On one machine, evaluations are run by a listener of the hook that saves. The listener
  has no public name.

  Args:
    hooks: all hooks of the session that trains. Where they are wrapped already, nothing
      changes.
    wrapper: is given the function that evaluates, and the global step for it.
  """
  for hook in hooks:
    if not isinstance(hook, tf.compat.v1.train.CheckpointSaverHook):
      continue
    for listener in hook._listeners:
      is_wrapped = "_evaluate" in vars(listener)
      if (
        isinstance(listener, training._NewCheckpointListenerForEvaluate)
        and not is_wrapped
      ):
        listener._evaluate = functools.partial(wrapper, listener._evaluate)
