"""TensorFlow reads what was written without TensorFlow, and is the judge.

The Estimators here are undecorated, like those of a colleague who gets the files.
"""

from __future__ import annotations

import os

import numpy as np
import pytest
import tensorflow as tf

import estimator_ckpt as eckpt
from estimator_ckpt.checkpoint import layout
from estimator_ckpt.files.convert import convert
from estimator_ckpt.files.merge import merge
from estimator_ckpt.files.rename import rename
from estimator_ckpt.files.strip import strip
from tests import golden, models

v1 = tf.compat.v1

_TF1 = golden.names("tf1.15")
_TF2 = [*golden.names("tf2.15"), *golden.names("tf2.21")]
_FORMATS = ["tf1", "tf2", "dual"]
_VALUE = "/.ATTRIBUTES/VARIABLE_VALUE"


def _readable(name):
  """The keys and values that this TensorFlow can compare with the writer's."""
  dtypes = golden.manifest(name)["tensors"]
  for key, value in golden.expected(name).items():
    # TensorFlow cannot join float16 slices; quantized values are kept as integers.
    sliced = key in golden.manifest(name)["slices"]
    if dtypes[key]["dtype"].startswith("q") or sliced and value.dtype == np.float16:
      continue
    if sliced and dtypes[key]["dtype"] == "bfloat16":
      continue
    yield key, value


def _assert_equal(found, expected, key):
  if expected.dtype.kind == "S":
    assert np.asarray(found).tolist() == expected.tolist(), key
  else:
    found = np.asarray(found)
    np.testing.assert_array_equal(found.astype(expected.dtype), expected, err_msg=key)


@pytest.mark.parametrize("to", _FORMATS)
@pytest.mark.parametrize("name", _TF1 + _TF2)
def test_every_value_is_the_one_that_was_saved(name, to, tmp_path):
  target = str(tmp_path / "out")
  [report] = convert(golden.path(name), target, to).checkpoints
  reader = tf.train.load_checkpoint(target)
  shapes = reader.get_variable_to_shape_map()
  keys = {}
  for key, source in report.plan.keys.items():
    keys.setdefault(source, []).append(key)
  assert shapes.keys() >= {*report.plan.keys, *report.plan.scalars}
  compared = 0
  for source, expected in _readable(name):
    for key in keys.get(source, []):
      assert shapes[key] == list(expected.shape), key
      _assert_equal(reader.get_tensor(key), expected, key)
      compared += 1
    assert source in keys or source in report.plan.left_out
  assert compared


@pytest.mark.parametrize("through", ["tf2", "dual"])
@pytest.mark.parametrize(
  "name", ["tf1.15/adam_dense", "tf1.15/momentum_partitioned", "tf1.15/canned_dnn"]
)
def test_objects_restore_what_was_named(name, through, tmp_path):
  convert(golden.path(name), tmp_path / "out", through)
  values = golden.expected(name)
  flat = {n: tf.Variable(tf.zeros_like(value)) for n, value in values.items()}
  checkpoint = tf.train.Checkpoint(var_list=flat)
  status = checkpoint.restore(str(tmp_path / "out"))
  status.assert_existing_objects_matched().assert_consumed()
  for key, value in values.items():
    np.testing.assert_array_equal(flat[key], value, err_msg=key)
  # The counter starts at the step.
  assert int(checkpoint.save_counter) == int(values["global_step"])


def test_modules_restore_along_the_scopes(tmp_path):
  convert(golden.path("tf1.15/adam_dense"), tmp_path / "out", "dual")
  values = golden.expected("tf1.15/adam_dense")

  class Dense(tf.Module):
    def __init__(self, rows, columns):
      super().__init__()
      self.kernel = tf.Variable(tf.zeros([rows, columns]))
      self.bias = tf.Variable(tf.zeros([columns]))

  net = tf.Module()
  net.dense_1, net.dense_2 = Dense(5, 4), Dense(4, 3)
  step = tf.Variable(0, dtype=tf.int64)
  checkpoint = tf.train.Checkpoint(net=net, global_step=step)
  checkpoint.restore(str(tmp_path / "out")).assert_existing_objects_matched()
  assert int(step) == 7
  np.testing.assert_array_equal(net.dense_2.kernel, values["net/dense_2/kernel"])


