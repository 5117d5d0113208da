"""checkpoint=: the user's objects are stored as tf.train.Checkpoint stores them."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

import estimator_ckpt as eckpt
from estimator_ckpt import errors
from estimator_ckpt.checkpoint import layout
from tests import models, tensorflows
from tests.training.python_state import Counts

v1 = tf.compat.v1
_FORMATS = ["tf2", "dual"]


def _variable(i, shape=(3,)):
  return tf.Variable(
    np.arange(np.prod(shape), dtype=np.float32).reshape(shape) + 10 * i
  )


def _module():
  shared = _variable(1)
  module = tf.Module()
  module.layers = [tf.Module(), tf.Module()]
  for i, layer in enumerate(module.layers):
    layer.w = _variable(2 + i)
    layer.shared = shared
  module.by_name = {"a/b": _variable(5), "c.d": _variable(6)}
  module.pair = (_variable(7), tf.Module())
  module.pair[1].again = module.layers[0].w
  return module


def _keras_model():
  return tf.keras.Sequential(
    [
      tf.keras.layers.Dense(4, activation="tanh", input_shape=(2,)),
      tf.keras.layers.BatchNormalization(),
      tf.keras.layers.Dense(1),
    ]
  )


def _v1_optimizer(make):
  def objects():
    module = _module()
    optimizer = make()
    loss = tf.add_n([tf.reduce_sum(v * v) for v in module.trainable_variables])
    train_op = optimizer.minimize(loss, v1.train.get_or_create_global_step())
    return {"model": module, "optimizer": optimizer}, train_op

  return objects


def _legacy_optimizer():
  model = _keras_model()
  optimizer = tensorflows.keras_optimizers.Adam(0.1)
  loss = tf.reduce_sum(model(tf.constant(models.X)) ** 2)
  train_op = tf.group(optimizer.get_updates(loss, model.trainable_variables))
  return {"model": model, "optimizer": optimizer}, train_op


def _new_optimizer():
  model = _keras_model()
  optimizer = tf.keras.optimizers.Adam(0.1)
  optimizer.build(model.trainable_variables)
  held = optimizer.variables
  held = held() if callable(held) else held  # It is a method in 2.11.0.
  train_op = tf.group(
    *[v.assign_add(tf.ones_like(v)) for v in held if v.dtype.is_floating]
  )
  return {"net": {"model": model, "parts": [optimizer, optimizer]}}, train_op


_OBJECTS = {
  "module": lambda: ({"model": _module()}, tf.no_op()),
  "keras": lambda: ({"model": _keras_model(), "list": [_variable(8)]}, tf.no_op()),
  "adam": _v1_optimizer(lambda: v1.train.AdamOptimizer(0.1)),
  "momentum": _v1_optimizer(lambda: v1.train.MomentumOptimizer(0.1, 0.9)),
  "ftrl": _v1_optimizer(lambda: v1.train.FtrlOptimizer(0.1)),
  "keras_legacy_adam": _legacy_optimizer,
  "keras_adam": _new_optimizer,
  "python_state": lambda: (
    {"counts": Counts(seen=3), "v": _variable(9), "step": _step()},
    tf.no_op(),
  ),
}


def _step():
  return v1.train.get_or_create_global_step()


# The Adam of 2.11 and newer, beside that of `legacy`.
_NEW = tensorflows.needs("keras.optimizers.legacy")
_EVERY_OBJECT = pytest.mark.parametrize(
  "name",
  [pytest.param(n, marks=_NEW) if n == "keras_adam" else n for n in _OBJECTS],
)


@_EVERY_OBJECT
@pytest.mark.parametrize("writer", _FORMATS)
def test_a_saver_of_any_format_restores_the_objects(name, writer, tmp_path):
  tf.keras.backend.clear_session()
  values = {}
  prefix, _ = _save(name, writer, tmp_path, False, values)
  for reader in ["tf1", "tf2", "dual"]:
    tf.keras.backend.clear_session()
    with tf.Graph().as_default(), v1.Session() as session:
      objects, _ = _OBJECTS[name]()
      v1.get_variable("not/reached", [2])
      _step()
      options = {} if reader == "tf1" else {"checkpoint": objects}
      saver = getattr(eckpt, f"{reader}_scaffold")(**options).saver
      saver.build()
      session.run([v.assign(tf.zeros_like(v)) for v in v1.global_variables()])
      saver.restore(session, prefix)
      models.assert_same_values(values, models.whole_values(session))


def _save(name, checkpoint_format, directory, as_checkpoint, values=None):
  """Saves the same objects in one session, with this library and with stock."""
  with tf.Graph().as_default(), v1.Session() as session:
    objects, train_op = _OBJECTS[name]()
    v1.get_variable("not/reached", initializer=np.float32([1, 2]))
    _step()
    root = tensorflows.checkpoint(**objects)
    session.run(v1.global_variables_initializer())
    session.run(train_op)
    ours = getattr(eckpt, f"{checkpoint_format}_scaffold")(
      checkpoint=root if as_checkpoint else objects
    ).saver
    ours.build()
    prefix = ours.save(session, str(directory / "ours"), global_step=1)
    if values is not None:
      values.update(models.whole_values(session))
    return prefix, root.save(str(directory / "stock"))


def _is_added(key):
  parsed = layout.parse_object_key(key)
  return parsed is None or parsed.path[0] == layout.VAR_LIST


@pytest.mark.parametrize("as_checkpoint", [True, False], ids=["checkpoint", "dict"])
@_EVERY_OBJECT
@pytest.mark.parametrize("checkpoint_format", _FORMATS)
def test_the_keys_are_those_of_tf_train_checkpoint(
  name, checkpoint_format, as_checkpoint, tmp_path
):
  prefix, stock = _save(name, checkpoint_format, tmp_path, as_checkpoint)
  ours, theirs = models.values(prefix), models.values(stock)
  added = {key for key in ours if _is_added(key)}
  assert sorted(set(ours) - added) == sorted(k for k in theirs if not _is_added(k))
  for key, value in theirs.items():
    if not _is_added(key) and not key.startswith("save_counter"):
      np.testing.assert_array_equal(ours[key], value, err_msg=key)
  assert layout.object_key(["var_list", "not/reached"]) in added
  names = {k for k in added if layout.parse_object_key(k) is None}
  assert ("not/reached" in names) == (checkpoint_format == "dual")


def _eager(name):
  """The objects in eager code, with all values zero, and their variables in order."""
  if name in ("keras_legacy_adam", "keras_adam"):
    model = _keras_model()
    made = tensorflows.keras_optimizers if "legacy" in name else tf.keras.optimizers
    optimizer = made.Adam(0.1)
    if name == "keras_adam":
      optimizer.build(model.trainable_variables)
      return {"net": {"model": model, "parts": [optimizer, optimizer]}}
    return {"model": model, "optimizer": optimizer}
  if name == "python_state":
    return {
      "counts": Counts(),
      "v": _variable(0),
      "step": tf.Variable(0, dtype=tf.int64),
    }
  if name == "keras":
    return {"model": _keras_model(), "list": [_variable(0)]}
  if name in _V1_SLOTS:
    optimizer = _V1_SLOTS[name][0]()
    return {"model": _module(), "optimizer": optimizer}
  return {"model": _module()}


# An optimizer, one of its slots, and the slot's factor in a step without gradients.
_V1_SLOTS = {
  "adam": (lambda: v1.train.AdamOptimizer(0.1), "m", 0.9),
  "momentum": (lambda: v1.train.MomentumOptimizer(0.1, 0.9), "momentum", 0.9),
  "ftrl": (lambda: v1.train.FtrlOptimizer(0.1), "accum", 1.0),
}


@_EVERY_OBJECT
@pytest.mark.parametrize("checkpoint_format", _FORMATS)
def test_eager_code_restores_it_and_nothing_is_left(name, checkpoint_format, tmp_path):
  prefix, stock = _save(name, checkpoint_format, tmp_path, True)
  with tensorflows.eager():
    _assert_eager_restores(name, prefix, stock, tmp_path)


def _assert_eager_restores(name, prefix, stock, directory):
  values = models.values(prefix)
  rest = {
    layout.parse_object_key(key).path[1]: tf.Variable(tf.zeros_like(value))
    for key, value in values.items()
    if layout.parse_object_key(key) is not None and _is_added(key)
  }
  objects = _eager(name)
  root = tensorflows.checkpoint(var_list=rest, **objects)
  status = root.restore(prefix)
  if name == "keras_legacy_adam":
    # Slots are created at the first use.
    model, optimizer = objects["model"], objects["optimizer"]
    zeros = [tf.zeros_like(v) for v in model.trainable_variables]
    optimizer.apply_gradients(zip(zeros, model.trainable_variables))
  if name in _V1_SLOTS:
    variables = objects["model"].trainable_variables
    zeros = [(tf.zeros_like(v), v) for v in variables]
    objects["optimizer"].apply_gradients(zeros)
    _, slot, factor = _V1_SLOTS[name]
    key = f"model/by_name/c..d/.OPTIMIZER_SLOT/optimizer/{slot}"
    stored = values[f"{key}/.ATTRIBUTES/VARIABLE_VALUE"]
    found = objects["optimizer"].get_slot(objects["model"].by_name["c.d"], slot)
    assert np.all(stored)
    np.testing.assert_allclose(found.numpy(), factor * stored, rtol=1e-6)
  tensorflows.assert_consumed(status)
  np.testing.assert_array_equal(rest["not/reached"].numpy(), [1, 2])
  if name == "python_state":
    assert objects["counts"].counts == {"seen": 3}
  if name == "module":
    found = objects["model"].by_name["c.d"].numpy()
    np.testing.assert_array_equal(found, [60, 61, 62])
  # Eager code saves the same values again under the same keys.
  if name != "keras_legacy_adam" and name not in _V1_SLOTS:
    again = models.values(root.save(str(directory / "again")))
    for key, value in models.values(stock).items():
      if key != layout.OBJECT_GRAPH_KEY and not key.startswith("save_counter"):
        np.testing.assert_array_equal(again[key], value, err_msg=key)


def test_objects_that_a_registered_saver_stores_are_refused():
  registration = pytest.importorskip(
    "tensorflow.python.saved_model.registration",
    reason=f"TensorFlow {tf.__version__} has no registered savers of objects",
  )

  class Own(tf.Module):
    pass

  registration.register_checkpoint_saver(
    package="EstimatorCkptTest",
    name="OwnSaver",
    predicate=lambda trackable: isinstance(trackable, Own),
    save_fn=lambda trackables, file_prefix: [],
    restore_fn=lambda trackables, merged_prefix: None,
  )
  with tf.Graph().as_default():
    _step()
    scaffold = eckpt.dual_scaffold(checkpoint={"mine": Own()})
    with pytest.raises(errors.OptionError, match="registered saver.*mine"):
      scaffold.finalize()


@pytest.mark.parametrize("writer", ["tf1", *_FORMATS])
@pytest.mark.parametrize("reader", _FORMATS)
def test_names_that_a_var_list_exchanges(writer, reader, tmp_path):
  def run(checkpoint_format, values, change):
    with tf.Graph().as_default(), v1.Session() as session:
      step = v1.train.get_or_create_global_step()
      module = tf.Module()
      module.a = v1.get_variable("a", initializer=values[0])
      module.b = v1.get_variable("b", initializer=values[1])
      scaffold = getattr(eckpt, f"{checkpoint_format}_scaffold")(
        var_list={"a": module.b, "b": module.a, "global_step": step},
        checkpoint=None if checkpoint_format == "tf1" else {"module": module},
      )
      scaffold.finalize()
      session.run(scaffold.init_op)
      return change(session, scaffold.saver, [module.a, module.b])

  def saved(session, saver, variables):
    return saver.save(session, f"{tmp_path}/m")

  def restored(session, saver, variables):
    saver.restore(session, prefix)
    return session.run(variables)

  prefix = run(writer, [1.0, 2.0], saved)
  assert run(reader, [0.0, 0.0], restored) == [1, 2]
