"""Sends SIGTERM to training jobs at random times, again and again."""

from __future__ import annotations

import dataclasses
import pathlib
import signal
import time

from tests.cluster import processes
from tests.nothing_lost import interrupting, killing, leftovers


@dataclasses.dataclass
class Signalled:
  """The results of a job that was signalled many times.

  Attributes:
    checkpoint_format: the format that the job saved.
    signals: how many signals were sent.
    during_start: signals before training had begun, which ended the process.
    no_step: signals after that and before the first step.
    steps: the last step that the job made.
    slowest: the longest time from a signal to the end of the process, in seconds.
  """

  checkpoint_format: str
  signals: int = 0
  during_start: int = 0
  no_step: int = 0
  steps: int = 0
  slowest: float = 0.0


def signal_again_and_again(
  launcher: processes.Launcher,
  directory: pathlib.Path,
  checkpoint_format: str,
  signals: int,
  seed: int,
) -> Signalled:
  """Starts and signals a job at random times; fails if a step that has ended is lost.

  Args:
    launcher: starts the job's processes.
    directory: where its model_dir is made.
    checkpoint_format: the format that the job saves.
    signals: number of signals.
    seed: seed of the random times.

  Returns:
    The results.
  """
  job = interrupting.InterruptedJob(launcher, directory, checkpoint_format, seed)
  done = Signalled(checkpoint_format)
  saved = 0
  for number in range(signals):
    seconds = job.times.choice([0, 0.001, 0.05])
    task = job.start("train_until_signal", seconds_a_step=seconds)
    job.let_run(task, trains=0.7 if number else 1)
    start = time.monotonic()
    launcher.ask(signal=signal.SIGTERM, pid=task.pid)
    status = task.status()
    done.slowest = max(done.slowest, time.monotonic() - start)
    done.signals += 1
    seen = job.progress()
    before, saved = saved, killing.check_directory(job.model_dir)
    assert saved >= before
    if status == -signal.SIGTERM:
      assert seen is None, f"the signal ended the process at step {seen}"
      done.during_start += 1
      continue
    assert task.wait() == signal.SIGTERM
    assert seen is not None
    began, last = seen
    # The last step that a hook has seen is followed by one more at most.
    assert began == before, f"it began at {began}, and {before} was saved"
    assert last <= saved <= last + 1, f"at step {last}, and {saved} is the latest"
    assert leftovers.unlisted(job.model_dir) == []
    done.no_step += saved == before
    done.steps = saved
  return done