@pytest.mark.parametrize("to", ["tf2", "dual"])
@pytest.mark.parametrize("name", ["keras2_legacy_adam", "keras2_adam"])
def test_keras_restores_all_of_what_it_saved(name, to, tmp_path):
  convert(golden.path(f"tf2.15/{name}"), tmp_path / "out", to)
  x = tf.keras.Input((5,))
  net = tf.keras.layers.Dense(4, "tanh")(x)
  net = tf.keras.layers.BatchNormalization(momentum=0.9)(net)
  model = tf.keras.Model(x, tf.keras.layers.Dense(2)(net))
  legacy = name == "keras2_legacy_adam"
  optimizers = tf.keras.optimizers.legacy if legacy else tf.keras.optimizers
  optimizer = optimizers.Adam()
  if not legacy:
    optimizer.build(model.trainable_variables)
  step = tf.Variable(0, dtype=tf.int64)
  checkpoint = tf.train.Checkpoint(model=model, optimizer=optimizer, step=step)
  status = checkpoint.restore(str(tmp_path / "out"))
  if legacy:
    # A legacy optimizer creates slots when they are restored or first used.
    optimizer._create_all_weights(model.trainable_variables)
  status.assert_consumed()
  expected = golden.expected(f"tf2.15/{name}")
  data = golden.data(f"tf2.15/{name}")
  np.testing.assert_allclose(model(data["x"]), data["output"], rtol=1e-5, atol=1e-6)
  assert int(optimizer.iterations) == int(step) == int(expected["step" + _VALUE])


@pytest.mark.parametrize("to", ["tf1", "dual"])
def test_a_saver_restores_what_keras_saved_by_name(to, tmp_path):
  name = "tf2.15/keras2_legacy_adam"
  convert(golden.path(name), tmp_path / "out", to)
  expected = golden.expected(name)
  kernel = "model/layer_with_weights-0/kernel"
  with tf.Graph().as_default(), v1.Session() as session:
    w = v1.get_variable("dense_1/kernel", [5, 4])
    m = v1.get_variable("dense_1/kernel/Adam", [5, 4])
    v1.train.Saver().restore(session, str(tmp_path / "out"))
    found_w, found_m = session.run([w, m])
  np.testing.assert_array_equal(found_w, expected[kernel + _VALUE])
  slot = f"{kernel}/.OPTIMIZER_SLOT/optimizer/m{_VALUE}"
  np.testing.assert_array_equal(found_m, expected[slot])


def test_tables_and_slots_of_a_program_of_ones_own(tmp_path):
  words = tf.lookup.experimental.MutableHashTable(tf.string, tf.int64, -1)
  words.insert(tf.constant(["ape", "bee"]), tf.constant([3, 4], tf.int64))
  module = tf.Module()
  module.words, module.w = words, tf.Variable([1.0, 2.0], name="scope/w")
  tf.train.Checkpoint(module=module).write(str(tmp_path / "a"))
  convert(tmp_path / "a", tmp_path / "b", "tf1")
  convert(tmp_path / "b", tmp_path / "c", "tf2")
  reader = tf.train.load_checkpoint(str(tmp_path / "b"))
  assert sorted(reader.get_tensor("module/words-keys")) == [b"ape", b"bee"]
  np.testing.assert_array_equal(reader.get_tensor("scope/w"), [1, 2])
  # An object at the path that the name spells restores it too.
  module = tf.Module()
  module.words = tf.lookup.experimental.MutableHashTable(tf.string, tf.int64, -1)
  checkpoint = tf.train.Checkpoint(module=module)
  checkpoint.restore(str(tmp_path / "c")).expect_partial()
  assert module.words.lookup(tf.constant(["bee", "cat"])).numpy().tolist() == [4, -1]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
  """A model_dir of an undecorated Estimator, with two checkpoints."""
  path = tmp_path_factory.mktemp("trained")
  models.estimator(models.model_fn, path).train(models.input_fn, steps=10)
  return path


def _guide_to_tf2(prefix, target):
  """Converts TF1 to TF2 as TensorFlow's migration guide does."""
  reader = tf.train.load_checkpoint(str(prefix))
  shapes = reader.get_variable_to_shape_map()
  variables = {key: tf.Variable(reader.get_tensor(key)) for key in shapes}
  return tf.train.Checkpoint(vars=variables).save(str(target))


