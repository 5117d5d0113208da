"""Estimators of every kind, hooks, strategies: what they save and resume."""

from __future__ import annotations

import os

import numpy as np
import pytest
import tensorflow as tf

import estimator_ckpt as eckpt
from tests import canned, models, tensorflows

v1 = tf.compat.v1
_FORMATS = ["tf1", "tf2", "dual"]


def _saved(model_dir):
  values = models.named_values(model_dir)
  values.pop("save_counter", None)
  return values


# The Estimators whose variables, slots or tables differ. The others have a head without
# variables, or another optimizer of the same kind; tests/stress/canned_stress.py has
# all.
_CANNED = [
  ("DNNClassifier", "v2"),
  ("DNNClassifier", "v1"),
  ("DNNLinearCombinedClassifier", "v2"),
  ("DNNLinearCombinedRegressor", "v1"),
  ("LinearClassifier", "v2"),
  ("LinearSDCA", "v2"),
  ("LinearSDCA", "v1"),
  ("BaselineEstimator", "v2"),
  pytest.param(
    "RNNClassifier",
    "v2",
    marks=tensorflows.needs("estimator.experimental.RNNClassifier"),
  ),
  ("KMeans", "v1"),
]


@pytest.mark.parametrize(("name", "version"), _CANNED)
def test_canned_estimators_resume_what_was_saved(name, version, tmp_path):
  assert (name, version) in canned.CASES
  canned.check(name, version, tmp_path)


def _keras_model():
  model = tf.keras.Sequential(
    [
      tf.keras.layers.InputLayer((2,), name="x"),
      tf.keras.layers.Dense(3, activation="tanh", name="hidden"),
      tf.keras.layers.Dense(1, name="out"),
    ]
  )
  model.compile(tensorflows.keras_optimizers.Adam(0.05), "mse")
  return model


@pytest.mark.parametrize("own_format", ["saver", "checkpoint"])
@pytest.mark.parametrize("checkpoint_format", _FORMATS)
def test_model_to_estimator(checkpoint_format, own_format, tmp_path):
  """Keras's own Estimator: resumes from its model_dir, and goes back to its saver."""

  def make():
    tf.keras.backend.clear_session()
    return tf.keras.estimator.model_to_estimator(
      _keras_model(), model_dir=str(tmp_path), checkpoint_format=own_format
    )

  first, second, third = models.Values(), models.Values(), models.Values()
  make().train(models.input_fn, steps=2, hooks=[first])
  plain = next(make().predict(models.eval_input_fn))["out"]

  # Keras's Estimator can train the model that it was made of only once.
  def decorated():
    return eckpt.with_checkpointing(make(), checkpoint_format)

  np.testing.assert_array_equal(
    next(decorated().predict(models.eval_input_fn))["out"], plain
  )
  decorated().train(models.input_fn, max_steps=4, hooks=[second])
  assert eckpt.detect_format(str(tmp_path)).value == checkpoint_format
  decorated().train(models.input_fn, max_steps=5, hooks=[third])
  models.assert_same_values(first.last, second.start)
  models.assert_same_values(second.last, third.start)
  assert decorated().evaluate(models.eval_input_fn, steps=1)["global_step"] == 5
  predicted = next(decorated().predict(models.eval_input_fn))["out"]
  assert not np.array_equal(predicted, plain)
  path = decorated().export_saved_model(
    str(tmp_path / "export"), models.serving_input_fn
  )
  outputs = tensorflows.served(path, x=models.X)
  np.testing.assert_allclose(next(iter(outputs.values()))[0], predicted, atol=1e-6)
  # Keras's own way resumes a checkpoint that has its keys.
  if own_format == "saver" and checkpoint_format != "tf2":
    np.testing.assert_array_equal(
      next(make().predict(models.eval_input_fn))["out"], predicted
    )


def test_what_kerass_estimator_wrote_converts_to_its_names(tmp_path):
  def make(name, own_format):
    tf.keras.backend.clear_session()
    return tf.keras.estimator.model_to_estimator(
      _keras_model(), model_dir=str(tmp_path / name), checkpoint_format=own_format
    )

  by_object, by_name = models.Values(), models.Values()
  make("objects", "checkpoint").train(models.input_fn, steps=2, hooks=[by_object])
  eckpt.convert(tmp_path / "objects", tmp_path / "names", "tf1")
  make("names", "saver").train(models.input_fn, steps=1, hooks=[by_name])
  assert "training/Adam/hidden/kernel/m" in by_object.last
  models.assert_same_values(by_object.last, by_name.start)


@pytest.mark.parametrize(
  ("checkpoint_format", "order"),
  [
    ("tf1", "checkpointing first"),
    ("tf2", "metrics first"),
    ("dual", "metrics first"),
    ("dual", "checkpointing first"),
  ],
)
def test_add_metrics_in_either_order(checkpoint_format, order, tmp_path):
  def metric_fn(labels, predictions):
    return {"mean_label": v1.metrics.mean(labels)}

  estimator = models.estimator(models.model_fn, tmp_path)
  if order == "metrics first":
    estimator = tf.estimator.add_metrics(estimator, metric_fn)
    estimator = eckpt.with_checkpointing(estimator, checkpoint_format)
  else:
    estimator = eckpt.with_checkpointing(estimator, checkpoint_format)
    estimator = tf.estimator.add_metrics(estimator, metric_fn)
  estimator.train(models.input_fn, steps=2)
  hook = models.Values()
  before = _saved(tmp_path)
  estimator.train(models.input_fn, steps=1, hooks=[hook])
  models.assert_same_values(before, hook.start)
  assert eckpt.detect_format(str(tmp_path)).value == checkpoint_format
  result = estimator.evaluate(models.eval_input_fn)
  np.testing.assert_allclose(result["mean_label"], models.Y.mean(), rtol=1e-5)
  assert result["global_step"] == 3


