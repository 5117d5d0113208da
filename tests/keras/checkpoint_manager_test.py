"""A Keras model's checkpoints are restored by the old graph's Saver, and by Keras."""

from __future__ import annotations

import glob
import os
import sys

import numpy as np
import pytest
import tensorflow as tf

import estimator_ckpt as eckpt
import estimator_ckpt.keras
from estimator_ckpt import errors
from estimator_ckpt.bundle.index import Index
from estimator_ckpt.keras import dual_names

v1 = tf.compat.v1
_X = np.sin(np.arange(40, dtype=np.float32).reshape(8, 5))
_Y = np.cos(np.arange(16, dtype=np.float32).reshape(8, 2))


def _variable(name, *shape):
  return v1.get_variable(name, shape, use_resource=True)


def _dense(x, scope, units):
  with v1.variable_scope(scope):
    kernel = _variable("kernel", int(x.shape[-1]), units)
    return tf.matmul(x, kernel) + _variable("bias", units)


def _dense_net(x):
  with v1.variable_scope("net"):
    return _dense(tf.tanh(_dense(x, "hidden", 4)), "out", 2)


def _lstm_net(x):
  """Five steps of a BasicLSTMCell, as TensorFlow 1 computes them."""
  with v1.variable_scope("net"):
    h = c = tf.zeros([8, 3])
    with v1.variable_scope("rnn/basic_lstm_cell"):
      kernel, bias = _variable("kernel", 1 + 3, 4 * 3), _variable("bias", 4 * 3)
    for t in range(5):
      gates = tf.matmul(tf.concat([x[:, t : t + 1], h], 1), kernel) + bias
      i, j, f, o = tf.split(gates, 4, 1)
      c = c * tf.sigmoid(f + 1.0) + tf.sigmoid(i) * tf.tanh(j)
      h = tf.tanh(c) * tf.sigmoid(o)
    return _dense(h, "out", 2)


def _keras_dense():
  layers = tf.keras.layers
  return tf.keras.Sequential(
    [
      tf.keras.Input((5,)),
      layers.Dense(4, "tanh", name="hidden"),
      layers.Dense(2, name="out"),
    ]
  )


def _keras_lstm():
  layers = tf.keras.layers
  return tf.keras.Sequential(
    [
      tf.keras.Input((5,)),
      layers.Reshape((5, 1)),
      layers.LSTM(3, name="lstm"),
      layers.Dense(2, name="out"),
    ]
  )


_NETS = {"dense": (_dense_net, _keras_dense), "lstm": (_lstm_net, _keras_lstm)}
_OPTIMIZERS = {
  "adam": lambda: v1.train.AdamOptimizer(0.05),
  "momentum": lambda: v1.train.MomentumOptimizer(0.05, 0.9),
  "sgd": lambda: v1.train.GradientDescentOptimizer(0.05),
}


class _Old:
  """The TF1 code: a graph with an optimizer, and its checkpoint."""

  def __init__(self, directory, net="dense", optimizer="adam"):
    self._net, self._optimizer = _NETS[net][0], _OPTIMIZERS[optimizer]
    self.prefix = f"{directory}/model.ckpt-3"
    with tf.Graph().as_default(), v1.Session() as session:
      _, train_op, saver = self._build()
      session.run(v1.global_variables_initializer())
      for _ in range(3):
        session.run(train_op)
      saver.save(session, self.prefix[:-2], global_step=3, write_meta_graph=False)

  def _build(self):
    v1.set_random_seed(5)
    y = self._net(tf.constant(_X))
    step = v1.train.create_global_step()
    loss = tf.reduce_mean(tf.square(y - _Y))
    train_op = self._optimizer().minimize(loss, step)
    return y, train_op, v1.train.Saver()

  def restore(self, directory):
    """What the graph predicts and holds after restoring the latest checkpoint."""
    with tf.Graph().as_default(), v1.Session() as session:
      y, _, saver = self._build()
      saver.restore(session, v1.train.latest_checkpoint(directory))
      variables = {v.op.name: v for v in v1.global_variables()}
      return session.run(y), session.run(variables)