def _assert_goes_on(model_dir, trained, **options):
  """Fails unless an Estimator evaluates and trains as in the original directory."""
  evaluated = models.estimator(models.model_fn, trained).evaluate(models.eval_input_fn)
  estimator = models.estimator(models.model_fn, model_dir, **options)
  assert estimator.evaluate(models.eval_input_fn) == pytest.approx(evaluated, rel=1e-6)
  estimator.train(models.input_fn, steps=5)
  copied = str(model_dir) + "_trained"
  convert(trained, copied, "tf1")
  original = models.estimator(models.model_fn, copied)
  original.train(models.input_fn, steps=5)
  ours, theirs = models.values(model_dir), models.values(copied)
  names = set(theirs)
  assert int(theirs["global_step"]) == 15
  for name in names:
    np.testing.assert_allclose(ours[name], theirs[name], rtol=1e-5, err_msg=name)


@pytest.mark.parametrize("path", [("tf1",), ("dual",), ("tf2", "tf1"), ("tf2", "dual")])
def test_an_estimator_resumes_in_a_converted_model_dir(trained, tmp_path, path):
  source = trained
  for number, to in enumerate(path):
    convert(source, tmp_path / f"{number}", to)
    source = tmp_path / f"{number}"
  assert models.steps_on_disk(source) == models.steps_on_disk(trained)
  assert tf.train.latest_checkpoint(str(source)) == str(source / "model.ckpt-10")
  _assert_goes_on(source, trained)


def test_a_decorated_estimator_resumes_in_a_tf2_model_dir(trained, tmp_path):
  convert(trained, tmp_path / "out", "tf2")
  before = models.named_values(tmp_path / "out")
  estimator = models.estimator(
    eckpt.tf2_checkpointing(models.model_fn), tmp_path / "out"
  )
  assert estimator.evaluate(models.eval_input_fn)["global_step"] == 10
  estimator.train(models.input_fn, steps=5)
  after = models.named_values(tmp_path / "out")
  assert sorted(after) == sorted(before)
  assert int(after["global_step"]) == 15


@pytest.mark.parametrize("to", ["tf1", "dual"])
def test_what_the_guides_converter_wrote_is_a_model_dir_again(trained, tmp_path, to):
  guide = _guide_to_tf2(trained / "model.ckpt-10", tmp_path / "guide" / "model.ckpt-10")
  with pytest.raises((tf.errors.NotFoundError, ValueError)):
    models.estimator(models.model_fn, tmp_path / "guide").evaluate(models.eval_input_fn)
  convert(tmp_path / "guide", tmp_path / "out", to)
  assert os.path.basename(guide) + ".index" in os.listdir(tmp_path / "out")
  _assert_goes_on(tmp_path / "out", trained)


@pytest.mark.parametrize("to", ["tf1", "dual"])
def test_and_a_warm_start(trained, tmp_path, to):
  _guide_to_tf2(trained / "model.ckpt-10", tmp_path / "guide" / "model.ckpt-10")
  convert(tmp_path / "guide", tmp_path / "out", to)
  # Starts no slots: after ten steps of slots, the next step could be twice as large.
  settings = tf.estimator.WarmStartSettings(str(tmp_path / "out"), [".*kernel:0"])
  estimator = tf.estimator.Estimator(
    models.model_fn, str(tmp_path / "warm"), warm_start_from=settings
  )
  estimator.train(models.input_fn, max_steps=1)
  # Adam's first step on a batch changes each weight by the learning rate at most.
  kernel = models.values(trained)["net/hidden/kernel"]
  started = models.values(tmp_path / "warm")["net/hidden/kernel"]
  assert np.abs(kernel - started).max() <= 0.051


@pytest.mark.parametrize("path", [("tf1",), ("dual",), ("tf2",), ("tf2", "tf1")])
def test_a_converted_model_dir_is_a_warm_start(trained, tmp_path, path):
  source = trained
  for number, to in enumerate(path):
    convert(source, tmp_path / f"{number}", to)
    source = tmp_path / f"{number}"
  model_fn = eckpt.checkpointing(
    "tf1", warm_start=eckpt.WarmStart(str(source), optimizer_state=True)
  )(models.model_fn)
  estimator = models.estimator(model_fn, tmp_path / "warm")
  estimator.train(models.input_fn, max_steps=1)
  before, started = models.values(trained), models.values(tmp_path / "warm")
  assert int(started["global_step"]) == 1
  # A single step of Adam whose second moments remember ten steps.
  for name in ("net/hidden/kernel", "net/hidden/bias"):
    moment = started[f"{name}/Adam_1"]
    assert (moment >= 0.99 * before[f"{name}/Adam_1"]).all()
    assert np.abs(started[name] - before[name]).max() <= 0.11


