"""Everything that an Estimator can hold in one model, through every change of format.

An uninterrupted run of stock TensorFlow gives the expected results of each step.
"""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

import estimator_ckpt as eckpt
from tests import models, tensorflows

v1 = tf.compat.v1
_FORMATS = ("tf1", "tf2", "dual")
# Every format follows every format; `apart` is the pair of bundles.
_STAGES = "tf1 tf1 tf2 tf2 dual dual tf2 tf1 dual tf1 apart tf2".split()
_PARTITIONS = (3, 1, 2, 6, 4)
_X = np.sin(np.arange(48, dtype=np.float32)).reshape(8, 6)
_Y = np.cos(np.arange(8, dtype=np.float32)).reshape(8, 1)
_WORDS = ("a", "b", "c")


def _input_fn():
  return tf.data.Dataset.from_tensors(({"x": _X}, _Y)).repeat()


def _once():
  return _input_fn().take(1)


def _serving_input_fn():
  x = v1.placeholder(tf.float32, [None, 6], name="x")
  return tf.estimator.export.ServingInputReceiver({"x": x}, {"x": x})


def _counted(name, initial, partitions=None):
  """A variable, and an op that adds one to it in every step."""
  with v1.variable_scope("counted", use_resource=True):
    if partitions is None:
      variable = v1.get_variable(name, initializer=initial, trainable=False)
      return variable, variable.assign_add(tf.ones_like(variable))
    variable = v1.get_variable(
      name,
      [6, 2],
      tf.float16,
      v1.zeros_initializer(),
      trainable=False,
      partitioner=v1.fixed_size_partitioner(partitions),
    )
  parts = list(variable) if hasattr(variable, "_get_partitions") else [variable]
  return variable, tf.group(*[part.assign_add(tf.ones_like(part)) for part in parts])


def _tables():
  words = tensorflows.MutableHashTable(tf.string, tf.int64, -1, name="words")
  dense = tf.lookup.experimental.DenseHashTable(
    tf.int64, tf.float32, [0.0, 0.0], empty_key=-1, deleted_key=-2, name="scope/dense"
  )
  return words, dense


def _iterator():
  iterator = v1.data.make_one_shot_iterator(tf.data.Dataset.range(100, 200))
  v1.add_to_collection(
    v1.GraphKeys.SAVEABLE_OBJECTS,
    tf.data.experimental.make_saveable_from_iterator(iterator),
  )
  return iterator.get_next()


class _Values(tf.estimator.SessionRunHook):
  """A hook that adds a variable and keeps all values before and after each step."""

  def __init__(self):
    self.at_start = None
    self.steps = []

  def begin(self):
    self.seen = v1.get_variable("hook/seen", initializer=0, trainable=False)
    self.see = self.seen.assign_add(1)
    [self.words] = v1.get_collection("words")
    [self.dense] = v1.get_collection("dense")
    [self.element] = v1.get_collection("element")

  def _read(self, session):
    values = models.whole_values(session)
    values["words"], values["dense"] = session.run([self.words, self.dense])
    return values

  def after_create_session(self, session, coord):
    self.at_start = self._read(session)

  def before_run(self, run_context):
    return v1.train.SessionRunArgs(self.element)

  def after_run(self, run_context, run_values):
    run_context.session.run(self.see)
    values = self._read(run_context.session)
    self.steps.append({**values, "element": run_values.results})


def _model_fn(features, labels, mode, params):
  x = features["x"]
  with v1.variable_scope("net", use_resource=True):
    kernel = v1.get_variable(
      "kernel",
      [6, 1],
      initializer=v1.ones_initializer(),
      partitioner=v1.fixed_size_partitioner(params["partitions"]),
    )
  with v1.variable_scope("ref", use_resource=False):
    scale = v1.get_variable("scale", [6], initializer=v1.ones_initializer())
  net = tf.Module()
  net.bias = v1.get_variable(
    "bias", [1], initializer=v1.zeros_initializer(), use_resource=True
  )
  net.parts = [net.bias, {"again": net.bias}]
  h = tf.matmul(x * scale, tf.convert_to_tensor(kernel)) + net.bias
  with v1.variable_scope("/".join(f"deep{i}" for i in range(20)), use_resource=True):
    y = v1.layers.dense(h, 1, kernel_initializer=v1.ones_initializer(), name="out")
  counters = [
    _counted("a.Sb", 1),
    _counted("a/b", np.int8(2)),
    _counted("c..d", np.complex64(3j)),
    _counted("no_rows", np.zeros([0, 3], np.float32)),
    _counted("half", None, params["partitions"]),
  ]
  v1.get_variable("text", initializer=tf.constant(["some", "text"]), trainable=False)
  v1.get_local_variable("scratch", initializer=0.0)
  words, dense = _tables()
  averages = tf.train.ExponentialMovingAverage(0.5)
  step = v1.train.get_or_create_global_step()
  found = words.lookup(tf.constant(_WORDS))
  if mode != tf.estimator.ModeKeys.TRAIN:
    predictions = {"y": y, "words": found + tf.zeros_like(y, tf.int64)}
    output = tf.estimator.export.PredictOutput(predictions)
    loss = None if labels is None else tf.reduce_mean(tf.square(y - labels))
    metrics = None
    if labels is not None and mode == tf.estimator.ModeKeys.EVAL:
      metrics = {
        "mae": v1.metrics.mean_absolute_error(labels, y),
        "words": v1.metrics.mean(found),
      }
    return tf.estimator.EstimatorSpec(
      mode,
      predictions=predictions,
      loss=loss,
      eval_metric_ops=metrics,
      export_outputs={"serving_default": output},
    )
  loss = tf.reduce_mean(tf.square(y - labels))
  optimizer = v1.train.AdamOptimizer(0.05)
  train_op = optimizer.minimize(loss, step)
  with tf.control_dependencies([train_op]):
    averaged = averages.apply([net.bias])
  # A number of its own: the step is a reference variable under 1.15, where an op that
  # reads it after the step may still see the number before.
  _, counted = _counted("number", np.int64(0))
  number = tf.identity(counted)
  inserted = tf.group(
    words.insert(tf.gather(_WORDS, [number % 3]), [number * 10]),
    dense.insert([number], [[tf.cast(number, tf.float32), 0.5]]),
  )
  v1.add_to_collection("words", found)
  v1.add_to_collection("dense", dense.lookup(tf.range(20, dtype=tf.int64)))
  v1.add_to_collection("element", _iterator())
  spec = tf.estimator.EstimatorSpec(
    mode,
    loss=loss,
    train_op=tf.group(averaged, inserted, *[op for _, op in counters]),
  )
  if not params["objects"]:
    return spec
  objects = tensorflows.checkpoint(model=net, optimizer=optimizer, step=step)
  return spec._replace(scaffold=v1.train.Scaffold(saver=objects))


