"""The proof that an optimizer goes on where TensorFlow 1's stopped.

A small model is trained for some steps in a TF1 graph and saved. Keras loads the
checkpoint and trains on with the next batches, and so does the TF1 graph. Losses and
weights must agree after every step. The proof is of the Keras that belongs to the
installed TensorFlow.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf

import estimator_ckpt.keras
from estimator_ckpt.cli import main as cli
from tests.keras.published_optimizers import OPTIMIZERS

tf1 = tf.compat.v1
STEPS_BEFORE = 7
STEPS_AFTER = 8
_UNITS = (6, 4)


@dataclasses.dataclass(frozen=True)
class Case:
  """An optimizer in TensorFlow 1 and in Keras.

  Attributes:
    tf1_class: its class in `tf.compat.v1.train`, or one of `published_optimizers`.
    tf1_arguments: its arguments.
    keras_class: its class in Keras.
    keras_arguments: its arguments there.
    embedding: whether the model begins with an embedding, whose gradient is sparse.
  """

  tf1_class: str
  tf1_arguments: Mapping[str, Any]
  keras_class: str
  keras_arguments: Mapping[str, Any]
  embedding: bool = False


def batches(count: int, embedding: bool = False) -> list[tuple[Any, Any]]:
  """Batches that differ from step to step, and give every weight a gradient."""
  rng = np.random.RandomState(7)
  found = []
  for _ in range(count):
    x = rng.randn(8, 5).astype(np.float32)
    if embedding:
      x = rng.randint(0, 9, (8, 3)).astype(np.int32)
    found.append((x, rng.randn(8, 2).astype(np.float32)))
  return found


def train_in_tf1(case: Case, prefix: str, learning_rates: Any = None) -> dict[str, Any]:
  """Trains in a TF1 graph, and saves after `STEPS_BEFORE` steps.

  Args:
    case: the optimizer.
    prefix: where the checkpoint goes.
    learning_rates: a learning rate for each step, instead of the case's.

  Returns:
    The `losses` of all steps, and the `weights` before the first and after each.
  """
  with tf.Graph().as_default():
    rng = np.random.RandomState(3)
    first = 3 * 4 if case.embedding else 5
    sizes = (first, *_UNITS, 2)
    x = tf1.placeholder(tf.int32 if case.embedding else tf.float32, (8, None))
    y = tf1.placeholder(tf.float32, (8, 2))
    net = x
    if case.embedding:
      table = _variable("net/embedding/embeddings", rng.randn(9, 4))
      net = tf.reshape(tf.nn.embedding_lookup(table, x), (8, first))
    for i, (n, m) in enumerate(zip(sizes, sizes[1:])):
      kernel = _variable(f"net/dense_{i}/kernel", rng.randn(n, m) / n**0.5)
      net = net @ kernel + _variable(f"net/dense_{i}/bias", rng.randn(m) / 10)
      net = tf.tanh(net) if m != 2 else net
    loss = tf.reduce_mean(tf.square(net - y))
    step = tf1.train.get_or_create_global_step()
    arguments = dict(case.tf1_arguments)
    rate = tf1.placeholder_with_default(arguments["learning_rate"], ())
    arguments["learning_rate"] = rate
    optimizer = (OPTIMIZERS.get(case.tf1_class) or getattr(tf1.train, case.tf1_class))(
      **arguments
    )
    train = optimizer.minimize(loss, global_step=step)
    variables = {v.op.name: v for v in tf1.trainable_variables()}
    saver = tf1.train.Saver()
    with tf1.Session() as session:
      session.run(tf1.global_variables_initializer())
      losses, weights = [], [session.run(variables)]
      data = batches(STEPS_BEFORE + STEPS_AFTER, case.embedding)
      for i, (inputs, targets) in enumerate(data):
        feed = {x: inputs, y: targets}
        if learning_rates is not None:
          feed[rate] = learning_rates[i]
        losses.append(session.run([loss, train], feed)[0])
        weights.append(session.run(variables))
        if i + 1 == STEPS_BEFORE:
          saver.save(session, prefix)
  return {"losses": losses, "weights": weights}


def _variable(name: str, value: np.ndarray) -> Any:
  return tf1.get_variable(
    name, initializer=tf.constant(value, tf.float32), use_resource=True
  )


def keras_model(embedding: bool = False) -> Any:
  """The same model in Keras, with other initial weights."""
  layers = tf.keras.layers
  inputs = net = tf.keras.Input((3,) if embedding else (5,), batch_size=8)
  if embedding:
    net = layers.Embedding(9, 4, name="embedding")(net)
    net = layers.Reshape((12,))(net)
  for i, units in enumerate(_UNITS):
    net = layers.Dense(units, "tanh", name=f"dense_{i}")(net)
  return tf.keras.Model(inputs, layers.Dense(2, name=f"dense_{len(_UNITS)}")(net))


def _by_name(variables: list[Any]) -> dict[str, Any]:
  return {f"net/{_name(v)}": v.numpy() for v in variables}


def _by_position(variables: list[Any]) -> list[Any]:
  return [v.numpy() for v in variables]


def train_in_keras(
  model: Any, optimizer: Any, data: list[tuple[Any, Any]], named: Any = _by_name
) -> Any:
  """Trains in Keras, step by step.

  Returns:
    The losses, and the weights after each step, by TF1's names unless told otherwise.
  """
  losses, weights = [], []
  for inputs, targets in data:
    with tf.GradientTape() as tape:
      loss = tf.reduce_mean(tf.square(model(inputs, training=True) - targets))
    variables = model.trainable_variables
    optimizer.apply_gradients(zip(tape.gradient(loss, variables), variables))
    losses.append(loss.numpy())
    weights.append(named(variables))
  return losses, weights


def _name(variable: Any) -> str:
  return getattr(variable, "path", variable.name).partition(":")[0]


def prove(
  case: Case, optimizer: Any, prefix: str, tolerance: float = 1e-5, **options: Any
) -> float:
  """Trains on in Keras and in TF1, and compares every step.

  Args:
    case: the optimizer.
    optimizer: the optimizer in Keras.
    prefix: where the TF1 checkpoint goes.
    tolerance: the largest relative difference allowed.
    **options: of `estimator_ckpt.keras.load`.

  Returns:
    The largest difference of a weight, relative to the largest weight.
  """
  in_tf1 = train_in_tf1(case, prefix)
  model = keras_model(case.embedding)
  report = estimator_ckpt.keras.load(model, prefix, optimizer, **options)
  assert report.is_complete and report.optimizer is not None, report
  assert report.optimizer.iterations == STEPS_BEFORE
  data = batches(STEPS_BEFORE + STEPS_AFTER, case.embedding)[STEPS_BEFORE:]
  losses, weights = train_in_keras(model, optimizer, data)
  np.testing.assert_allclose(losses, in_tf1["losses"][STEPS_BEFORE:], rtol=tolerance)
  worst = 0.0
  for ours, theirs in zip(weights, in_tf1["weights"][STEPS_BEFORE + 1 :]):
    assert ours.keys() == theirs.keys()
    for name, value in theirs.items():
      scale = np.abs(value).max()
      difference = float(np.abs(ours[name] - value).max() / scale)
      assert difference < tolerance, (name, difference)
      worst = max(worst, difference)
  return worst


class Net(tf.keras.Model):
  """The same model, subclassed; its layer attributes are called as the scopes."""

  def __init__(self):
    super().__init__()
    self.dense_0 = tf.keras.layers.Dense(_UNITS[0], "tanh")
    self.dense_1 = tf.keras.layers.Dense(_UNITS[1], "tanh")
    self.dense_2 = tf.keras.layers.Dense(2)

  def call(self, inputs):
    """Applies the model to a batch."""
    return self.dense_2(self.dense_1(self.dense_0(inputs)))


# The flags that `convert` needs for every model of these tests.
FLAGS = [
  "--name_map=net/:",
  *(f"--trainable=dense_{i}/{leaf}" for i in range(3) for leaf in ("kernel", "bias")),
]
_SETTINGS = ("learning_rate", "momentum", "epsilon", "beta_1", "beta_2", "weight_decay")


def prove_converted(
  case: Case, keras: str, optimizer: Any, prefix: str, in_tf1: Any
) -> None:
  """Converts by the command line, restores, trains on, and compares every step.

  Args:
    case: the optimizer.
    keras: the value of `--keras`.
    optimizer: the optimizer in that Keras, with the arguments of its case.
    prefix: the checkpoint of TF1; the result is written beside it.
    in_tf1: the result of `train_in_tf1`.
  """
  target = f"{prefix}-{keras}"
  config = {**case.keras_arguments, **optimizer.get_config()}
  config["learning_rate"] = case.keras_arguments["learning_rate"]
  settings = [
    f"--optimizer_setting={name}={config[name]}"
    for name in _SETTINGS
    if isinstance(config.get(name), (int, float))
  ]
  argv = ["convert", prefix, target, "--to=tf2", f"--keras={keras}", *settings]
  assert cli.run([*argv, *FLAGS]) == 0
  model = Net()
  data = batches(STEPS_BEFORE + STEPS_AFTER)[STEPS_BEFORE:]
  # Stock Keras 3 makes a subclassed model's first variable twice if the model is
  # restored before it is built.
  model(data[0][0])
  status = tf.train.Checkpoint(model=model, optimizer=optimizer).restore(target)
  losses, weights = train_in_keras(model, optimizer, data, _by_position)
  status.assert_consumed()
  assert int(optimizer.iterations) == STEPS_BEFORE + STEPS_AFTER
  np.testing.assert_allclose(losses, in_tf1["losses"][STEPS_BEFORE:], rtol=1e-5)
  for ours, theirs in zip(weights, in_tf1["weights"][STEPS_BEFORE + 1 :]):
    # Compared by position: TF1 made the weights in the order of the model's layers.
    assert len(ours) == len(theirs)
    for value, (name, other) in zip(ours, theirs.items()):
      scale = np.abs(other).max()
      assert np.abs(value - other).max() / scale < 1e-5, name


def _case(tf1_class: str, keras_class: str, tf1_only: Any = None, **both: Any) -> Case:
  renamed = {"decay": "rho", "beta1": "beta_1", "beta2": "beta_2"}
  renamed["use_nesterov"] = "nesterov"
  in_keras = {renamed.get(name, name): value for name, value in both.items()}
  in_keras.update(_KERAS_ONLY.get(tf1_class, {}))
  return Case(tf1_class, {**both, **(tf1_only or {})}, keras_class, in_keras)


# Where the two sides take other arguments.
_KERAS_ONLY = {
  "AdamWeightDecayOptimizer": {"weight_decay": 0.01},
  "AdamWOptimizer": {"weight_decay": 0.01},
}
_RMS = ("RMSPropOptimizer", "RMSprop")
CASES = {
  "adam": _case("AdamOptimizer", "Adam", learning_rate=0.05, epsilon=1e-8),
  "adam_betas": _case(
    "AdamOptimizer", "Adam", learning_rate=0.05, epsilon=0.1, beta1=0.8, beta2=0.95
  ),
  "momentum": _case("MomentumOptimizer", "SGD", learning_rate=0.05, momentum=0.9),
  "nesterov": _case(
    "MomentumOptimizer", "SGD", learning_rate=0.05, momentum=0.9, use_nesterov=True
  ),
  "gradient_descent": _case("GradientDescentOptimizer", "SGD", learning_rate=0.05),
  "adagrad": _case("AdagradOptimizer", "Adagrad", learning_rate=0.05),
  "rmsprop": _case(*_RMS, learning_rate=0.05, epsilon=1e-3),
  "rmsprop_momentum": _case(*_RMS, learning_rate=0.05, epsilon=1e-3, momentum=0.5),
  "rmsprop_centered": _case(*_RMS, learning_rate=0.05, epsilon=1e-3, centered=True),
  "rmsprop_centered_momentum": _case(
    *_RMS, learning_rate=0.05, epsilon=1e-3, centered=True, momentum=0.5
  ),
  "ftrl": _case(
    "FtrlOptimizer",
    "Ftrl",
    learning_rate=0.1,
    l1_regularization_strength=0.001,
    l2_regularization_strength=0.01,
  ),
  "ftrl_shrinkage": _case(
    "FtrlOptimizer",
    "Ftrl",
    learning_rate=0.1,
    learning_rate_power=-0.4,
    l2_shrinkage_regularization_strength=0.01,
    beta=0.1,
  ),
  # Betas by which the correction for the start at zero is negligible after seven steps.
  "adamw_of_bert": _case(
    "AdamWeightDecayOptimizer",
    "AdamW",
    {"weight_decay_rate": 0.01},
    learning_rate=0.02,
    epsilon=1e-6,
    beta_1=0.15,
    beta_2=0.2,
  ),
  "adamw_of_contrib": _case(
    "AdamWOptimizer",
    "AdamW",
    {"weight_decay": 0.05 * 0.01},
    learning_rate=0.05,
    epsilon=1e-8,
  ),
  "adamax": _case("AdaMaxOptimizer", "Adamax", learning_rate=0.05, epsilon=1e-8),
  "adadelta": _case("AdadeltaOptimizer", "Adadelta", learning_rate=1.0, epsilon=1e-6),
}
