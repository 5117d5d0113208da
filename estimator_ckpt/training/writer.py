"""Writing behind training: one write at a time, on a thread of its own."""

from __future__ import annotations

import threading
from typing import Callable


class Writer:
  """Runs writes one after the other.

  Whoever starts a write waits for the one before. A write that fails is kept, and
  raised by the next `wait`, which is called in the training thread.
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
    """Starts a write; none is under way.

    Args:
      write: writes.
      failed: is called on the writing thread with what `write` raised.
    """

    def run() -> None:
      try:
        write()
      except BaseException as error:
        self._error = error
        failed(error)

    # A program that ends waits for it, as it would for a save.
    self._thread = threading.Thread(target=run, name="checkpoint-writer", daemon=False)
    self._thread.start()

  def join(self) -> BaseException | None:
    """Waits until nothing is being written.

    Returns:
      What the last write raised, if nobody has raised it since.
    """
    if self._thread is not None:
      self._thread.join()
      self._thread = None
    return self._error

  def wait(self) -> None:
    """Waits until nothing is being written, and raises what the last write raised."""
    error = self.join()
    self._error = None
    if error is not None:
      raise error
