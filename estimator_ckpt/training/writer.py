"""Writing behind training: one write at a time, on a thread that does nothing else.

All writes have one thread, since TensorFlow keeps an object for good of each thread that
has used it (seen in 2.15).
"""

from __future__ import annotations

import concurrent.futures
import os
from typing import Any, Callable


class Writer:
  """Runs writes one after the other.

  The caller of `start` has waited for the write before. The error of a write is kept, and
  the next `wait` raises it, in the training thread.
  """

  def __init__(self) -> None:
    # Python waits for the thread before the program ends. A fork does not copy it.
    self._pool: concurrent.futures.ThreadPoolExecutor | None = None
    self._process = 0
    self._write: concurrent.futures.Future[Any] | None = None
    self._error: BaseException | None = None

  @property
  def is_busy(self) -> bool:
    """Whether a write is under way."""
    return self._write is not None and not self._write.done()

  def start(
    self, write: Callable[[], None], failed: Callable[[BaseException], None]
  ) -> None:
    """Starts a write; must not be called while one is under way.

    Args:
      write: is run on the writing thread.
      failed: is called on the writing thread with the error of `write`.
    """

    def run() -> None:
      try:
        write()
      except BaseException as error:
        self._error = error
        failed(error)

    if self._pool is None or self._process != os.getpid():
      self._pool = concurrent.futures.ThreadPoolExecutor(1, "checkpoint-writer")
      self._process = os.getpid()
    self._write = self._pool.submit(run)

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
