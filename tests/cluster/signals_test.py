"""A task of a cluster is told to end by a signal."""

from __future__ import annotations

import json
import signal
import time

import pytest
import tensorflow as tf

import estimator_ckpt as eckpt
from estimator_ckpt.examples import cluster as example
from tests import models


def _arguments(model_dir):
  return {
    "model_dir": str(model_dir),
    "checkpoint_format": "dual",
    "save_steps": 10**6,
    "seconds_a_step": 0.02,
  }


def _step_on_disk(model_dir):
  return int(tf.train.load_variable(str(model_dir), "global_step"))


def test_a_chiefs_signal_saves_and_ends_the_job(new_cluster, launcher, tmp_path):
  arguments = _arguments(tmp_path)
  cluster = new_cluster(num_ps=1, num_workers=1)
  cluster.start_servers(steps=1, **arguments)
  # The second chief takes back what the first left on the server.
  for arguments["asynchronous"] in (False, True):
    before = models.steps_on_disk(tmp_path)
    tasks = []
    for name in ("chief/0", "worker/0"):
      task = cluster.start(name, "train_until_signal", **arguments)
      task.wait_for(lambda task=task: "session 1 has started" in task.output)
      tasks.append(task)
    time.sleep(0.5)
    assert all(task.is_running for task in tasks)
    launcher.ask(signal=signal.SIGTERM, pid=tasks[0].pid)
    assert [task.wait() for task in tasks] == [signal.SIGTERM] * 2
    assert eckpt.verify(str(tmp_path)).ok
    assert _step_on_disk(tmp_path) > max([0, *before])


def test_a_workers_signal_ends_that_worker(new_cluster, launcher, tmp_path):
  arguments = _arguments(tmp_path)
  cluster = new_cluster(num_ps=1, num_workers=1)
  cluster.start_servers(steps=1, **arguments)
  chief = cluster.start("chief/0", "train_until_signal", **arguments)
  worker = cluster.start("worker/0", "train_until_signal", **arguments)
  for task in (chief, worker):
    task.wait_for(lambda task=task: "session 1 has started" in task.output)
  launcher.ask(signal=signal.SIGTERM, pid=worker.pid)
  assert worker.wait() == signal.SIGTERM
  assert chief.is_running
  # The worker saves nothing.
  assert models.steps_on_disk(tmp_path) == [0]
  launcher.ask(signal=signal.SIGTERM, pid=chief.pid)
  assert chief.wait() == signal.SIGTERM
  assert _step_on_disk(tmp_path) > 0


@pytest.mark.parametrize("signalled", ["chief/0", "worker/0"])
def test_workers_that_step_together_end_at_one_step(launcher, tmp_path, signalled):
  configs = example.tf_configs(0, 1)
  del configs["evaluator/0"]
  tasks = {
    name: launcher.start(
      name,
      "tests.cluster.strategies:run_until_signal",
      {"TF_CONFIG": json.dumps(config)},
      model_dir=str(tmp_path / "job"),
      steps=10**6,
    )
    for name, config in configs.items()
  }
  try:
    for task in tasks.values():
      task.wait_for(lambda task=task: "step 3\n" in task.output)
    launcher.ask(signal=signal.SIGTERM, pid=tasks[signalled].pid)
    ended = {task.wait() for task in tasks.values()}
  finally:
    for task in tasks.values():
      task.kill()
  assert ended == {(signal.SIGTERM, _step_on_disk(tmp_path / "job"))}


def test_replicas_that_wait_for_each_other_end_at_one_step(
  new_cluster, launcher, tmp_path
):
  arguments = {**_arguments(tmp_path), "function": "train_synchronously_until_signal"}
  cluster = new_cluster(num_ps=2, num_workers=1)
  names = ("chief/0", "worker/0")
  before = 0
  for signalled in names:
    # The optimizer has closed its queue on the server when a chief ends.
    cluster.stop()
    cluster.start_servers(steps=1, **_arguments(tmp_path))
    tasks = [cluster.start(name, **arguments) for name in names]
    for task in tasks:
      begun_at = f"step {before + 3}\n"
      task.wait_for(lambda task=task, begun_at=begun_at: begun_at in task.output)
    launcher.ask(signal=signal.SIGTERM, pid=cluster.tasks[signalled].pid)
    begun = time.monotonic()
    ended = {task.wait() for task in tasks}
    assert time.monotonic() - begun < 30
    before = _step_on_disk(tmp_path)
    assert ended == {(signal.SIGTERM, before)}
    assert eckpt.verify(str(tmp_path)).ok
