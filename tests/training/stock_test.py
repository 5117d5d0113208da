"""What stock TensorFlow gets wrong, case by case.

Each case shows that the guide's way (`Scaffold(saver=tf.train.Checkpoint(...))`) still
fails as before, and that this library does not.
"""

from __future__ import annotations

import contextlib
import os
import pathlib
import shutil

import numpy as np
import pytest
import tensorflow as tf

import estimator_ckpt as eckpt
from tests import models, tensorflows

v1 = tf.compat.v1


@pytest.fixture(scope="module")
def plain_dir(tmp_path_factory):
  """A model_dir in which an undecorated Estimator has trained for five steps."""
  path = tmp_path_factory.mktemp("plain")
  models.estimator(models.model_fn, path).train(models.input_fn, steps=5)
  return path


@pytest.fixture
def model_dir(plain_dir, tmp_path):
  """A copy of `plain_dir`."""
  return shutil.copytree(plain_dir, tmp_path / "model")


def _decorated(checkpoint_format):
  return eckpt.checkpointing(checkpoint_format)(models.model_fn)


def _train(estimator):
  estimator.train(models.input_fn, steps=1)


def _evaluate(estimator):
  return estimator.evaluate(models.eval_input_fn)


def _predict(estimator):
  return np.array([p["y"] for p in estimator.predict(models.eval_input_fn)])


def _export(estimator, directory):
  path = estimator.export_saved_model(str(directory), models.serving_input_fn)
  return lambda x: tensorflows.served(path, x=x)


@pytest.mark.parametrize("checkpoint_format", ["tf2", "dual"])
def test_added_to_a_job_whose_model_dir_has_tf1_checkpoints(
  model_dir, tmp_path, checkpoint_format
):
  guide = models.estimator(models.guide_model_fn, model_dir)
  for run in (_train, _evaluate, _predict):
    with pytest.raises(tf.errors.NotFoundError):
      run(guide)
  with pytest.raises((ValueError, TypeError)):  # The latter in 1.15.5.
    _export(guide, tmp_path / "guide_export")

  before = models.values(model_dir)
  plain = models.estimator(models.model_fn, model_dir)
  estimator = models.estimator(_decorated(checkpoint_format), model_dir)
  assert _evaluate(estimator) == _evaluate(plain)
  assert _evaluate(estimator)["global_step"] == 5
  np.testing.assert_array_equal(_predict(estimator), _predict(plain))
  served = _export(estimator, tmp_path / "export")
  np.testing.assert_allclose(served(models.X)["y"], _predict(plain), atol=1e-6)
  # Trains up to the current step, so no step changes the values.
  estimator.train(models.input_fn, max_steps=5)
  saver_path = _resave(estimator, model_dir)
  models.assert_same_values(before, models.named_values(saver_path))


def _resave(estimator, model_dir):
  """Resumes and saves without a step: the saved values are the restored ones."""

  class SaveAtStart(tf.estimator.SessionRunHook):
    def after_create_session(self, session, coord):
      scaffold_saver = v1.get_collection(v1.GraphKeys.SAVERS)[0]
      self.path = scaffold_saver.save(
        session, os.path.join(model_dir, "resaved"), write_state=False
      )

  hook = SaveAtStart()
  estimator.train(models.input_fn, steps=1, hooks=[hook])
  return hook.path


def test_taken_away_again(model_dir, tmp_path):
  guide_dir = tmp_path / "guide"
  models.estimator(models.guide_model_fn, guide_dir).train(models.input_fn, steps=5)
  for run in (_train, _evaluate, _predict):
    with pytest.raises(RuntimeError, match="[Ff]inalized"):
      run(models.estimator(models.model_fn, guide_dir))

  decorated = models.estimator(_decorated("dual"), model_dir)
  decorated.train(models.input_fn, max_steps=10)
  written = models.named_values(model_dir)
  undecorated = models.estimator(models.model_fn, model_dir)
  assert _evaluate(undecorated) == _evaluate(decorated)
  np.testing.assert_array_equal(_predict(undecorated), _predict(decorated))
  models.assert_same_values(written, models.values(_resave(undecorated, model_dir)))

  models.estimator(_decorated("tf2"), model_dir).train(models.input_fn, max_steps=15)
  written = models.named_values(model_dir)
  estimator = models.estimator(_decorated("tf1"), model_dir)
  models.assert_same_values(written, models.values(_resave(estimator, model_dir)))