def _checkpoint(net="dense", optimizer=None):
  model = _NETS[net][1]()
  if optimizer is None:
    optimizer = tf.keras.optimizers.Adam(0.05, epsilon=1e-8)
  optimizer.build(model.trainable_variables)
  return tf.train.Checkpoint(model=model, optimizer=optimizer)


def _train(checkpoint, steps=2):
  model, optimizer = checkpoint.model, checkpoint.optimizer
  for _ in range(steps):
    with tf.GradientTape() as tape:
      loss = tf.reduce_mean(tf.square(model(_X) - _Y))
    variables = model.trainable_variables
    optimizer.apply_gradients(zip(tape.gradient(loss, variables), variables))


def _names(directory):
  return sorted(map(os.path.basename, glob.glob(f"{directory}/*")))


@pytest.fixture
def old(tmp_path):
  return _Old(tmp_path / "old")


@pytest.mark.parametrize("net", list(_NETS))
def test_after_each_save_the_old_graph_predicts_what_keras_does(net, tmp_path):
  old = _Old(tmp_path / "old", net)
  directory = tmp_path / "new"
  checkpoint = _checkpoint(net)
  estimator_ckpt.keras.load(checkpoint.model, old.prefix, checkpoint.optimizer)
  manager = estimator_ckpt.keras.CheckpointManager(
    checkpoint, directory, like=tmp_path / "old"
  )
  for steps in (5, 7):
    _train(checkpoint)
    manager.save()
    predicted, variables = old.restore(directory)
    np.testing.assert_allclose(predicted, checkpoint.model(_X), atol=1e-6)
    assert variables["global_step"] == steps
    np.testing.assert_allclose(variables["beta1_power"], 0.9 ** (steps + 1), rtol=1e-6)
    slots = {name for name in variables if name.endswith("/Adam_1")}
    assert len(slots) == 4
    assert all(np.abs(variables[name]).max() > 0 for name in slots)


def test_the_slots_are_those_of_the_keras_optimizer(old, tmp_path):
  checkpoint = _checkpoint()
  _train(checkpoint)
  estimator_ckpt.keras.CheckpointManager(
    checkpoint, tmp_path / "new", like=old.prefix
  ).save()
  reader = eckpt.open_checkpoint(tmp_path / "new")
  for name, slot in (("Adam", "_momentums"), ("Adam_1", "_velocities")):
    first = getattr(checkpoint.optimizer, slot)[0]
    np.testing.assert_array_equal(reader[f"net/hidden/kernel/{name}"], first)


def test_the_checkpoint_is_also_what_keras_wrote(old, tmp_path):
  checkpoint = _checkpoint()
  _train(checkpoint)
  manager = estimator_ckpt.keras.CheckpointManager(
    checkpoint, tmp_path / "new", like=old.prefix
  )
  path = manager.save()
  assert eckpt.verify(path).ok
  other = _checkpoint()
  status = other.restore(tf.train.latest_checkpoint(tmp_path / "new"))
  status.assert_consumed()
  np.testing.assert_array_equal(other.model(_X), checkpoint.model(_X))
  assert int(other.optimizer.iterations) == 2


def test_a_job_is_stopped_and_resumed(old, tmp_path):
  alone = _checkpoint()
  estimator_ckpt.keras.load(alone.model, old.prefix, alone.optimizer)
  _train(alone, 4)
  for _ in range(2):
    checkpoint = _checkpoint()
    manager = estimator_ckpt.keras.CheckpointManager(
      checkpoint,
      tmp_path / "new",
      like=old.prefix,
      init_fn=lambda c=checkpoint: estimator_ckpt.keras.load(
        c.model, old.prefix, c.optimizer
      ),
    )
    manager.restore_or_initialize()
    _train(checkpoint, 2)
    manager.save()
  assert manager.latest_checkpoint.endswith("ckpt-2")
  np.testing.assert_allclose(checkpoint.model(_X), alone.model(_X), atol=1e-6)
  predicted, variables = old.restore(tmp_path / "new")
  np.testing.assert_allclose(predicted, alone.model(_X), atol=1e-6)
  assert variables["global_step"] == 3 + 4


