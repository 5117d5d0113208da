"""Kills training jobs at random times, again and again, and checks the files left."""

from __future__ import annotations

import dataclasses
import os
import pathlib

from estimator_ckpt.checkpoint import state_file as state_lib
from estimator_ckpt.checkpoint.verify import verify
from tests.cluster import processes
from tests.nothing_lost import interrupting, leftovers, values

SAVE_STEPS = 5


def most_lost(checkpoint_format: str) -> int:
  """How many steps a job may go back at most when it is killed.

  A save that is written while training goes on counts once it is whole. The next save waits
  for it, so that training is never further ahead than a second interval.
  """
  return SAVE_STEPS * (2 if checkpoint_format == "asynchronous" else 1)


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
  job = interrupting.InterruptedJob(launcher, directory, checkpoint_format, seed)
  done = Killed(checkpoint_format)
  last = saved = 0
  for _ in range(kills):
    task = job.start(
      "train", max_steps=10**9, save_steps=SAVE_STEPS, seconds_a_step=0.001
    )
    job.let_run(task, trains=0.8)
    task.kill()
    seen = job.progress()
    done.kills += 1
    if seen is None:
      done.during_start += 1
    else:
      start, last = seen
      assert start == saved, f"it began at {start}, and {saved} was saved"
    saved = check_directory(job.model_dir)
    done.most_lost = max(done.most_lost, last - saved)
    assert done.most_lost <= most_lost(checkpoint_format), (
      f"at step {last}, and {saved} is the latest"
    )
    done.with_leftovers += bool(leftovers.unlisted(job.model_dir))
    done.steps = max(done.steps, last)
  job.start("train", max_steps=saved + 20, save_steps=SAVE_STEPS).wait()
  assert check_directory(job.model_dir) == saved + 20
  assert leftovers.unlisted(job.model_dir) == []
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