def _steps_kept(model_fn, path, **config):
  models.estimator(model_fn, path, save_steps=1, **config).train(
    models.input_fn, steps=8
  )
  return models.steps_on_disk(path)


_EVERY_HOUR = {"keep_checkpoint_max": 1, "keep_checkpoint_every_n_hours": 1e-9}


def test_stock_ignores_run_config(tmp_path):
  guide = models.guide_model_fn
  assert len(_steps_kept(guide, tmp_path / "two", keep_checkpoint_max=2)) == 5
  assert len(_steps_kept(guide, tmp_path / "hours", **_EVERY_HOUR)) == 5


@pytest.mark.parametrize("checkpoint_format", ["tf1", "tf2", "dual"])
def test_run_config_retention_is_honoured(tmp_path, checkpoint_format):
  decorated = _decorated(checkpoint_format)
  assert _steps_kept(decorated, tmp_path / "two", keep_checkpoint_max=2) == [7, 8]
  assert len(_steps_kept(decorated, tmp_path / "all", keep_checkpoint_max=0)) >= 8
  assert len(_steps_kept(decorated, tmp_path / "hours", **_EVERY_HOUR)) >= 8


@pytest.mark.parametrize("factory", ["tf1_scaffold", "tf2_scaffold", "dual_scaffold"])
def test_a_scaffold_in_a_spec_honours_run_config_too(tmp_path, factory):
  def model_fn(features, labels, mode):
    spec = models.model_fn(features, labels, mode)
    return spec._replace(scaffold=getattr(eckpt, factory)())

  models.estimator(model_fn, tmp_path, save_steps=1, keep_checkpoint_max=2).train(
    models.input_fn, steps=6
  )
  assert models.steps_on_disk(tmp_path) == [5, 6]


def test_stock_deletes_the_originals_of_a_copy(tmp_path):
  original = tmp_path / "original"
  guide = models.guide_model_fn
  models.estimator(guide, original).train(models.input_fn, steps=5)
  assert str(original) in (original / "checkpoint").read_text()
  copied = shutil.copytree(original, tmp_path / "copied")
  models.estimator(guide, copied, save_steps=1).train(models.input_fn, steps=8)
  assert "model.ckpt-5.index" not in os.listdir(original)


@pytest.mark.parametrize("checkpoint_format", ["tf1", "tf2", "dual"])
def test_the_state_file_has_relative_paths(tmp_path, checkpoint_format):
  original = tmp_path / "original"
  fn = _decorated(checkpoint_format)
  models.estimator(fn, original, save_steps=2, keep_checkpoint_max=2).train(
    models.input_fn, steps=4
  )
  assert str(tmp_path) not in (original / "checkpoint").read_text()
  kept = sorted(os.listdir(original))
  copied = shutil.copytree(original, tmp_path / "copied")
  models.estimator(fn, copied, save_steps=2, keep_checkpoint_max=2).train(
    models.input_fn, steps=6
  )
  assert sorted(os.listdir(original)) == kept
  assert models.steps_on_disk(copied) == [8, 10]


@pytest.mark.parametrize("checkpoint_format", ["tf1", "tf2", "dual"])
def test_max_steps_holds_over_several_calls(tmp_path, checkpoint_format):
  guide = models.estimator(models.guide_model_fn, tmp_path / "guide")
  for _ in range(2):
    guide.train(models.input_fn, max_steps=5)
  assert max(models.steps_on_disk(tmp_path / "guide")) > 5

  estimator = models.estimator(_decorated(checkpoint_format), tmp_path / "ours")
  for _ in range(3):
    estimator.train(models.input_fn, max_steps=5)
  assert max(models.steps_on_disk(tmp_path / "ours")) == 5
  assert estimator.get_variable_value("global_step") == 5
  for _ in range(2):
    tf.estimator.train_and_evaluate(
      estimator,
      tf.estimator.TrainSpec(models.input_fn, max_steps=7),
      tf.estimator.EvalSpec(models.eval_input_fn, steps=1, throttle_secs=0),
    )
  assert max(models.steps_on_disk(tmp_path / "ours")) == 7


class _CountingHook(tf.estimator.SessionRunHook):
  """A hook with a variable that is created after the model_fn."""

  def begin(self):
    self.counter = v1.get_variable(
      "hook/counter", [], tf.int32, v1.zeros_initializer(), trainable=False
    )
    self.increment = v1.assign_add(self.counter, 1)

  def after_run(self, run_context, run_values):
    self.value = run_context.session.run(self.increment)


