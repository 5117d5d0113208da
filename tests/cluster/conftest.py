"""Fixtures that start the processes of the tests in this directory."""

from __future__ import annotations

import pytest

from tests import models
from tests.cluster import clusters, processes, tasks


@pytest.fixture(scope="session")
def launcher(tmp_path_factory):
  with processes.Launcher(tmp_path_factory.mktemp("tasks")) as launcher:
    yield launcher


@pytest.fixture(scope="module")
def module_cluster(launcher):
  """`new_cluster` for a fixture that several tests share."""
  yield from _clusters(launcher)


@pytest.fixture
def new_cluster(launcher):
  """`new_cluster(num_ps, num_workers)` makes a cluster that ends with the test."""
  yield from _clusters(launcher)


def _clusters(launcher):
  started = []

  def new(num_ps: int = 2, num_workers: int = 0) -> clusters.Cluster:
    started.append(clusters.Cluster(launcher, num_ps, num_workers))
    return started[-1]

  yield new
  for each in started:
    each.stop()


@pytest.fixture(scope="session")
def tf1_dir(tmp_path_factory):
  """A job after five steps, without a cluster or this library, in three partitions."""
  path = tmp_path_factory.mktemp("plain")
  models.estimator(tasks.model_fn(3), path).train(models.input_fn, steps=5)
  return path
