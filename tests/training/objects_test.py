"""checkpoint=: the user's objects are stored as tf.train.Checkpoint stores them."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

import estimator_ckpt as eckpt
from estimator_ckpt import errors
from estimator_ckpt.checkpoint import layout
from tests import models, tensorflows

v1 = tf.compat.v1
_FORMATS = ["tf2", "dual"]


class _Counts(tf.train.experimental.PythonState):
  """Python state that is part of a checkpoint."""

  def __init__(self, **counts):
    self.counts = counts

  def serialize(self):
    return json.dumps(self.counts)

  def deserialize(self, string_value):
    self.counts = json.loads(string_value)


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
  train_op = tf.group(
    *[v.assign_add(tf.ones_like(v)) for v in optimizer.variables if v.dtype.is_floating]
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
    {"counts": _Counts(seen=3), "v": _variable(9), "step": _step()},
    tf.no_op(),
  ),
}


def _step():
  return v1.train.get_or_create_global_step()


@pytest.mark.parametrize("name", list(_OBJECTS))
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
@pytest.mark.parametrize("name", list(_OBJECTS))
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
    made = tf.keras.optimizers.legacy if "legacy" in name else tf.keras.optimizers
    optimizer = made.Adam(0.1)
    if name == "keras_adam":
      optimizer.build(model.trainable_variables)
      return {"net": {"model": model, "parts": [optimizer, optimizer]}}
    return {"model": model, "optimizer": optimizer}
  if name == "python_state":
    return {
      "counts": _Counts(),
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


@pytest.mark.parametrize("name", list(_OBJECTS))
@pytest.mark.parametrize("checkpoint_format", _FORMATS)
def test_eager_code_restores_it_and_nothing_is_left(name, checkpoint_format, tmp_path):
  prefix, stock = _save(name, checkpoint_format, tmp_path, True)
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
    np.testing.assert_allclose(found, factor * stored, rtol=1e-6)
  status.assert_consumed()
  np.testing.assert_array_equal(rest["not/reached"], [1, 2])
  if name == "python_state":
    assert objects["counts"].counts == {"seen": 3}
  if name == "module":
    np.testing.assert_array_equal(objects["model"].by_name["c.d"], [60, 61, 62])
  # Eager code saves the same values again under the same keys.
  if name != "keras_legacy_adam" and name not in _V1_SLOTS:
    again = models.values(root.save(str(tmp_path / "again")))
    for key, value in models.values(stock).items():
      if key != layout.OBJECT_GRAPH_KEY and not key.startswith("save_counter"):
        np.testing.assert_array_equal(again[key], value, err_msg=key)


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
    objects = {"model": net, "optimizer": optimizer, "step": _step()}
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
    states.append(_Counts(batches=0))
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
  eager = _Counts()
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
  raw = tf.train.load_variable(tmp_path, "net/kernel/.ATTRIBUTES/VARIABLE_VALUE")
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