def test_a_tracked_optimizer_overwrites_no_weight(tmp_path):
  with tf.Graph().as_default(), v1.Session() as session:
    w = v1.get_variable("net/w", initializer=[1.0, 2.0])
    optimizer = v1.train.AdamOptimizer(0.1)
    train_op = optimizer.minimize(tf.reduce_sum(w))
    odd = v1.get_variable("odd.name", initializer=[5.0])
    session.run(v1.global_variables_initializer())
    session.run(train_op)
    checkpoint = tf.train.Checkpoint(
      var_list={"net/w": w, "odd.name": odd}, optimizer=optimizer
    )
    prefix = checkpoint.write(str(tmp_path / "a"))
    slots = [optimizer.get_slot(w, name) for name in ("m", "v")]
    weight, m, v = session.run([w, *slots])
  convert(prefix, tmp_path / "b", "tf1")
  values = models.values(tmp_path / "b")
  assert sorted(values) == [
    "beta1_power",
    "beta2_power",
    "net/w",
    "net/w/Adam",
    "net/w/Adam_1",
    "odd.name",
  ]
  np.testing.assert_array_equal(values["net/w"], weight)
  np.testing.assert_array_equal(values["net/w/Adam"], m)
  np.testing.assert_array_equal(values["net/w/Adam_1"], v)


def test_an_estimator_resumes_after_a_renaming(trained, tmp_path):
  convert(trained, tmp_path / "dual", "dual")
  rename(tmp_path / "dual", tmp_path / "out", "net/:lib/net/")

  def model_fn(features, labels, mode):
    with v1.variable_scope("lib"):
      y = models.network(features["x"], mode == tf.estimator.ModeKeys.TRAIN)
    return models.spec(mode, y, labels)

  evaluated = models.estimator(models.model_fn, trained).evaluate(models.eval_input_fn)
  estimator = models.estimator(model_fn, tmp_path / "out")
  assert estimator.evaluate(models.eval_input_fn) == pytest.approx(evaluated, rel=1e-6)
  estimator.train(models.input_fn, steps=1)
  decorated = models.estimator(eckpt.dual_checkpointing(model_fn), tmp_path / "out")
  decorated.train(models.input_fn, steps=1)


@pytest.mark.parametrize("compact", [False, True])
def test_a_stripped_checkpoint_evaluates_the_same(trained, tmp_path, compact):
  convert(trained, tmp_path / "dual", "dual")
  strip(tmp_path / "dual", tmp_path / "out", optimizer_state=True, compact=compact)
  estimator = models.estimator(models.model_fn, trained)
  evaluated = estimator.evaluate(models.eval_input_fn)
  stripped = models.estimator(models.model_fn, tmp_path / "out")
  assert stripped.evaluate(models.eval_input_fn) == pytest.approx(evaluated, rel=1e-6)
  values = models.named_values(tmp_path / "out")
  flat = {name: tf.Variable(tf.zeros_like(value)) for name, value in values.items()}
  prefix = tf.train.latest_checkpoint(str(tmp_path / "out"))
  tf.train.Checkpoint(var_list=flat).restore(prefix).assert_consumed()


@pytest.mark.parametrize("to", _FORMATS)
def test_a_merged_checkpoint_has_the_values_of_both(to, tmp_path):
  names = ["tf1.15/multi_shard", "tf1.15/momentum_partitioned", "tf1.15/tables"]
  merge([golden.path(n) for n in names], tmp_path / "out", to=to, on_clash="first")
  values = models.values(tmp_path / "out")
  for name in names:
    for key, expected in golden.expected(name).items():
      if key == "global_step":
        continue
      own = key
      if to == "tf2" and name.endswith("tables"):
        table, _, part = key.rpartition("-")
        own = layout.object_key(["var_list", table], f"table-{part}")
      elif to == "tf2":
        own = layout.object_key(["var_list", key])
      _assert_equal(values[own], expected, own)


