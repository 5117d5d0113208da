"""Kills training jobs at random times, again and again, and looks at what is left."""

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
  """What became of a job that was killed many times.

  Attributes:
    checkpoint_format: what it saved.
    kills: how many times it was killed.
    during_start: of these, before its first step.
    steps: the last step that it did.
    most_lost: the most steps that a kill cost.
    with_leftovers: after how many kills files of an interrupted save lay about.
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
  """Starts a job, kills it at a random time, and so on; fails if anything is lost.

  Each start compares all variables with what the step says; see `jobs.Progress`.

  Args:
    launcher: starts the job.
    directory: where its model_dir is made.
    checkpoint_format: what it saves.
    kills: how many times it is killed.
    seed: of the times.

  Returns:
    What happened.
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
  """Checks all that a model_dir's state files name; returns the latest step, 0 for none."""
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