@pytest.mark.parametrize("checkpoint_format", ["tf1", "tf2", "dual"])
def test_variables_that_hooks_create(tmp_path, checkpoint_format):
  guide = models.estimator(models.guide_model_fn, tmp_path / "guide")
  guide.train(models.input_fn, steps=5, hooks=[_CountingHook()])
  with pytest.raises(RuntimeError, match="not initialized|not ready"):
    guide.train(models.input_fn, steps=5, hooks=[_CountingHook()])

  estimator = models.estimator(_decorated(checkpoint_format), tmp_path / "ours")
  estimator.train(models.input_fn, steps=5, hooks=[_CountingHook()])
  saved = models.named_values(tmp_path / "ours")["hook/counter"]
  hook = _CountingHook()
  estimator.train(models.input_fn, steps=5, hooks=[hook])
  assert saved >= 4 and hook.value == saved + 5


def test_what_the_objects_do_not_reach_is_added(tmp_path):
  def model_fn(features, labels, mode):
    net = tf.Module()
    with v1.variable_scope("net"):
      net.kernel = v1.get_variable("kernel", [2, 1], use_resource=True)
      net.bias = v1.get_variable("bias", [1], use_resource=True)
    y = features["x"] @ net.kernel + net.bias
    # The Scaffold exists before minimize() creates the slots.
    scaffold = v1.train.Scaffold(saver=tensorflows.checkpoint(model=net))
    return models.spec(mode, y, labels, scaffold=scaffold)

  guide = models.estimator(model_fn, tmp_path / "guide")
  guide.train(models.input_fn, steps=5)
  with pytest.raises((RuntimeError, tf.errors.FailedPreconditionError)):
    guide.train(models.input_fn, steps=5)

  estimator = models.estimator(eckpt.dual_checkpointing(model_fn), tmp_path / "ours")
  estimator.train(models.input_fn, steps=5)
  first = models.values(tmp_path / "ours")
  assert "model/kernel/.ATTRIBUTES/VARIABLE_VALUE" in first
  assert "var_list/net.Skernel.SAdam/.ATTRIBUTES/VARIABLE_VALUE" in first
  np.testing.assert_array_equal(
    first["model/kernel/.ATTRIBUTES/VARIABLE_VALUE"], first["net/kernel"]
  )
  resaved = models.values(_resave(estimator, tmp_path / "ours"))
  models.assert_same_values(first, resaved)


def _changed(features, labels, mode, hidden="hidden", extra=False, optimizer=None):
  """`models.model_fn` with one change."""
  with v1.variable_scope("net"):
    h = v1.layers.dense(features["x"], 4, tf.nn.tanh, name=hidden)
    h = v1.layers.batch_normalization(h, training=False, name="norm")
    if extra:
      h = v1.layers.dense(h, 4, name="extra", use_bias=False)
    y = v1.layers.dense(h, 1, name="out")
  return models.spec(mode, y, labels, optimizer and optimizer())


_CHANGES = {
  "renamed": (
    {"hidden": "hiden"},
    ["net/hiden/bias", "net/hiden/kernel"],
    "nearest: 'net/hidden/kernel'",
  ),
  "added": ({"extra": True}, ["net/extra/kernel"], ""),
  "optimizer": (
    {"optimizer": lambda: v1.train.MomentumOptimizer(0.1, 0.9)},
    [
      f"net/{name}/Momentum"
      for name in (
        "hidden/bias",
        "hidden/kernel",
        "norm/beta",
        "norm/gamma",
        "out/bias",
        "out/kernel",
      )
    ],
    "net/out/kernel/Adam",
  ),
}


