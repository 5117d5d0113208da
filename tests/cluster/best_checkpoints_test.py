"""The best checkpoints of a cluster are kept by its evaluator, another process."""

from __future__ import annotations

import os

import pytest

from estimator_ckpt.checkpoint import best_file
from estimator_ckpt.checkpoint.verify import verify
from tests import models
from tests.cluster import tasks


@pytest.mark.parametrize("checkpoint_format", [None, "dual"])
def test_the_evaluator_keeps_them_from_the_jobs_retention(
  checkpoint_format, new_cluster, tmp_path
):
  model_dir = tmp_path / "model"
  arguments = {
    "function": "train_keeping_best",
    # The loss falls, so the worst comes first, and the job deletes it long before the end.
    "mode": "max",
    "keep": 2,
    "model_dir": str(model_dir),
    "checkpoint_format": checkpoint_format,
    "steps": 100,
    "seconds_a_step": 0.2,
    "save_steps": 6,
    # Each checkpoint stays for some seconds: an evaluator ends if one is deleted under
    # it.
    "config": {"keep_checkpoint_max": 8},
    "evaluation": {"start_delay_secs": 0, "throttle_secs": 1},
  }
  tasks_of = new_cluster(num_ps=2)
  tasks_of.start_servers(**arguments)
  evaluator = tasks_of.start("evaluator/0", **arguments)
  tasks_of.start_chief(**arguments).wait()
  found = {int(each["global_step"]): each["loss"] for each in evaluator.wait()}
  assert len(found) > 3
  ranked = sorted(found, key=found.get, reverse=True)[:2]
  best = best_file.read_best(str(model_dir / "best"))
  assert [(c.step, c.metrics["loss"]) for c in best.checkpoints] == [
    (step, pytest.approx(found[step])) for step in ranked
  ]
  assert best.names == tuple(f"model.ckpt-{step}" for step in ranked)
  assert verify(model_dir / "best").ok
  kept_by_job = models.steps_on_disk(model_dir)
  assert set(ranked) - set(kept_by_job)
  # The kept checkpoint is the evaluated one: it has the same loss.
  fn = tasks.decorated(checkpoint_format, partitions=2)
  estimator = models.estimator(fn, tmp_path / "elsewhere")
  for name, step in zip(best.names, ranked):
    again = estimator.evaluate(
      models.eval_input_fn, checkpoint_path=str(model_dir / "best" / name)
    )
    assert again["global_step"] == step
    assert again["loss"] == pytest.approx(found[step])
  assert os.path.exists(model_dir / "best" / "checkpoint")
