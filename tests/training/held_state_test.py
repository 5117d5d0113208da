"""State other than plain variables: tables, iterators, moving averages."""

from __future__ import annotations

import logging
import os

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.python.training.saving import saveable_object

import estimator_ckpt as eckpt
from estimator_ckpt import errors
from estimator_ckpt.checkpoint import layout
from tests import golden, models, sessions, tensorflows

v1 = tf.compat.v1
_FORMATS = ["tf1", "tf2", "dual"]


def _tables(value_dtype=tf.int64, dense_width=2):
  words = tensorflows.MutableHashTable(
    tf.string, value_dtype, tf.constant(-1, value_dtype), name="words"
  )
  dense = tf.lookup.experimental.DenseHashTable(
    tf.int64,
    tf.float32,
    [0.0] * dense_width,
    empty_key=-1,
    deleted_key=-2,
    initial_num_buckets=4,
    name="scope/dense",
  )
  return words, dense


def _insert(tables):
  words, dense = tables
  return tf.group(
    words.insert(tf.constant(["a", "b", "c"]), tf.constant([1, 2, 3], tf.int64)),
    dense.insert(tf.constant([5, 6], tf.int64), [[1.0, 2.0], [3.0, 4.0]]),
  )


def _lookup(tables):
  words, dense = tables
  return {
    "words": words.lookup(tf.constant(["a", "b", "c", "d"])),
    "dense": dense.lookup(tf.constant([5, 6, 7], tf.int64)),
  }


_FOUND = {"words": [1, 2, 3, -1], "dense": [[1, 2], [3, 4], [0, 0]]}


def _assert_found(found):
  for name, value in _FOUND.items():
    np.testing.assert_array_equal(found[name], value)


@pytest.mark.parametrize("reader", _FORMATS)
@pytest.mark.parametrize("writer", _FORMATS)
def test_tables(writer, reader, tmp_path):
  prefix = sessions.save(writer, tmp_path, lambda: _insert(_tables()))
  _assert_found(sessions.restore(reader, prefix, lambda: _lookup(_tables())))


@pytest.mark.parametrize("tracked", [True, False])
@pytest.mark.parametrize("checkpoint_format", ["tf2", "dual"])
def test_tables_in_eager_code(checkpoint_format, tracked, tmp_path):
  """tf.train.Checkpoint restores a table; a tracked table is stored once."""
  made = []

  def build():
    made[:] = _tables()
    return _insert(made)

  with tf.Graph().as_default(), v1.Session() as session:
    v1.train.get_or_create_global_step()
    op = build()
    options = {"checkpoint": {"words": made[0], "more": [made[1]]}} if tracked else {}
    scaffold = sessions.scaffold_of(checkpoint_format, **options)
    scaffold.finalize()
    session.run(scaffold.init_op)
    session.run(op)
    prefix = scaffold.saver.save(session, str(tmp_path / "model.ckpt"))
  with tensorflows.eager():
    words, dense = _tables()
    if tracked:
      objects = {"words": words, "more": [dense]}
    else:
      objects = {"var_list": {"words": words, "scope/dense": dense}}
    step = tf.Variable(0, dtype=tf.int64)
    objects.setdefault("var_list", {})["global_step"] = step
    status = tensorflows.checkpoint(**objects).restore(prefix)
    tensorflows.assert_consumed(status)
    _assert_found(_lookup((words, dense)))
  keys = [key for key in models.values(prefix) if key.endswith("-keys")]
  assert len(keys) == (4 if checkpoint_format == "dual" else 2)
  # The words and the buckets are stored once each.
  reader = eckpt.open_checkpoint(prefix)
  places = {reader.index.location(key) for key in keys}
  assert len(places) == 2
  if checkpoint_format == "dual" or not tracked:
    _assert_found(sessions.restore("tf1", prefix, lambda: _lookup(_tables())))


