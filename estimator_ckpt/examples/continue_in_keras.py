r"""Trains a text classifier as a TF1 Estimator, goes on in Keras 3, and plots the seam.

./bazelw run //estimator_ckpt/examples:continue_in_keras
./bazelw run //estimator_ckpt/examples:continue_in_keras -- \
      --output_dir=seam --estimator_steps=300 --keras_steps=300

Three legs: an Estimator for some steps; Keras from its checkpoint, weights and Adam's
state, for some more; and, to compare with, an Estimator for all of them. All see the
same batches. The losses of the three are drawn as one picture, OUTPUT_DIR/seam.png, and
are in losses.npz; the continued model's weights are in keras.weights.h5.

Keras 3 needs a TensorFlow from 2.16 on, where there is no Estimator, so the second leg
runs in an environment of its own, which is made if there is none yet. --keras_python
names another one's interpreter. Where neither is to be had, the leg runs in Keras 2 of
the TensorFlow at hand, and says so.
"""

from __future__ import annotations

# Before TensorFlow is imported, which reads its log level once.
from estimator_ckpt.examples import screen  # isort: skip

import contextlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
from absl import app, flags

import estimator_ckpt as eckpt
from estimator_ckpt.examples import sentiment, sentiment_keras

FLAGS = flags.FLAGS
flags.DEFINE_string("output_dir", "", "Where all is kept; by default nothing is.")
flags.DEFINE_integer("estimator_steps", 150, "Steps of the first leg.", lower_bound=1)
flags.DEFINE_integer("keras_steps", 150, "Steps of the second leg.", lower_bound=1)
flags.DEFINE_integer("batch_size", 64, "Texts in a batch.", lower_bound=1)
flags.DEFINE_string(
  "keras_python",
  "",
  "An interpreter with TensorFlow 2.16 or later for the second leg; 'this' for the one"
  " that runs. By default one is made.",
)

_LOSS = "batch_loss"
_ENVIRONMENT = os.path.join("third_party", "python", "environment.py")


def logits(words: tf.Tensor) -> tf.Tensor:
  """The classifier as TF1 code writes it: embedding, LSTM, two dense layers.

  Args:
    words: int32 [batch, LENGTH].

  Returns:
    float32 [batch].
  """
  v1 = tf.compat.v1
  # A seed of its own, so that two trainings begin alike whatever else a graph has.
  start = v1.glorot_uniform_initializer(seed=1)
  with v1.variable_scope("classifier", initializer=start):
    table = v1.get_variable("words", [sentiment.VOCABULARY, sentiment.EMBEDDING])
    cell = v1.nn.rnn_cell.LSTMCell(sentiment.UNITS)
    lengths = tf.math.count_nonzero(words, axis=1, dtype=tf.int32)
    _, state = v1.nn.dynamic_rnn(
      cell, tf.nn.embedding_lookup(table, words), lengths, dtype=tf.float32
    )
    net = v1.layers.dense(state.h, sentiment.HIDDEN, tf.nn.relu, name="dense")
    return v1.layers.dense(net, 1, name="dense_1")[:, 0]


@eckpt.dual_checkpointing
def model_fn(
  features: dict[str, tf.Tensor], labels: tf.Tensor, mode: str
) -> tf.estimator.EstimatorSpec:
  """A TF1 model_fn with Adam."""
  scores = logits(features["words"])
  loss = tf.reduce_mean(
    tf.nn.sigmoid_cross_entropy_with_logits(labels=labels, logits=scores)
  )
  loss = tf.identity(loss, name=_LOSS)
  step = tf.compat.v1.train.get_or_create_global_step()
  optimizer = tf.compat.v1.train.AdamOptimizer(sentiment.LEARNING_RATE)
  accuracy = tf.compat.v1.metrics.accuracy(labels > 0.5, scores > 0.0)
  return tf.estimator.EstimatorSpec(
    mode,
    loss=loss,
    train_op=optimizer.minimize(loss, step),
    eval_metric_ops={"accuracy": accuracy},
  )


class Leg(NamedTuple):
  """The result of one leg of training.

  Attributes:
    title: what trained.
    first: how many steps were made before.
    losses: the loss of every step, float32.
    accuracy: on the test texts.
  """

  title: str
  first: int
  losses: np.ndarray
  accuracy: float