@pytest.mark.parametrize("change", list(_CHANGES))
def test_only_what_is_missing_is_reported(model_dir, tmp_path, change):
  options, missing, hint = _CHANGES[change]
  if change != "optimizer":
    missing += [f"{n}/{s}" for n in missing for s in ("Adam", "Adam_1")]

  def changed(features, labels, mode):
    return _changed(features, labels, mode, **options)

  def guide_changed(features, labels, mode):
    return changed(features, labels, mode)._replace(scaffold=models.guide_scaffold())

  _train(models.estimator(models.guide_model_fn, tmp_path / "guide"))
  with pytest.raises(tf.errors.NotFoundError) as stock:
    _train(models.estimator(guide_changed, tmp_path / "guide"))
  assert "net.Sout.Sbias/" in str(stock.value).split("when this")[0]  # It is there.

  def files():
    return sorted(name for name in os.listdir(model_dir) if "tfevents" not in name)

  before = files()
  for checkpoint_format in ("tf1", "tf2", "dual"):
    decorated = eckpt.checkpointing(checkpoint_format)(changed)
    with pytest.raises(eckpt.CheckpointError) as error:
      _train(models.estimator(decorated, model_dir))
    message = str(error.value)
    assert isinstance(error.value, ValueError)
    assert (
      f"{model_dir}/model.ckpt-5 " in message and f"{len(missing)} missing" in message
    )
    lines = message.split("In the checkpoint")[0].splitlines()[1:]
    reported = [line.split("'")[1] for line in lines if line.startswith("  '")]
    assert sorted(reported) == sorted(missing)
    assert hint in message
    assert "strict=False" in message and "assignment_map" in message
    assert files() == before


def test_a_removed_variable_is_named_once(model_dir, tmp_path, caplog):
  def smaller(features, labels, mode):
    with v1.variable_scope("net"):
      y = v1.layers.dense(features["x"], 4, tf.nn.tanh, name="hidden")
    return models.spec(mode, tf.reduce_sum(y, 1, keepdims=True), labels)

  def guide_smaller(features, labels, mode):
    made = smaller(features, labels, mode)
    return made._replace(scaffold=models.guide_scaffold())

  caplog.set_level("WARNING")
  _train(models.estimator(models.guide_model_fn, tmp_path / "guide"))
  _train(models.estimator(guide_smaller, tmp_path / "guide"))
  gone = set(models.named_values(tmp_path / "guide"))
  assert "net/hidden/kernel" in gone and "net/out/kernel" not in gone
  assert not any("net/out/kernel" in r.getMessage() for r in caplog.records)

  caplog.clear()
  estimator = models.estimator(eckpt.dual_checkpointing(smaller), model_dir)
  estimator.train(models.input_fn, steps=1)
  [record] = [r for r in caplog.records if r.name.startswith("estimator_ckpt")]
  assert "net/out/kernel" in record.getMessage()
  assert "net/hidden/kernel" not in record.getMessage()


@pytest.mark.parametrize("checkpoint_format", ["tf1", "tf2", "dual"])
def test_a_changed_shape_is_an_error_with_both(model_dir, checkpoint_format):
  def wider(features, labels, mode):
    x = features["x"]
    with v1.variable_scope("net"):
      h = v1.layers.dense(x, 4, tf.nn.tanh, name="hidden")
      h = v1.layers.batch_normalization(h, training=False, name="norm")
      y = v1.layers.dense(h, 2, name="out")
    return models.spec(mode, tf.reduce_sum(y, 1, keepdims=True), labels)

  # 1.15.5 refuses as late as the session; later ones train with the other shape.
  with contextlib.suppress(tf.errors.InvalidArgumentError):
    models.estimator(wider, model_dir).train(models.input_fn, steps=1)
  assert models.values(model_dir)["net/out/kernel"].shape == (4, 1)  # Not (4, 2).

  decorated = eckpt.checkpointing(checkpoint_format)(wider)
  with pytest.raises(eckpt.CheckpointError) as error:
    models.estimator(decorated, model_dir).train(models.input_fn, steps=1)
  assert "'net/out/kernel' is float32 [4, 2] in the graph" in str(error.value)
  assert "float32 [4, 1] in the checkpoint" in str(error.value)


def test_get_variable_value_by_either_key(tmp_path):
  guide = models.estimator(models.guide_model_fn, tmp_path / "guide")
  guide.train(models.input_fn, steps=1)
  with pytest.raises((tf.errors.NotFoundError, ValueError)):
    guide.get_variable_value("net/out/kernel")

  estimator = models.estimator(_decorated("dual"), tmp_path / "ours")
  estimator.train(models.input_fn, steps=1)
  by_name = estimator.get_variable_value("net/out/kernel")
  by_key = estimator.get_variable_value(
    "var_list/net.Sout.Skernel/.ATTRIBUTES/VARIABLE_VALUE"
  )
  assert by_name.shape == (4, 1) and np.any(by_name)
  np.testing.assert_array_equal(by_name, by_key)
  assert {"net/out/kernel", "net/out/kernel/Adam", "global_step"} <= set(
    estimator.get_variable_names()
  )