def test_tables_of_a_tf1_checkpoint(tmp_path):
  expected = golden.expected("tf1.15/tables")
  names = {key[: -len("-keys")] for key in expected if key.endswith("-keys")}

  def build():
    found = {}
    for name in names:
      keys, values = expected[f"{name}-keys"], expected[f"{name}-values"]
      if values.ndim == 2 or (
        keys.dtype.kind != "S" and len(set(keys.tolist())) < len(keys)
      ):
        continue
      key_dtype = tf.string if keys.dtype.kind == "S" else tf.as_dtype(keys.dtype)
      value_dtype = tf.string if values.dtype.kind == "S" else tf.as_dtype(values.dtype)
      default = tf.constant("" if value_dtype == tf.string else -1, value_dtype)
      table = tensorflows.MutableHashTable(key_dtype, value_dtype, default, name=name)
      found[name] = table.lookup(tf.constant(keys, key_dtype))
    assert found
    return found

  for checkpoint_format in _FORMATS:
    found = sessions.restore(checkpoint_format, golden.path("tf1.15/tables"), build)
    for name, values in found.items():
      wanted = expected[f"{name}-values"]
      np.testing.assert_array_equal(values.astype(wanted.dtype), wanted)


@pytest.mark.parametrize("checkpoint_format", _FORMATS)
def test_an_estimator_with_a_table(checkpoint_format, tmp_path):
  def model_fn(features, labels, mode):
    table = tensorflows.MutableHashTable(
      tf.int64, tf.int64, tf.constant(-1, tf.int64), name="seen"
    )
    x = features["x"]
    y = v1.layers.dense(x, 1, name="out")
    step = v1.train.get_or_create_global_step()
    if mode == tf.estimator.ModeKeys.TRAIN:
      insert = table.insert(step, step * 10)
      # Under TensorFlow 1.15 the step is a reference, and training counts it on.
      with tf.control_dependencies([insert]):
        return models.spec(mode, y, labels)
    found = tf.cast(table.lookup(tf.range(3, dtype=tf.int64)), tf.float32)
    digits = found[0] * 10_000 + found[1] * 100 + found[2]
    return models.spec(mode, y * 0 + digits, labels)

  def looked_up(decorate, model_dir):
    estimator = models.estimator(decorate(model_fn), model_dir, save_steps=1)
    estimator.train(models.input_fn, steps=2)
    estimator.train(models.input_fn, steps=1)
    seen = next(estimator.predict(models.eval_input_fn))["y"]
    estimator.evaluate(models.eval_input_fn)
    path = estimator.export_saved_model(
      str(model_dir / "export"), models.serving_input_fn
    )
    exported = tensorflows.served(path, x=models.X)["y"][0]
    np.testing.assert_array_equal(seen, exported)
    return seen

  def guide(fn):
    def with_scaffold(features, labels, mode):
      return fn(features, labels, mode)._replace(scaffold=models.guide_scaffold())

    return with_scaffold

  guide_model = models.estimator(guide(model_fn), tmp_path / "guide")
  guide_model.train(models.input_fn, steps=3)
  np.testing.assert_array_equal(
    next(guide_model.predict(models.eval_input_fn))["y"], [-10101]
  )
  ours = looked_up(eckpt.checkpointing(checkpoint_format), tmp_path / "ours")
  np.testing.assert_array_equal(ours, [1020])


def test_a_table_of_another_dtype_or_width(tmp_path):
  prefix = sessions.save("dual", tmp_path, lambda: _insert(_tables()))
  before = sorted(os.listdir(tmp_path))
  with pytest.raises(errors.VariableMismatchError) as raised:
    sessions.restore("dual", prefix, lambda: _lookup(_tables(tf.float32)))
  assert "'words-values' is float32" in str(raised.value)
  assert "int64 [3] in the checkpoint" in str(raised.value)
  with pytest.raises(errors.VariableMismatchError) as raised:
    sessions.restore("dual", prefix, lambda: _lookup(_tables(dense_width=3)))
  assert "'scope/dense-values' is float32 [?, 3] in the graph" in str(raised.value)
  assert sorted(os.listdir(tmp_path)) == before


