"""Estimators of every kind, hooks, strategies: what they save and what they resume."""

from __future__ import annotations

import functools
import os

import numpy as np
import pytest
import tensorflow as tf

import estimator_ckpt as eckpt
from tests import models

v1 = tf.compat.v1
_FORMATS = ["tf1", "tf2", "dual"]


def _columns():
  return [tf.feature_column.numeric_column("x", shape=[2])]


def _binary_input_fn():
  return models.input_fn().map(lambda x, y: (x, tf.cast(y > 0.5, tf.int32)))


def _start_values():
  """A hook that keeps every global variable as it is when training starts."""

  class Started(tf.estimator.SessionRunHook):
    def after_create_session(self, session, coord):
      variables = v1.global_variables()
      # A part's name is the whole's, as in a checkpoint.
      names = [
        info.full_name if (info := v._get_save_slice_info()) else v.op.name
        for v in variables
      ]
      self.values = dict(zip(names, session.run(variables)))

  return Started()


def _saved(model_dir):
  values = models.named_values(model_dir)
  values.pop("save_counter", None)
  return values


_CANNED = {
  "DNNClassifier": lambda e, **k: e.DNNClassifier([4], _columns(), **k),
  "DNNRegressor": lambda e, **k: e.DNNRegressor([4], _columns(), **k),
  "DNNEstimator": lambda e, **k: e.DNNEstimator(
    head=tf.estimator.RegressionHead(),
    hidden_units=[4],
    feature_columns=_columns(),
    **k,
  ),
  "LinearClassifier": lambda e, **k: e.LinearClassifier(_columns(), **k),
  "LinearRegressor": lambda e, **k: e.LinearRegressor(_columns(), **k),
  "DNNLinearCombinedClassifier": lambda e, **k: e.DNNLinearCombinedClassifier(
    linear_feature_columns=_columns(),
    dnn_feature_columns=_columns(),
    dnn_hidden_units=[4],
    **k,
  ),
  "DNNLinearCombinedRegressor": lambda e, **k: e.DNNLinearCombinedRegressor(
    linear_feature_columns=_columns(),
    dnn_feature_columns=_columns(),
    dnn_hidden_units=[4],
    **k,
  ),
  "BaselineClassifier": lambda e, **k: e.BaselineClassifier(**k),
  "BaselineRegressor": lambda e, **k: e.BaselineRegressor(**k),
}


@pytest.mark.parametrize("version", ["v2", "v1"])
@pytest.mark.parametrize("name", list(_CANNED))
def test_canned_estimators_resume_what_was_saved(name, version, tmp_path):
  if (name, version) == ("DNNEstimator", "v1"):
    pytest.skip("its optimizer and its head are of version 2")
  module = tf.estimator if version == "v2" else v1.estimator
  make = functools.partial(_CANNED[name], module, model_dir=str(tmp_path))
  data = _binary_input_fn if "Classifier" in name else models.input_fn
  make().train(data, steps=2)
  for steps, checkpoint_format in enumerate(["tf2", "dual", "tf1", "tf2"], 3):
    before = _saved(tmp_path)
    estimator = eckpt.with_checkpointing(make(), checkpoint_format)
    hook = _start_values()
    estimator.train(data, max_steps=steps, hooks=[hook])
    models.assert_same_values(before, hook.values)
    assert eckpt.detect_format(str(tmp_path)).value == checkpoint_format
  assert estimator.evaluate(data, steps=1)["global_step"] == steps
  next(estimator.predict(data))
  if name.startswith("Baseline"):
    receiver = models.serving_input_fn
  else:
    receiver = tf.estimator.export.build_parsing_serving_input_receiver_fn(
      tf.feature_column.make_parse_example_spec(_columns())
    )
  path = estimator.export_saved_model(str(tmp_path / "export"), receiver).decode()
  assert tf.saved_model.load(path).signatures


def _keras_model():
  model = tf.keras.Sequential(
    [
      tf.keras.layers.InputLayer((2,), name="x"),
      tf.keras.layers.Dense(3, activation="tanh", name="hidden"),
      tf.keras.layers.Dense(1, name="out"),
    ]
  )
  model.compile(tf.keras.optimizers.legacy.Adam(0.05), "mse")
  return model


