"""Values of variables after a warm start with another vocabulary."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from estimator_ckpt.warm_start import WarmStart
from tests.training.warm_start.graphs import save_objects, values, variable

v1 = tf.compat.v1


@pytest.fixture
def golden(testdata):
  """A function from a golden's name to its path and values."""

  def find(name):
    with np.load(testdata / name / "expected.npz") as arrays:
      return str(testdata / name), {key: arrays[key] for key in arrays.files}

  return find


@pytest.fixture(autouse=True)
def graph():
  with tf.Graph().as_default() as graph:
    yield graph


def _words(path, words):
  path.write_text("".join(word + "\n" for word in words))
  return str(path)


@pytest.mark.parametrize("parts", [None, 2, 4])
@pytest.mark.parametrize("source", ["tf1.15/canned_linear", "converted"])
def test_a_changed_vocabulary(golden, tmp_path, parts, source):
  path, expected = golden("tf1.15/canned_linear")
  name = "linear/linear_model/word/weights"
  if source == "converted":
    path = save_objects(tmp_path, {name: expected[name]})
  old = ["ant", "bee", "cat", "dog", "eel", "fox"]
  new = ["fox", "gnu", "ant", "hen", "dog"]
  info = tf.compat.v1.train.VocabInfo(
    _words(tmp_path / "new.txt", new),
    len(new),
    2,
    _words(tmp_path / "old.txt", old),
    backup_initializer=v1.constant_initializer(7.0),
  )
  variable(name, (7, 3), parts=parts)
  found = values(WarmStart(path, vocab_info={name: info}))[name]
  for row, word in enumerate([*new, "", ""]):
    wanted = expected[name][old.index(word)] if word in old else [7.0] * 3
    np.testing.assert_array_equal(found[row], wanted, err_msg=word)


@pytest.mark.parametrize("parts, axis", [(None, 0), (2, 0), (2, 1)])
@pytest.mark.parametrize("dtype", [tf.float32, tf.float16])
def test_changed_classes_of_any_rank_and_type(tmp_path, parts, axis, dtype):
  kernel = np.arange(12).reshape(4, 3).astype(dtype.as_numpy_dtype)
  bias = np.array([5, 6, 7], dtype.as_numpy_dtype)
  prefix = save_objects(tmp_path, {"out/kernel": kernel, "out/bias": bias})
  files = (_words(tmp_path / "new", "cxab"), 4, 0, _words(tmp_path / "old", "abc"))
  infos = {
    "out/kernel": v1.train.VocabInfo(*files, axis=1),
    "out/bias": v1.train.VocabInfo(*files),
  }
  variable("out/kernel", (4, 4), dtype, parts, axis)
  variable("out/bias", (4,), dtype)
  found = values(WarmStart(prefix, vocab_info=infos))
  zeros = np.zeros_like(kernel[:, 0])
  expected = np.stack([kernel[:, 2], zeros, kernel[:, 0], kernel[:, 1]], 1)
  np.testing.assert_array_equal(found["out/kernel"], expected)
  np.testing.assert_array_equal(found["out/bias"], [7, 0, 5, 6])


def test_slots_of_a_changed_vocabulary_keep_their_initial_values(golden, tmp_path):
  path, expected = golden("tf1.15/canned_dnn_linear")
  name = "dnn/input_from_feature_columns/input_layer/word_embedding/embedding_weights"
  embedding = variable(name, (3, 3))
  v1.train.AdagradOptimizer(0.1, initial_accumulator_value=0.25).minimize(
    tf.reduce_sum(embedding), v1.train.get_or_create_global_step()
  )
  info = v1.train.VocabInfo(
    _words(tmp_path / "new", ["cat", "new", "ant"]), 3, 0, path + "/words.txt"
  )
  found = values(WarmStart(path, vocab_info={name: info}, optimizer_state=True))
  for key, missing in ((name, 0.0), (name + "/Adagrad", 0.25)):
    np.testing.assert_array_equal(found[key][[0, 2]], expected[key][[2, 0]])
    np.testing.assert_array_equal(found[key][1], [missing] * 3)
