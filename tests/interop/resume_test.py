"""This library resumes TensorFlow 1.15.5's checkpoints, and 1.15.5 resumes the result.

TensorFlow 1.15.5 trains the model_dirs in this test. Its goldens have every dtype, name
and shape; the saver alone restores these.
"""

from __future__ import annotations

import os

import numpy as np
import pytest
import tensorflow as tf

import estimator_ckpt as eckpt
from tests import golden
from tests.interop import readers, training, written

v1 = tf.compat.v1

# Name -> the model, and the number of slices of its variables.
_MODELS = {
  "adam": ("adam", 1),
  "adam in slices": ("adam", 3),
  "dnn": ("dnn", 1),
  "dnn in slices": ("dnn", 2),
  "linear": ("linear", 1),
  "combined": ("combined", 1),
}
_MORE_STEPS = 4


@pytest.fixture(scope="module")
def there(interpreter, tmp_path_factory):
  """Name -> (model_dir, answer) of what TensorFlow 1.15.5 trained."""
  root = tmp_path_factory.mktemp("there")
  directories = {name: str(root / name.replace(" ", "_")) for name in _MODELS}
  answers = readers.ask(
    interpreter("tf115"),
    "tf1_15_reader.py",
    tmp_path_factory.mktemp("trained"),
    {
      name: {
        "kind": "train",
        "model": model,
        "model_dir": directories[name],
        "steps": written.STEPS,
        "partitions": partitions,
      }
      for name, (model, partitions) in _MODELS.items()
    },
  )
  return {
    name: written.Trained(
      _MODELS[name][0],
      directories[name],
      answer.facts["latest"],
      answer.part("start/"),
      answer.part("end/"),
      answer.values["predicted"],
    )
    for name, answer in answers.items()
  }


@pytest.fixture(scope="module")
def resumed(there, tmp_path_factory):
  """(name, formats) -> the last training here, in a copy, after one for each format."""
  root = tmp_path_factory.mktemp("resumed")
  made = {}

  def resume(name, *formats):
    """Trains in each of the formats in turn."""
    if (name, formats) not in made:
      model, partitions = _MODELS[name]
      if formats[:-1]:
        source = resume(name, *formats[:-1])
      else:
        source = there[name]
      directory = source.copy(root / f"{name} {' '.join(formats)}")
      made[name, formats] = written.train(
        model, directory, formats[-1], partitions, _MORE_STEPS
      )
    return made[name, formats]

  return resume


@pytest.mark.parametrize("checkpoint_format", ["tf2", "dual"])
@pytest.mark.parametrize("name", list(_MODELS))
def test_weights_slots_and_step_are_resumed(name, checkpoint_format, there, resumed):
  trained = resumed(name, checkpoint_format)
  readers.assert_equal(trained.start, there[name].values)
  assert trained.values["global_step"] == written.STEPS + _MORE_STEPS
  assert trained.prefix.endswith(f"model.ckpt-{written.STEPS + _MORE_STEPS}")
  assert eckpt.detect_format(trained.prefix).value == checkpoint_format


@pytest.mark.parametrize("checkpoint_format", ["tf2", "dual"])
@pytest.mark.parametrize("name", ["adam in slices", "dnn", "linear", "combined"])
def test_predictions_are_the_same(name, checkpoint_format, there):
  model, partitions = _MODELS[name]
  directory = there[name].directory
  estimator = written.estimator(model, directory, checkpoint_format, partitions)
  np.testing.assert_allclose(
    training.predict(estimator, model), there[name].predicted, rtol=1e-5, atol=1e-6
  )


@pytest.mark.parametrize("partitions", [1, 2, 5])
def test_resumed_with_another_partition_count(partitions, there, tmp_path):
  trained = there["adam in slices"]
  directory = trained.copy(tmp_path / "model")
  resumed = written.train("adam", directory, "dual", partitions, steps=1)
  readers.assert_equal(resumed.start, trained.values)


_BACK = {
  "dual": ("adam in slices", "dual"),
  "tf2, then tf1": ("adam in slices", "tf2", "tf1"),
  "tf2, then dual": ("adam", "tf2", "dual"),
  "a canned one": ("dnn in slices", "dual"),
  "another": ("combined", "tf2", "dual"),
}


@pytest.fixture(scope="module")
def back(resumed, interpreter, tmp_path_factory):
  """The values that TensorFlow 1.15.5 reads from the resumed model_dirs."""
  root = tmp_path_factory.mktemp("back")
  return readers.ask(
    interpreter("tf115"),
    "tf1_15_reader.py",
    tmp_path_factory.mktemp("answers"),
    {
      name: {
        "kind": "train",
        "model": resumed(*way).model,
        "model_dir": resumed(*way).copy(root / str(i)),
        "steps": 1,
        "partitions": _MODELS[way[0]][1],
      }
      for i, (name, way) in enumerate(_BACK.items())
    },
  )


@pytest.mark.parametrize("name", list(_BACK))
def test_there_and_back_again(name, resumed, back):
  trained = resumed(*_BACK[name])
  readers.assert_equal(back[name].part("start/"), trained.values)
  np.testing.assert_allclose(
    back[name].values["predicted at start"], trained.predicted, rtol=1e-5, atol=1e-6
  )
  assert back[name].values["end/global_step"] == trained.values["global_step"] + 1


# TensorFlow 1.15 can assign to variables of these dtypes; 2.15 cannot.
_NOT_ASSIGNABLE = ("qint16", "quint16")


