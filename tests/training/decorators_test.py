"""The decorators and with_checkpointing, tested on whole Estimators."""

from __future__ import annotations

import functools
import os

import numpy as np
import pytest
import tensorflow as tf

import estimator_ckpt as eckpt
from estimator_ckpt import errors
from estimator_ckpt.checkpoint import layout
from tests import models, tensorflows

v1 = tf.compat.v1
_FORMATS = ["tf1", "tf2", "dual"]


@pytest.fixture(scope="module", params=_FORMATS)
def trained(request, tmp_path_factory):
  """An Estimator of each format, trained for five steps."""
  model_fn = eckpt.checkpointing(request.param)(models.model_fn)
  estimator = models.estimator(model_fn, tmp_path_factory.mktemp(request.param))
  estimator.train(models.input_fn, steps=5)
  return estimator, request.param


def _predictions(estimator):
  return np.array([p["y"] for p in estimator.predict(models.eval_input_fn)])


def _variable(name):
  [found] = [v for v in v1.global_variables() if v.op.name == name]
  return found


def test_the_format_on_disk(trained):
  estimator, checkpoint_format = trained
  assert eckpt.detect_format(estimator.model_dir).value == checkpoint_format
  keys = set(estimator.get_variable_names())
  assert ("net/out/kernel" in keys) == (checkpoint_format != "tf2")
  assert (layout.OBJECT_GRAPH_KEY in keys) == (checkpoint_format != "tf1")
  assert "global_step" in keys


def test_export_is_name_based_and_loads(trained, tmp_path):
  estimator, _ = trained
  path = estimator.export_saved_model(str(tmp_path), models.serving_input_fn).decode()
  keys = [
    k for k, _ in tf.train.list_variables(os.path.join(path, "variables", "variables"))
  ]
  assert "net/out/kernel" in keys and layout.OBJECT_GRAPH_KEY not in keys
  served = tensorflows.served(path, x=models.X)
  np.testing.assert_allclose(served["y"], _predictions(estimator), atol=1e-6)


def test_export_of_every_mode(trained, tmp_path):
  estimator, _ = trained
  modes = tf.estimator.ModeKeys

  def with_labels():
    x = v1.placeholder(tf.float32, [None, 2])
    y = v1.placeholder(tf.float32, [None, 1])
    return tf.estimator.experimental.build_raw_supervised_input_receiver_fn(
      {"x": x}, y
    )()

  path = estimator.experimental_export_all_saved_models(
    str(tmp_path),
    {
      modes.TRAIN: with_labels,
      modes.EVAL: with_labels,
      modes.PREDICT: models.serving_input_fn,
    },
  )
  expected = models.named_values(estimator.model_dir)
  for tag, name in [
    ("train", "net/out/kernel/Adam"),
    ("train", "net/out/kernel"),
    ("eval", "net/out/kernel"),
    ("serve", "net/norm/moving_mean"),
  ]:
    with tf.Graph().as_default(), v1.Session() as session:
      v1.saved_model.load(session, [tag], path.decode())
      value = session.run(_variable(name))
    assert np.any(value)
    np.testing.assert_array_equal(value, expected[name])


def test_predict_from_a_checkpoint_that_is_not_the_last(trained):
  estimator, _ = trained
  first = os.path.join(estimator.model_dir, "model.ckpt-0")
  from_first = [
    p["y"] for p in estimator.predict(models.eval_input_fn, checkpoint_path=first)
  ]
  assert not np.allclose(from_first, _predictions(estimator))


@pytest.mark.parametrize("new", _FORMATS)
def test_every_format_resumes_in_every_model_dir(trained, new, tmp_path):
  estimator, _ = trained
  before = models.named_values(estimator.model_dir)
  other = models.estimator(
    eckpt.checkpointing(new)(models.model_fn), estimator.model_dir
  )
  np.testing.assert_array_equal(_predictions(other), _predictions(estimator))

  class Started(tf.estimator.SessionRunHook):
    def after_create_session(self, session, coord):
      names = [v.op.name for v in v1.global_variables()]
      self.values = dict(zip(names, session.run(v1.global_variables())))

  hook = Started()
  config = other.config.replace(model_dir=str(tmp_path))
  for name in os.listdir(estimator.model_dir):
    if name == "checkpoint" or name.startswith("model.ckpt-5"):
      source = os.path.join(estimator.model_dir, name)
      (tmp_path / name).write_bytes(open(source, "rb").read())
  tf.estimator.Estimator(
    eckpt.checkpointing(new)(models.model_fn), config=config
  ).train(models.input_fn, steps=1, hooks=[hook])
  before.pop("save_counter", None)
  models.assert_same_values(before, hook.values)
  assert models.steps_on_disk(tmp_path) == [5, 6]
  assert eckpt.detect_format(str(tmp_path)).value == new


