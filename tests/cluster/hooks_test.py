"""Hooks in a cluster: synchronous replicas, early stopping, and hooks with a Saver."""

from __future__ import annotations

import os
import pickle

import pytest
import tensorflow as tf

import estimator_ckpt as eckpt
from tests import models
from tests.cluster import failing


@pytest.mark.parametrize("checkpoint_format", ["tf2", "dual"])
def test_sync_replicas_optimizer(new_cluster, tmp_path, checkpoint_format):
  model_dir = str(tmp_path / "model")
  cluster = new_cluster(num_ps=2, num_workers=1)
  arguments = {
    "model_dir": model_dir,
    "checkpoint_format": checkpoint_format,
    "function": "train_synchronously",
    "save_steps": 4,
  }
  path = tmp_path / "started"
  before = None
  for steps in (6, 12):
    arguments.update(steps=steps, started_path=str(path))
    cluster.start_servers(**arguments)
    chief = cluster.start_chief(**arguments)
    # A step needs the gradients of both.
    cluster.start("worker/0", **arguments)
    # After the last save, the chief waits for its queue runner for two minutes, and the
    # worker for a token; the same happens with a Saver of TensorFlow's own.
    chief.wait_for(
      lambda steps=steps: str(tf.train.latest_checkpoint(model_dir)).endswith(
        f"-{steps}"
      )
    )
    cluster.stop()
    [started] = pickle.loads(path.read_bytes())
    if before is not None:
      models.assert_same_values(before, started)
    before = failing.on_disk(model_dir)
    assert before["global_step"] >= steps
    assert eckpt.detect_format(model_dir).value == checkpoint_format
    assert eckpt.verify(model_dir).ok


def test_early_stopping_and_a_hook_with_a_saver_of_its_own(new_cluster, tmp_path):
  """Both hooks stop the whole cluster; their variables and files are resumed."""
  cluster = new_cluster(num_ps=2, num_workers=1)
  arguments = {
    "model_dir": str(tmp_path),
    "checkpoint_format": "dual",
    "function": "train_with_hooks",
    "save_steps": 5,
    "seconds_a_step": 0.02,
    "steps": 10**6,
  }
  before = None
  # First early stopping stops the job, then the hook that reads a checkpoint's step.
  for stop_at, last_step in ((15, 10**6), (10**6, 60)):
    arguments.update(stop_at=stop_at, last_step=last_step)
    cluster.start_servers(**arguments)
    chief = cluster.start_chief(**arguments)
    worker = cluster.start("worker/0", **arguments)
    [started] = chief.wait()
    worker.wait()
    cluster.stop()
    if before is not None:
      assert "signal_early_stopping/STOP" in before
      models.assert_same_values(before, started)
    before = failing.on_disk(tmp_path)
    assert before["global_step"] >= min(stop_at, last_step)
    assert eckpt.detect_format(str(tmp_path)).value == "dual"
    assert eckpt.verify(str(tmp_path)).ok
  pipelines = [name for name in os.listdir(tmp_path) if name.startswith("input")]
  assert any(name.endswith(".index") for name in pipelines)
