"""Jobs that save when a signal tells them to end.

    a signal comes    Python's handler notes it, between two bytecodes of the main thread
    the step ends     a hook stops the session, and the hook that saves saves
    train() returns   the handlers that were there before are back

A Python handler does not run inside `session.run`. Where input stands still, only the
thread at the other end of `signal.set_wakeup_fd` hears of a signal. It ends the process
when a second one comes before the step has ended.

A job begins where a decorated model_fn is called, or where a MonitoredSession finalizes a
Scaffold. It ends when the session is closed. A job that fails before it has a session
leaves its handlers; they find out that it is over, and act as those before.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import signal
import sys
import threading
import time
import types
import weakref
from collections.abc import Iterable, Iterator
from typing import Any, Callable

from estimator_ckpt import errors
from estimator_ckpt.training import signal_exchange
from estimator_ckpt.training import tensorflow_private as tfp
from estimator_ckpt.training.tensorflow_private import tf

_logger = logging.getLogger(__name__)
# A scheduler may signal a process and its group: two signals at once are one.
_AT_ONCE = 1.0
_END_OF_WATCH = 0  # No signal has this number.
# The system lets no process handle the first two. After the others, memory or code is
# damaged, and a Python handler may never run.
_REFUSED = frozenset(
  ["SIGKILL", "SIGSTOP", "SIGABRT", "SIGBUS", "SIGFPE", "SIGILL", "SIGSEGV"]
)


def signal_numbers(signals: Any) -> tuple[int, ...]:
  """The numbers of the signals that `save_on_signals` names.

  Args:
    signals: names such as "SIGTERM", numbers, or members of `signal.Signals`.

  Returns:
    The numbers, each once.

  Raises:
    OptionError: a single value in place of several, an unknown signal, or one that
      cannot be handled.
  """
  if isinstance(signals, (str, int)):
    raise errors.OptionError(
      f"save_on_signals takes several signals, and got {signals!r}. Write "
      f"save_on_signals=({signals!r},)."
    )
  names = {each.name for each in signal.Signals}
  numbers: dict[int, None] = {}
  for each in signals or ():
    try:
      found = signal.Signals[each] if isinstance(each, str) else signal.Signals(each)
    except (KeyError, ValueError):
      near = errors.nearest(str(each).upper(), names)
      hint = f" Did you mean {near!r}?" if near else ""
      raise errors.OptionError(
        f"save_on_signals: this system has no signal {each!r}.{hint}"
      ) from None
    if found.name in _REFUSED:
      raise errors.OptionError(
        f"save_on_signals: a job cannot save after {found.name}. Schedulers send SIGTERM; "
        "some can send SIGUSR1 or SIGUSR2 instead."
      )
    numbers[int(found)] = None
  return tuple(numbers)


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


class _Job:
  """A training that a signal may end; holds the handlers while it lasts.

  Args:
    frame: the call of `Estimator.train`, or None.

  Attributes:
    received: the first signal that came.
    told: the signal of another task of the cluster, for which this one ends too.
    is_stopping: whether the last step has ended, so that a second signal means nothing.
    may_give_up: whether an evaluation runs that may end before its end.
  """

  def __init__(self, frame: types.FrameType | None):
    self.received: int | None = None
    self.told: int | None = None
    self.is_stopping = False
    self.may_give_up = False
    self._frame = frame
    self._session: weakref.ReferenceType[Any] | None = None
    self._ended = False
    self._process = os.getpid()
    self._handler = self._handle
    self._replaced: dict[int, Any] = {}
    self._pipe = os.pipe()
    os.set_blocking(self._pipe[1], False)
    self._fd_before = signal.set_wakeup_fd(self._pipe[1], warn_on_full_buffer=False)
    watch = threading.Thread(target=self._watch, name="signal-watch", daemon=True)
    watch.start()

  @property
  def number(self) -> int | None:
    """The signal for which the job ends, or None."""
    return self.received if self.received is not None else self.told

  def listen(self, signals: Iterable[int]) -> None:
    """Handles further signals.

    Args:
      signals: numbers of signals.

    Raises:
      OptionError: code outside of Python handles one of them.
    """
    for number in signals:
      if number in self._replaced:
        continue
      before = signal.getsignal(number)
      if before is None:
        raise errors.OptionError(
          f"save_on_signals: a library that is not written in Python handles "
          f"{_name(number)}, and its handler could not be put back. Choose another "
          "signal."
        )
      self._replaced[number] = before
      signal.signal(number, self._handler)

  def lasts_as_long_as(self, session: Any) -> None:
    """Ties the job to a MonitoredSession that is being created."""
    if self._session is None:
      self._session = weakref.ref(session)
      tfp.call_when_closed(session, self.end)

  @property
  def has_session(self) -> bool:
    """Whether its session has been created, or is being created."""
    return self._session is not None

  def is_alive(self, frame: types.FrameType | None) -> bool:
    """Whether training goes on.

    Args:
      frame: the innermost call of the main thread.
    """
    if self._ended or self._process != os.getpid():
      return False
    session = None if self._session is None else self._session()
    if session is not None and tfp.is_open(session):
      return True
    # It is building its graph, or creating its session.
    while frame is not None:
      creates = session is not None and frame.f_locals.get("self") is session
      if creates or frame is self._frame:
        return True
      frame = frame.f_back
    return False

  def end(self) -> None:
    """Puts the handlers back, and calls the one that the signal was meant for."""
    if self._ended:
      return
    self._ended = True
    self._frame = None
    # Elsewhere the handlers stay, and act as those before.
    if threading.current_thread() is threading.main_thread():
      self._put_back()
      if self.received is not None:
        before = self._replaced[self.received]
        # Python's own handler of SIGINT is a default one.
        if callable(before) and before is not signal.default_int_handler:
          before(self.received, sys._getframe())

  def forget(self) -> None:
    """Puts the handlers back in a forked process; the job goes on in the other one."""
    if not self._ended:
      self._ended = True
      self._frame = None
      self._put_back()
      for fd in self._pipe:
        os.close(fd)

  def _put_back(self) -> None:
    # Only what nobody else has replaced meanwhile.
    for number, before in self._replaced.items():
      if signal.getsignal(number) == self._handler:
        signal.signal(number, before)
    found = signal.set_wakeup_fd(self._fd_before)
    if found != self._pipe[1]:
      signal.set_wakeup_fd(found)
    if self._process == os.getpid():
      os.write(self._pipe[1], bytes([_END_OF_WATCH]))

  def _handle(self, number: int, frame: types.FrameType | None) -> None:
    """Notes a signal. Python runs it on the main thread."""
    if self.is_alive(frame):
      if self.received is None:
        self.received = number
      return
    # The job failed before it had a session, was closed on another thread, or is the
    # parent of this process.
    self._ended = True
    self._frame = None
    before = self._replaced[number]
    self._put_back()
    if callable(before):
      before(number, frame)
    elif before == signal.SIG_DFL:
      os.kill(os.getpid(), number)

  def _watch(self) -> None:
    """Hears of signals while the main thread is in TensorFlow; runs on its own thread."""
    first = None
    while True:
      for number in os.read(self._pipe[0], 4096):
        if number == _END_OF_WATCH:
          for fd in self._pipe:
            os.close(fd)
          return
        if self._fd_before != -1:
          with contextlib.suppress(OSError):
            os.write(self._fd_before, bytes([number]))
        if number not in self._replaced or self.is_stopping:
          continue
        if first is None:
          first = time.monotonic()
          _logger.warning(
            "%s: training saves and ends when this step has ended. Another one ends the "
            "process at once, without a save.",
            _name(number),
          )
        elif time.monotonic() - first >= _AT_ONCE:
          # The main thread may hold the locks of logging for good.
          text = f"{_name(number)} again: the process ends at once, without a save.\n"
          os.write(2, text.encode())
          os._exit(128 + number)


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

  def __init__(self, job: _Job, saver: Any, found: tfp.SessionInCreation):
    self._job = job
    self._saver = saver
    self._hooks = found.hooks
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
      self._job.is_stopping = True
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
      heard = self._exchange.heard(run_values.results)
      if heard is not None or not self._exchange.stops_alone:
        number = self._job.told = heard
      if number is not None:
        self._exchange.tell(run_context.session, number)
    if number is not None:
      self._job.is_stopping = True
      run_context.request_stop()

  def end(self, session: Any) -> None:
    """Says where training ended; saves what it did if nothing else does."""
    if self._job.number is None:
      return
    name = _name(self._job.number)
    tensor = tf.compat.v1.train.get_global_step(session.graph)
    step = None if tensor is None else session.run(tensor)
    _logger.warning("%s: training ends at step %s.", name, step)
    is_saved = not self._has_stepped or _saves(self._hooks, self._saver)
    if self._directory is not None and not is_saved:
      self._saver.save(session, os.path.join(self._directory, "model.ckpt"), step)
      self._saver.wait_until_finished()


class _EndingHook(tf.compat.v1.train.SessionRunHook):
  """Notes the end of the last step, before other hooks end and save.

  Args:
    job: the training.
  """

  def __init__(self, job: _Job):
    self._job = job

  def end(self, session: Any) -> None:
    """Notes it."""
    del session
    self._job.is_stopping = True


class _EvaluationHook(tf.compat.v1.train.SessionRunHook):
  """Ends an evaluation that a training runs, when a signal has come.

  Metrics of a part of the data would be wrong, so there are none. An evaluation that a
  user's own hook runs goes on to its end: an error would end training without a save.

  Args:
    job: the training.
  """

  def __init__(self, job: _Job):
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
_last: _Job | None = None


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


def _evaluate(job: _Job, evaluate: Callable[[int], None], step: int) -> None:
  """Takes the place of an evaluation of `train_and_evaluate`."""
  if job.number is not None:
    return
  job.may_give_up = True
  try:
    evaluate(step)
  except _EvaluationGivenUp:
    name = _name(job.received)
    _logger.warning("%s: the evaluation at step %d is given up.", name, step)
  finally:
    job.may_give_up = False


def _begin(signals: tuple[int, ...], frame: types.FrameType | None) -> _Job:
  """Begins a job; within another one, that one goes on."""
  global _last
  if _last is not None:
    if _last.is_alive(sys._getframe()):
      _last.listen(signals)
      return _last
    _last.end()
  job = _last = _Job(frame)
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


def _name(number: int | None) -> str:
  return str(number) if number is None else signal.Signals(number).name


def _forget() -> None:
  if _last is not None:
    _last.forget()


os.register_at_fork(after_in_child=_forget)