@pytest.mark.parametrize("checkpoint_format", _FORMATS)
def test_static_tables_are_initialized_as_ever(checkpoint_format, tmp_path):
  """Static tables have nothing to save; one stands beside a table that has."""

  def build():
    initializer = v1.lookup.KeyValueTensorInitializer(
      ["a", "b"], [5, 6], value_dtype=tf.int64
    )
    static = v1.lookup.StaticHashTable(initializer, -1)
    vocabulary = v1.lookup.StaticVocabularyTable(
      v1.lookup.KeyValueTensorInitializer(["x"], [0], value_dtype=tf.int64), 1
    )
    mutable = tensorflows.MutableHashTable(tf.string, tf.int64, -1, name="m")
    insert = mutable.insert(tf.constant(["n"]), tf.constant([7], tf.int64))
    found = [
      static.lookup(tf.constant(["a", "b", "c"])),
      vocabulary.lookup(tf.constant(["x", "?"])),
      mutable.lookup(tf.constant(["n"])),
    ]
    return insert, tf.concat(found, 0)

  prefix = sessions.save(checkpoint_format, tmp_path, lambda: build()[0])
  names = set(models.named_values(prefix)) - {"save_counter"}
  assert {name.split("-")[0] for name in names} == {"global_step", "m"}
  for reader in _FORMATS:
    found = sessions.restore(reader, prefix, lambda: build()[1])
    np.testing.assert_array_equal(found, [5, 6, -1, 0, 1, 7])


class _Saveable(saveable_object.SaveableObject):
  """A user's SaveableObject: two tensors with own names, of a type no variable has."""

  def __init__(self, name, numbers, text):
    self._numbers, self._text = numbers, text
    specs = [
      saveable_object.SaveSpec(
        lambda: tf.bitcast(numbers, tf.qint16),
        "",
        f"{name}/quantized",
        tf.qint16,
        numbers.device,
      ),
      saveable_object.SaveSpec(text, "", "elsewhere", tf.string, text.device),
    ]
    super().__init__(numbers, specs, name)

  def restore(self, restored_tensors, restored_shapes):
    numbers, text = restored_tensors
    return tf.group(
      self._numbers.assign(tf.bitcast(numbers, tf.int16)), self._text.assign(text)
    )


@pytest.mark.parametrize("reader", _FORMATS)
@pytest.mark.parametrize("writer", _FORMATS)
def test_any_saveable_object(writer, reader, tmp_path):
  def build():
    numbers = v1.get_local_variable(
      "n", initializer=np.int16([0, 0]), use_resource=True
    )
    text = v1.get_local_variable("t", initializer=tf.constant(""), use_resource=True)
    v1.add_to_collection(
      v1.GraphKeys.SAVEABLE_OBJECTS, _Saveable("mine", numbers, text)
    )
    return numbers, text

  def start():
    numbers, text = build()
    return numbers.assign([-300, 7]).op, text.assign("kept").op

  prefix = sessions.save(writer, tmp_path, start)
  assert {"mine/quantized", "elsewhere"} <= set(models.values(prefix))
  numbers, text = sessions.restore(reader, prefix, build)
  np.testing.assert_array_equal(numbers, [-300, 7])
  assert text == b"kept"


def _iterator(kind):
  dataset = tf.data.Dataset.range(10, 100, 10)
  if kind == "one_shot":
    iterator = v1.data.make_one_shot_iterator(dataset)
  else:
    iterator = v1.data.make_initializable_iterator(dataset)
  v1.add_to_collection(
    v1.GraphKeys.SAVEABLE_OBJECTS,
    tf.data.experimental.make_saveable_from_iterator(iterator),
  )
  return iterator