def test_an_index_of_many_blocks(tmp_path):
  rng = np.random.default_rng(0)
  values = rng.normal(size=3000).astype(np.float32)
  names = [f"scope_{i % 7}/layer_{i:05d}/" + "long/" * 20 + "w" for i in range(3000)]
  with tf.Graph().as_default(), v1.Session() as session:
    variables = [v1.Variable(x, name=n) for n, x in zip(names, values)]
    session.run(v1.global_variables_initializer())
    prefix = v1.train.Saver(variables).save(session, str(tmp_path / "a"))
  convert(prefix, tmp_path / "b", "dual")
  assert os.path.getsize(tmp_path / "b.index") > 262144
  reader = tf.train.load_checkpoint(str(tmp_path / "b"))
  assert len(reader.get_variable_to_shape_map()) == 2 * len(names) + 2
  for name, value in zip(names, values):
    assert reader.get_tensor(name) == value
    assert reader.get_tensor(layout.object_key(["var_list", name])) == value


@pytest.mark.parametrize("to", ["tf2", "dual"])
def test_float16_in_parts_is_whole_for_tf2_and_in_parts_again_for_tf1(to, tmp_path):
  # TensorFlow cannot join slices of float16.
  source = golden.path("tf1.15/partitioned_half")
  converted, back = str(tmp_path / "converted"), str(tmp_path / "back")
  convert(source, converted, to=to)
  convert(converted, back, to="tf1")
  with eckpt.open_checkpoint(source) as reader, eckpt.open_checkpoint(back) as again:
    expected = {name: reader[name] for name in reader}
    assert set(again) == set(expected)
    for name, value in expected.items():
      np.testing.assert_array_equal(again[name], value, err_msg=name)
  var_list = {
    name: tf.Variable(tf.zeros(value.shape, value.dtype))
    for name, value in expected.items()
  }
  status = tf.train.Checkpoint(var_list=var_list).restore(converted)
  status.assert_consumed()
  for name, variable in var_list.items():
    np.testing.assert_array_equal(variable.numpy(), expected[name], err_msg=name)


def _at_all_places(name, root):
  """Copies a checkpoint to the root of a file system, and into directories below it."""
  directory = golden.directory(name)
  for place in (root, f"{root}in", f"{root}in/below"):
    tf.io.gfile.makedirs(place)
    for file in os.listdir(directory):
      if file.startswith("model.ckpt-7.") or file == "checkpoint":
        tf.io.gfile.copy(f"{directory}/{file}", os.path.join(place, file), True)
    yield place


@pytest.mark.parametrize("scheme", ["ram", "memory"])
def test_roots_prefixes_and_directories_of_a_file_system_with_a_scheme(
  scheme, tmp_path, monkeypatch
):
  monkeypatch.chdir(tmp_path)
  root = f"{scheme}://root/" if scheme == "memory" else "ram://"
  if scheme == "memory":
    pytest.importorskip("fsspec")
    for place in (root, f"{root}in", f"{root}in/below"):
      convert(golden.directory("tf1.15/adam_dense"), place, "tf1")
    places = [f"{root}in", f"{root}in/below"]
  else:
    places = list(_at_all_places("tf1.15/adam_dense", root))[1:]
  for number, place in enumerate(places):
    for source in (place, f"{place}/", f"{place}/model.ckpt-7", f"{place}/checkpoint"):
      for target in (f"{root}out{number}", f"{root}p{number}/m", str(tmp_path / "out")):
        report = convert(source, target, "dual", overwrite=True)
        written = report.checkpoints[0].target
        assert written.startswith(target)
        assert eckpt.detect_format(written).value == "dual"
        assert eckpt.verify(written).ok
  # The checkpoint lies at the root of the file system.
  convert(places[0], root, "tf2", overwrite=True)
  assert eckpt.detect_format(f"{root}model.ckpt-7").value == "tf2"
  assert eckpt.detect_format(root).value == "tf2"
  convert(f"{places[0]}/model.ckpt-7", f"{root}alone", "dual")
  assert eckpt.detect_format(f"{root}alone").value == "dual"
  assert os.listdir(tmp_path) == ["out"]
