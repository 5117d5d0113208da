"""A job that is interrupted at random times, again and again."""

from __future__ import annotations

import contextlib
import pathlib
import random
import time
from typing import Any

from tests.cluster import processes
from tests.nothing_lost import jobs


class InterruptedJob:
  """A job of a format, whose processes are started one after the other.

  Attributes:
    model_dir: its model_dir.
    times: the random numbers.

  Args:
    launcher: starts the job's processes.
    directory: where its model_dir is made.
    checkpoint_format: the format that the job saves.
    seed: seed of the random numbers.
  """

  def __init__(
    self,
    launcher: processes.Launcher,
    directory: pathlib.Path,
    checkpoint_format: str,
    seed: int,
  ):
    self.model_dir = directory / checkpoint_format
    self.times = random.Random(seed)
    self._launcher = launcher
    self._format = checkpoint_format
    self._progress = directory / f"{checkpoint_format}.progress"

  def start(self, function: str, **arguments: Any) -> processes.Task:
    """Starts a function of `jobs`, with further arguments."""
    with contextlib.suppress(FileNotFoundError):
      self._progress.unlink()
    return self._launcher.start(
      self._format,
      f"tests.nothing_lost.jobs:{function}",
      model_dir=str(self.model_dir),
      checkpoint_format=self._format,
      progress=str(self._progress),
      **arguments,
    )

  def let_run(self, task: processes.Task, trains: float) -> None:
    """Returns at a random time, with a probability only when training has begun."""
    if self.times.random() < trains:
      task.wait_for(self.progress)
    time.sleep(self.times.uniform(0, 0.8))

  def progress(self) -> tuple[int, int] | None:
    """The step that training began at, and the last one; None before it began."""
    return jobs.read_progress(str(self._progress))
