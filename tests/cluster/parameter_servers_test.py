"""Parameter servers: real processes on loopback, the chief in the test's own process."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

import estimator_ckpt as eckpt
from estimator_ckpt.bundle import Index
from estimator_ckpt.examples import cluster
from tests import models

v1 = tf.compat.v1
_ROWS = 7

_SERVER = """
import json, os, sys
import tensorflow as tf
config = json.loads(os.environ["TF_CONFIG"])
task = config["task"]
server = tf.distribute.Server(
  tf.train.ClusterSpec(config["cluster"]), task["type"], task["index"], protocol="grpc")
print("ready", flush=True)
sys.stdin.read()  # Ends when the test does, whatever becomes of it.
os._exit(0)
"""


@contextlib.contextmanager
def servers(num_ps: int):
  """Starts parameter servers; TF_CONFIG makes this process their chief meanwhile."""
  configs = cluster.tf_configs(num_ps, num_workers=0)
  processes = []
  before = os.environ.get("TF_CONFIG")
  try:
    for name, config in configs.items():
      if name.startswith("ps/"):
        processes.append(
          subprocess.Popen(
            [sys.executable, "-c", _SERVER],
            env={**os.environ, "TF_CONFIG": json.dumps(config)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
          )
        )
    for process in processes:
      assert process.stdout.readline().strip() == "ready"
    os.environ["TF_CONFIG"] = json.dumps(configs["chief/0"])
    yield processes
  finally:
    os.environ.pop("TF_CONFIG", None)
    if before is not None:
      os.environ["TF_CONFIG"] = before
    for process in processes:
      process.kill()
      process.communicate()


def _model_fn(partitions: int):
  def model_fn(features: Any, labels: Any, mode: str) -> Any:
    table = v1.get_variable(
      "embedding", [_ROWS, 3], partitioner=v1.fixed_size_partitioner(partitions)
    )
    ids = tf.cast(tf.abs(features["x"][:, 0]) * (_ROWS - 1), tf.int64)
    x = tf.concat([features["x"], tf.nn.embedding_lookup(table, ids)], axis=1)
    y = models.network(x, mode == tf.estimator.ModeKeys.TRAIN)
    return models.spec(mode, y, labels)

  return model_fn


class _Started(tf.estimator.SessionRunHook):
  """Remembers every variable as the session found it, partitions put together."""

  def after_create_session(self, session, coord):
    named: dict[str, list[Any]] = {}
    for variable in v1.global_variables():
      info = variable._save_slice_info
      name = info.full_name if info else variable.op.name
      named.setdefault(name, []).append(variable)
    self.values = {
      name: np.concatenate(session.run(parts))
      if len(parts) > 1
      else session.run(parts[0])
      for name, parts in named.items()
    }


def _train(model_dir, checkpoint_format, steps, num_ps=2, partitions=2, **config):
  """Trains on a cluster of its own; returns the variables as they were at the start."""
  hook = _Started()
  with servers(num_ps):
    estimator = models.estimator(
      eckpt.checkpointing(checkpoint_format)(_model_fn(partitions)), model_dir, **config
    )
    tf.estimator.train_and_evaluate(
      estimator,
      tf.estimator.TrainSpec(models.input_fn, max_steps=steps, hooks=[hook]),
      tf.estimator.EvalSpec(models.eval_input_fn),
    )
  return hook.values


def _on_disk(model_dir):
  values = models.named_values(model_dir)
  values.pop("save_counter", None)
  return values


@pytest.fixture(scope="module")
def tf1_dir(tmp_path_factory):
  """Five steps without a cluster and without this library, three partitions."""
  path = tmp_path_factory.mktemp("plain")
  models.estimator(_model_fn(3), path).train(models.input_fn, steps=5)
  return path


def test_a_tf1_model_dir_goes_on_over_clusters_of_changing_size(tf1_dir):
  """One model_dir through tf2, dual and tf1, on 2, 3 and 1 servers."""
  expected = _on_disk(tf1_dir)
  for steps, checkpoint_format, num_ps, partitions in (
    (8, "tf2", 2, 2),
    (11, "dual", 3, 3),
    (14, "tf1", 1, 1),
  ):
    started = _train(tf1_dir, checkpoint_format, steps, num_ps, partitions)
    models.assert_same_values(expected, started)
    assert eckpt.detect_format(str(tf1_dir)).value == checkpoint_format
    expected = _on_disk(tf1_dir)
    assert expected["global_step"] == steps
    index = Index.read(tf.train.latest_checkpoint(str(tf1_dir)))
    assert index.header.num_shards == num_ps
  # And back to one process, undecorated.
  hook = _Started()
  models.estimator(_model_fn(2), tf1_dir).train(models.input_fn, steps=1, hooks=[hook])
  models.assert_same_values(expected, hook.values)


def test_what_servers_wrote_is_read_by_object(tmp_path):
  _train(tmp_path, "dual", 6, save_steps=2, keep_checkpoint_max=2)
  assert models.steps_on_disk(tmp_path) == [4, 6]
  assert str(tmp_path) not in (tmp_path / "checkpoint").read_text()
  named = _on_disk(tmp_path)
  assert named["embedding"].shape == (_ROWS, 3)
  assert named["embedding/Adam"].shape == (_ROWS, 3) and np.any(named["embedding/Adam"])
  var_list = {name: tf.Variable(tf.zeros_like(value)) for name, value in named.items()}
  checkpoint = tf.train.Checkpoint(var_list=var_list)
  checkpoint.restore(tf.train.latest_checkpoint(str(tmp_path))).assert_consumed()
  models.assert_same_values(named, {k: v.numpy() for k, v in var_list.items()})
  # One process evaluates, predicts and exports it, unpartitioned.
  estimator = models.estimator(eckpt.dual_checkpointing(_model_fn(1)), tmp_path)
  assert estimator.evaluate(models.eval_input_fn)["global_step"] == 6
  path = estimator.export_saved_model(str(tmp_path / "export"), models.serving_input_fn)
  served = tf.saved_model.load(path.decode()).signatures["serving_default"]
  predicted = [p["y"] for p in estimator.predict(models.eval_input_fn)]
  np.testing.assert_allclose(served(x=tf.constant(models.X))["y"], predicted, atol=1e-6)
