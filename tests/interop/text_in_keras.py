"""Trains the networks of text_nets.py on in Keras 3, and saves them for TensorFlow 1.

BERT is the example's, with MultiHeadAttention. See answering.py.
"""

from __future__ import annotations

import os
import shutil
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.dirname(__file__))))

import answering
import keras
import numpy as np
import tensorflow as tf
import text_nets
from keras import layers

import estimator_ckpt.keras
from estimator_ckpt import errors
from estimator_ckpt.examples import bert, bert_keras

_N = text_nets


def _lstm():
  return keras.Sequential(
    [
      keras.Input((_N.LENGTH,), dtype="int32"),
      layers.Embedding(_N.WORDS, _N.HIDDEN, name="words"),
      layers.LSTM(5, name="lstm"),
      layers.Dense(_N.CLASSES, name="logits"),
    ]
  )


def _model(net):
  model = bert_keras.Bert(bert.Config()) if net == "bert" else _lstm()
  model(_inputs(net, 0))
  return model


def _inputs(net, step):
  return bert.batch(step) if net == "bert" else _N.IDS


def _optimizer(net, model):
  if net == "bert":
    return bert_keras.adamw(model, **_N.BERT)
  optimizer = keras.optimizers.Adam(_N.LEARNING_RATE, epsilon=_N.EPSILON)
  return estimator_ckpt.keras.sum_sparse_gradients(optimizer)


def _loss(net, found, step):
  if net == "bert":
    return bert_keras.loss(*found, bert.batch(step))
  return keras.losses.SparseCategoricalCrossentropy(from_logits=True)(_N.LABELS, found)


def _logits(net, model):
  found = model(_inputs(net, 0))
  if net == "bert":
    return np.concatenate([part.numpy().ravel() for part in found])
  return found.numpy()


# Rules from TensorFlow 1's names to those of the models.
_RULES = {
  "lstm": {
    "text/word_embeddings": "words/embeddings",
    "text/rnn/basic_lstm_cell/": "lstm/lstm_cell/",
  },
  "bert": bert_keras.name_map(bert.Config()),
}


def _backwards(rules):
  """The rules from the models' names to TensorFlow 1's."""
  result = {}
  for old, new in rules.items():
    name, space, form = new.partition(" ")
    result[name] = old + space + form
  return result


def refuse(net, checkpoint):
  """Loads a checkpoint whose optimizer state cannot mean the same; gives the error."""
  model = _model(net)
  before = _logits(net, model)
  try:
    estimator_ckpt.keras.load(model, checkpoint, _optimizer(net, model), _RULES[net])
  except errors.UnsupportedCheckpointError as error:
    after = _logits(net, model)
    return {"before": before, "after": after}, {"error": str(error)}
  raise AssertionError(f"{checkpoint} was loaded")


def train(net, old, new, saves, steps, enable_async=False, estimator_steps=0):
  """Trains on, and saves after every so many steps.

  The first call loads the directory `old`; later ones resume from `new`. After save
  number 2, what the directory holds is kept as `<new>-at-2`. At last
  `estimator_steps` more steps show what an Estimator has to arrive at.

  Returns:
    The logits at the start, after each save and at the end, and the losses before the
    end; the iterations.
  """
  model = _model(net)
  optimizer = _optimizer(net, model)
  optimizer.build(model.trainable_variables)
  manager = estimator_ckpt.keras.CheckpointManager(
    tf.train.Checkpoint(model=model, optimizer=optimizer),
    new,
    max_to_keep=2,
    like=old,
    name_map=_backwards(_RULES[net]),
    init_fn=lambda: estimator_ckpt.keras.load(model, old, optimizer, _RULES[net]),
  )
  manager.restore_or_initialize()
  values = {"start": _logits(net, model)}
  losses = []

  def step(count):
    for _ in range(count):
      number = int(optimizer.iterations)
      with tf.GradientTape() as tape:
        value = _loss(net, model(_inputs(net, number)), number)
      variables = model.trainable_variables
      optimizer.apply_gradients(zip(tape.gradient(value, variables), variables))
      losses.append(value.numpy())

  options = tf.train.CheckpointOptions(enable_async=enable_async)
  for _ in range(saves):
    step(steps)
    path = manager.save(options=options)
    values[os.path.basename(path)] = _logits(net, model)
    manager.sync()
    shutil.copytree(new, f"{new}-at-{path.rpartition('-')[2]}")
  iterations = int(optimizer.iterations)
  values["losses"] = np.array(losses, np.float32)
  step(estimator_steps)
  values["end"] = _logits(net, model)
  return values, {"iterations": iterations, "checkpoints": len(manager.checkpoints)}


if __name__ == "__main__":
  answering.main({"refuse": refuse, "train": train})