@pytest.mark.parametrize("own_format", ["saver", "checkpoint"])
@pytest.mark.parametrize("checkpoint_format", _FORMATS)
def test_model_to_estimator(checkpoint_format, own_format, tmp_path):
  """Keras's own Estimator, from the model_dir it trained in and back to it."""

  def make():
    tf.keras.backend.clear_session()
    return tf.keras.estimator.model_to_estimator(
      _keras_model(), model_dir=str(tmp_path), checkpoint_format=own_format
    )

  make().train(models.input_fn, steps=2)
  plain = next(make().predict(models.eval_input_fn))["out"]

  # Keras's Estimator trains on the model it was made of only once.
  def decorated():
    return eckpt.with_checkpointing(make(), checkpoint_format)

  np.testing.assert_array_equal(
    next(decorated().predict(models.eval_input_fn))["out"], plain
  )
  decorated().train(models.input_fn, max_steps=4)
  assert eckpt.detect_format(str(tmp_path)).value == checkpoint_format
  before = _saved(tmp_path)
  hook = _start_values()
  decorated().train(models.input_fn, max_steps=5, hooks=[hook])
  if own_format == "saver" or checkpoint_format == "tf1":
    models.assert_same_values(before, hook.values)
  assert decorated().evaluate(models.eval_input_fn, steps=1)["global_step"] == 5
  predicted = next(decorated().predict(models.eval_input_fn))["out"]
  assert not np.array_equal(predicted, plain)
  path = decorated().export_saved_model(
    str(tmp_path / "export"), models.serving_input_fn
  )
  served = tf.saved_model.load(path.decode()).signatures["serving_default"]
  outputs = served(x=tf.constant(models.X))
  np.testing.assert_allclose(next(iter(outputs.values()))[0], predicted, atol=1e-6)
  # Keras's own way goes on with what has its keys.
  if own_format == "saver" and checkpoint_format != "tf2":
    np.testing.assert_array_equal(
      next(make().predict(models.eval_input_fn))["out"], predicted
    )


@pytest.mark.parametrize("order", ["metrics first", "checkpointing first"])
@pytest.mark.parametrize("checkpoint_format", _FORMATS)
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
  hook = _start_values()
  before = _saved(tmp_path)
  estimator.train(models.input_fn, steps=1, hooks=[hook])
  models.assert_same_values(before, hook.values)
  assert eckpt.detect_format(str(tmp_path)).value == checkpoint_format
  result = estimator.evaluate(models.eval_input_fn)
  np.testing.assert_allclose(result["mean_label"], models.Y.mean(), rtol=1e-5)
  assert result["global_step"] == 3


@pytest.mark.parametrize("own_scaffold_fn", [True, False])
@pytest.mark.parametrize("checkpoint_format", _FORMATS)
def test_row_18_tpu_estimator_on_cpu(checkpoint_format, own_scaffold_fn, tmp_path):
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
  hook = _start_values()
  estimator.train(data, steps=1, hooks=[hook])
  models.assert_same_values(
    {n: v for n, v in before.items() if not n.startswith("training_loop")},
    {n: v for n, v in hook.values.items() if not n.startswith("training_loop")},
  )
  assert eckpt.detect_format(str(tmp_path)).value == checkpoint_format
  assert estimator.evaluate(once, steps=2)["global_step"] == 4
  predicted = np.array([p["y"] for p in estimator.predict(once)])
  path = estimator.export_saved_model(str(tmp_path / "export"), models.serving_input_fn)
  served = tf.saved_model.load(path.decode(), ["serve"]).signatures["serving_default"]
  np.testing.assert_allclose(served(x=tf.constant(models.X))["y"], predicted, atol=1e-6)
  assert bool(called) == own_scaffold_fn


@pytest.mark.parametrize("checkpoint_format", _FORMATS)
def test_row_8_early_stopping_hooks(checkpoint_format, tmp_path):
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
  started = _start_values()
  estimator.train(models.input_fn, steps=2, hooks=[hook(), started])
  models.assert_same_values(before, started.values)
  # Without the hook, its variable is no part of the graph.
  assert estimator.evaluate(models.eval_input_fn)["global_step"] == 4


def _two_cpus():
  """Whether this process has two logical devices, which have to be asked for first."""
  try:
    tf.config.set_logical_device_configuration(
      tf.config.list_physical_devices("CPU")[0],
      [tf.config.LogicalDeviceConfiguration()] * 2,
    )
  except RuntimeError:
    # TensorFlow was used before.
    pass
  return len(tf.config.list_logical_devices("CPU")) > 1


_HAS_TWO_CPUS = _two_cpus()
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
  # And back to one device, with a name-based saver.
  started = _start_values()
  plain.train(models.input_fn, steps=1, hooks=[started])
  models.assert_same_values(after, started.values)
