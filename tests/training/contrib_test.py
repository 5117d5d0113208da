"""Models of tf.contrib, which only TensorFlow 1.15 has: layers, optimizers, slim, cells."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

import estimator_ckpt as eckpt
from tests import models, tensorflows

v1 = tf.compat.v1
pytestmark = tensorflows.needs("contrib")
_FORMATS = ["tf1", "tf2", "dual"]


def _contrib():
  return tf.contrib  # Imported when a test runs: it takes seconds.


def _layers(x, training):
  layers = _contrib().layers
  norm = {"is_training": training, "decay": 0.9}
  h = layers.fully_connected(
    x, 4, tf.nn.tanh, layers.batch_norm, norm, scope="net/hidden"
  )
  h = layers.layer_norm(h, scope="net/layer_norm")
  return layers.fully_connected(h, 1, None, scope="net/out")


def _slim(x, training):
  slim = _contrib().slim
  norm = {"is_training": training, "updates_collections": "updates of slim"}
  with slim.arg_scope(
    [slim.conv2d, slim.fully_connected],
    weights_regularizer=slim.l2_regularizer(0.01),
    normalizer_fn=slim.batch_norm,
    normalizer_params=norm,
  ):
    h = slim.conv2d(tf.reshape(x, [-1, 2, 1, 1]), 3, [2, 1], scope="conv")
    h = slim.repeat(slim.flatten(h), 2, slim.fully_connected, 4, scope="many")
    return slim.fully_connected(h, 1, None, normalizer_fn=None, scope="out")


def _cell(make):
  def network(x, training):
    cell = make(_contrib())
    with v1.variable_scope("rnn"):
      outputs, _ = v1.nn.static_rnn(cell, tf.split(x, 2, 1), dtype=tf.float32)
    return v1.layers.dense(outputs[-1], 1, name="out")

  return network


_NETWORKS = {
  "layers": _layers,
  "slim": _slim,
  "cudnn_compatible_lstm": _cell(
    lambda contrib: contrib.cudnn_rnn.CudnnCompatibleLSTMCell(3)
  ),
  "cudnn_compatible_gru": _cell(
    lambda contrib: contrib.cudnn_rnn.CudnnCompatibleGRUCell(3)
  ),
  "layer_norm_lstm": _cell(lambda contrib: contrib.rnn.LayerNormBasicLSTMCell(3)),
  "block_lstm": _cell(lambda contrib: contrib.rnn.LSTMBlockCell(3)),
}
_OPTIMIZERS = {
  "adamw": lambda opt: opt.AdamWOptimizer(0.01, 0.05),
  "lazy_adam": lambda opt: opt.LazyAdamOptimizer(0.05),
  "nadam": lambda opt: opt.NadamOptimizer(0.05),
  "adamax": lambda opt: opt.AdaMaxOptimizer(0.05),
  "lars": lambda opt: opt.LARSOptimizer(0.05),
  "power_sign": lambda opt: opt.PowerSignOptimizer(0.05),
  "ggt": lambda opt: opt.GGTOptimizer(0.05, window=2),
  "moving_average": lambda opt: opt.MovingAverageOptimizer(
    v1.train.AdamOptimizer(0.05), 0.9
  ),
}


def _estimator(network, checkpoint_format, model_dir, optimizer=None):
  def model_fn(features, labels, mode):
    y = network(features["x"], mode == tf.estimator.ModeKeys.TRAIN)
    made = optimizer and optimizer(_contrib().opt)
    return models.spec(mode, y, labels, made)

  if checkpoint_format is not None:
    model_fn = eckpt.checkpointing(checkpoint_format)(model_fn)
  return models.estimator(model_fn, model_dir)


def _train(estimator, steps=2):
  values = models.Values()
  estimator.train(models.input_fn, steps=steps, hooks=[values])
  return values


def _predicted(estimator):
  return np.array([p["y"] for p in estimator.predict(models.eval_input_fn)])


def _check_every_format(make, model_dir):
  """From the plain Estimator through each format, and back to the plain one."""
  before = _train(make(None))
  names = set(before.last)
  for checkpoint_format in ["tf2", "dual", None]:
    after = _train(make(checkpoint_format))
    models.assert_same_values(before.last, after.start)
    assert set(after.last) == names
    assert any(not np.array_equal(after.start[n], after.last[n]) for n in names)
    assert eckpt.verify(model_dir).ok
    before = after
  predicted = _predicted(make(None))
  _train(make("tf2"), 1)
  stored = models.named_values(model_dir)
  assert names <= set(stored)
  assert not np.array_equal(_predicted(make("tf2")), predicted)


@pytest.mark.parametrize("name", list(_NETWORKS))
def test_networks_go_through_every_format(name, tmp_path):
  _check_every_format(
    lambda checkpoint_format: _estimator(_NETWORKS[name], checkpoint_format, tmp_path),
    tmp_path,
  )


@pytest.mark.parametrize("name", list(_OPTIMIZERS))
def test_optimizers_go_through_every_format(name, tmp_path):
  _check_every_format(
    lambda checkpoint_format: _estimator(
      models.network, checkpoint_format, tmp_path, _OPTIMIZERS[name]
    ),
    tmp_path,
  )


@pytest.mark.parametrize("checkpoint_format", _FORMATS)
def test_a_swapping_saver_saves_averages(checkpoint_format, tmp_path):
  """MovingAverageOptimizer's own saver stores averages under the variables' names."""

  def model_fn(features, labels, mode):
    y = models.network(features["x"], mode == tf.estimator.ModeKeys.TRAIN)
    optimizer = _contrib().opt.MovingAverageOptimizer(v1.train.AdamOptimizer(0.05), 0.9)
    spec = models.spec(mode, y, labels, optimizer)
    if mode != tf.estimator.ModeKeys.TRAIN:
      return spec
    return spec._replace(scaffold=v1.train.Scaffold(saver=optimizer.swapping_saver()))

  estimator = models.estimator(
    eckpt.checkpointing(checkpoint_format)(model_fn), tmp_path
  )
  values = _train(estimator, 5)
  stored = models.named_values(tmp_path)
  average = "net/out/kernel/ExponentialMovingAverage"
  if average not in values.last:
    [average] = [n for n in values.last if n.startswith("net/out/kernel/Exp")]
  np.testing.assert_array_equal(stored["net/out/kernel"], values.last[average])
  np.testing.assert_array_equal(stored[average], values.last["net/out/kernel"])


@pytest.mark.parametrize("checkpoint_format", _FORMATS)
def test_slim_trains_with_a_scaffold_of_ours(checkpoint_format, tmp_path):
  """The train_op of slim in a MonitoredTrainingSession, and tf.contrib.training."""
  training = _contrib().training

  def run(last_step):
    with tf.Graph().as_default():
      step = v1.train.get_or_create_global_step()
      y = _slim(tf.constant(models.X[:8]), True)
      loss = tf.reduce_mean(tf.square(y - models.Y[:8]))
      train_op = _contrib().slim.learning.create_train_op(
        loss, v1.train.MomentumOptimizer(0.01, 0.9), global_step=step
      )
      values = models.Values()
      training.train(
        train_op,
        str(tmp_path),
        scaffold=getattr(eckpt, f"{checkpoint_format}_scaffold")(),
        hooks=[v1.train.StopAtStepHook(last_step=last_step), values],
        # A MonitoredTrainingSession saves at the end only with a hook that saves.
        save_checkpoint_secs=600,
        save_summaries_steps=None,
      )
      return values

  first, second = run(2), run(4)
  models.assert_same_values(first.last, second.start)
  assert second.last["global_step"] == 4
  assert eckpt.detect_format(tmp_path).value == checkpoint_format
