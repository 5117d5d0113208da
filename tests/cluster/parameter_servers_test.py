"""A life on parameter servers: real processes on loopback, in each format.

A job that began on one machine, in three partitions and without this library, goes on
over a chief, two workers, two parameter servers and an evaluator; then over three
servers and one worker, with asynchronous=True; then on one machine again.
"""

from __future__ import annotations

import dataclasses
import os
import pathlib
import shutil
import time
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

import estimator_ckpt as eckpt
from estimator_ckpt.bundle.index import Index
from estimator_ckpt.examples import cluster
from tests import models, tensorflows
from tests.cluster import tasks

v1 = tf.compat.v1
_MODES = {"ps/0": 0o600, "ps/1": 0o640, "ps/2": 0o604, "chief/0": 0o644}
_FIRST, _LAST = 40, 60
_KEPT = 4


@dataclasses.dataclass
class Life:
  """What two clusters left, one after the other.

  Attributes:
    checkpoint_format: what both were decorated with.
    first: the model_dir as the first left it.
    started: the variables as each of the two chiefs found them.
    evaluations: the results of each of the two evaluators.
    delay: seconds from the start of the second evaluator to its first result.
    looks: how often each of the first's checkpoints was read while it was the latest.
    wrong: the errors that these reads found.
    last: the model_dir as the second left it.
  """

  checkpoint_format: str
  first: pathlib.Path
  started: list[dict[str, np.ndarray]]
  evaluations: list[list[dict[str, float]]]
  delay: float
  looks: dict[int, int]
  wrong: list[str]
  last: pathlib.Path


@pytest.fixture(scope="module", params=["tf1", "tf2", "dual"])
def life(request, tf1_dir, module_cluster, launcher, tmp_path_factory):
  first = tmp_path_factory.mktemp(request.param) / "first"
  shutil.copytree(tf1_dir, first)
  arguments: dict[str, Any] = {
    "model_dir": str(first),
    "checkpoint_format": request.param,
    "steps": _FIRST,
    # As in stock TensorFlow, an evaluator ends if a checkpoint is deleted between being
    # chosen and being read, so each checkpoint has to stay for some seconds.
    "seconds_a_step": 0.2,
    "save_steps": 6,
    "config": {"keep_checkpoint_max": _KEPT},
    "evaluation": {"start_delay_secs": 0, "throttle_secs": 1},
  }
  tasks_of = module_cluster(num_ps=2, num_workers=2)
  for name in ("ps/0", "ps/1"):
    tasks_of.start(name, umask=0o666 - _MODES[name], **arguments)
  evaluator = tasks_of.start("evaluator/0", **arguments)
  follower = launcher.start(
    "follower",
    "tests.cluster.tasks:follow",
    model_dir=str(first),
    checkpoint_format=request.param,
    last_step=_FIRST,
  )
  chief = tasks_of.start_chief(umask=0o666 - _MODES["chief/0"], **arguments)
  workers = [tasks_of.start(f"worker/{i}", **arguments) for i in range(2)]
  started = chief.wait()
  for worker in workers:
    worker.wait()
  looks, wrong = follower.wait()
  evaluations = [evaluator.wait()]
  tasks_of.stop()

  last = first.with_name("last")
  shutil.copytree(first, last, ignore=shutil.ignore_patterns("export"))
  arguments.update(
    model_dir=str(last),
    steps=_LAST,
    partitions=3,
    save_steps=None,
    config={"save_checkpoints_secs": 1},
    options={"asynchronous": True},
    evaluation={"start_delay_secs": 2, "throttle_secs": 1},
  )
  tasks_of = module_cluster(num_ps=3, num_workers=1)
  for name in ("ps/0", "ps/1", "ps/2"):
    tasks_of.start(name, umask=0o666 - _MODES[name], **arguments)
  begun = time.time()
  evaluator = tasks_of.start("evaluator/0", **arguments)
  chief = tasks_of.start_chief(umask=0o666 - _MODES["chief/0"], **arguments)
  worker = tasks_of.start("worker/0", **arguments)
  started += chief.wait()
  worker.wait()
  evaluations.append(evaluator.wait())
  tasks_of.stop()
  delay = evaluations[1][0]["time"] - begun
  return Life(request.param, first, started, evaluations, delay, looks, wrong, last)


def _on_disk(path):
  values = models.named_values(path)
  values.pop("save_counter", None)
  return values


def _written_by(path: str) -> list[str]:
  """The tasks whose umask the file's mode shows."""
  mode = os.stat(path).st_mode & 0o777
  return [name for name, own in _MODES.items() if own == mode]


def test_each_cluster_resumes_where_the_job_was(life, tf1_dir):
  models.assert_same_values(_on_disk(tf1_dir), life.started[0])
  models.assert_same_values(_on_disk(life.first), life.started[1])
  assert life.started[1]["global_step"] >= _FIRST
  for model_dir, step in ((life.first, _FIRST), (life.last, _LAST)):
    assert _on_disk(model_dir)["global_step"] >= step
    assert eckpt.detect_format(str(model_dir)).value == life.checkpoint_format
    assert not eckpt.verify(str(model_dir)).findings


