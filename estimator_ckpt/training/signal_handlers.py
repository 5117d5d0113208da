"""Python handlers of signals, while a training lasts that signals may end.

A Python handler does not run inside `session.run`. Where input stands still, only the
thread at the other end of `signal.set_wakeup_fd` hears of a signal. It ends the process
when a second one comes before the step has ended. Input that stands still can also keep a
session from closing, so a second signal ends the process after the save, too.

A job that fails before it has a session leaves its handlers. They find out that it is
over, and act as those before.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import sys
import threading
import time
import types
import weakref
from collections.abc import Iterable
from typing import Any

from estimator_ckpt import errors
from estimator_ckpt.training import tensorflow_private as tfp

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


def signal_name(number: int | None) -> str:
  """The name of a signal, such as "SIGTERM", for messages."""
  return str(number) if number is None else signal.Signals(number).name


class SignalledJob:
  """A training that a signal may end; holds the handlers while it lasts.

  Args:
    frame: the call of `Estimator.train`, or None.

  Attributes:
    received: the first signal that came.
    told: the signal of another task of the cluster, for which this one ends too.
    is_saving: whether the last step has ended, and is not saved yet. Nothing disturbs that.
    is_saved: whether it is saved, so that the process may end.
    may_give_up: whether an evaluation runs that may end before its end.
  """

  def __init__(self, frame: types.FrameType | None):
    self.received: int | None = None
    self.told: int | None = None
    self.is_saving = False
    self.is_saved = False
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
          f"{signal_name(number)}, and its handler could not be put back. Choose another "
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
        if number not in self._replaced:
          continue
        if first is None:
          first = time.monotonic()
          if not self.is_saving:
            _logger.warning(
              "%s: training saves and ends when this step has ended. Another one ends the "
              "process at once, without a save.",
              signal_name(number),
            )
        elif time.monotonic() - first >= _AT_ONCE and not self.is_saving:
          save = "after its save" if self.is_saved else "without a save"
          # The main thread may hold the locks of logging for good.
          text = f"{signal_name(number)} again: the process ends at once, {save}.\n"
          os.write(2, text.encode())
          os._exit(128 + number)