class _Losses(tf.estimator.SessionRunHook):
  """Keeps the loss of every step."""

  def __init__(self) -> None:
    self.losses: list[float] = []

  def before_run(self, run_context: Any) -> Any:
    return tf.compat.v1.train.SessionRunArgs(f"{_LOSS}:0")

  def after_run(self, run_context: Any, run_values: Any) -> None:
    self.losses.append(run_values.results)


def train_estimator(model_dir: str, steps: int, batch_size: int) -> Leg:
  """Trains an Estimator from the beginning.

  Args:
    model_dir: where it saves.
    steps: how many steps it makes.
    batch_size: texts in a batch.

  Returns:
    Its losses and its accuracy.
  """
  training, test = sentiment.load()
  words, labels = sentiment.batches(training, 0, steps, batch_size)
  config = tf.estimator.RunConfig(
    model_dir, tf_random_seed=1, log_step_count_steps=None, save_summary_steps=None
  )
  estimator = tf.estimator.Estimator(model_fn, config=config)
  hook = _Losses()
  estimator.train(
    lambda: tf.data.Dataset.from_tensor_slices(({"words": words}, labels)),
    hooks=[hook],
    max_steps=steps,
  )
  evaluated = estimator.evaluate(
    lambda: tf.data.Dataset.from_tensors(({"words": test.words}, test.labels))
  )
  return Leg(
    f"Estimator of TensorFlow {tf.__version__}",
    0,
    np.array(hook.losses, np.float32),
    float(evaluated["accuracy"]),
  )


def find_keras_3() -> str | None:
  """Finds an environment with Keras 3, or makes one.

  Returns:
    The path of its interpreter; None where no Python is suitable.
  """
  program = os.path.join(sentiment.root(), _ENVIRONMENT)
  if not os.path.exists(program):
    return None
  done = subprocess.run(
    [sys.executable, program, "tf221"],
    stdin=subprocess.DEVNULL,
    stdout=subprocess.PIPE,
    text=True,
    check=False,
  )
  return done.stdout.strip() if done.returncode == 0 else None


def train_keras(
  python: str, checkpoint: str, first: int, steps: int, batch_size: int, output: str
) -> Leg:
  """Trains in Keras, from the Estimator's checkpoint on.

  Args:
    python: an interpreter; "" to have one found, "this" for the one that runs.
    checkpoint: the Estimator's model_dir.
    first: how many steps the Estimator has made.
    steps: how many steps Keras makes.
    batch_size: texts in a batch.
    output: where the results go, a path ending in `.npz`.

  Returns:
    Its losses and its accuracy.
  """
  found = find_keras_3() if not python else python
  if found is None or found == "this":
    if found is None:
      print("No environment with Keras 3 can be made here; going on in Keras 2.")
    sentiment_keras.train(checkpoint, steps, batch_size, output)
  else:
    environ = {**os.environ, "PYTHONPATH": sentiment.root()}
    # Of Bazel's launcher; another Python would look for its packages there.
    environ.pop("PYTHONHOME", None)
    subprocess.run(
      [
        found,
        "-m",
        sentiment_keras.__spec__.name,
        f"--checkpoint={checkpoint}",
        f"--steps={steps}",
        f"--batch_size={batch_size}",
        f"--output={output}",
      ],
      env=environ,
      stdin=subprocess.DEVNULL,
      check=True,
    )
  with np.load(output) as results:
    losses, accuracy = results["losses"], float(results["accuracy"])
    return Leg(str(results["keras"]), first, losses, accuracy)


def largest_difference(legs: Sequence[Leg], reference: Leg) -> float:
  """The largest relative difference between losses and those of the reference."""
  return max(
    float(np.max(np.abs(leg.losses / _beside(leg, reference) - 1))) for leg in legs
  )


def _beside(leg: Leg, reference: Leg) -> np.ndarray:
  return reference.losses[leg.first : leg.first + len(leg.losses)]