@pytest.mark.parametrize("time, servers", [("first", 2), ("last", 3)])
def test_each_server_writes_its_part_and_the_chief_the_index(life, time, servers):
  prefix = tf.train.latest_checkpoint(str(getattr(life, time)))
  index = Index.read(prefix)
  paths = index.data_paths(prefix)
  assert [_written_by(path) for path in paths] == [[f"ps/{i}"] for i in range(servers)]
  assert all(os.path.getsize(path) > 0 for path in paths)
  # The chief adds aliases where the format has any. Otherwise the index is the one that
  # TensorFlow merges on the last server.
  writer = "chief/0" if life.checkpoint_format == "dual" else f"ps/{servers - 1}"
  assert _written_by(prefix + ".index") == [writer]
  shards = {i: f"ps/{i}" for i in range(servers)}
  assert cluster.writers(prefix) == (shards, writer)
  [embedding] = [key for key in index if key.split("/.A")[0].endswith("embedding")][:1]
  assert [e.shard_id for _, e in index.slice_entries(embedding)] == list(range(servers))


def test_the_servers_and_the_partitions_change_between_runs(life):
  prefix = tf.train.latest_checkpoint(str(life.last))
  index = Index.read(prefix)
  assert index.header.num_shards == 3
  sliced = [key for key in index if index.entry(key).slices]
  assert sliced
  for key in sliced:
    assert [e.shard_id for _, e in index.slice_entries(key)] == [0, 1, 2]
  values = _on_disk(life.last)
  assert values["embedding"].shape == (tasks.ROWS, 3)
  assert np.any(values["embedding/Adam"])


def test_keep_checkpoint_max_and_relative_paths(life):
  kept = models.steps_on_disk(life.first)
  assert len(kept) == _KEPT and kept[-1] >= _FIRST
  state = (life.first / "checkpoint").read_text()
  assert state.count("all_model_checkpoint_paths") == _KEPT
  assert str(life.first) not in state
  left = [n for n in os.listdir(life.first) if "tmp" in n or "_temp" in n]
  assert not left


def test_save_checkpoints_secs(life):
  new = [
    s for s in models.steps_on_disk(life.last) if s > life.started[1]["global_step"]
  ]
  assert len(new) >= 2


def test_whoever_follows_the_state_file_finds_whole_checkpoints(life):
  assert not life.wrong
  assert len(life.looks) >= 4


def test_the_evaluator_evaluates_meanwhile_and_exports_the_last(life):
  first, last = life.evaluations
  assert len(first) >= 2
  assert first[0]["global_step"] < _FIRST <= first[-1]["global_step"]
  assert life.delay >= 2
  for model_dir, found in ((life.first, first), (life.last, last)):
    estimator = models.estimator(tasks.decorated(life.checkpoint_format, 1), model_dir)
    # The workers finish together, so the chief's last checkpoint may come a little later.
    path = str(model_dir / f"model.ckpt-{found[-1]['step_in_name']:g}")
    metrics = estimator.evaluate(models.eval_input_fn, checkpoint_path=path)
    np.testing.assert_allclose(metrics["mae"], found[-1]["mae"], rtol=1e-5)
    [export] = (model_dir / "export" / "last").iterdir()
    served = tensorflows.served(str(export), x=models.X)
    predictions = estimator.predict(models.eval_input_fn, checkpoint_path=path)
    predicted = [p["y"] for p in predictions]
    np.testing.assert_allclose(served["y"], predicted, atol=1e-6)


def test_it_is_read_by_name_and_by_object(life):
  prefix = tf.train.latest_checkpoint(str(life.first))
  named = _on_disk(life.first)
  if life.checkpoint_format != "tf1":
    with tensorflows.eager():
      var_list = {k: tf.Variable(tf.zeros_like(v)) for k, v in named.items()}
      checkpoint = tensorflows.checkpoint(var_list=var_list)
      tensorflows.assert_consumed(checkpoint.restore(prefix))
      restored = {k: v.numpy() for k, v in var_list.items()}
    models.assert_same_values(named, restored)
  if life.checkpoint_format != "tf2":
    with tf.Graph().as_default(), v1.Session() as session:
      variables = {
        k: v1.get_variable(k, initializer=np.zeros_like(v)) for k, v in named.items()
      }
      v1.train.Saver(variables).restore(session, prefix)
      models.assert_same_values(named, session.run(variables))


def test_and_one_process_goes_on_without_this_library(life, tmp_path):
  """A tf2 checkpoint is resumed with the tf1 decorator."""
  model_dir = shutil.copytree(life.last, tmp_path / "model")
  step = int(_on_disk(model_dir)["global_step"])
  undecorated = None if life.checkpoint_format != "tf2" else "tf1"
  start = tasks.Start()
  models.estimator(tasks.decorated(undecorated, 2), model_dir).train(
    models.input_fn, steps=1, hooks=[start]
  )
  models.assert_same_values(_on_disk(life.last), start.values[0])
  assert _on_disk(model_dir)["global_step"] == step + 1
