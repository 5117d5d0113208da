"""Writing behind training: one write at a time, on a thread that does nothing else.

A write that nobody waits for takes the cores that training leaves: its thread has a low
priority. All writes have one thread, or two, since TensorFlow keeps an object for good of
each thread that has used it (seen in 2.15).
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import os
import sys
from typing import Any, Callable

# Steps of training beside a write of 1 GB lose a third of what they lose at the priority
# of training. At 19 they lose no less, and another busy program could hold the write up.
_NICENESS = 10


class Writer:
  """Runs writes one after the other.

  The caller of `start` has waited for the write before. The error of a write is kept, and
  the next `wait` raises it, in the training thread.
  """

  def __init__(self) -> None:
    # By whether somebody waits for the write. Python waits for the threads before the
    # program ends. A fork does not copy them.
    self._pools: dict[bool, concurrent.futures.ThreadPoolExecutor] = {}
    self._process = 0
    self._write: concurrent.futures.Future[Any] | None = None
    self._error: BaseException | None = None

  @property
  def is_busy(self) -> bool:
    """Whether a write is under way."""
    return self._write is not None and not self._write.done()

  def start(
    self,
    write: Callable[[], None],
    failed: Callable[[BaseException], None],
    is_awaited: bool = False,
  ) -> None:
    """Starts a write; must not be called while one is under way.

    Args:
      write: is run on the writing thread.
      failed: is called on the writing thread with the error of `write`.
      is_awaited: whether training stands still until the write has ended. Then the write
        has the priority of training.
    """

    def run() -> None:
      try:
        write()
      except BaseException as error:
        self._error = error
        failed(error)

    if self._process != os.getpid():
      self._pools, self._process = {}, os.getpid()
    if is_awaited not in self._pools:
      self._pools[is_awaited] = concurrent.futures.ThreadPoolExecutor(
        1, "checkpoint-writer", None if is_awaited else _lower_priority
      )
    self._write = self._pools[is_awaited].submit(run)

  def join(self) -> BaseException | None:
    """Waits until nothing is being written.

    Returns:
      The error of the last write, if `wait` has not raised it yet; else None.
    """
    if self._write is not None:
      concurrent.futures.wait([self._write])
      self._write = None
    return self._error

  def wait(self) -> None:
    """Waits until nothing is being written, and raises the error of the last write."""
    error = self.join()
    self.forget()
    if error is not None:
      raise error

  def forget(self) -> None:
    """Forgets the error of the last write, so that `wait` does not raise it."""
    self._error = None


def _lower_priority() -> None:
  """Lowers the priority of this thread, on Linux, where each thread has its own."""
  if sys.platform == "linux":
    with contextlib.suppress(OSError):  # A sandbox may refuse the call.
      os.nice(_NICENESS)