@pytest.mark.parametrize(
  ("checkpoint_format", "own_scaffold_fn"),
  [("tf1", True), ("tf2", False), ("dual", True), ("dual", False)],
)
def test_tpu_estimator_on_cpu(checkpoint_format, own_scaffold_fn, tmp_path):
  called = []

  def scaffold_fn():
    called.append(1)
    return v1.train.Scaffold()

  def model_fn(features, labels, mode, params):
    spec = models.model_fn(features, labels, mode)
    options = {"scaffold_fn": scaffold_fn} if own_scaffold_fn else {}
    return v1.estimator.tpu.TPUEstimatorSpec(
      mode,
      predictions=spec.predictions,
      loss=spec.loss,
      train_op=spec.train_op,
      export_outputs=spec.export_outputs,
      **options,
    )

  estimator = v1.estimator.tpu.TPUEstimator(
    eckpt.checkpointing(checkpoint_format)(model_fn),
    str(tmp_path),
    v1.estimator.tpu.RunConfig(save_checkpoints_steps=2),
    use_tpu=False,
    train_batch_size=8,
    eval_batch_size=8,
    predict_batch_size=8,
  )
  data = lambda params: models.input_fn()  # noqa: E731
  once = lambda params: models.eval_input_fn()  # noqa: E731
  estimator.train(data, steps=3)
  before = _saved(tmp_path)
  hook = models.Values()
  estimator.train(data, steps=1, hooks=[hook])
  models.assert_same_values(
    {n: v for n, v in before.items() if not n.startswith("training_loop")},
    {n: v for n, v in hook.start.items() if not n.startswith("training_loop")},
  )
  assert eckpt.detect_format(str(tmp_path)).value == checkpoint_format
  assert estimator.evaluate(once, steps=2)["global_step"] == 4
  predicted = np.array([p["y"] for p in estimator.predict(once)])
  path = estimator.export_saved_model(str(tmp_path / "export"), models.serving_input_fn)
  served = tensorflows.served(path, tags=["serve"], x=models.X)
  np.testing.assert_allclose(served["y"], predicted, atol=1e-6)
  assert bool(called) == own_scaffold_fn


@pytest.mark.parametrize("checkpoint_format", _FORMATS)
def test_early_stopping_hooks(checkpoint_format, tmp_path):
  estimator = models.estimator(
    eckpt.checkpointing(checkpoint_format)(models.model_fn), tmp_path
  )
  os.makedirs(estimator.eval_dir(), exist_ok=True)

  def hook():
    return tf.estimator.experimental.stop_if_no_decrease_hook(
      estimator, "loss", 10**6, run_every_secs=None, run_every_steps=1
    )

  estimator.train(models.input_fn, steps=2, hooks=[hook()])
  before = _saved(tmp_path)
  assert any("stop" in name for name in before)
  started = models.Values()
  estimator.train(models.input_fn, steps=2, hooks=[hook(), started])
  models.assert_same_values(before, started.start)
  # Without the hook, the graph lacks the hook's variable.
  assert estimator.evaluate(models.eval_input_fn)["global_step"] == 4


# Before TensorFlow is used.
_HAS_TWO_CPUS = tensorflows.two_cpus()
_STRATEGIES = {
  "mirrored": lambda: tf.distribute.MirroredStrategy(["/cpu:0", "/cpu:1"]),
  "one_device": lambda: tf.distribute.OneDeviceStrategy("/cpu:0"),
}


@pytest.mark.skipif(not _HAS_TWO_CPUS, reason="no two logical devices in this process")
@pytest.mark.parametrize("kind", ["mirrored", "one_device"])
@pytest.mark.parametrize("checkpoint_format", _FORMATS)
def test_strategies_on_one_machine(checkpoint_format, kind, tmp_path):
  def make(strategy, name):
    config = tf.estimator.RunConfig(
      tf_random_seed=7,
      save_checkpoints_steps=2,
      train_distribute=strategy,
      session_config=v1.ConfigProto(device_count={"CPU": 2}),
    )
    return tf.estimator.Estimator(
      eckpt.checkpointing(name)(models.model_fn), str(tmp_path), config
    )

  plain = make(None, "tf1")
  plain.train(models.input_fn, steps=2)
  before = models.values(tmp_path)
  distributed = make(_STRATEGIES[kind](), checkpoint_format)

  class Started(tf.estimator.SessionRunHook):
    def after_create_session(self, session, coord):
      graph = session.graph
      self.kernel = session.run(
        graph.get_tensor_by_name("net/out/kernel/Read/ReadVariableOp:0")
      )

  hook = Started()
  distributed.train(models.input_fn, steps=2, hooks=[hook])
  np.testing.assert_array_equal(hook.kernel, before["net/out/kernel"])
  assert eckpt.detect_format(str(tmp_path)).value == checkpoint_format
  after = _saved(tmp_path)
  assert sorted(after) == sorted(before)
  assert distributed.evaluate(models.eval_input_fn)["global_step"] == 4
  # The job goes back to one device, with a name-based saver.
  started = models.Values()
  plain.train(models.input_fn, steps=1, hooks=[started])
  models.assert_same_values(after, started.start)
