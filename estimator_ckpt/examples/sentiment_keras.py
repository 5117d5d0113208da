r"""Goes on in Keras with what an Estimator has trained; the second leg of `sentiment`.

The model is written anew in Keras, with layers of other names and an LSTM whose gates
stand in another order. It runs beside any TensorFlow from 2.12 on, with Keras 2 or 3:

python -m estimator_ckpt.examples.sentiment_keras \
      --checkpoint=model_dir --steps=150 --output=continued.npz
"""

from __future__ import annotations

import argparse
import os
from typing import Any

import numpy as np

import estimator_ckpt.keras
from estimator_ckpt.examples import sentiment


def build_model() -> Any:
  """The classifier as Keras code writes it; its output is a logit, float32 [batch, 1]."""
  import tensorflow as tf

  layers = tf.keras.layers
  return tf.keras.Sequential(
    [
      tf.keras.Input((sentiment.LENGTH,), dtype="int32"),
      layers.Embedding(sentiment.VOCABULARY, sentiment.EMBEDDING, mask_zero=True),
      layers.LSTM(sentiment.UNITS),
      layers.Dense(sentiment.HIDDEN, "relu", name="hidden"),
      layers.Dense(1, name="logit"),
    ]
  )


def train(checkpoint: str, steps: int, batch_size: int, output: str) -> None:
  """Loads weights and Adam's state from a checkpoint, and trains on.

  Args:
    checkpoint: the Estimator's, a prefix or a model_dir.
    steps: how many steps to make.
    batch_size: texts in a batch.
    output: where the results go, a path ending in `.npz`: the loss of every step, the
      accuracy on the test texts, and what ran. The weights go beside it.
  """
  import tensorflow as tf

  model = build_model()
  optimizer = tf.keras.optimizers.Adam(sentiment.LEARNING_RATE, epsilon=1e-8)
  # A batch has some words several times. TF1 adds up their gradients first.
  estimator_ckpt.keras.sum_sparse_gradients(optimizer)
  report = estimator_ckpt.keras.load(model, checkpoint, optimizer)
  print(report)
  assert report.optimizer is not None
  training, test = sentiment.load()
  data = sentiment.batches(training, report.optimizer.iterations, steps, batch_size)

  @tf.function
  def step(words: Any, labels: Any) -> Any:
    with tf.GradientTape() as tape:
      logits = model(words, training=True)[:, 0]
      loss = tf.reduce_mean(
        tf.nn.sigmoid_cross_entropy_with_logits(labels=labels, logits=logits)
      )
    variables = model.trainable_variables
    optimizer.apply_gradients(zip(tape.gradient(loss, variables), variables))
    return loss

  losses = [step(*map(tf.constant, batch)).numpy() for batch in zip(*data)]
  logits = model(tf.constant(test.words)).numpy()[:, 0]
  model.save_weights(os.path.splitext(output)[0] + ".weights.h5")
  np.savez(
    output,
    losses=np.array(losses, np.float32),
    accuracy=np.mean((logits > 0) == (test.labels > 0.5)),
    keras=keras_version(),
  )


def keras_version() -> str:
  """Which Keras it is, of which TensorFlow."""
  import keras
  import tensorflow as tf

  return f"Keras {keras.__version__} of TensorFlow {tf.__version__}"


def main() -> None:
  """The program; flags are few, so that it needs nothing but TensorFlow."""
  parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
  parser.add_argument("--checkpoint", required=True, help="a checkpoint or a model_dir")
  parser.add_argument("--steps", type=int, default=150)
  parser.add_argument("--batch_size", type=int, default=64)
  parser.add_argument("--output", required=True, help="a path ending in .npz")
  args = parser.parse_args()
  train(args.checkpoint, args.steps, args.batch_size, args.output)


if __name__ == "__main__":
  main()
