"""Small Estimators for tests, with values that tell variables apart."""

from __future__ import annotations

import os
import re
from typing import Any, Callable

import numpy as np
import tensorflow as tf

from tests import tensorflows

X = (np.arange(80, dtype=np.float32).reshape(40, 2) - 40) / 40
Y = X @ np.array([[1.0], [-2.0]], np.float32) + 0.5


def input_fn() -> tf.data.Dataset:
  """Features {"x": float32 [8, 2]} and labels float32 [8, 1], without end."""
  return tf.data.Dataset.from_tensor_slices(({"x": X}, Y)).repeat().batch(8)


def eval_input_fn() -> tf.data.Dataset:
  """The same rows, once."""
  return tf.data.Dataset.from_tensor_slices(({"x": X}, Y)).batch(8)


def serving_input_fn() -> tf.estimator.export.ServingInputReceiver:
  """A serving signature that takes {"x": float32 [n, 2]}."""
  x = tf.compat.v1.placeholder(tf.float32, [None, 2], name="x")
  return tf.estimator.export.ServingInputReceiver({"x": x}, {"x": x})


def network(x: tf.Tensor, training: bool) -> tf.Tensor:
  """Two scopes deep, with batch normalization."""
  with tf.compat.v1.variable_scope("net"):
    h = tf.compat.v1.layers.dense(x, 4, tf.nn.tanh, name="hidden")
    h = tf.compat.v1.layers.batch_normalization(h, training=training, name="norm")
    return tf.compat.v1.layers.dense(h, 1, name="out")


def spec(
  mode: str, y: tf.Tensor, labels: Any, optimizer: Any = None, **options: Any
) -> Any:
  """An EstimatorSpec over a prediction."""
  if mode == tf.estimator.ModeKeys.PREDICT:
    output = tf.estimator.export.PredictOutput({"y": y})
    return tf.estimator.EstimatorSpec(
      mode, predictions={"y": y}, export_outputs={"serving_default": output}, **options
    )
  loss = tf.reduce_mean(tf.square(y - labels))
  train_op = None
  if mode == tf.estimator.ModeKeys.TRAIN:
    optimizer = optimizer or tf.compat.v1.train.AdamOptimizer(0.05)
    updates = tf.compat.v1.get_collection(tf.compat.v1.GraphKeys.UPDATE_OPS)
    with tf.control_dependencies(updates):
      train_op = optimizer.minimize(
        loss, tf.compat.v1.train.get_or_create_global_step()
      )
  metrics = {"mae": tf.compat.v1.metrics.mean_absolute_error(labels, y)}
  return tf.estimator.EstimatorSpec(
    mode, loss=loss, train_op=train_op, eval_metric_ops=metrics, **options
  )


def model_fn(features: Any, labels: Any, mode: str) -> Any:
  """A TF1 model_fn."""
  return spec(mode, network(features["x"], mode == tf.estimator.ModeKeys.TRAIN), labels)


def estimator(
  fn: Callable[..., Any],
  model_dir: Any,
  save_steps: int = 5,
  warm_start_from: Any = None,
  **config: Any,
) -> tf.estimator.Estimator:
  """An Estimator that saves every few steps."""
  return tf.estimator.Estimator(
    fn,
    str(model_dir),
    tf.estimator.RunConfig(
      save_checkpoints_steps=save_steps,
      tf_random_seed=7,
      log_step_count_steps=None,
      **config,
    ),
    warm_start_from=warm_start_from,
  )


def guide_scaffold() -> tf.compat.v1.train.Scaffold:
  """The Scaffold of TensorFlow's guide 'Migrating model checkpoints'."""
  step = tf.compat.v1.train.get_or_create_global_step()
  var_list = {v.op.name: v for v in tf.compat.v1.global_variables()}
  return tf.compat.v1.train.Scaffold(
    saver=tensorflows.checkpoint(var_list=var_list, step=step)
  )


def guide_model_fn(features: Any, labels: Any, mode: str) -> Any:
  """`model_fn` with the guide's Scaffold."""
  made = model_fn(features, labels, mode)
  return made._replace(scaffold=guide_scaffold())


def whole_values(session: tf.compat.v1.Session) -> dict[str, np.ndarray]:
  """Every global variable of the session's graph by name, with parts joined.

  A part of a slot gets the name that the slot would have without parts. In the scopes
  of canned Estimators, a name-based Saver uses another name.
  """
  whole: dict[str, np.ndarray] = {}
  with session.graph.as_default():
    variables = tf.compat.v1.global_variables()
  for variable, value in zip(variables, session.run(variables)):
    info = variable._get_save_slice_info()
    if info is None:
      whole[variable.op.name] = value
      continue
    name = re.sub(r"/part_\d+(?=/|$)", "", variable.op.name)
    found = whole.setdefault(name, np.zeros(info.full_shape, value.dtype))
    where = zip(info.var_offset, info.var_shape)
    found[tuple(slice(start, start + count) for start, count in where)] = value
  return whole


class Values(tf.estimator.SessionRunHook):
  """Keeps the values at the start and at the end of training.

  Attributes:
    start: `whole_values` before the first step.
    last: `whole_values` after the last one.
  """

  def after_create_session(self, session: Any, coord: Any) -> None:
    """Called when everything is restored or initialized."""
    self.start = whole_values(session)

  def end(self, session: Any) -> None:
    """Called after the last step."""
    self.last = whole_values(session)


def values(path: Any) -> dict[str, np.ndarray]:
  """Every tensor of a checkpoint, by key, as TensorFlow reads it."""
  reader = tf.train.load_checkpoint(str(path))
  return {key: reader.get_tensor(key) for key in reader.get_variable_to_shape_map()}


def named_values(path: Any) -> dict[str, np.ndarray]:
  """The tensors of a checkpoint of any format by variable name, with slots and step."""
  import estimator_ckpt as eckpt
  from estimator_ckpt.checkpoint import layout

  with eckpt.open_checkpoint(str(path)) as reader:
    graph = reader.object_graph
  full_names = (
    {a.checkpoint_key: a.full_name for _, a in graph.attributes()} if graph else {}
  )
  found = {}
  for key, value in values(path).items():
    parsed = layout.parse_object_key(key)
    if parsed is not None and parsed.path[0] == layout.VAR_LIST:
      found[full_names.get(key) or parsed.path[1]] = value
    elif parsed is None and key != layout.OBJECT_GRAPH_KEY:
      found.setdefault(key, value)
  return found


def steps_on_disk(model_dir: Any) -> list[int]:
  """The steps of the checkpoints in a directory."""
  names = [n for n in os.listdir(model_dir) if n.endswith(".index")]
  return sorted(int(n.rsplit("-", 1)[1][: -len(".index")]) for n in names)


def assert_same_values(a: dict[str, np.ndarray], b: dict[str, np.ndarray]) -> None:
  """Fails unless both have the same names and equal values."""
  assert sorted(a) == sorted(b)
  for name, value in a.items():
    np.testing.assert_array_equal(value, b[name], err_msg=name)