def _restored(name, checkpoint_format, partitions=None):
  """The values that our saver restores from a golden, and the expected values."""
  partitions = partitions or {}
  tensors = golden.manifest(name)["tensors"]
  expected = {
    key: value
    for key, value in golden.expected(name).items()
    if tensors[key]["dtype"] not in _NOT_ASSIGNABLE
  }
  with tf.Graph().as_default(), v1.Session() as session:
    created = {}
    for i, key in enumerate(expected):
      dtype = tf.as_dtype(tensors[key]["dtype"])
      counts = partitions.get(key)
      created[key] = v1.get_variable(
        f"v{i}",
        tensors[key]["shape"],
        dtype,
        _zeros,
        partitioner=(lambda shape, dtype, c=counts: c) if counts else None,
      )
    scaffold = getattr(eckpt, f"{checkpoint_format}_scaffold")(var_list=created)
    scaffold.finalize()
    scaffold.saver.restore(session, golden.path(name))
    return {
      key: _plain(_whole(session, variable)) for key, variable in created.items()
    }, {key: _plain(value) for key, value in expected.items()}


def _zeros(shape, dtype=None, partition_info=None):
  if dtype == tf.string:
    return tf.fill(shape, "")
  if dtype.is_quantized:
    return tf.bitcast(tf.zeros(shape, dtype.name[1:]), dtype)
  return tf.zeros(shape, dtype)


def _whole(session, variable):
  if isinstance(variable, tf.Variable):
    return session.run(variable)
  values = session.run(list(variable))
  axes = [i for i, n in enumerate(variable._get_partitions()) if n > 1]
  return np.concatenate(values, axes[0] if axes else 0)


def _plain(value):
  value = np.asarray(value)
  if value.dtype.names:  # NumPy's form of a quantized dtype
    value = value[value.dtype.names[0]]
  return readers.plain(value)


_NOT_VARIABLES = ("tf1.15/tables", "tf1.15/iterator")
_GOLDENS = [name for name in golden.names("tf1.15") if name not in _NOT_VARIABLES]


@pytest.mark.parametrize("name", _GOLDENS + golden.v1_names())
def test_every_golden_of_1_15_is_restored(name):
  found, expected = _restored(name, "dual")
  assert len(found) > 2
  readers.assert_equal(found, expected)


@pytest.mark.parametrize("checkpoint_format", ["tf1", "tf2"])
@pytest.mark.parametrize("count", [2, 3, 5])
@pytest.mark.parametrize(
  "name",
  [
    "tf1.15/momentum_partitioned",
    "tf1.15/partitioned_half",
    "tf1.15/multi_shard",
    "tf1.15/adam_dense",
  ],
)
def test_goldens_are_restored_into_slices(name, count, checkpoint_format):
  shapes = {key: t["shape"] for key, t in golden.manifest(name)["tensors"].items()}
  # Cuts by rows and by columns in turn, whatever the golden's own slices are.
  partitions = {
    key: [count, 1] if i % 2 else [1, min(count, shape[1])]
    for i, (key, shape) in enumerate(shapes.items())
    if len(shape) == 2 and shape[0] >= count
  }
  assert partitions
  found, expected = _restored(name, checkpoint_format, partitions)
  readers.assert_equal(found, expected)


@pytest.mark.parametrize("make", [eckpt.tf2_scaffold, eckpt.dual_scaffold])
def test_tables_are_restored(make, tmp_path):
  expected = golden.expected("tf1.15/tables")
  facts = golden.manifest("tf1.15/tables")["details"]["dense"]
  prefix = golden.path("tf1.15/tables")

  def build():
    step = v1.train.get_or_create_global_step()
    words = tf.lookup.experimental.MutableHashTable(tf.string, tf.int64, -1, "words")
    vectors = tf.lookup.experimental.MutableHashTable(
      tf.int64, tf.float32, [-1.0, -2.0], "lookup/vectors"
    )
    dense = tf.lookup.experimental.DenseHashTable(
      tf.int64,
      tf.int64,
      facts["default"],
      empty_key=facts["empty_key"],
      deleted_key=facts["deleted_key"],
      initial_num_buckets=8,
      name="dense",
    )
    scaffold = make()
    lookups = {
      name: table.lookup(tf.constant(expected[name + "-keys"]))
      for name, table in (("words", words), ("lookup/vectors", vectors))
    }
    lookups["dense"] = dense.lookup(tf.constant([10, 20, 30, 40], tf.int64))
    scaffold.finalize()
    return scaffold.saver, {**lookups, "global_step": step}

  for _ in range(2):  # the second round restores the first round's checkpoint
    with tf.Graph().as_default(), v1.Session() as session:
      saver, fetches = build()
      saver.restore(session, prefix)
      found = session.run(fetches)
      prefix = saver.save(session, str(tmp_path / "model.ckpt"), global_step=7)
    for name in ("words", "lookup/vectors"):
      np.testing.assert_array_equal(found[name], expected[name + "-values"])
    np.testing.assert_array_equal(found["dense"], [100, 200, 300, facts["default"]])
    assert found["global_step"] == expected["global_step"]


def test_the_goldens_are_what_the_tests_cover():
  assert {
    name for name in _GOLDENS if os.path.exists(golden.path(name) + ".index")
  } == (set(golden.names("tf1.15")) - set(_NOT_VARIABLES))
