"""What a save costs, in the log and in TensorBoard."""

from __future__ import annotations

import logging
import os

import pytest
import tensorflow as tf

from tests import models
from tests.training import asynchronous_jobs as jobs

v1 = tf.compat.v1


@pytest.mark.parametrize("asynchronous", [False, True])
def test_what_a_save_has_cost_is_logged_and_summarized(tmp_path, caplog, asynchronous):
  caplog.set_level(logging.INFO, "estimator_ckpt")
  jobs.estimator(tmp_path, asynchronous=asynchronous).train(
    models.input_fn, max_steps=2
  )
  said = [r.getMessage() for r in caplog.records if r.getMessage().startswith("Saved ")]
  assert len(said) == 2
  assert ("while training went on" in said[0]) == asynchronous
  values = {}
  for path in tmp_path.glob("events.*"):
    for event in v1.train.summary_iterator(str(path)):
      for value in event.summary.value:
        values[value.tag, event.step] = value.simple_value
  prefix = f"{tmp_path}/model.ckpt-2"
  assert values["checkpoint/bytes", 2] == os.path.getsize(
    prefix + ".data-00000-of-00001"
  )
  assert values["checkpoint/write_seconds", 2] > 0
  assert (values["checkpoint/snapshot_seconds", 2] > 0) == asynchronous