@pytest.mark.parametrize("kind", ["one_shot", "initializable"])
@pytest.mark.parametrize("checkpoint_format", _FORMATS)
def test_iterators_resume_where_they_were(checkpoint_format, kind, tmp_path, caplog):
  caplog.set_level(logging.WARNING, "estimator_ckpt")

  def run(steps):
    with tf.Graph().as_default():
      iterator = _iterator(kind)
      element = iterator.get_next()
      step = v1.train.get_or_create_global_step()
      train_op = v1.assign_add(step, 1)
      init_op = v1.global_variables_initializer()
      if kind == "initializable":
        init_op = tf.group(init_op, iterator.initializer)
      seen = []
      with v1.train.MonitoredTrainingSession(
        checkpoint_dir=str(tmp_path),
        scaffold=sessions.scaffold_of(checkpoint_format, init_op=init_op),
        save_checkpoint_steps=1,
      ) as session:
        for _ in range(steps):
          seen.append(session.run([element, train_op])[0])
      return seen

  assert run(3) == [10, 20, 30]
  assert run(2) == [40, 50]
  assert run(1) == [60]
  keys = [key for key, _ in tf.train.list_variables(str(tmp_path))]
  said = [r for r in caplog.records if "no TF2 form" in r.getMessage()]
  if checkpoint_format == "tf1":
    assert not said
  else:
    # Stored under its name; at most one warning, given to whichever test runs first.
    assert any(
      "Iterator" in key for key in keys if layout.parse_object_key(key) is None
    )
    assert len(said) <= 1
    with tensorflows.eager():
      value = tf.Variable(0, dtype=tf.int64)
      tensorflows.checkpoint(var_list={"global_step": value}).restore(
        tf.train.latest_checkpoint(str(tmp_path))
      ).assert_consumed()


def test_iterators_between_formats(tmp_path):
  seen = []
  for i, checkpoint_format in enumerate(["tf1", "dual", "tf2", "tf1", "tf2", "dual"]):
    with tf.Graph().as_default():
      element = _iterator("one_shot").get_next()
      train_op = v1.assign_add(v1.train.get_or_create_global_step(), 1)
      with v1.train.MonitoredTrainingSession(
        checkpoint_dir=str(tmp_path),
        scaffold=sessions.scaffold_of(checkpoint_format),
        save_checkpoint_steps=1,
      ) as session:
        seen.append(session.run([element, train_op])[0])
    assert seen[-1] == 10 * (i + 1)


def test_what_has_no_tf2_form_is_said_once(tmp_path, caplog):
  caplog.set_level(logging.WARNING, "estimator_ckpt")

  def build():
    with v1.variable_scope("said_once"):
      _iterator("one_shot").get_next()
    return tf.no_op()

  for name in ("a", "b"):
    (tmp_path / name).mkdir()
    sessions.save("dual", tmp_path / name, lambda: [build(), tf.no_op()][1])
  said = [r.getMessage() for r in caplog.records if "said_once" in r.getMessage()]
  assert len(said) == 1 and "under their name alone" in said[0]


def test_checkpoint_input_pipeline_hook_is_left_undisturbed(tmp_path):
  """The hook saves the input's position in separate checkpoints in the directory."""

  def input_fn():
    numbers = tf.data.Dataset.range(100).map(lambda i: tf.cast(i, tf.float32))
    return numbers.map(lambda i: ({"x": [[i, 0.0]]}, [[0.0]]))

  seen = []

  def model_fn(features, labels, mode):
    x = features["x"]
    y = v1.layers.dense(x, 1, name="out")
    spec = models.spec(mode, y, labels, v1.train.GradientDescentOptimizer(0.0))

    first = x[0, 0]

    class See(tf.estimator.SessionRunHook):
      def before_run(self, run_context):
        return v1.train.SessionRunArgs(first)

      def after_run(self, run_context, run_values):
        seen.append(int(run_values.results))

    return spec._replace(training_hooks=[See()]) if mode == "train" else spec

  for checkpoint_format in ("dual", "tf2", "tf1", "dual"):
    estimator = models.estimator(
      eckpt.checkpointing(checkpoint_format)(model_fn), tmp_path
    )
    hook = tf.data.experimental.CheckpointInputPipelineHook(estimator)
    estimator.train(input_fn, steps=2, hooks=[hook])
    assert eckpt.detect_format(str(tmp_path)).value == checkpoint_format
  assert seen == list(range(8))
  assert estimator.evaluate(lambda: input_fn().take(3))["global_step"] == 8