@pytest.mark.parametrize("checkpoint_format", _FORMATS)
def test_train_and_evaluate_with_a_best_exporter(checkpoint_format, tmp_path):
  estimator = models.estimator(
    eckpt.checkpointing(checkpoint_format)(models.model_fn), tmp_path
  )
  exporter = tf.estimator.BestExporter(
    serving_input_receiver_fn=models.serving_input_fn, exports_to_keep=1
  )
  result, _ = tf.estimator.train_and_evaluate(
    estimator,
    tf.estimator.TrainSpec(models.input_fn, max_steps=10),
    tf.estimator.EvalSpec(
      models.eval_input_fn, exporters=exporter, throttle_secs=0, start_delay_secs=0
    ),
  )
  assert result["global_step"] == 10
  [export] = os.listdir(tmp_path / "export" / "best_exporter")
  path = str(tmp_path / "export" / "best_exporter" / export)
  assert len(tensorflows.served(path, x=models.X)["y"]) == len(models.X)


def test_checkpoints_iterator_sees_whole_checkpoints(trained):
  estimator, _ = trained
  [path] = tf.train.checkpoints_iterator(estimator.model_dir, timeout=0)
  assert path == estimator.latest_checkpoint()
  assert tf.train.load_variable(path, "global_step") >= 5


def test_the_meta_file_restores_without_this_library(trained):
  estimator, checkpoint_format = trained
  prefix = estimator.latest_checkpoint()
  assert eckpt.detect_format(prefix).value == checkpoint_format
  with tf.Graph().as_default(), v1.Session() as session:
    saver = v1.train.import_meta_graph(prefix + ".meta")
    assert isinstance(saver.as_saver_def(), v1.train.SaverDef)
    saver.restore(session, prefix)
    kernel = session.run(_variable("net/out/kernel"))
  expected = models.named_values(prefix)["net/out/kernel"]
  np.testing.assert_array_equal(kernel, expected)


_SIGNATURES = {
  "features": lambda features: models.model_fn(features, models.Y[:8], "train"),
  "labels": lambda features, labels: models.model_fn(features, labels, "train"),
  "mode": lambda features, labels, mode: models.model_fn(features, labels, mode),
  "params": lambda features, labels, mode, params: (
    models.model_fn(features, labels, mode) if params["p"] == 1 else None
  ),
  "config": lambda features, labels, mode, params, config: (
    models.model_fn(features, labels, mode) if config.tf_random_seed == 7 else None
  ),
}


class _Callable:
  def __call__(self, features, labels, mode):
    return models.model_fn(features, labels, mode)

  def method(self, features, labels, mode):
    return models.model_fn(features, labels, mode)


@pytest.mark.parametrize("signature", [*_SIGNATURES, "object", "method", "partial"])
def test_every_signature_of_a_model_fn(signature, tmp_path):
  model_fn = {
    **_SIGNATURES,
    "object": _Callable(),
    "method": _Callable().method,
    "partial": functools.partial(models.model_fn),
  }[signature]
  estimator = tf.estimator.Estimator(
    eckpt.dual_checkpointing(model_fn),
    str(tmp_path),
    tf.estimator.RunConfig(tf_random_seed=7),
    params={"p": 1} if signature in ("params", "config") else None,
  )
  data = models.input_fn
  if signature == "features":
    data = lambda: models.input_fn().map(lambda x, y: x)  # noqa: E731
  estimator.train(data, steps=1)
  assert eckpt.detect_format(str(tmp_path)) is eckpt.CheckpointFormat.DUAL


def test_a_decorated_function_keeps_its_name_and_takes_options():
  decorated = eckpt.tf2_checkpointing(max_to_keep=3)(models.model_fn)
  assert decorated.__name__ == "model_fn" and decorated.__doc__ == "A TF1 model_fn."


