"""Sessions and hooks: who calls a saver, and who waits for it."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from tensorflow.python.client import session as session_lib
from tensorflow.python.training import monitored_session

from estimator_ckpt.training.tensorflow_private.installed import tf

_CoordinatedSessionCreator = (
  monitored_session._MonitoredSession._CoordinatedSessionCreator
)


class SaveCall(NamedTuple):
  """Where a saver was called from.

  Attributes:
    coordinator: the coordinator of the MonitoredSession, or None outside of one.
    hook: the CheckpointSaverHook that saves, or None.
    is_last: whether a MonitoredSession is being closed, and training has ended.
  """

  coordinator: tf.train.Coordinator | None
  hook: tf.compat.v1.train.CheckpointSaverHook | None
  is_last: bool

  @property
  def has_listeners(self) -> bool:
    """Whether listeners hear of the checkpoint as soon as `save` returns."""
    return self.hook is not None and bool(self.hook._listeners)


def hooks_of_session() -> Sequence[Any]:
  """All hooks of the MonitoredSession that calls a hook's `after_create_session`.

  A hook does not hear of the others. So they are found in the callers' frames.

  Returns:
    The hooks; empty where no MonitoredSession calls.
  """
  frame: Any = sys._getframe(1)
  while frame is not None:
    owner = frame.f_locals.get("self")
    if isinstance(owner, _CoordinatedSessionCreator):
      return owner._hooks
    frame = frame.f_back
  return ()


def saves_with(hook: tf.compat.v1.train.CheckpointSaverHook) -> Any:
  """The saver of a hook; None if it uses the saver in the graph's collection."""
  return hook._saver if hook._scaffold is None else hook._scaffold.saver


def save_call() -> SaveCall:
  """Finds out who calls a saver.

  A Scaffold knows no hooks, and a saver gets the bare session. So a saver does not know
  when training ends, or who waits for the checkpoint. Its callers know, and are found in
  their frames. A MonitoredSession calls its hooks in `_CoordinatedSessionCreator`, in
  `_CoordinatedSession.run`, and in its own `_close_internal`.

  Returns:
    The coordinator and the hook, as far as there are any, and whether the session ends.
  """
  coordinator = hook = None
  is_last = False
  frame: Any = sys._getframe(1)
  while frame is not None and coordinator is None:
    owner = frame.f_locals.get("self")
    if hook is None and isinstance(owner, tf.compat.v1.train.CheckpointSaverHook):
      hook = owner
    elif isinstance(owner, monitored_session._CoordinatedSession):
      coordinator = owner._coord
    elif isinstance(owner, _CoordinatedSessionCreator):
      coordinator = owner.coord
    elif isinstance(owner, monitored_session._MonitoredSession):
      coordinator = owner._coordinated_creator.coord
      is_last = True
    frame = frame.f_back
  return SaveCall(coordinator, hook, is_last)


def save_with(
  hook: Any,
  replaced: tf.compat.v1.train.Scaffold,
  scaffold: tf.compat.v1.train.Scaffold,
) -> None:
  """Makes a CheckpointSaverHook of one Scaffold, or of its saver, save with another.

  A hook keeps the Scaffold and the saver that it was made with, and has no way to change
  them. A hook with a saver of its own is left alone.

  Args:
    hook: a hook of any class; only a CheckpointSaverHook is changed.
    replaced: the Scaffold that the hook may have.
    scaffold: the Scaffold that the hook gets instead.
  """
  if not isinstance(hook, tf.compat.v1.train.CheckpointSaverHook):
    return
  has_saver = hook._saver is not None and hook._saver is replaced.saver
  if has_saver or hook._scaffold is replaced:
    hook._saver, hook._scaffold = None, scaffold


def cached_summary_writer(directory: str) -> tf.compat.v1.summary.FileWriter | None:
  """The FileWriter that writes summaries of a directory, or None.

  The public `FileWriterCache.get` would make a FileWriter, and with it an event file.
  """
  return tf.compat.v1.summary.FileWriterCache._cache.get(directory)


class FeedingSession(session_lib.SessionInterface):
  """A session that feeds the same tensors in every run; `Saver.save` takes no feed.

  Args:
    session: runs everything.
    feed: values by tensor, which are added to the feed of each run.
  """

  def __init__(self, session: tf.compat.v1.Session, feed: Mapping[Any, Any]):
    self._session = session
    self._feed = feed

  @property
  def graph(self) -> tf.Graph:
    """The graph of the wrapped session."""
    return self._session.graph

  @property
  def sess_str(self) -> Any:
    """The target of the wrapped session."""
    return self._session.sess_str

  def run(self, fetches: Any, feed_dict: Any = None, **options: Any) -> Any:
    """Runs the wrapped session with the additional feed."""
    return self._session.run(fetches, {**(feed_dict or {}), **self._feed}, **options)

  def partial_run_setup(self, *args: Any, **options: Any) -> Any:
    """As the wrapped session's."""
    return self._session.partial_run_setup(*args, **options)

  def partial_run(self, *args: Any, **options: Any) -> Any:
    """As the wrapped session's."""
    return self._session.partial_run(*args, **options)
