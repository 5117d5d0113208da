"""What holds under every TensorFlow that trains Estimators, 1.15 among them.

`tests/interop/tf1_15_suites_test.py` runs this file under TensorFlow 1.15.5.
"""

from __future__ import annotations

import pytest
import tensorflow as tf

import estimator_ckpt as eckpt
from tests import models

_FORMATS = ["tf1", "tf2", "dual"]


def _decorated(checkpoint_format, **options):
  return eckpt.checkpointing(checkpoint_format, **options)(models.model_fn)


def _train(model_fn, model_dir, steps):
  values = models.Values()
  models.estimator(model_fn, model_dir).train(
    models.input_fn, steps=steps, hooks=[values]
  )
  return values


@pytest.mark.parametrize("checkpoint_format", _FORMATS)
def test_a_decorated_estimator_resumes_what_the_plain_one_wrote(
  tmp_path, checkpoint_format
):
  before = _train(models.model_fn, tmp_path, 5)
  after = _train(_decorated(checkpoint_format), tmp_path, 5)
  models.assert_same_values(before.last, after.start)
  assert eckpt.verify(tmp_path).ok
  assert eckpt.detect_format(tmp_path).value == checkpoint_format


@pytest.mark.parametrize("checkpoint_format", _FORMATS)
def test_it_resumes_its_own_checkpoints(tmp_path, checkpoint_format):
  before = _train(_decorated(checkpoint_format), tmp_path, 5)
  after = _train(_decorated(checkpoint_format), tmp_path, 5)
  models.assert_same_values(before.last, after.start)


@pytest.mark.parametrize("checkpoint_format", ["tf1", "dual"])
def test_the_plain_estimator_resumes_it(tmp_path, checkpoint_format):
  before = _train(_decorated(checkpoint_format), tmp_path, 5)
  after = _train(models.model_fn, tmp_path, 5)
  models.assert_same_values(before.last, after.start)


def test_it_is_evaluated(tmp_path):
  estimator = models.estimator(_decorated("dual"), tmp_path)
  estimator.train(models.input_fn, steps=5)
  assert estimator.evaluate(models.eval_input_fn)["global_step"] == 5


def test_names_and_objects_have_the_values_of_the_session(tmp_path):
  values = _train(_decorated("dual"), tmp_path, 5)
  reader = tf.train.load_checkpoint(str(tmp_path))
  stored = {name: reader.get_tensor(name) for name in values.last}
  models.assert_same_values(values.last, stored)
  with eckpt.open_checkpoint(tmp_path) as checkpoint:
    models.assert_same_values(values.last, {n: checkpoint[n] for n in values.last})