def plot(legs: Sequence[Leg], reference: Leg, path: str) -> None:
  """Draws the losses of all legs, and their differences from the reference.

  Args:
    legs: those that make one training, in order.
    reference: the leg that made all steps alone.
    path: where the picture goes, ending in `.png`.
  """
  # Nothing else needs matplotlib.
  import matplotlib

  matplotlib.use("Agg")
  from matplotlib import pyplot

  figure, (above, below) = pyplot.subplots(
    2, 1, sharex=True, figsize=(9, 6), height_ratios=(3, 1), layout="constrained"
  )
  for leg in legs:
    steps = np.arange(leg.first, leg.first + len(leg.losses)) + 1
    (line,) = above.plot(steps, leg.losses, linewidth=3, alpha=0.6, label=leg.title)
    difference = np.abs(leg.losses / _beside(leg, reference) - 1)
    below.semilogy(steps, np.maximum(difference, 1e-9), color=line.get_color())
  steps = np.arange(len(reference.losses)) + 1
  title = f"{reference.title}, all steps"
  above.plot(steps, reference.losses, color="black", linewidth=0.8, label=title)
  seam = legs[1].first + 0.5
  for axes in (above, below):
    axes.axvline(seam, color="grey", linestyle=":", linewidth=1)
    axes.grid(alpha=0.3)
  above.set_ylabel("loss of the batch")
  above.legend()
  below.set_ylabel("relative difference")
  below.set_xlabel("step")
  figure.suptitle("From an Estimator's checkpoint into Keras, Adam's moments included")
  figure.savefig(path, dpi=120)
  pyplot.close(figure)


def run(
  output_dir: str, estimator_steps: int, keras_steps: int, batch_size: int, python: str
) -> tuple[list[Leg], Leg]:
  """Trains all three legs and draws the picture.

  Args:
    output_dir: where checkpoints and results are written.
    estimator_steps: how many steps the first leg makes.
    keras_steps: how many the second makes.
    batch_size: texts in a batch.
    python: the second leg's interpreter, see `train_keras`.

  Returns:
    The two legs that make one training, and the one to compare them with.
  """
  model_dir = os.path.join(output_dir, "estimator")
  first = train_estimator(model_dir, estimator_steps, batch_size)
  output = os.path.join(output_dir, "keras.npz")
  second = train_keras(
    python, model_dir, estimator_steps, keras_steps, batch_size, output
  )
  reference = train_estimator(
    os.path.join(output_dir, "reference"), estimator_steps + keras_steps, batch_size
  )
  return [first, second], reference


def main(argv: Sequence[str]) -> None:
  """Runs the legs, prints their results, and draws them."""
  if len(argv) > 1:
    raise app.UsageError(f"Not understood: {' '.join(argv[1:])}")
  screen.hide_all_but_losses()
  # `bazel run` starts in a directory of its own, and not in the user's.
  os.chdir(os.environ.get("BUILD_WORKING_DIRECTORY", "."))
  with contextlib.ExitStack() as stack:
    output_dir = FLAGS.output_dir or stack.enter_context(
      tempfile.TemporaryDirectory(prefix="seam_")
    )
    train_and_draw(os.path.abspath(output_dir), kept=bool(FLAGS.output_dir))


def train_and_draw(output_dir: str, kept: bool) -> None:
  """Runs the example as the flags say.

  Args:
    output_dir: where checkpoints and results are written, absolute.
    kept: whether the directory stays afterwards, so that its name is worth printing.
  """
  legs, reference = run(
    output_dir,
    FLAGS.estimator_steps,
    FLAGS.keras_steps,
    FLAGS.batch_size,
    FLAGS.keras_python,
  )
  named = zip(("estimator", "keras", "reference"), (*legs, reference))
  np.savez(
    os.path.join(output_dir, "losses.npz"), **{name: leg.losses for name, leg in named}
  )
  picture = os.path.join(output_dir, "seam.png")
  plot(legs, reference, picture)
  print(f"\n{'leg':44}{'steps':>12}{'loss':>10}{'accuracy':>10}")
  print(f"{'-' * 43} {'-' * 11} {'-' * 9} {'-' * 9}")
  for leg in (*legs, reference):
    steps = f"{leg.first + 1} to {leg.first + len(leg.losses)}"
    loss = float(np.mean(leg.losses[-20:]))
    print(f"{leg.title:44}{steps:>12}{loss:>10.4f}{leg.accuracy:>10.4f}")
  print(
    f"\nLargest relative difference of a loss: {largest_difference(legs, reference):.2g}"
    f"\nPicture: {picture if kept else '--output_dir=DIR keeps it'}"
  )


if __name__ == "__main__":
  app.run(main)