def _ema_model_fn(averaged, parts=0):
  """A model_fn that evaluates and predicts with the averages if `averaged`."""
  partitioner = v1.fixed_size_partitioner(parts) if parts else None

  def model_fn(features, labels, mode):
    with v1.variable_scope("net", partitioner=partitioner):
      y = v1.layers.dense(features["x"], 1, name="out")
    averages = tf.train.ExponentialMovingAverage(0.5)
    if mode == tf.estimator.ModeKeys.TRAIN:
      spec = models.spec(mode, y, labels)
      with tf.control_dependencies([spec.train_op]):
        return spec._replace(train_op=averages.apply(v1.trainable_variables()))
    saver = v1.train.Saver(averages.variables_to_restore()) if averaged else None
    return models.spec(mode, y, labels, scaffold=v1.train.Scaffold(saver=saver))

  return model_fn


@pytest.mark.parametrize("checkpoint_format", _FORMATS)
def test_moving_averages_in_evaluate_and_predict(checkpoint_format, tmp_path):
  decorate = eckpt.checkpointing(checkpoint_format)
  estimator = models.estimator(decorate(_ema_model_fn(True)), tmp_path)
  estimator.train(models.input_fn, steps=3)
  values = models.named_values(tmp_path)
  hook = models.Values()
  estimator.train(models.input_fn, steps=2, hooks=[hook])
  values.pop("save_counter", None)
  models.assert_same_values(values, hook.start)
  values = models.named_values(tmp_path)
  kernel = values["net/out/kernel/ExponentialMovingAverage"]
  bias = values["net/out/bias/ExponentialMovingAverage"]
  assert not np.allclose(kernel, values["net/out/kernel"])
  expected = models.X @ kernel + bias
  # The reader may use any format; undecorated works if there are names.
  readers = [eckpt.checkpointing(reader) for reader in _FORMATS]
  readers += [lambda fn: fn] if checkpoint_format != "tf2" else []
  for reader in readers:
    averaged = models.estimator(reader(_ema_model_fn(True)), tmp_path)
    found = [p["y"] for p in averaged.predict(models.eval_input_fn)]
    np.testing.assert_allclose(found, expected, atol=1e-6)
    mae = averaged.evaluate(models.eval_input_fn)["mae"]
    np.testing.assert_allclose(mae, np.abs(expected - models.Y).mean(), rtol=1e-5)
  path = estimator.export_saved_model(str(tmp_path / "export"), models.serving_input_fn)
  served = tensorflows.served(path, x=models.X)
  np.testing.assert_allclose(served["y"], expected, atol=1e-6)
  plain = models.estimator(decorate(_ema_model_fn(False)), tmp_path)
  found = [p["y"] for p in plain.predict(models.eval_input_fn)]
  np.testing.assert_allclose(
    found, models.X @ values["net/out/kernel"] + values["net/out/bias"], atol=1e-6
  )


@pytest.mark.parametrize("checkpoint_format", _FORMATS)
def test_moving_averages_of_variables_in_parts(checkpoint_format, tmp_path):
  """`variables_to_restore` names each part, which stock TensorFlow does not find."""
  decorate = eckpt.checkpointing(checkpoint_format)
  trained = models.estimator(decorate(_ema_model_fn(True, 2)), tmp_path)
  trained.train(models.input_fn, steps=3)
  values = models.named_values(tmp_path)
  kernel = values["net/out/kernel/ExponentialMovingAverage"]
  assert kernel.shape == (2, 1) and not np.allclose(kernel, values["net/out/kernel"])
  expected = models.X @ kernel + values["net/out/bias/ExponentialMovingAverage"]
  if checkpoint_format != "tf2":
    with pytest.raises(tf.errors.NotFoundError, match="part_0"):
      stock = models.estimator(_ema_model_fn(True, 2), tmp_path)
      next(stock.predict(models.eval_input_fn))
  for reader in _FORMATS:
    for parts in (0, 2):
      made = eckpt.checkpointing(reader)(_ema_model_fn(True, parts))
      found = models.estimator(made, tmp_path).predict(models.eval_input_fn)
      np.testing.assert_allclose([p["y"] for p in found], expected, atol=1e-6)
