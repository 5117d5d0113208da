"""Jobs that save when a signal tells them to end.

    a signal comes    Python's handler notes it, between two bytecodes of the main thread
    the step ends     a hook stops the session, and the hook that saves saves
    train() returns   the handlers that were there before are back

A job begins where a decorated model_fn is called, or where a MonitoredSession finalizes a
Scaffold. It ends when the session is closed.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import sys
import threading
import types
import weakref
from collections.abc import Iterable, Iterator
from typing import Any, Callable

from estimator_ckpt import errors
from estimator_ckpt.training import signal_exchange
from estimator_ckpt.training import tensorflow_private as tfp
from estimator_ckpt.training.signal_handlers import (
  SignalledJob,
  signal_name,
)
from estimator_ckpt.training.tensorflow_private import tf

_SECONDS_FOR_THREADS = 1
_logger = logging.getLogger(__name__)


def stopped_by_signal() -> int | None:
  """The signal that ended the last training with `save_on_signals=`.

      estimator.train(input_fn, max_steps=100000)
      if eckpt.stopped_by_signal():
        sys.exit(128 + eckpt.stopped_by_signal())  # A scheduler starts the job again.

  Returns:
    The signal's number; None if no signal came. In a worker, also the number of the signal
    that the chief got. The next training begins with None.
  """
  return None if _last is None else _last.number


class _EvaluationGivenUp(Exception):
  """An evaluation ended early; the listener that began it handles this."""


class _StoppingHook(tf.compat.v1.train.SessionRunHook):
  """Stops a session that trains when a signal has come.

  It comes after all other hooks, so those that save have saved when it ends.

  Args:
    job: the training.
    saver: saves where no other hook does.
    found: the session.
  """

  def __init__(self, job: SignalledJob, saver: Any, found: tfp.SessionInCreation):
    self._job = job
    self._saver = saver
    self._hooks = found.hooks
    self._session = weakref.ref(found.session)
    self._directory = None if found.is_worker else found.directory
    self._has_stepped = False
    self._exchange = signal_exchange.exchange_of_job(found.is_worker)

  def after_create_session(self, session: Any, coord: Any) -> None:
    """Stops before the first step if a signal came before."""
    number = self._job.number
    if self._exchange is not None:
      self._exchange.begin(session)
      if number is not None:
        self._exchange.tell(session, number)
      if not self._exchange.stops_alone:
        return
    if number is not None:
      self._job.is_saving = True
      coord.request_stop()

  def before_run(self, run_context: Any) -> Any:
    """Asks whether another task got a signal."""
    del run_context
    if self._exchange is None:
      return None
    return self._exchange.run_args(self._job.number)

  def after_run(self, run_context: Any, run_values: Any) -> None:
    """Stops after the step that has ended."""
    self._has_stepped = True
    number = self._job.number
    if self._exchange is not None:
      heard = self._exchange.heard(run_context.session, number, run_values.results)
      if heard is not None or not self._exchange.stops_alone:
        number = self._job.told = heard
      if number is not None:
        self._exchange.tell(run_context.session, number)
    if number is not None:
      self._job.is_saving = True
      run_context.request_stop()

  def end(self, session: Any) -> None:
    """Says where training ended; saves what it did if nothing else does."""
    if self._job.number is None:
      return
    name = signal_name(self._job.number)
    tensor = tf.compat.v1.train.get_global_step(session.graph)
    step = None if tensor is None else session.run(tensor)
    _logger.warning("%s: training ends at step %s.", name, step)
    is_saved = not self._has_stepped or _saves(self._hooks, self._saver)
    if self._directory is not None and not is_saved:
      self._saver.save(session, os.path.join(self._directory, "model.ckpt"), step)
    self._saver.wait_until_finished()
    self._job.is_saving, self._job.is_saved = False, True
    if isinstance(self._exchange, signal_exchange.TokenExchange):
      # A thread of the chief waits for gradients that do not come any more.
      tfp.hurry(self._session(), _SECONDS_FOR_THREADS)


class _EndingHook(tf.compat.v1.train.SessionRunHook):
  """Notes the end of the last step, before other hooks end and save.

  Args:
    job: the training.
  """

  def __init__(self, job: SignalledJob):
    self._job = job

  def end(self, session: Any) -> None:
    """Notes it."""
    del session
    self._job.is_saving = True


class _EvaluationHook(tf.compat.v1.train.SessionRunHook):
  """Ends an evaluation that a training runs, when a signal has come.

  Metrics of a part of the data would be wrong, so there are none. An evaluation that a
  user's own hook runs goes on to its end: an error would end training without a save.

  Args:
    job: the training.
  """

  def __init__(self, job: SignalledJob):
    self._job = job

  def after_create_session(self, session: Any, coord: Any) -> None:
    """Ends it before the first batch."""
    self._give_up()

  def after_run(self, run_context: Any, run_values: Any) -> None:
    """Ends it after a batch."""
    self._give_up()

  def _give_up(self) -> None:
    if self._job.may_give_up and self._job.received is not None:
      raise _EvaluationGivenUp


# The last job; it may be over.
_last: SignalledJob | None = None


@contextlib.contextmanager
def building(signals: tuple[int, ...]) -> Iterator[None]:
  """Handles signals from here on, while a model_fn builds a graph to train.

  Args:
    signals: numbers of signals; where there are none, nothing happens.

  Raises:
    OptionError: code outside of Python handles one of the signals.
  """
  # A distribution strategy calls a model_fn on threads of its own. Handlers wait for the
  # session then.
  if not signals or not _is_main_thread():
    yield
    return
  job = _begin(signals, tfp.frame_of_training())
  try:
    yield
  except BaseException:
    if not job.has_session:  # Else it is the training that runs this one.
      job.end()
    raise


def attach(saver: Any, signals: tuple[int, ...]) -> None:
  """Has the session that is being created stop when a signal comes.

  Args:
    saver: is being built by the session's Scaffold.
    signals: numbers of signals.

  Raises:
    OptionError: training does not run on the main thread, or code outside of Python
      handles one of the signals.
  """
  found = tfp.session_in_creation()
  own = (_StoppingHook, _EvaluationHook)  # This is a session that was lost.
  if found is None or any(isinstance(hook, own) for hook in found.hooks):
    return
  if not (found.is_worker or found.directory or _saves(found.hooks, saver)):
    if _last is not None and _last.is_alive(sys._getframe()):
      found.hooks.append(_EvaluationHook(_last))
    return
  if not _is_main_thread():
    raise errors.OptionError(
      "save_on_signals needs training on the main thread, since Python handles signals "
      f"there only, and this is {threading.current_thread().name!r}. Call train() on the "
      "main thread, or leave save_on_signals out."
    )
  job = _begin(signals, None)
  job.lasts_as_long_as(found.session)
  tfp.wrap_evaluations(found.hooks, functools.partial(_evaluate, job))
  found.hooks.insert(0, _EndingHook(job))
  found.hooks.append(_StoppingHook(job, saver, found))


def _evaluate(job: SignalledJob, evaluate: Callable[[int], None], step: int) -> None:
  """Takes the place of an evaluation of `train_and_evaluate`."""
  if job.number is not None:
    return
  job.may_give_up = True
  try:
    evaluate(step)
  except _EvaluationGivenUp:
    name = signal_name(job.received)
    _logger.warning("%s: the evaluation at step %d is given up.", name, step)
  finally:
    job.may_give_up = False


def _begin(signals: tuple[int, ...], frame: types.FrameType | None) -> SignalledJob:
  """Begins a job; within another one, that one goes on."""
  global _last
  if _last is not None:
    if _last.is_alive(sys._getframe()):
      _last.listen(signals)
      return _last
    _last.end()
  job = _last = SignalledJob(frame)
  try:
    job.listen(signals)
  except BaseException:
    job.end()
    raise
  return job


def _saves(hooks: Iterable[Any], saver: Any) -> bool:
  """Whether one of the hooks saves with a saver."""
  return any(
    isinstance(hook, tf.compat.v1.train.CheckpointSaverHook)
    and tfp.saves_with(hook) in (None, saver)
    for hook in hooks
  )


def _is_main_thread() -> bool:
  return threading.current_thread() is threading.main_thread()


def _forget() -> None:
  if _last is not None:
    _last.forget()


os.register_at_fork(after_in_child=_forget)
