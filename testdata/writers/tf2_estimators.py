"""Golden checkpoint of an Estimator that saves as TensorFlow's migration guide says."""

from __future__ import annotations

import os

import numpy as np
import tensorflow as tf
import tf1_session
import tf2_objects
from golden_writer import Written, ramp, waves

STEPS = 7


class _Remember(tf.compat.v1.train.SessionRunHook):
  """Takes the values from the session that the last checkpoint was saved from."""

  def begin(self):
    self.variables = tf.compat.v1.global_variables()

  def end(self, session):
    self.values, _ = tf1_session.logical_values(session, self.variables)


def _model_fn(features, labels, mode):
  v1 = tf.compat.v1
  with v1.variable_scope("net"):
    kernel = v1.get_variable("dense/kernel", initializer=ramp((5, 2)))
    bias = v1.get_variable("dense/bias", initializer=ramp((2,), 0.1, 0.4))
  loss = tf.reduce_mean(tf.square(tf.matmul(features, kernel) + bias - labels))
  step = v1.train.get_global_step()
  train = v1.train.AdamOptimizer(0.01).minimize(loss, step)
  by_name = {v.op.name: v for v in v1.global_variables() if v is not step}
  saver = tf.train.Checkpoint(var_list=by_name, step=step)
  return tf.estimator.EstimatorSpec(
    mode, loss=loss, train_op=train, scaffold=v1.train.Scaffold(saver=saver)
  )


def guide_scaffold(directory):
  """An Estimator with Scaffold(saver=tf.train.Checkpoint(var_list={...}, step=...))."""
  x, y = waves((8, 5)), waves((8, 2), step=1.3)
  config = tf.estimator.RunConfig(
    session_config=tf1_session.session_config(), save_summary_steps=None
  )
  estimator = tf.estimator.Estimator(_model_fn, directory, config)
  remembered = _Remember()
  estimator.train(
    lambda: tf.data.Dataset.from_tensors((x, y)).repeat(),
    hooks=[remembered],
    steps=STEPS,
  )
  prefix = os.path.basename(estimator.latest_checkpoint())
  # The Estimator wrote absolute paths, of the folder it ran in.
  tf.compat.v1.train.update_checkpoint_state(directory, prefix)
  expected = {}
  for name, value in remembered.values.items():
    escaped = "var_list/" + name.replace(".", "..").replace("/", ".S")
    path = "step" if name == "global_step" else escaped
    expected[path + "/.ATTRIBUTES/VARIABLE_VALUE"] = np.asarray(value)
  tensors = tf2_objects.listed(os.path.join(directory, prefix))
  return Written(prefix, tensors, expected)


GOLDENS = {"guide_scaffold": guide_scaffold}
