"""Writing behind training: one write at a time, on a thread of its own."""

from __future__ import annotations

import threading
from typing import Callable


class Writer:
  """Runs writes one after the other.

  The caller of `start` has waited for the write before. The error of a write is kept, and
  the next `wait` raises it, in the training thread.
  """

  def __init__(self) -> None:
    self._thread: threading.Thread | None = None
    self._error: BaseException | None = None

  @property
  def is_busy(self) -> bool:
    """Whether a write is under way."""
    return self._thread is not None and self._thread.is_alive()

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

    # Python waits for a thread that is no daemon before the program ends.
    self._thread = threading.Thread(target=run, name="checkpoint-writer", daemon=False)
    self._thread.start()

  def join(self) -> BaseException | None:
    """Waits until nothing is being written.

    Returns:
      The error of the last write, if `wait` has not raised it yet; else None.
    """
    if self._thread is not None:
      self._thread.join()
      self._thread = None
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
