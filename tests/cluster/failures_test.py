"""Parts of a cluster die: a worker, a server, the chief while it saves."""

from __future__ import annotations

from typing import Any

import pytest

import estimator_ckpt as eckpt
from tests import models
from tests.cluster import failing


def _arguments(model_dir: Any, checkpoint_format: str, **more: Any) -> dict[str, Any]:
  return {
    "model_dir": str(model_dir),
    "checkpoint_format": checkpoint_format,
    "save_steps": 4,
    "seconds_a_step": 0.05,
    **more,
  }


@pytest.mark.parametrize("checkpoint_format", ["tf1", "tf2", "dual"])
def test_a_worker_is_killed_and_restarted(new_cluster, tmp_path, checkpoint_format):
  arguments = _arguments(tmp_path, checkpoint_format, steps=80)
  cluster = new_cluster(num_ps=2, num_workers=1)
  cluster.start_servers(**arguments)
  chief = cluster.start_chief(**arguments)
  worker = cluster.start("worker/0", **arguments)
  worker.wait_for(lambda: "session 1 has started" in worker.output)
  worker.kill()
  step = models.steps_on_disk(tmp_path)[-1]
  chief.wait_for(lambda: models.steps_on_disk(tmp_path)[-1] > step)
  worker = cluster.start("worker/0", **arguments)
  [found] = worker.wait()
  # The new worker went on with the values on the servers; it restored nothing.
  assert found["global_step"] >= step
  assert len(chief.wait()) == 1
  assert eckpt.verify(str(tmp_path)).ok
  assert failing.on_disk(tmp_path)["global_step"] >= 80


@pytest.mark.parametrize("checkpoint_format", ["tf1", "tf2", "dual"])
def test_a_server_is_killed_and_the_cluster_restarted(
  new_cluster, tmp_path, checkpoint_format
):
  """Restarts the server alone, then all servers."""
  arguments = _arguments(tmp_path, checkpoint_format, steps=10**6)
  cluster = new_cluster(num_ps=2, num_workers=1)
  cluster.start_servers(**arguments)
  chief = cluster.start_chief(**arguments)
  worker = cluster.start("worker/0", **arguments)
  chief.wait_for(lambda: models.steps_on_disk(tmp_path)[-1:] > [8])
  cluster.tasks["ps/1"].kill()
  worker.kill()
  before = failing.on_disk(tmp_path)
  cluster.start("ps/1", **arguments)
  # The chief reconnects to the server by itself, and restores the last checkpoint.
  chief.wait_for(lambda: "session 2 has started" in chief.output)
  chief.wait_for(lambda: models.steps_on_disk(tmp_path)[-1] > before["global_step"])
  cluster.tasks["ps/0"].kill()
  cluster.stop()
  before = failing.on_disk(tmp_path)
  assert eckpt.verify(str(tmp_path)).ok
  arguments["steps"] = int(before["global_step"]) + 5
  cluster.start_servers(**arguments)
  [found] = cluster.start("chief/0", **arguments).wait()
  models.assert_same_values(before, found)


@pytest.mark.parametrize(
  "checkpoint_format, asynchronous, kills",
  [("tf1", False, 1), ("tf2", False, 1), ("dual", False, 2), ("dual", True, 2)],
)
def test_the_chief_is_killed_while_it_saves(
  new_cluster, tmp_path, checkpoint_format, asynchronous, kills
):
  """Kills a few times; `tests/stress/cluster_stress.py` kills a hundred times."""
  killer = failing.ChiefKiller(
    new_cluster(num_ps=2),
    tmp_path / "model",
    checkpoint_format,
    tmp_path,
    seed=5,
    asynchronous=asynchronous,
  )
  for _ in range(kills):
    print(killer.kill_once())
  killer.finish()