def test_what_a_scaffold_carries_is_kept(tmp_path):
  seen = []

  def model_fn(features, labels, mode):
    spec = models.model_fn(features, labels, mode)
    local = v1.get_local_variable("mine", initializer=3.0)
    scaffold = v1.train.Scaffold(
      init_fn=lambda scaffold, session: seen.append("init_fn"),
      local_init_op=tf.group(
        v1.train.Scaffold.default_local_init_op(), local.initializer
      ),
      saver=v1.train.Saver(max_to_keep=2, save_relative_paths=True, defer_build=True),
    )
    return spec._replace(scaffold=scaffold)

  estimator = models.estimator(
    eckpt.dual_checkpointing(model_fn), tmp_path, save_steps=1
  )
  estimator.train(models.input_fn, steps=4)
  assert seen == ["init_fn"]
  assert models.steps_on_disk(tmp_path) == [3, 4]
  assert estimator.evaluate(models.eval_input_fn)["global_step"] == 4


def test_a_savers_var_list_is_kept(tmp_path):
  def renamed(features, labels, mode):
    x = features["x"]
    bias = v1.get_variable("renamed", [1])
    step = v1.train.get_or_create_global_step()
    saver = v1.train.Saver({"net/out/bias": bias, "global_step": step})
    y = tf.zeros_like(x[:, :1]) + bias
    return models.spec(mode, y, labels, scaffold=v1.train.Scaffold(saver=saver))

  models.estimator(eckpt.tf2_checkpointing(models.model_fn), tmp_path).train(
    models.input_fn, steps=5
  )
  predicted = _predictions(models.estimator(eckpt.tf2_checkpointing(renamed), tmp_path))
  bias = models.named_values(tmp_path)["net/out/bias"]
  np.testing.assert_array_equal(predicted, np.broadcast_to(bias, predicted.shape))


@pytest.mark.parametrize("has", ["scaffold", "scaffold with a saver", "saver"])
def test_a_saver_hook_of_the_model_fn_writes_the_format(has, tmp_path):
  saved = []

  class Listener(v1.train.CheckpointSaverListener):
    def after_save(self, session, global_step_value):
      saved.append(int(global_step_value))

  def model_fn(features, labels, mode):
    spec = models.model_fn(features, labels, mode)
    saver = v1.train.Saver(max_to_keep=2) if "saver" in has else None
    scaffold = v1.train.Scaffold(saver=saver)
    own = {"saver": saver} if has == "saver" else {"scaffold": scaffold}
    hook = tf.estimator.CheckpointSaverHook(
      str(tmp_path), save_steps=2, listeners=[Listener()], **own
    )
    return spec._replace(scaffold=scaffold, training_hooks=[hook])

  estimator = models.estimator(eckpt.dual_checkpointing(model_fn), tmp_path)
  estimator.train(models.input_fn, steps=5)
  assert saved == [0, 2, 4, 5]
  for step in models.steps_on_disk(tmp_path):
    prefix = f"{tmp_path}/model.ckpt-{step}"
    assert eckpt.detect_format(prefix) is eckpt.CheckpointFormat.DUAL
  if "saver" in has:
    assert models.steps_on_disk(tmp_path) == [4, 5]


@pytest.mark.parametrize(
  "bad", [3, None, "model_fn", object(), lambda x, y: None, tf.estimator.Estimator]
)
def test_something_that_is_no_model_fn(bad):
  with pytest.raises(errors.OptionError, match="model_fn"):
    eckpt.checkpointing("dual")(bad)


def test_an_estimator_is_told_where_to_go(tmp_path):
  with pytest.raises(errors.OptionError, match="with_checkpointing"):
    eckpt.dual_checkpointing(models.estimator(models.model_fn, tmp_path))
  with pytest.raises(errors.OptionError, match="checkpointing\\(format\\)"):
    eckpt.with_checkpointing(models.model_fn, "dual")


def test_unknown_format_option_and_layout():
  with pytest.raises(errors.OptionError, match="'dul'.*'dual'"):
    eckpt.checkpointing("dul")
  with pytest.raises(
    errors.OptionError, match="'max_to_kep'. Did you mean 'max_to_keep'"
  ):
    eckpt.tf2_checkpointing(max_to_kep=3)
  with pytest.raises(
    errors.OptionError, match="'flatt' is unknown. Did you mean 'flat'"
  ):
    eckpt.dual_checkpointing(layout="flatt")


@pytest.mark.parametrize("returned", [None, (1, 2), {"loss": 0}])
def test_a_model_fn_that_returns_no_spec(returned, tmp_path):
  def model_fn(features, labels, mode):
    return returned

  estimator = models.estimator(eckpt.tf2_checkpointing(model_fn), tmp_path)
  with pytest.raises(errors.OptionError, match="EstimatorSpec"):
    estimator.train(models.input_fn, steps=1)
  assert not any(name.endswith(".index") for name in os.listdir(tmp_path))


