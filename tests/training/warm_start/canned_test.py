"""Warm starts of canned Estimators, both ways, with the same and another vocabulary."""

from __future__ import annotations

import json
import os

import numpy as np
import pytest
import tensorflow as tf

import estimator_ckpt as eckpt
from estimator_ckpt import errors
from estimator_ckpt.training.warm_start.settings import warm_start_settings
from estimator_ckpt.warm_start import WarmStart
from tests import golden

v1 = tf.compat.v1


def _columns(words):
  word = tf.feature_column.categorical_column_with_vocabulary_file(
    "word", words, num_oov_buckets=1
  )
  return tf.feature_column.numeric_column("numbers", (2,)), word


def _canned(kind, model_dir, words, **options):
  numbers, word = _columns(words)
  config = tf.estimator.RunConfig(tf_random_seed=3)
  if kind == "canned_linear":
    return v1.estimator.LinearClassifier(
      [numbers, word], str(model_dir), 3, config=config, **options
    )
  columns = [numbers, tf.feature_column.embedding_column(word, 3)]
  return v1.estimator.DNNClassifier(
    [5, 4], columns, str(model_dir), 3, activation_fn=tf.tanh, config=config, **options
  )


def _canned_logits(estimator, name):
  data = golden.data(name)
  features = {"numbers": data["numbers"], "word": data["word"]}
  predictions = estimator.predict(lambda: tf.data.Dataset.from_tensors(features))
  return np.stack([p["logits"] for p in predictions]), data["logits"]


@pytest.mark.parametrize("kind", ["canned_linear", "canned_dnn"])
@pytest.mark.parametrize("how", ["with_checkpointing", "warm_start_settings"])
def test_canned_estimators(tmp_path, kind, how):
  name = f"tf1.15/{kind}"
  source = golden.directory(name)
  words = os.path.join(source, "words.txt")
  if how == "with_checkpointing":
    estimator = eckpt.with_checkpointing(
      _canned(kind, tmp_path, words), "tf2", warm_start=source
    )
  else:
    estimator = _canned(
      kind, tmp_path, words, warm_start_from=warm_start_settings(source)
    )
  found, expected = _canned_logits(estimator, name)
  np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("source_format", ["tf1", "tf2", "dual"])
@pytest.mark.parametrize("how", ["with_checkpointing", "warm_start_settings"])
def test_a_canned_estimator_with_another_vocabulary(tmp_path, how, source_format):
  name = "tf1.15/canned_linear"
  old_words = os.path.join(golden.directory(name), "words.txt")
  source = str(tmp_path / "source")
  eckpt.convert(golden.directory(name), source, to=source_format)
  words = tmp_path / "words.txt"
  words.write_text("yak\nfox\neel\ndog\ncat\nbee\nant\n")
  info = v1.train.VocabInfo(str(words), 7, 1, old_words)
  variable = "linear/linear_model/word/weights"
  warm_start = WarmStart(source, vocab_info={variable: info})
  if how == "with_checkpointing":
    estimator = eckpt.with_checkpointing(
      _canned("canned_linear", tmp_path / "model", str(words)), warm_start=warm_start
    )
  else:
    settings = warm_start_settings(warm_start)
    estimator = _canned(
      "canned_linear", tmp_path / "model", str(words), warm_start_from=settings
    )
  found, expected = _canned_logits(estimator, name)
  # The last row's word is in no vocabulary, and its bucket starts from new values.
  np.testing.assert_allclose(found[:-1], expected[:-1], rtol=1e-5, atol=1e-6)
  assert not np.allclose(found[-1], expected[-1], rtol=1e-3)
  data = golden.data(name)
  features = {"numbers": data["numbers"], "word": data["word"]}
  labels = np.zeros(len(features["word"]), np.int64)
  estimator.train(lambda: tf.data.Dataset.from_tensors((features, labels)), steps=1)
  with open(tmp_path / "model" / "warm_start.json", encoding="utf-8") as file:
    started = {item["variable"]: item for item in json.load(file)["started"]}
  assert started[variable]["vocabulary"]["entries_kept"] == 6


def test_two_warm_starts_are_one_too_many(tmp_path):
  source = golden.directory("tf1.15/canned_linear")
  words = os.path.join(source, "words.txt")
  estimator = _canned("canned_linear", tmp_path, words, warm_start_from=source)
  eckpt.with_checkpointing(estimator, "dual")
  with pytest.raises(errors.OptionError, match="not both"):
    eckpt.with_checkpointing(estimator, "dual", warm_start=source)