def test_names_may_come_from_the_directory_that_is_written(old, tmp_path):
  directory = tmp_path / "old"
  for net in ("first", "again"):
    checkpoint = _checkpoint()
    manager = estimator_ckpt.keras.CheckpointManager(
      checkpoint, directory, like=directory
    )
    _train(checkpoint)
    manager.save(checkpoint_number=10 if net == "first" else 11)
    predicted, _ = old.restore(directory)
    np.testing.assert_allclose(predicted, checkpoint.model(_X), atol=1e-6)


def test_a_checkpoint_of_a_lstm_gives_the_names_again(tmp_path):
  old = _Old(tmp_path / "old", "lstm")
  first = _checkpoint("lstm")
  estimator_ckpt.keras.CheckpointManager(
    first, tmp_path / "first", like=old.prefix
  ).save()
  second = _checkpoint("lstm")
  manager = estimator_ckpt.keras.CheckpointManager(
    second, tmp_path / "second", like=tmp_path / "first"
  )
  manager.save()
  predicted, _ = old.restore(tmp_path / "second")
  np.testing.assert_allclose(predicted, second.model(_X), atol=1e-6)


def test_where_nothing_is_converted_the_data_stays(tmp_path):
  old = _Old(tmp_path / "old", "dense", "sgd")
  optimizer = tf.keras.optimizers.SGD(0.05)
  checkpoint = _checkpoint("dense", optimizer)
  _train(checkpoint)
  manager = estimator_ckpt.keras.CheckpointManager(
    checkpoint, tmp_path / "new", like=old.prefix
  )
  manager.save()
  assert _names(tmp_path / "new") == [
    "checkpoint",
    "ckpt-1.data-00000-of-00001",
    "ckpt-1.index",
  ]
  predicted, variables = old.restore(tmp_path / "new")
  np.testing.assert_allclose(predicted, checkpoint.model(_X), atol=1e-6)
  assert variables["global_step"] == 2
  assert not manager.plan.made_of


def test_momentum_is_that_of_the_live_learning_rate(tmp_path):
  old = _Old(tmp_path / "old", "dense", "momentum")
  optimizer = tf.keras.optimizers.SGD(0.25, momentum=0.9)
  checkpoint = _checkpoint("dense", optimizer)
  _train(checkpoint)
  manager = estimator_ckpt.keras.CheckpointManager(
    checkpoint, tmp_path / "new", like=old.prefix
  )
  manager.save()
  _, variables = old.restore(tmp_path / "new")
  name = "net/hidden/kernel/Momentum"
  slots = np.array(optimizer.momentums[0])
  np.testing.assert_allclose(variables[name], slots / -0.25, rtol=1e-6)
  optimizer.learning_rate = 0.125
  manager.save()
  _, variables = old.restore(tmp_path / "new")
  np.testing.assert_allclose(variables[name], slots / -0.125, rtol=1e-6)


def test_retention_is_that_of_the_base_class(old, tmp_path):
  manager = estimator_ckpt.keras.CheckpointManager(
    _checkpoint(), tmp_path / "new", max_to_keep=2, like=old.prefix
  )
  for _ in range(4):
    manager.save()
  assert _names(tmp_path / "new") == [
    "checkpoint",
    *(
      f"ckpt-{number}.{end}"
      for number in (3, 4)
      for end in ("data-00000-of-00002", "data-00001-of-00002", "index")
    ),
  ]
  state = tf.train.get_checkpoint_state(tmp_path / "new")
  assert list(map(os.path.basename, state.all_model_checkpoint_paths)) == [
    "ckpt-3",
    "ckpt-4",
  ]


def test_a_number_may_be_saved_again(old, tmp_path):
  checkpoint = _checkpoint()
  manager = estimator_ckpt.keras.CheckpointManager(
    checkpoint, tmp_path / "new", like=old.prefix
  )
  for _ in range(2):
    _train(checkpoint)
    path = manager.save(checkpoint_number=7)
  assert _names(tmp_path / "new")[1:] == [
    "ckpt-7.data-00000-of-00002",
    "ckpt-7.data-00001-of-00002",
    "ckpt-7.index",
  ]
  assert eckpt.open_checkpoint(path)["global_step"] == 4


