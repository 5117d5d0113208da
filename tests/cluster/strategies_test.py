"""Distribution strategies: every strategy resumes the checkpoints of every other."""

from __future__ import annotations

import json
import shutil
from typing import Any

import numpy as np
import pytest

import estimator_ckpt as eckpt
from estimator_ckpt.examples import cluster
from tests import models
from tests.cluster import failing, strategies

_FORMATS = ("tf1", "tf2", "dual")
_WRITTEN, _RESUMED = 4, 6
_SERVERS = {"parameter_servers": 2, "multi_worker": 0}
# CentralStorageStrategy keeps variables as ParameterServerStrategy does, so it resumes
# from no strategy, and the other way round.
_PAIRS = [
  (writer, reader)
  for reader in strategies.KINDS
  for writer in strategies.KINDS
  if "central_storage" not in (writer, reader) or "none" in (writer, reader)
]


def _runs(
  launcher: Any, jobs: dict[str, list[Any]], uses: bool
) -> dict[str, list[dict[str, Any]]]:
  """Runs the jobs of each kind of strategy one after the other, all kinds at once.

  Args:
    launcher: starts the processes.
    jobs: for each kind, jobs as `strategies.run` takes them.
    uses: as for `strategies.run`; the jobs that are not used any further are
      asynchronous.

  Returns:
    For each kind, the result of each job.
  """
  function = "tests.cluster.strategies:run"
  alone = {
    kind: launcher.start(
      kind, function, kind=kind, jobs=jobs[kind], uses=uses, asynchronous=not uses
    )
    for kind in strategies.ALONE
  }
  done: dict[str, list[Any]] = {kind: [] for kind in strategies.CLUSTERS}
  for turn in range(max(len(jobs[kind]) for kind in strategies.CLUSTERS)):
    started = {}
    for kind in strategies.CLUSTERS:
      workers = 0 if _SERVERS[kind] else 1
      configs = cluster.tf_configs(_SERVERS[kind], workers)
      del configs["evaluator/0"]
      started[kind] = [
        launcher.start(
          f"{kind}-{name}",
          function,
          {"TF_CONFIG": json.dumps(config)},
          kind=kind,
          jobs=[jobs[kind][turn]],
          uses=uses,
          asynchronous=not uses,
        )
        for name, config in configs.items()
      ]
    for kind, (chief, *others) in started.items():
      try:
        done[kind] += chief.wait()
      finally:
        for task in others:
          if not _SERVERS[kind]:
            task.wait()
          task.kill()
  return {**done, **{kind: task.wait(180) for kind, task in alone.items()}}


@pytest.fixture(scope="module")
def written(launcher, tmp_path_factory):
  """What each strategy wrote in each format: the model_dir, and the job's result."""
  root = tmp_path_factory.mktemp("written")
  jobs = {
    kind: [(str(root / f"{kind}-{fmt}"), fmt, _WRITTEN) for fmt in _FORMATS]
    for kind in strategies.KINDS
  }
  done = _runs(launcher, jobs, uses=True)
  return {
    (kind, job[1]): (job[0], result)
    for kind in strategies.KINDS
    for job, result in zip(jobs[kind], done[kind])
  }


@pytest.fixture(scope="module")
def resumed(launcher, written, tmp_path_factory):
  """The result of each strategy that resumed a checkpoint of each strategy."""
  root = tmp_path_factory.mktemp("resumed")
  jobs: dict[str, list[Any]] = {reader: [] for reader in strategies.KINDS}
  for writer, reader in _PAIRS:
    before = _format_of(writer, reader)
    source, _ = written[writer, before]
    # The next save is in the next format.
    after = _FORMATS[(_FORMATS.index(before) + 1) % 3]
    copy = shutil.copytree(
      source, root / f"{writer}-{reader}", ignore=shutil.ignore_patterns("export")
    )
    jobs[reader].append((str(copy), after, _RESUMED))
  done = _runs(launcher, jobs, uses=False)
  results = {reader: list(zip(jobs[reader], done[reader])) for reader in jobs}
  return {(w, r): (_format_of(w, r), *results[r].pop(0)) for w, r in _PAIRS}


def _format_of(writer: str, reader: str) -> str:
  """The format of the checkpoint that a reader resumes."""
  return _FORMATS[(strategies.KINDS.index(writer) + strategies.KINDS.index(reader)) % 3]


@pytest.mark.parametrize("checkpoint_format", _FORMATS)
@pytest.mark.parametrize("kind", strategies.KINDS)
def test_it_trains_evaluates_predicts_and_exports(written, kind, checkpoint_format):
  model_dir, result = written[kind, checkpoint_format]
  _check(model_dir, checkpoint_format, _WRITTEN)
  assert result["metrics"]["global_step"] == _WRITTEN
  np.testing.assert_allclose(result["served"], result["predicted"], atol=1e-6)
  error = np.abs(result["predicted"] - models.Y).mean()
  np.testing.assert_allclose(result["metrics"]["mae"], error, rtol=1e-4)
  # Every strategy writes the keys that one process without a strategy writes.
  plain, _ = written["none", checkpoint_format]
  assert sorted(models.values(model_dir)) == sorted(models.values(plain))


@pytest.mark.parametrize("writer, reader", _PAIRS)
def test_what_one_wrote_another_resumes(written, resumed, writer, reader):
  source_format, (model_dir, new_format, _), result = resumed[writer, reader]
  source, _ = written[writer, source_format]
  models.assert_same_values(failing.on_disk(source), result["started"])
  # The first save is of the step that training began with. It was asynchronous, so it
  # was written when training had gone on.
  begun = f"{model_dir}/model.ckpt-{_WRITTEN}"
  models.assert_same_values(failing.on_disk(begun), result["started"])
  _check(model_dir, new_format, _RESUMED)


def _check(model_dir: str, checkpoint_format: str, steps: int) -> None:
  assert eckpt.detect_format(model_dir).value == checkpoint_format
  assert eckpt.verify(model_dir).ok
  assert failing.on_disk(model_dir)["global_step"] == steps
