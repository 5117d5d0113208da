"""Models of TF1 code: reference variables, layers of Keras and TF1, no V2 behavior."""

from __future__ import annotations

import os
import subprocess
import sys

import tensorflow as tf

import estimator_ckpt as eckpt
from tests import models

v1 = tf.compat.v1


def test_keras_v1_and_tf1_layers_and_reference_variables(tmp_path):
  def model_fn(features, labels, mode):
    with v1.variable_scope("ref", use_resource=False):
      scale = v1.get_variable("scale", [2], initializer=v1.ones_initializer())
      x = features["x"] * scale
    with v1.variable_scope("net"):
      h = v1.keras.layers.Dense(4, name="keras_dense", activation="tanh")(x)
      y = v1.layers.dense(h, 1, name="tf1_dense")
    v1.get_local_variable("scratch", initializer=3.0)
    return models.spec(mode, y, labels)

  def all_values(estimator):
    class Read(tf.estimator.SessionRunHook):
      def after_create_session(self, session, coord):
        variables = v1.global_variables()
        names = [v.op.name for v in variables]
        self.values = dict(zip(names, session.run(variables)))
        [scale] = [v for v in variables if v.op.name == "ref/scale"]
        assert scale.op.type == "VariableV2"

    hook = Read()
    estimator.train(models.input_fn, steps=1, hooks=[hook])
    return hook.values

  for checkpoint_format in ("tf1", "tf2", "dual", "tf1", "dual", "tf2"):
    estimator = models.estimator(
      eckpt.checkpointing(checkpoint_format)(model_fn), tmp_path
    )
    if checkpoint_format == "tf1" and not os.path.isdir(tmp_path / "export"):
      estimator.train(models.input_fn, steps=2)
      estimator.export_saved_model(str(tmp_path / "export"), models.serving_input_fn)
    saved = models.named_values(tmp_path)
    saved.pop("save_counter", None)
    assert not any("scratch" in name for name in saved)
    models.assert_same_values(saved, all_values(estimator))


_WITHOUT_V2_BEHAVIOR = """
import sys
import numpy as np
import tensorflow.compat.v1 as tf
tf.disable_v2_behavior()
import estimator_ckpt as eckpt

def input_fn():
  return tf.data.Dataset.from_tensors((np.ones((4, 2), "f"), np.ones((4, 1), "f"))).repeat()

def model_fn(features, labels, mode):
  w = tf.get_variable("w", [2, 1])
  assert w.op.type == "VariableV2"
  parts = tf.fixed_size_partitioner(2)
  e = tf.get_variable("e", [3, 1], partitioner=parts)
  h = tf.get_variable(
    "h", [3, 1], tf.float16, tf.ones_initializer(), trainable=False, partitioner=parts)
  assert {v.op.type for v in [*e, *h]} == {"VariableV2"}
  y = features @ w + tf.reduce_sum(e) + tf.cast(tf.reduce_sum(h), tf.float32)
  if mode == "infer":
    return tf.estimator.EstimatorSpec(mode, predictions={"y": y})
  loss = tf.reduce_mean((y - labels) ** 2)
  step = tf.train.get_or_create_global_step()
  train_op = tf.train.MomentumOptimizer(0.01, 0.9).minimize(loss, step)
  with tf.control_dependencies([train_op]):
    train_op = tf.group(*[part.assign_add(tf.ones_like(part)) for part in h])
  return tf.estimator.EstimatorSpec(
    mode, predictions={"y": y}, loss=loss, train_op=train_op)

def run(model_fn, directory, steps):
  config = tf.estimator.RunConfig(tf_random_seed=5)
  estimator = tf.estimator.Estimator(model_fn, f"{sys.argv[1]}/{directory}", config)
  estimator.train(input_fn, max_steps=steps)
  evaluated = estimator.evaluate(input_fn, steps=1)
  assert evaluated["global_step"] == steps
  return float(evaluated["loss"]), next(estimator.predict(input_fn))["y"].tolist()

for steps, name in enumerate(["tf1", "tf2", "dual", "tf1"], 1):
  print(run(eckpt.checkpointing(name)(model_fn), "ours", steps))
  print(run(model_fn, "plain", steps))
"""


def test_without_v2_behavior(tmp_path):
  """Runs in a process of its own, as it cannot be undone; all formats give the same."""
  command = [sys.executable, "-c", _WITHOUT_V2_BEHAVIOR, str(tmp_path)]
  done = subprocess.run(command, capture_output=True, text=True, check=False)
  assert done.returncode == 0, done.stderr
  lines = done.stdout.splitlines()
  assert lines[::2] == lines[1::2] and len(set(lines)) == 4