@pytest.mark.parametrize("enable_async", [False, True], ids=["sync", "async"])
def test_the_names_are_there_before_the_state_file_names_it(
  enable_async, old, tmp_path, monkeypatch
):
  seen = []
  record = tf.train.CheckpointManager._record_state

  def recorded(self):
    seen.append("net/out/bias/Adam" in Index.read(self.latest_checkpoint))
    record(self)

  monkeypatch.setattr(tf.train.CheckpointManager, "_record_state", recorded)
  options = tf.train.CheckpointOptions(enable_async=enable_async)
  checkpoint = _checkpoint()
  manager = estimator_ckpt.keras.CheckpointManager(
    checkpoint, tmp_path / "new", like=old.prefix
  )
  values = []
  for _ in range(3):
    _train(checkpoint)
    values.append(checkpoint.model(_X).numpy())
    manager.save(options=options)
  _train(checkpoint)
  manager.sync()
  assert seen == [True] * 6
  predicted, variables = old.restore(tmp_path / "new")
  np.testing.assert_allclose(predicted, values[-1], atol=1e-6)
  assert variables["global_step"] == 6


def test_a_job_of_asynchronous_saves_goes_on_counting(old, tmp_path):
  options = tf.train.CheckpointOptions(enable_async=True)
  for last in (3, 6):
    checkpoint = _checkpoint()
    manager = estimator_ckpt.keras.CheckpointManager(
      checkpoint, tmp_path / "new", like=old.prefix, checkpoint_name="m"
    )
    manager.restore_or_initialize()
    paths = [manager.save(options=options) for _ in range(3)]
    manager.sync()
    assert os.path.basename(paths[-1]) == f"m-{last}"
  assert len(manager.checkpoints) == 5


def test_the_options_of_the_caller_are_not_changed(old, tmp_path):
  options = tf.train.CheckpointOptions()
  called = []
  if hasattr(options, "experimental_write_callbacks"):
    options = tf.train.CheckpointOptions(
      experimental_write_callbacks=[lambda path: called.append(path)]
    )
  manager = estimator_ckpt.keras.CheckpointManager(
    _checkpoint(), tmp_path / "new", like=old.prefix
  )
  paths = [manager.save(options=options) for _ in range(2)]
  if hasattr(options, "experimental_write_callbacks"):
    assert called == paths
    assert len(options.experimental_write_callbacks) == 1


@pytest.mark.parametrize("enable_async", [False, True], ids=["sync", "async"])
def test_all_that_is_missing_is_one_error_and_nothing_is_left(
  enable_async, old, tmp_path
):
  model = tf.keras.Sequential(
    [tf.keras.Input((5,)), tf.keras.layers.Dense(4, name="hidden")]
  )
  manager = estimator_ckpt.keras.CheckpointManager(
    tf.train.Checkpoint(model=model), tmp_path / "new", like=old.prefix
  )
  options = tf.train.CheckpointOptions(enable_async=enable_async)
  with pytest.raises(errors.VariableMismatchError) as error:
    manager.save(options=options)
  text = str(error.value)
  for name in ("net/out/kernel", "net/out/bias/Adam_1", "beta2_power", "global_step"):
    assert f"{name}: " in text
  assert "net/hidden/kernel: " not in text
  assert "optimizer.build" in text and "omit=" in text
  assert _names(tmp_path / "new") == []
  assert manager.latest_checkpoint is None and manager.checkpoints == []


def test_names_that_are_not_needed_are_left_out(old, tmp_path):
  checkpoint = tf.train.Checkpoint(model=_keras_dense())
  manager = estimator_ckpt.keras.CheckpointManager(
    checkpoint,
    tmp_path / "new",
    like=old.prefix,
    omit=["global_step", ".*/Adam(_1)?", "beta[12]_power"],
  )
  path = manager.save()
  names = [n for n in eckpt.open_checkpoint(path) if n.startswith("net/")]
  assert names == [f"net/{n}" for n in sorted(_of(["hidden", "out"]))]
  with pytest.raises(errors.OptionError, match="omit='nets/' matches nothing"):
    estimator_ckpt.keras.CheckpointManager(
      checkpoint, tmp_path / "new", like=old.prefix, omit=["nets/"]
    )


