"""Training jobs that are told to end; tests/stress/signal_stress.py signals 100 times."""

from __future__ import annotations

import signal
import time

import pytest
import tensorflow as tf

from tests.nothing_lost import jobs, killing, signalling


@pytest.mark.parametrize("checkpoint_format", ["tf1", "dual", "asynchronous"])
def test_no_step_that_has_ended_is_lost(checkpoint_format, launcher, scratch):
  done = signalling.signal_again_and_again(
    launcher, scratch, checkpoint_format, 4, seed=3
  )
  assert done.signals == 4
  assert done.steps > 0


def test_a_second_signal_ends_a_job_whose_input_stands_still(launcher, scratch):
  model_dir, progress = str(scratch / "job"), scratch / "progress"
  task = launcher.start(
    "standing",
    "tests.nothing_lost.jobs:train_on_input_that_stands_still",
    model_dir=model_dir,
    progress=str(progress),
  )
  task.wait_for(lambda: (jobs.read_progress(str(progress)) or (0, 0))[1] >= 2)
  task.wait_for(lambda: tf.train.latest_checkpoint(model_dir) is not None)
  task.wait_for(lambda: "model.ckpt-3" in tf.train.latest_checkpoint(model_dir))
  time.sleep(1)  # The hooks after the one that saves; then the next step begins.
  # A scheduler may signal a process and its group. These two count as one.
  launcher.ask(signal=signal.SIGTERM, pid=task.pid)
  launcher.ask(signal=signal.SIGTERM, pid=task.pid)
  task.wait_for(lambda: "SIGTERM: training saves and ends when" in task.output)
  time.sleep(1.5)
  assert task.is_running
  launcher.ask(signal=signal.SIGTERM, pid=task.pid)
  assert task.status(10) == 128 + signal.SIGTERM
  assert "SIGTERM again: the process ends at once, without a save." in task.output
  assert killing.check_directory(model_dir) == 3


def test_a_second_signal_ends_a_job_that_has_saved_and_cannot_close(launcher, scratch):
  task = launcher.start(
    "closing",
    "tests.nothing_lost.jobs:train_on_input_that_stands_still",
    model_dir=str(scratch / "job"),
    progress=str(scratch / "progress"),
    has_signal=True,
  )
  task.wait_for(lambda: "SIGTERM: training ends at step 3." in task.output)
  time.sleep(1.5)
  assert task.is_running
  launcher.ask(signal=signal.SIGTERM, pid=task.pid)
  assert task.status(10) == 128 + signal.SIGTERM
  assert "SIGTERM again: the process ends at once, after its save." in task.output
  assert killing.check_directory(scratch / "job") == 3


def test_a_second_signal_does_not_disturb_the_end(launcher, scratch):
  progress = scratch / "progress"
  task = launcher.start(
    "ending",
    "tests.nothing_lost.jobs:train_until_signal",
    model_dir=str(scratch / "job"),
    checkpoint_format="dual",
    progress=str(progress),
    seconds_at_end=2,
  )
  task.wait_for(lambda: jobs.read_progress(str(progress)))
  launcher.ask(signal=signal.SIGTERM, pid=task.pid)
  task.wait_for(lambda: "The end begins." in task.output)
  time.sleep(1.2)
  launcher.ask(signal=signal.SIGTERM, pid=task.pid)
  assert task.wait() == signal.SIGTERM
  _, last = jobs.read_progress(str(progress))
  assert killing.check_directory(scratch / "job") >= last


def test_a_mirrored_strategy_stops_at_one_step(launcher, scratch):
  progress = scratch / "progress"
  task = launcher.start(
    "mirrored",
    "tests.nothing_lost.jobs:train_mirrored",
    model_dir=str(scratch / "job"),
    progress=str(progress),
  )
  task.wait_for(progress.exists)
  launcher.ask(signal=signal.SIGTERM, pid=task.pid)
  assert task.wait() == signal.SIGTERM
  step = tf.train.load_variable(str(scratch / "job"), "global_step")
  assert step >= int(progress.read_text())