@pytest.mark.parametrize("checkpoint_format", ["tf1", "tf2", "dual"])
def test_in_memory_evaluator(tmp_path, checkpoint_format):
  def evaluated(model_fn, name):
    estimator = models.estimator(model_fn, tmp_path / name)
    hook = tf.estimator.experimental.InMemoryEvaluatorHook(
      estimator, models.eval_input_fn, every_n_iter=2
    )
    estimator.train(models.input_fn, steps=4, hooks=[hook])
    # The values at the last step, and those that the checkpoint of the step gives.
    [events] = pathlib.Path(estimator.eval_dir()).glob("events.*")
    found = [
      (
        event.step,
        tf.make_ndarray(value.tensor)
        if value.HasField("tensor")
        else value.simple_value,
      )
      for event in v1.train.summary_iterator(str(events))
      for value in event.summary.value
      if value.tag == "mae"
    ]
    step, mae = found[-1]
    evaluated = estimator.evaluate(models.eval_input_fn)
    assert (step, evaluated["global_step"]) == (4, 4)
    np.testing.assert_allclose(mae, evaluated["mae"], rtol=1e-6)
    return len({float(mae) for _, mae in found}) > 1

  with pytest.raises(ValueError, match="does not support custom saver"):
    evaluated(models.guide_model_fn, "guide")
  assert evaluated(_decorated(checkpoint_format), "ours")


def test_monitored_training_session(tmp_path):
  def run(scaffold_fn, checkpoint_dir, steps):
    with tf.Graph().as_default():
      step = v1.train.get_or_create_global_step()
      w = v1.get_variable("w", [3], initializer=v1.zeros_initializer())
      train_op = tf.group(v1.assign_add(w, [1.0, 2.0, 3.0]), v1.assign_add(step, 1))
      scaffold = scaffold_fn()
      with v1.train.MonitoredTrainingSession(
        checkpoint_dir=str(checkpoint_dir),
        scaffold=scaffold,
        save_checkpoint_steps=2,
        hooks=[v1.train.StopAtStepHook(num_steps=steps)],
      ) as session:
        value = None
        while not session.should_stop():
          session.run(train_op)
          if not session.should_stop():
            value = session.run(w)
      return value

  run(v1.train.Scaffold, tmp_path / "a", 2)
  with pytest.raises(tf.errors.NotFoundError):
    run(models.guide_scaffold, tmp_path / "a", 2)
  run(models.guide_scaffold, tmp_path / "guide", 2)
  with pytest.raises(RuntimeError, match="[Ff]inalized"):
    run(v1.train.Scaffold, tmp_path / "guide", 2)
  run(eckpt.dual_scaffold, tmp_path / "a", 2)
  np.testing.assert_array_equal(models.values(tmp_path / "a")["w"], [4, 8, 12])
  run(eckpt.tf2_scaffold, tmp_path / "a", 2)
  np.testing.assert_array_equal(models.named_values(tmp_path / "a")["w"], [6, 12, 18])
  run(eckpt.tf1_scaffold, tmp_path / "a", 2)
  run(v1.train.Scaffold, tmp_path / "a", 2)
  np.testing.assert_array_equal(models.values(tmp_path / "a")["w"], [10, 20, 30])


@pytest.mark.parametrize("checkpoint_format", ["tf2", "dual"])
def test_assert_consumed(tmp_path, checkpoint_format):
  def restore(path, assert_consumed):
    names = models.named_values(path)
    with tensorflows.eager():
      var_list = {
        name: tf.Variable(tf.zeros_like(value))
        for name, value in names.items()
        if name != "save_counter"
      }
      checkpoint = tensorflows.checkpoint(var_list=var_list)
      assert_consumed(checkpoint.restore(tf.train.latest_checkpoint(str(path))))
      models.assert_same_values(names, {k: v.numpy() for k, v in var_list.items()})
    return checkpoint

  guide = tmp_path / "guide"
  models.estimator(models.guide_model_fn, guide).train(models.input_fn, steps=5)
  with pytest.raises(AssertionError):
    restore(guide, lambda status: status.assert_consumed())

  ours = tmp_path / "ours"
  models.estimator(_decorated(checkpoint_format), ours).train(models.input_fn, steps=5)
  checkpoint = restore(ours, tensorflows.assert_consumed)
  # Eager code that goes on saving counts from the step.
  with tensorflows.eager():
    assert checkpoint.save(str(ours / "model.ckpt")).endswith("model.ckpt-6")