def test_a_saver_of_an_unknown_kind(tmp_path):
  class OwnSaver(v1.train.Saver):
    pass

  def model_fn(features, labels, mode):
    spec = models.model_fn(features, labels, mode)
    return spec._replace(scaffold=v1.train.Scaffold(saver=OwnSaver()))

  estimator = models.estimator(eckpt.tf2_checkpointing(model_fn), tmp_path)
  with pytest.raises(errors.OptionError, match="OwnSaver"):
    estimator.train(models.input_fn, steps=1)


def test_two_decorators_are_refused(tmp_path):
  twice = eckpt.tf2_checkpointing(eckpt.dual_checkpointing(models.model_fn))
  with pytest.raises(errors.OptionError, match="'dual' checkpoints already"):
    models.estimator(twice, tmp_path).train(models.input_fn, steps=1)


def _columns():
  return [tf.feature_column.numeric_column("x", shape=[2])]


def _binary_input_fn():
  return models.input_fn().map(lambda x, y: (x, tf.cast(y > 0.5, tf.int32)))


@pytest.mark.parametrize("version", ["v2", "v1"])
def test_a_canned_estimator_with_two_optimizers(version, tmp_path):
  module = tf.estimator if version == "v2" else v1.estimator
  make = functools.partial(
    module.DNNLinearCombinedClassifier,
    linear_feature_columns=_columns(),
    dnn_feature_columns=_columns(),
    dnn_hidden_units=[4],
    model_dir=str(tmp_path),
  )
  make().train(_binary_input_fn, steps=3)
  plain = models.values(tmp_path)
  # The optimizers of TF1, which canned Estimators of 1.15.5 have in version 2 too.
  misnamed = version == "v1" or not tensorflows.CANNED_HAVE_KERAS_OPTIMIZERS

  for steps, checkpoint_format in ((5, "tf2"), (7, "dual")):
    estimator = eckpt.with_checkpointing(make(), checkpoint_format)
    evaluated = estimator.evaluate(_binary_input_fn, steps=2)
    assert evaluated["global_step"] == steps - 2
    estimator.train(_binary_input_fn, max_steps=steps)
    assert eckpt.detect_format(str(tmp_path)).value == checkpoint_format
    values = models.named_values(tmp_path)
    values.pop("save_counter", None)
    # Slots that TensorFlow misnames also get their right names, which code without
    # partitions looks for.
    right = set(values) - set(plain)
    assert set(plain) <= set(values)
    assert not right or (misnamed and checkpoint_format == "dual")
    for name in right:
      assert any(np.array_equal(values[name], values[other]) for other in plain), name
  predicted = next(iter(estimator.predict(_binary_input_fn)))
  assert np.isclose(predicted["probabilities"].sum(), 1.0)
  serving = tf.estimator.export.build_parsing_serving_input_receiver_fn(
    tf.feature_column.make_parse_example_spec(_columns())
  )
  path = estimator.export_saved_model(str(tmp_path / "export"), serving)
  example = tf.train.Example()
  example.features.feature["x"].float_list.value.extend([0.25, 0.5])
  served = tensorflows.served(path, [example.SerializeToString()])
  np.testing.assert_allclose(served["scores"].sum(), 1, rtol=1e-5)
  # The undecorated Estimator goes on.
  make().train(_binary_input_fn, max_steps=9)


@pytest.mark.parametrize("checkpoint_format", _FORMATS)
def test_a_model_dir_on_a_remote_file_system(checkpoint_format):
  # Only tf.io.gfile can reach TensorFlow's file system in memory.
  model_dir = f"ram://remote/{checkpoint_format}"
  if not tensorflows.has_file_system(model_dir):
    pytest.skip(f"TensorFlow {tf.__version__} has no file system in memory")
  estimator = models.estimator(
    eckpt.checkpointing(checkpoint_format)(models.model_fn),
    model_dir,
    save_steps=2,
    keep_checkpoint_max=2,
  )
  estimator.train(models.input_fn, max_steps=3)
  estimator.train(models.input_fn, max_steps=5)
  assert estimator.evaluate(models.eval_input_fn)["global_step"] == 5
  written = [n for n in tf.io.gfile.listdir(model_dir) if n.endswith(".index")]
  assert sorted(written) == ["model.ckpt-3.index", "model.ckpt-5.index"]
  with eckpt.open_checkpoint(model_dir) as reader:
    assert reader.format.value == checkpoint_format
    np.testing.assert_array_equal(
      reader[reader.names["net/out/kernel"]],
      models.named_values(model_dir)["net/out/kernel"],
    )
