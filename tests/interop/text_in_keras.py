"""Trains the classifiers of text_nets.py on in Keras 3, and saves them for TensorFlow 1.

The encoder's attention is made of Dense layers, as BERT's was. See answering.py.
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
import tensorflow as tf
import text_nets
from keras import layers, ops

import estimator_ckpt.keras

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


class _Block(layers.Layer):
  """One layer of the encoder."""

  def __init__(self, **options):
    super().__init__(**options)
    names = ("query", "key", "value", "mixed", "outer")
    for name in names:
      setattr(self, name, layers.Dense(_N.HIDDEN, name=name))
    self.inner = layers.Dense(_N.INNER, "tanh", name="inner")
    self.norm = layers.LayerNormalization(epsilon=_N.NORM_EPSILON, name="norm")
    self.last_norm = layers.LayerNormalization(
      epsilon=_N.NORM_EPSILON, name="last_norm"
    )

  def call(self, x):
    """Applies the layer to a batch."""
    heads = (-1, _N.LENGTH, _N.HEADS, _N.HIDDEN // _N.HEADS)
    query, key, value = (
      ops.transpose(ops.reshape(dense(x), heads), (0, 2, 1, 3))
      for dense in (self.query, self.key, self.value)
    )
    scores = ops.matmul(query, ops.transpose(key, (0, 1, 3, 2)))
    weights = ops.softmax(scores / (_N.HIDDEN / _N.HEADS) ** 0.5)
    mixed = ops.transpose(ops.matmul(weights, value), (0, 2, 1, 3))
    mixed = self.mixed(ops.reshape(mixed, (-1, _N.LENGTH, _N.HIDDEN)))
    x = self.norm(x + mixed)
    return self.last_norm(x + self.outer(self.inner(x)))


class _Encoder(keras.Model):
  """The encoder and its classifier."""

  def __init__(self):
    super().__init__(name="net")
    self.words = layers.Embedding(_N.WORDS, _N.HIDDEN, name="words")
    self.positions = layers.Embedding(_N.LENGTH, _N.HIDDEN, name="positions")
    self.norm = layers.LayerNormalization(epsilon=_N.NORM_EPSILON, name="norm")
    self.blocks = [_Block(name=f"block_{i}") for i in range(_N.BLOCKS)]
    self.pooler = layers.Dense(_N.HIDDEN, "tanh", name="pooler")
    self.classifier = layers.Dense(_N.CLASSES, name="classifier")

  def call(self, ids):
    """Applies the model to a batch."""
    x = self.norm(self.words(ids) + self.positions(ops.arange(_N.LENGTH)))
    for block in self.blocks:
      x = block(x)
    return self.classifier(self.pooler(x[:, 0]))


_LAYER = {
  "query": "attention/self/query",
  "key": "attention/self/key",
  "value": "attention/self/value",
  "mixed": "attention/output/dense",
  "norm": "attention/output/LayerNorm",
  "inner": "intermediate/dense",
  "outer": "output/dense",
  "last_norm": "output/LayerNorm",
}
# Names of the models, and TensorFlow 1's.
_RULES = {
  "lstm": {
    "words/embeddings": "text/word_embeddings",
    "lstm/lstm_cell/": "text/rnn/basic_lstm_cell/",
  },
  "encoder": {
    "words/embeddings": "bert/embeddings/word_embeddings",
    "positions/embeddings": "bert/embeddings/position_embeddings",
    "norm/": "bert/embeddings/LayerNorm/",
    **{
      f"block_{i}/{ours}/": f"bert/encoder/layer_{i}/{theirs}/"
      for i in range(_N.BLOCKS)
      for ours, theirs in _LAYER.items()
    },
    "pooler/": "bert/pooler/dense/",
  },
}
_MODELS = {"lstm": _lstm, "encoder": _Encoder}


def train(net, old, new, saves, steps, enable_async=False, estimator_steps=0):
  """Trains on, and saves after every so many steps.

  The first call loads the directory `old`; later ones resume from `new`. After save
  number 2, what the directory holds is kept as `<new>-at-2`. At last
  `estimator_steps` more steps show what an Estimator has to arrive at.

  Returns:
    The logits after each save, and the weights at the end; the iterations.
  """
  model = _MODELS[net]()
  model(_N.IDS)
  optimizer = keras.optimizers.Adam(_N.LEARNING_RATE, epsilon=_N.EPSILON)
  estimator_ckpt.keras.sum_sparse_gradients(optimizer)
  optimizer.build(model.trainable_variables)
  rules = _RULES[net]
  manager = estimator_ckpt.keras.CheckpointManager(
    tf.train.Checkpoint(model=model, optimizer=optimizer),
    new,
    max_to_keep=2,
    like=old,
    name_map=rules,
    init_fn=lambda: estimator_ckpt.keras.load(
      model, old, optimizer, {theirs: ours for ours, theirs in rules.items()}
    ),
  )
  manager.restore_or_initialize()
  loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
  values = {}

  def step(count):
    for _ in range(count):
      with tf.GradientTape() as tape:
        value = loss(_N.LABELS, model(_N.IDS))
      variables = model.trainable_variables
      optimizer.apply_gradients(zip(tape.gradient(value, variables), variables))

  options = tf.train.CheckpointOptions(enable_async=enable_async)
  for _ in range(saves):
    step(steps)
    path = manager.save(options=options)
    values[os.path.basename(path)] = model(_N.IDS).numpy()
    manager.sync()
    shutil.copytree(new, f"{new}-at-{path.rpartition('-')[2]}")
  iterations = int(optimizer.iterations)
  step(estimator_steps)
  values["end"] = model(_N.IDS).numpy()
  return values, {"iterations": iterations, "checkpoints": len(manager.checkpoints)}


if __name__ == "__main__":
  answering.main({"train": train})