def _of(layers):
  return [f"{layer}/{leaf}" for layer in layers for leaf in ("bias", "kernel")]


def test_a_later_checkpoint_that_lacks_names_is_kept_but_not_named(old, tmp_path):
  checkpoint = _checkpoint()
  manager = estimator_ckpt.keras.CheckpointManager(
    checkpoint, tmp_path / "new", like=old.prefix
  )
  manager.save()
  checkpoint.optimizer = tf.keras.optimizers.SGD(0.05)
  with pytest.raises(errors.CheckpointError, match="tf.train.Checkpoint.restore reads"):
    manager.save()
  assert manager.latest_checkpoint.endswith("ckpt-1")
  assert tf.train.latest_checkpoint(tmp_path / "new").endswith("ckpt-1")
  assert os.path.exists(tmp_path / "new" / "ckpt-2.index")


@pytest.mark.parametrize("then", ["sync", "save", "asynchronous save"])
def test_what_fails_behind_training_is_an_error_of_the_next_call(
  then, old, tmp_path, monkeypatch
):
  options = tf.train.CheckpointOptions(enable_async=True)
  manager = estimator_ckpt.keras.CheckpointManager(
    _checkpoint(), tmp_path / "new", like=old.prefix
  )
  manager.save(options=options)

  def refuse(*unused):
    raise errors.CheckpointIOError("the disk is full")

  monkeypatch.setattr(dual_names, "add_names", refuse)
  manager.save(options=options)
  calls = {
    "sync": manager.sync,
    "save": manager.save,
    "asynchronous save": lambda: manager.save(options=options),
  }
  with pytest.raises(errors.CheckpointIOError, match="the disk is full"):
    calls[then]()
  assert tf.train.latest_checkpoint(tmp_path / "new").endswith("ckpt-1")


def test_rules_lead_from_the_models_names(old, tmp_path):
  layers = tf.keras.layers
  model = tf.keras.Sequential(
    [
      tf.keras.Input((5,)),
      layers.Dense(4, "tanh", name="a"),
      layers.Dense(2, name="b"),
    ]
  )
  optimizer = tf.keras.optimizers.Adam(0.05, epsilon=1e-8)
  optimizer.build(model.trainable_variables)
  manager = estimator_ckpt.keras.CheckpointManager(
    tf.train.Checkpoint(model=model, optimizer=optimizer),
    tmp_path / "new",
    like=old.prefix,
    name_map=_rules(model),
  )
  manager.save()
  predicted, _ = old.restore(tmp_path / "new")
  np.testing.assert_allclose(predicted, model(_X), atol=1e-6)
  assert "net/hidden/kernel <- " in str(manager.plan)
  assert "beta1_power <- beta_1=0.9 after 0 steps" in str(manager.plan)


def _rules(model):
  return {"a/": "net/hidden/", "b/": "net/out/"}


def test_another_backend_is_refused_by_its_name(old, tmp_path, monkeypatch):
  keras = pytest.importorskip("keras")
  monkeypatch.setattr(keras.backend, "backend", lambda: "jax")
  monkeypatch.delitem(sys.modules, "tf_keras", raising=False)
  with pytest.raises(errors.OptionError, match="'jax'.*KERAS_BACKEND=tensorflow"):
    estimator_ckpt.keras.CheckpointManager(
      tf.train.Checkpoint(), tmp_path / "new", like=old.prefix
    )


def test_the_checkpoint_of_the_names_has_to_be_there(tmp_path):
  with pytest.raises(errors.CheckpointNotFoundError, match="nowhere"):
    estimator_ckpt.keras.CheckpointManager(
      _checkpoint(), tmp_path / "new", like=tmp_path / "nowhere"
    )
