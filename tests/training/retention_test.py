"""Which checkpoints stay after a save: the plan, and how a job carries it out."""

from __future__ import annotations

import os
import re

import pytest
import tensorflow as tf

import estimator_ckpt as eckpt
from estimator_ckpt.bundle import files
from estimator_ckpt.training.retention import ListedCheckpoint, plan_retention
from tests import models

v1 = tf.compat.v1
_HOUR = 3600.0


def _listed(*steps: int) -> list[ListedCheckpoint]:
  """Checkpoints that were saved at these times, in seconds."""
  return [ListedCheckpoint(f"d/model.ckpt-{step}", float(step)) for step in steps]


def _names(prefixes) -> list[int]:
  return [int(prefix.rpartition("-")[2]) for prefix in prefixes]


def _plan(listed, saved, max_to_keep, preserve_after=float("inf"), hours=10000.0):
  [new] = _listed(saved)
  return plan_retention(_listed(*listed), new, max_to_keep, preserve_after, hours)


def test_the_oldest_go():
  plan = _plan([1, 2, 3], 4, max_to_keep=2)
  assert _names(plan.prefixes) == [3, 4]
  assert _names(plan.deleted) == [1, 2]
  assert _names(plan.prefixes_before_deletion) == [1, 2, 3, 4]


def test_fewer_than_may_stay():
  plan = _plan([1], 2, max_to_keep=5)
  assert _names(plan.prefixes) == [1, 2] and not plan.deleted


def test_a_checkpoint_that_is_saved_again_is_the_latest():
  plan = _plan([1, 2, 3], 2, max_to_keep=3)
  assert _names(plan.prefixes) == [1, 3, 2] and not plan.deleted


@pytest.mark.parametrize("listed", [[], [1, 2], [3]])
def test_zero_keeps_all(listed):
  plan = _plan(listed, 3, max_to_keep=0)
  assert not plan.deleted
  assert _names(plan.prefixes) == [3]


def test_one_for_every_so_many_hours_stays():
  times = [int(_HOUR * hour) for hour in (0.5, 1.2, 1.5, 2.5, 2.8)]
  plan = _plan(times, int(3 * _HOUR), 1, preserve_after=_HOUR, hours=1.0)
  assert _names(plan.preserved) == [times[1], times[3]]
  assert _names(plan.deleted) == [times[0], times[2], times[4]]
  assert plan.preserve_after == 3 * _HOUR


@pytest.mark.parametrize("checkpoint_format", ["tf1", "dual"])
def test_a_job_that_keeps_all_goes_on_keeping_all(tmp_path, checkpoint_format):
  decorated = eckpt.checkpointing(checkpoint_format)(models.model_fn)
  config = tf.estimator.RunConfig(save_checkpoints_steps=1, keep_checkpoint_max=0)
  for steps in (2, 4):
    estimator = tf.estimator.Estimator(decorated, str(tmp_path), config)
    estimator.train(models.input_fn, max_steps=steps)
  there = {f for f in os.listdir(tmp_path) if re.fullmatch(r"model.ckpt-\d+.index", f)}
  assert there == {f"model.ckpt-{step}.index" for step in range(5)}
  assert eckpt.verify(str(tmp_path)).ok


def test_a_save_reads_the_state_file_once(tmp_path, monkeypatch):
  reads = []
  real = files.read

  def read(path):
    reads.append(os.path.basename(path))
    return real(path)

  with tf.Graph().as_default(), v1.Session() as session:
    v1.get_variable("w", [2])
    scaffold = eckpt.dual_scaffold(max_to_keep=1)
    scaffold.finalize()
    session.run(scaffold.init_op)
    # The first two saves read what another job left.
    for step in range(4):
      monkeypatch.setattr(files, "read", read)
      reads.clear()
      scaffold.saver.save(session, str(tmp_path / "model.ckpt"), global_step=step)
      assert step < 2 or reads.count("checkpoint") == 1, reads
