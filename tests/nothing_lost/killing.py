"""Kills training jobs at random times, again and again, and checks the files left."""

from __future__ import annotations

import dataclasses
import os
import pathlib
import random
import time

from estimator_ckpt.checkpoint import state_file as state_lib
from estimator_ckpt.checkpoint.verify import verify
from tests.cluster import processes
from tests.nothing_lost import jobs, leftovers, values

SAVE_STEPS = 5


def most_lost(checkpoint_format: str) -> int:
  """How many steps a job may go back at most when it is killed.

  A save that is written while training goes on counts once it is whole. The next save waits
  for it, so that training is never further ahead than a second interval.
  """
  return SAVE_STEPS * (2 if checkpoint_format == "asynchronous" else 1)


_TRAIN = "tests.nothing_lost.jobs:train"


@dataclasses.dataclass
class Killed:
  """The results of a job that was killed many times.

  Attributes:
    checkpoint_format: the format that the job saved.
    kills: how many times it was killed.
    during_start: number of kills before the first step.
    steps: the last step that the job made.
    most_lost: the largest number of steps that a kill cost.
    with_leftovers: number of kills that left files of an interrupted save.
  """

  checkpoint_format: str
  kills: int = 0
  during_start: int = 0
  steps: int = 0
  most_lost: int = 0
  with_leftovers: int = 0


def kill_again_and_again(
  launcher: processes.Launcher,
  directory: pathlib.Path,
  checkpoint_format: str,
  kills: int,
  seed: int,
) -> Killed:
  """Starts and kills a job at random times; fails if any step or value is lost.

  Each start compares all variables with the step; see `jobs.Progress`.

  Args:
    launcher: starts the job's processes.
    directory: where its model_dir is made.
    checkpoint_format: the format that the job saves.
    kills: number of kills.
    seed: seed of the random times.

  Returns:
    The results.
  """
  times = random.Random(seed)
  model_dir = directory / checkpoint_format
  progress = directory / f"{checkpoint_format}.progress"
  done = Killed(checkpoint_format)
  arguments = {
    "model_dir": str(model_dir),
    "checkpoint_format": checkpoint_format,
    "save_steps": SAVE_STEPS,
    "progress": str(progress),
  }
  last = saved = 0
  for _ in range(kills):
    progress.unlink(missing_ok=True)
    task = launcher.start(
      checkpoint_format, _TRAIN, max_steps=10**9, seconds_a_step=0.001, **arguments
    )
    if times.random() < 0.8:
      task.wait_for(lambda: jobs.read_progress(str(progress)))
    time.sleep(times.uniform(0, 0.8))
    task.kill()
    seen = jobs.read_progress(str(progress))
    done.kills += 1
    if seen is None:
      done.during_start += 1
    else:
      start, last = seen
      assert start == saved, f"it began at {start}, and {saved} was saved"
    saved = check_directory(model_dir)
    done.most_lost = max(done.most_lost, last - saved)
    assert done.most_lost <= most_lost(checkpoint_format), (
      f"at step {last}, and {saved} is the latest"
    )
    done.with_leftovers += bool(leftovers.unlisted(model_dir))
    done.steps = max(done.steps, last)
  launcher.start(checkpoint_format, _TRAIN, max_steps=saved + 20, **arguments).wait()
  assert check_directory(model_dir) == saved + 20
  assert leftovers.unlisted(model_dir) == []
  return done


def check_directory(model_dir: str | os.PathLike[str]) -> int:
  """Checks all checkpoints that the state files name; returns the latest step, or 0."""
  latest = 0
  for directory in (os.path.join(model_dir, "tf2"), os.fspath(model_dir)):
    current = state_lib.read_state(directory)
    if current is None:
      continue
    latest = values.check_checkpoint(current.model_checkpoint_path)
    assert latest == int(current.model_checkpoint_path.rpartition("-")[2])
    report = verify(current.model_checkpoint_path)
    assert report.ok, report.findings
  return latest
