"""Golden checkpoints of each TF1 optimizer, half way through ten recorded steps."""

from __future__ import annotations

import numpy as np
import tensorflow as tf
from golden_writer import ramp, waves
from tf1_session import constant, save, session_config

SAVED_AT = 5
STEPS = 10

# name -> (class in tf.train, its arguments)
OPTIMIZERS = {
  "gradient_descent": ("GradientDescentOptimizer", {"learning_rate": 0.1}),
  "momentum": ("MomentumOptimizer", {"learning_rate": 0.05, "momentum": 0.9}),
  "nesterov": (
    "MomentumOptimizer",
    {"learning_rate": 0.05, "momentum": 0.9, "use_nesterov": True},
  ),
  "adam": (
    "AdamOptimizer",
    {"learning_rate": 0.01, "beta1": 0.9, "beta2": 0.999, "epsilon": 1e-8},
  ),
  "adagrad": (
    "AdagradOptimizer",
    {"learning_rate": 0.1, "initial_accumulator_value": 0.1},
  ),
  "rmsprop": (
    "RMSPropOptimizer",
    {"learning_rate": 0.01, "decay": 0.9, "momentum": 0.0, "epsilon": 1e-10},
  ),
  "rmsprop_momentum": (
    "RMSPropOptimizer",
    {"learning_rate": 0.01, "decay": 0.9, "momentum": 0.5, "epsilon": 1e-7},
  ),
  "rmsprop_centered": (
    "RMSPropOptimizer",
    {
      "learning_rate": 0.01,
      "decay": 0.9,
      "momentum": 0.5,
      "epsilon": 1e-7,
      "centered": True,
    },
  ),
  "ftrl": (
    "FtrlOptimizer",
    {
      "learning_rate": 0.1,
      "learning_rate_power": -0.5,
      "initial_accumulator_value": 0.1,
      "l1_regularization_strength": 0.001,
      "l2_regularization_strength": 0.01,
    },
  ),
  "adadelta": (
    "AdadeltaOptimizer",
    {"learning_rate": 1.0, "rho": 0.95, "epsilon": 1e-6},
  ),
}


def _train(directory, name):
  """Trains, saves at step 5 and goes on to step 10, keeping each step's weights."""
  class_name, arguments = OPTIMIZERS[name]
  inputs = waves((STEPS, 8, 5))
  targets = waves((STEPS, 8, 2), step=1.3)
  with tf.Graph().as_default():
    x = tf.placeholder(tf.float32, (8, 5))
    y = tf.placeholder(tf.float32, (8, 2))
    with tf.variable_scope("net"):
      hidden = tf.layers.dense(
        x,
        4,
        tf.tanh,
        kernel_initializer=constant(ramp((5, 4))),
        bias_initializer=constant(ramp((4,), 0.1, 0.4)),
        name="dense_1",
      )
      output = tf.layers.dense(
        hidden,
        2,
        kernel_initializer=constant(ramp((4, 2), 0.9, -0.7)),
        bias_initializer=constant(ramp((2,), -0.2, 0.2)),
        name="dense_2",
      )
    loss = tf.reduce_mean(tf.square(output - y))
    step = tf.train.get_or_create_global_step()
    optimizer = getattr(tf.train, class_name)(**arguments)
    train = optimizer.minimize(loss, step)
    weights = {v.op.name: v for v in tf.trainable_variables()}
    slots = {
      optimizer.get_slot(v, slot).op.name[len(v.op.name) + 1 :]: slot
      for slot in optimizer.get_slot_names()
      for v in weights.values()
    }
    saver = tf.train.Saver(save_relative_paths=True)
    with tf.Session(config=session_config()) as session:
      session.run(tf.global_variables_initializer())
      history, losses, written = [session.run(weights)], [], None
      for i in range(STEPS):
        _, value = session.run([train, loss], {x: inputs[i], y: targets[i]})
        losses.append(value)
        history.append(session.run(weights))
        if i + 1 == SAVED_AT:
          written = save(
            session,
            directory,
            SAVED_AT,
            saver,
            data={
              "x": inputs,
              "y": targets,
              "loss": np.zeros(STEPS, np.float32),
            },
            details={
              "optimizer": class_name,
              "arguments": arguments,
              "slots": slots,
              "saved_at_step": SAVED_AT,
              "steps": STEPS,
              "loss": "mean of squared differences, before the step's update",
              "model": "tanh dense_1 of 4, linear dense_2 of 2",
            },
          )
  written.data["loss"] = np.array(losses, np.float32)
  for key in weights:
    written.data["after_step/" + key] = np.stack([h[key] for h in history])
  return written


def _golden(name):
  def write(directory):
    return _train(directory, name)

  arguments = ", ".join(f"{k}={v!r}" for k, v in sorted(OPTIMIZERS[name][1].items()))
  write.__doc__ = f"{OPTIMIZERS[name][0]}({arguments}) at step 5 of 10 recorded steps."
  return write


GOLDENS = {"optimizers/" + name: _golden(name) for name in OPTIMIZERS}