def _estimator(stage, model_dir, partitions):
  decorate = lambda fn: fn  # noqa: E731
  if stage == "apart":
    decorate = eckpt.dual_checkpointing(separate=True)
  elif stage != "plain":
    decorate = eckpt.checkpointing(stage)
  return tf.estimator.Estimator(
    decorate(_model_fn),
    str(model_dir),
    tf.estimator.RunConfig(
      save_checkpoints_steps=100, save_summary_steps=None, log_step_count_steps=None
    ),
    {"partitions": partitions, "objects": stage != "plain"},
  )


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
  """The results of each step in an uninterrupted run of stock TensorFlow."""
  hook = _Values()
  estimator = _estimator("plain", tmp_path_factory.mktemp("plain"), 1)
  estimator.train(_input_fn, steps=len(_STAGES), hooks=[hook])
  return hook.steps


def _assert_equal(found, expected):
  assert sorted(found) == sorted(expected)
  for name, value in expected.items():
    np.testing.assert_array_equal(found[name], value, err_msg=name)


def _predicted(values):
  h = (_X * values["ref/scale"]) @ values["net/kernel"] + values["bias"]
  out = "/".join(f"deep{i}" for i in range(20)) + "/out"
  return h @ values[f"{out}/kernel"] + values[f"{out}/bias"]


def test_every_format_after_every_format(uninterrupted, tmp_path):
  before = None
  read = set()
  for i, stage in enumerate(_STAGES):
    partitions = _PARTITIONS[i % len(_PARTITIONS)]
    hook = _Values()
    _estimator(stage, tmp_path, partitions).train(_input_fn, steps=1, hooks=[hook])
    if before is not None:
      del before["element"]
      models.assert_same_values(hook.at_start, before)
    [before] = hook.steps
    _assert_close(before, uninterrupted[i])
    written = "tf1" if stage == "apart" else stage
    assert eckpt.detect_format(str(tmp_path)).value == written
    # Another format, with another number of parts, reads the checkpoint.
    reader = _STAGES[i - 3]
    if (stage, reader) not in read:
      read.add((stage, reader))
      estimator = _estimator(reader, tmp_path, _PARTITIONS[(i + 1) % 5])
      _assert_read(estimator, tmp_path / "export", before, i + 1)
  assert {(a, b) for a in _FORMATS for b in _FORMATS} <= read


def _assert_close(found, expected):
  assert sorted(found) == sorted(expected)
  for name, value in expected.items():
    if value.dtype == np.float32:
      np.testing.assert_allclose(found[name], value, 1e-5, 1e-6, err_msg=name)
    else:
      np.testing.assert_array_equal(found[name], value, err_msg=name)


def _assert_read(estimator, export_dir, values, step):
  expected = _predicted(values)
  rows = list(estimator.predict(_once))
  np.testing.assert_allclose([row["y"] for row in rows], expected, 1e-5, 1e-5)
  np.testing.assert_array_equal(rows[0]["words"], values["words"])
  evaluated = estimator.evaluate(_once)
  assert evaluated["global_step"] == step
  np.testing.assert_allclose(evaluated["mae"], np.abs(expected - _Y).mean(), 1e-5)
  np.testing.assert_allclose(evaluated["words"], values["words"].mean(), 1e-5)
  path = estimator.export_saved_model(str(export_dir), _serving_input_fn).decode()
  served = tensorflows.served(path, x=_X)
  np.testing.assert_allclose(served["y"], expected, 1e-5, 1e-5)
  np.testing.assert_array_equal(served["words"][0], values["words"])
