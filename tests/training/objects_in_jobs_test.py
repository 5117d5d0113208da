"""checkpoint=: an Estimator whose model_dir holds the user's objects."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

import estimator_ckpt as eckpt
from estimator_ckpt import errors
from tests import models, tensorflows
from tests.training.python_state import Counts

v1 = tf.compat.v1
_FORMATS = ["tf2", "dual"]


def _object_model_fn(scope, as_function, reached=("model", "optimizer")):
  """A model_fn whose variable names depend on the scope; its object paths do not."""

  def model_fn(features, labels, mode):
    net = tf.Module()
    with v1.variable_scope(scope):
      net.kernel = v1.get_variable("kernel", [2, 1], use_resource=True)
      net.bias = v1.get_variable("bias", [1], use_resource=True)
    y = features["x"] @ net.kernel + net.bias
    optimizer = v1.train.AdamOptimizer(0.1)
    spec = models.spec(mode, y, labels, optimizer)
    objects = {
      "model": net,
      "optimizer": optimizer,
      "step": v1.train.get_or_create_global_step(),
    }
    objects = {name: objects[name] for name in (*reached, "step")}
    if as_function:
      made.update(objects)
      return spec
    return spec._replace(
      scaffold=v1.train.Scaffold(saver=tensorflows.checkpoint(**objects))
    )

  made = {}
  return model_fn, made


def _object_estimator(checkpoint_format, scope, model_dir, as_function=False):
  model_fn, made = _object_model_fn(scope, as_function)
  options = {"checkpoint": lambda: made} if as_function else {}
  return models.estimator(
    eckpt.checkpointing(checkpoint_format, **options)(model_fn), model_dir
  )


def _predicted(estimator):
  return np.array([p["y"] for p in estimator.predict(models.eval_input_fn)])


@pytest.mark.parametrize("as_function", [True, False], ids=["function", "scaffold"])
@pytest.mark.parametrize("checkpoint_format", _FORMATS)
def test_renamed_scopes_restore_while_the_objects_stay(
  checkpoint_format, as_function, tmp_path
):
  def make(scope):
    return _object_estimator(checkpoint_format, scope, tmp_path, as_function)

  old, new = make("old"), make("new/name")
  old.train(models.input_fn, steps=5)
  before = _predicted(old)
  np.testing.assert_array_equal(_predicted(new), before)
  exported = new.export_saved_model(str(tmp_path / "export"), models.serving_input_fn)
  served = tensorflows.served(exported, x=models.X)
  np.testing.assert_allclose(served["y"], before, atol=1e-6)
  slot = "model/kernel/.OPTIMIZER_SLOT/optimizer/m/.ATTRIBUTES/VARIABLE_VALUE"
  moments = models.values(tmp_path)[slot]

  class Started(tf.estimator.SessionRunHook):
    def after_create_session(self, session, coord):
      [m] = [v for v in v1.global_variables() if v.op.name == "new/name/kernel/Adam"]
      self.moments = session.run(m)

  hook = Started()
  new.train(models.input_fn, steps=5, hooks=[hook])
  np.testing.assert_array_equal(hook.moments, moments)
  assert new.evaluate(models.eval_input_fn)["global_step"] == 10
  names = new.get_variable_names()
  assert ("new/name/kernel" in names) == (checkpoint_format == "dual")
  assert "old/kernel" not in names


@pytest.mark.parametrize("before", ["tf1", "tf2", "dual"])
@pytest.mark.parametrize("after", _FORMATS)
def test_objects_named_in_a_model_dir_of_any_format(before, after, tmp_path):
  plain, _ = _object_model_fn("net", True)
  models.estimator(eckpt.checkpointing(before)(plain), tmp_path).train(
    models.input_fn, steps=3
  )
  old = _predicted(models.estimator(eckpt.checkpointing(before)(plain), tmp_path))
  estimator = _object_estimator(after, "net", tmp_path)
  np.testing.assert_array_equal(_predicted(estimator), old)
  estimator.train(models.input_fn, steps=3)
  new = _predicted(estimator)
  # The job goes back to a model without objects.
  back = models.estimator(eckpt.checkpointing(before)(plain), tmp_path)
  np.testing.assert_array_equal(_predicted(back), new)
  back.train(models.input_fn, steps=1)
  assert back.evaluate(models.eval_input_fn)["global_step"] == 7


@pytest.mark.parametrize("checkpoint_format", _FORMATS)
def test_python_state_is_saved_as_it_is_then_and_restored(checkpoint_format, tmp_path):
  states = []

  def model_fn(features, labels, mode):
    states.append(Counts(batches=0))
    made = models.model_fn(features, labels, mode)
    saver = tensorflows.checkpoint(state=states[-1])
    return made._replace(scaffold=v1.train.Scaffold(saver=saver))

  class Count(tf.estimator.SessionRunHook):
    def begin(self):
      self.at_start = None

    def after_run(self, run_context, run_values):
      if self.at_start is None:
        self.at_start = states[-1].counts["batches"]
      states[-1].counts["batches"] += 1

  estimator = models.estimator(
    eckpt.checkpointing(checkpoint_format)(model_fn), tmp_path
  )
  estimator.train(models.input_fn, steps=4, hooks=[Count()])
  saved = states[-1].counts["batches"]
  hook = Count()
  estimator.train(models.input_fn, steps=1, hooks=[hook])
  assert saved == 4 and hook.at_start >= 3
  eager = Counts()
  prefix = tf.train.latest_checkpoint(str(tmp_path))
  with tensorflows.eager():
    tensorflows.checkpoint(state=eager).restore(prefix).expect_partial()
  assert eager.counts["batches"] >= 4


@tensorflows.needs("compat.v1.keras.utils.track_tf1_style_variables")
@pytest.mark.parametrize("checkpoint_format", _FORMATS)
def test_the_guides_shim_layers(checkpoint_format, tmp_path):
  """A layer that tracks TF1-style variables; its values by name and by object path."""

  class Shim(tf.keras.layers.Layer):
    @v1.keras.utils.track_tf1_style_variables
    def call(self, x):
      with v1.variable_scope("shim", use_resource=True):
        h = v1.layers.dense(x, 4, tf.nn.tanh, name="hidden")
        return v1.layers.dense(h, 1, name="out")

  def model_fn(features, labels, mode):
    layer = Shim()
    y = layer(features["x"])
    objects = {"model": layer}
    spec = models.spec(mode, y, labels)
    return spec._replace(
      scaffold=v1.train.Scaffold(saver=tensorflows.checkpoint(**objects))
    )

  def decorated(name):
    return models.estimator(eckpt.checkpointing(name)(model_fn), tmp_path)

  first, second = models.Values(), models.Values()
  decorated("tf1").train(models.input_fn, steps=2, hooks=[first])
  estimator = decorated(checkpoint_format)
  estimator.train(models.input_fn, steps=3, hooks=[second])
  models.assert_same_values(first.last, second.start)
  predicted = _predicted(estimator)
  for other in ("tf1", "tf2", "dual"):
    np.testing.assert_array_equal(_predicted(decorated(other)), predicted)
  assert estimator.evaluate(models.eval_input_fn)["global_step"] == 5
  path = estimator.export_saved_model(str(tmp_path / "export"), models.serving_input_fn)
  served = tensorflows.served(path, x=models.X)
  np.testing.assert_allclose(served["y"], predicted, atol=1e-6)
  layer = Shim()
  layer(tf.constant(models.X))
  prefix = tf.train.latest_checkpoint(str(tmp_path))
  status = tensorflows.checkpoint(model=layer).restore(prefix)
  status.assert_existing_objects_matched().expect_partial()
  np.testing.assert_allclose(layer(tf.constant(models.X)), predicted, atol=1e-6)


class _Weights(tf.Module):
  """The two weights of a linear model."""

  def __init__(self):
    super().__init__(name="weights")
    self.kernel = tf.Variable(tf.zeros([2, 1]), name="kernel")
    self.bias = tf.Variable(tf.zeros([1]), name="bias")


@pytest.mark.parametrize("checkpoint_format", _FORMATS)
def test_moving_averages_of_objects_in_predictions(checkpoint_format, tmp_path):
  net = []
  averaged = True

  @eckpt.checkpointing(checkpoint_format, checkpoint=lambda: {"net": net[-1]})
  def model_fn(features, labels, mode):
    net.append(_Weights())
    weights = [net[-1].kernel, net[-1].bias]
    y = tf.matmul(features["x"], weights[0]) + weights[1]
    averages = tf.train.ExponentialMovingAverage(0.5)
    if mode == tf.estimator.ModeKeys.TRAIN:
      spec = models.spec(mode, y, labels)
      if not averaged:
        return spec
      with tf.control_dependencies([spec.train_op]):
        return spec._replace(train_op=averages.apply(weights))
    saver = v1.train.Saver(averages.variables_to_restore(weights))
    return models.spec(mode, y, labels, scaffold=v1.train.Scaffold(saver=saver))

  estimator = models.estimator(model_fn, tmp_path)
  estimator.train(models.input_fn, steps=3)
  values = models.named_values(tmp_path)
  kernel = values["kernel/ExponentialMovingAverage"]
  expected = models.X @ kernel + values["bias/ExponentialMovingAverage"]
  raw = tf.train.load_variable(str(tmp_path), "net/kernel/.ATTRIBUTES/VARIABLE_VALUE")
  assert not np.allclose(kernel, raw)
  found = [p["y"] for p in estimator.predict(models.eval_input_fn)]
  np.testing.assert_allclose(found, expected, atol=1e-6)
  path = estimator.export_saved_model(str(tmp_path / "export"), models.serving_input_fn)
  served = tensorflows.served(path, x=models.X)
  np.testing.assert_allclose(served["y"], expected, atol=1e-6)
  # If the averages are missing, the weights do not take their place.
  averaged = False
  estimator = models.estimator(model_fn, tmp_path / "without")
  estimator.train(models.input_fn, steps=3)
  with pytest.raises(
    errors.VariableMismatchError, match="bias/ExponentialMovingAverage"
  ):
    next(estimator.predict(models.eval_input_fn))
