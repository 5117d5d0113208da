"""Saves that training does not wait for, in clusters."""

from __future__ import annotations

import threading

import numpy as np
import pytest
import tensorflow as tf

import estimator_ckpt as eckpt
from estimator_ckpt.bundle.index import Index
from estimator_ckpt.examples import cluster as example
from tests import models
from tests.training import asynchronous_jobs as jobs

v1 = tf.compat.v1


class _Servers:
  """A chief and two parameter servers, all in this process."""

  def __init__(self):
    self.spec = example.tf_configs(num_ps=2, num_workers=0)["chief/0"]["cluster"]
    cluster = tf.train.ClusterSpec(self.spec)
    self._servers = [tf.distribute.Server(cluster, "ps", i) for i in range(2)]
    self._servers.append(tf.distribute.Server(cluster, "chief", 0))
    self.target = self._servers[-1].target
    self.device = v1.train.replica_device_setter(
      worker_device="/job:chief/task:0", cluster=self.spec
    )


@pytest.fixture(scope="module")
def started():
  return _Servers()


@pytest.fixture
def servers(started):
  """Servers without the variables and tables of another test."""
  v1.Session.reset(started.target)
  return started


@pytest.mark.parametrize("use_resource", [True, False])
def test_a_checkpoint_holds_the_step_whose_number_it_bears(
  servers, tmp_path, monkeypatch, use_resource
):
  held_back = jobs.HeldBack(monkeypatch)
  recorded = jobs.train(
    tmp_path, 8, held_back, use_resource, servers.target, servers.device
  )
  assert held_back.held[:3] == [True] * 3
  assert eckpt.verify(str(tmp_path)).ok
  assert jobs.steps_saved(tmp_path) == [0, 3, 6, 8]
  for step in jobs.steps_saved(tmp_path):
    prefix = f"{tmp_path}/model.ckpt-{step}"
    jobs.assert_is_of_step(prefix, *recorded[step])
    # Each server writes its parts, and the chief its iterator. In 1.15.5, what has no
    # device of its own, such as a table, is a file more.
    index = Index.read(prefix)
    assert len({e.shard_id for _, e in index.slice_entries("parts")}) == 2
    assert index.header.num_shards > 2


def _spread(prefix):
  """How far two variables of two servers are apart, each of which is of one moment."""
  reader = eckpt.open_checkpoint(prefix)
  values = []
  for name in ("x", "y"):
    assert np.ptp(reader[name]) == 0, f"{prefix}: {name} is torn"
    values.append(reader[name][0])
  return values[0] - values[1]


def test_beside_asynchronous_workers_it_is_as_consistent_as_a_stock_save(
  servers, tmp_path
):
  """Each step of a worker adds 1 to `x` on one server, and then to `y` on the other."""
  workers, saves = 2, 8
  with tf.Graph().as_default() as graph, graph.device(servers.device):
    step = v1.train.get_or_create_global_step()
    x, y = (
      v1.get_variable(
        name, [200_000], initializer=v1.zeros_initializer(), use_resource=True
      )
      for name in "xy"
    )
    with tf.control_dependencies([v1.assign_add(x, tf.ones_like(x))]):
      with tf.control_dependencies([v1.assign_add(y, tf.ones_like(y))]):
        train_op = v1.assign_add(step, 1)
    stock = v1.train.Saver(sharded=True, max_to_keep=0)
    ours = eckpt.dual_scaffold(asynchronous=True, max_to_keep=0)
    ours.finalize()
    sessions = [v1.Session(servers.target, graph) for _ in range(workers + 1)]
    sessions[0].run(ours.init_op)
    ends = threading.Event()

    def work(session):
      while not ends.is_set():
        session.run(train_op)

    threads = [threading.Thread(target=work, args=[s]) for s in sessions[1:]]
    for thread in threads:
      thread.start()
    spreads = {"stock": [], "ours": []}
    try:
      for number in range(saves):
        for name, saver in (("stock", stock), ("ours", ours.saver)):
          prefix = f"{tmp_path}/{name}/model.ckpt-{number}"
          (tmp_path / name).mkdir(exist_ok=True)
          saver.save(sessions[0], f"{tmp_path}/{name}/model.ckpt", number)
          if name == "ours":
            saver.wait_until_finished()
          spreads[name].append(_spread(prefix))
    finally:
      ends.set()
      for thread in threads:
        thread.join()
    for session in sessions:
      session.close()
  # A worker is between `x` and `y`, or steps on between two reads.
  for name, found in spreads.items():
    assert max(map(abs, found)) <= 2 * workers, f"{name}: {found}"


def test_a_lost_server_drops_what_was_being_written(new_cluster, tmp_path):
  arguments = {
    "model_dir": str(tmp_path),
    "checkpoint_format": "dual",
    "options": {"asynchronous": True},
    "save_steps": 4,
    "seconds_a_step": 0.05,
    "steps": 10**6,
  }
  cluster = new_cluster(num_ps=2)
  cluster.start_servers(**arguments)
  chief = cluster.start("chief/0", "train_writing_late", held_step=8, **arguments)
  chief.wait_for(lambda: "holds the snapshot of step 8" in chief.output)
  cluster.tasks["ps/1"].kill()
  cluster.start("ps/1", **arguments)
  chief.wait_for(lambda: "session 2 has started" in chief.output)
  assert "model.ckpt-8 was not written, since its session was lost" in chief.output
  # Training went on from the checkpoint before.
  assert "session 2 has started at step 4" in chief.output
  chief.wait_for(lambda: models.steps_on_disk(tmp_path)[-1] > 8)
  cluster.stop()
  assert eckpt.verify(str(tmp_path)).ok
