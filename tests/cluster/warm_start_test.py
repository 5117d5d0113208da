"""A warm start in a cluster of parameter servers: the chief runs it, in the graph."""

from __future__ import annotations

import os

import numpy as np
import pytest

from tests import models
from tests.cluster import tasks


@pytest.mark.parametrize("checkpoint_format", [None, "tf1", "tf2", "dual"])
def test_the_chief_starts_and_a_worker_begins_with_what_it_started(
  new_cluster, tmp_path, checkpoint_format
):
  source = tmp_path / "source"
  plain = models.estimator(tasks.model_fn(3), source)
  plain.train(models.input_fn, steps=3)
  expected = models.values(source)
  model_dir = tmp_path / "model"
  cluster = new_cluster(num_ps=2, num_workers=1)
  arguments = {
    "model_dir": str(model_dir),
    "checkpoint_format": checkpoint_format,
    "steps": 10,
  }
  if checkpoint_format is None:
    arguments["warm_start_from"] = str(source)
  else:
    arguments["options"] = {"warm_start": str(source)}
  cluster.start_servers(**arguments)
  chief = cluster.start("chief/0", **arguments)
  # A worker begins as soon as the variables have values, saved or not.
  chief.wait_for(lambda: os.path.exists(model_dir / "checkpoint"))
  worker = cluster.start("worker/0", **arguments)
  chief.wait()
  worker.wait()
  first = models.named_values(model_dir / "model.ckpt-0")
  for name in ("embedding", "net/out/kernel", "net/norm/moving_mean"):
    np.testing.assert_array_equal(first[name], expected[name], err_msg=name)
  assert (first["embedding/Adam"] == 0).all()
  assert first["global_step"] == 0
  assert os.path.exists(model_dir / "warm_start.json")
  assert max(models.steps_on_disk(model_dir)) >= 10
