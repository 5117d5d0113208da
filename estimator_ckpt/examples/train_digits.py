r"""Trains an Estimator on handwritten digits and reads its checkpoint in every way.

./bazelw run //estimator_ckpt/examples:train_digits
./bazelw run //estimator_ckpt/examples:train_digits -- \
      --model_dir=digits_model --checkpoint_format=tf2 --train_steps=500

Saving while training goes on, through power cuts, when the machine is taken away (the
program then ends with status 128 + the signal), and keeping the best checkpoint:

./bazelw run //estimator_ckpt/examples:train_digits -- \
      --asynchronous --durable --save_on_signals=SIGTERM --best --model_dir=digits_model

From a checkpoint of TensorFlow 1.15 whose scopes have other names:

./bazelw run //estimator_ckpt/examples:train_digits -- \
      --warm_start_from=testdata/tf1.15/digits_old_names --assignment_map=old/:/
"""

from __future__ import annotations

# Before TensorFlow is imported, which reads its log level once.
from estimator_ckpt.examples import screen  # isort: skip

import contextlib
import os
import signal
import sys
import tempfile
from collections.abc import Sequence
from typing import Any, Callable

import numpy as np
import tensorflow as tf
from absl import app, flags

import estimator_ckpt as eckpt
from estimator_ckpt import flags as checkpoint_flags
from estimator_ckpt.checkpoint import layout
from estimator_ckpt.examples import digits

FLAGS = flags.FLAGS
flags.DEFINE_integer("train_steps", 600, "Train up to this global step.", lower_bound=1)
flags.DEFINE_integer("batch_size", 64, "Examples in a batch.", lower_bound=1)
flags.DEFINE_float("learning_rate", 0.003, "Adam's learning rate.", lower_bound=0.0)
checkpoint_flags.define_checkpoint_flags()
checkpoint_flags.define_run_config_flags()
for _name in ("asynchronous", "durable", "save_on_signals"):
  flags.DEFINE_alias(_name, f"checkpoint_{_name}")
flags.DEFINE_boolean(
  "best",
  False,
  "Evaluate each checkpoint, and keep the one with the best accuracy in best/.",
)

model_fn = checkpoint_flags.checkpointing_from_flags()(digits.model_fn)


def accuracy(scores: np.ndarray, labels: np.ndarray) -> float:
  """The share of rows whose highest score is the label's."""
  return float(np.mean(np.argmax(scores, axis=1) == labels))


def read_with_saver(prefix: str, test: digits.Arrays) -> float:
  """A TF1 reader: the same graph, and a Saver that knows names."""
  images, labels = test
  with tf.Graph().as_default(), tf.compat.v1.Session() as session:
    scores = digits.logits(tf.constant(images), training=False)
    tf.compat.v1.train.Saver().restore(session, prefix)
    return accuracy(session.run(scores), labels)


def read_with_checkpoint(prefix: str, test: digits.Arrays) -> float:
  """A TF2 reader: objects that never had these names, and nothing left over."""
  images, labels = test
  classifier = digits.Classifier()
  with eckpt.open_checkpoint(prefix) as reader:
    # The classifier has no attributes for Adam's slots and the step.
    rest = {
      name: tf.Variable(tf.zeros(reader.shapes[key], reader.dtypes[key]))
      for name in reader.names
      if not name.startswith("classifier/") or "/Adam" in name
      for key in [layout.object_key([layout.VAR_LIST, name])]
    }
  # The Checkpoint of TensorFlow 1.15 takes no mapping as an argument.
  checkpoint = tf.train.Checkpoint(classifier=classifier)
  checkpoint.var_list = rest
  checkpoint.restore(prefix).assert_consumed()
  return accuracy(classifier(tf.constant(images)).numpy(), labels)


def read_with_load_checkpoint(prefix: str, test: digits.Arrays) -> float:
  """A reader without a model, which gets arrays by names or by object keys."""
  images, labels = test
  reader = tf.train.load_checkpoint(prefix)

  def array(name: str) -> np.ndarray:
    key = name
    if not reader.has_tensor(name):
      key = layout.object_key([layout.VAR_LIST, name])
    return reader.get_tensor(key)

  net = images
  for block in ("classifier/block1", "classifier/block2"):
    net = net @ array(f"{block}/dense/kernel") + array(f"{block}/dense/bias")
    norm = f"{block}/batch_norm"
    scale = array(f"{norm}/gamma") / np.sqrt(array(f"{norm}/moving_variance") + 1e-3)
    net = (net - array(f"{norm}/moving_mean")) * scale + array(f"{norm}/beta")
    net = np.maximum(net, 0.0)
  scores = net @ array("classifier/logits/kernel") + array("classifier/logits/bias")
  return accuracy(scores, labels)


_READERS: dict[str, Callable[[str, digits.Arrays], float]] = {
  "tf.compat.v1.train.Saver, by name": read_with_saver,
  "tf.train.Checkpoint, by object": read_with_checkpoint,
  "tf.train.load_checkpoint, by key": read_with_load_checkpoint,
}


def main(argv: Sequence[str]) -> None:
  """Trains, evaluates, and prints the accuracy that each reader reaches."""
  if len(argv) > 1:
    raise app.UsageError(f"Not understood: {' '.join(argv[1:])}")
  screen.hide_all_but_losses()
  # For the TF2 reader; TensorFlow 1.15 is not eager by default.
  tf.compat.v1.enable_eager_execution()
  # `bazel run` starts in a directory of its own, and not in the user's.
  os.chdir(os.environ.get("BUILD_WORKING_DIRECTORY", "."))
  try:
    with contextlib.ExitStack() as stack:
      model_dir = FLAGS.model_dir or stack.enter_context(
        tempfile.TemporaryDirectory(prefix="train_digits_")
      )
      train_and_read(os.path.abspath(model_dir), kept=bool(FLAGS.model_dir))
  except eckpt.CheckpointError as error:
    # The message says what to do. A traceback would not help whoever typed a flag.
    sys.exit(f"train_digits: {error}")


def train_and_read(model_dir: str, kept: bool) -> None:
  """Runs the example as the flags say.

  Args:
    model_dir: the Estimator's directory, absolute.
    kept: whether the directory stays afterwards, so that its name is worth printing.
  """
  train, test = digits.load()
  saving: dict[str, Any] = (
    {}
    if FLAGS.save_checkpoints_secs
    else {"save_checkpoints_steps": FLAGS.save_checkpoints_steps or 200}
  )
  estimator = tf.estimator.Estimator(
    model_fn,
    config=checkpoint_flags.run_config_from_flags(
      model_dir=model_dir, tf_random_seed=1, **saving
    ),
    params={"learning_rate": FLAGS.learning_rate},
  )
  start = estimator.latest_checkpoint()
  if start:
    print(f"Resuming from {start}")
  else:
    where = model_dir if kept else "a temporary directory; --model_dir=DIR keeps it"
    print(f"Starting in {where}", flush=True)
  if FLAGS.warm_start_from and not start:
    started = estimator.evaluate(digits.input_fn(test, 360, training=False))
    print(
      f"Test accuracy before training, started from {FLAGS.warm_start_from}: "
      f"{started['accuracy']:.4f}"
    )
  train_input_fn = digits.input_fn(train, FLAGS.batch_size, training=True)
  test_input_fn = digits.input_fn(test, 360, training=False)
  if FLAGS.best:
    best = eckpt.BestCheckpointExporter(metric="accuracy", mode="max")
    tf.estimator.train_and_evaluate(
      estimator,
      tf.estimator.TrainSpec(train_input_fn, max_steps=FLAGS.train_steps),
      tf.estimator.EvalSpec(
        test_input_fn, steps=None, exporters=[best], throttle_secs=0
      ),
    )
  else:
    estimator.train(train_input_fn, max_steps=FLAGS.train_steps)
  prefix = estimator.latest_checkpoint()
  number = eckpt.stopped_by_signal()
  if number:
    print(f"Stopped by {signal.Signals(number).name}; saved {prefix}")
    sys.exit(128 + number)
  written = eckpt.detect_format(prefix)
  evaluated = estimator.evaluate(test_input_fn)

  rows = [("Estimator.evaluate", f"{evaluated['accuracy']:.4f}")]
  for name, reader in _READERS.items():
    if written is eckpt.CheckpointFormat.TF1 and reader is read_with_checkpoint:
      rows.append((name, "needs tf2 or dual"))
    else:
      rows.append((name, f"{reader(prefix, test):.4f}"))
  best_prefix = tf.train.latest_checkpoint(os.path.join(model_dir, "best"))
  if FLAGS.best and best_prefix:
    evaluated = estimator.evaluate(test_input_fn, checkpoint_path=best_prefix)
    name = f"the best, best/{os.path.basename(best_prefix)}"
    rows.append((name, f"{evaluated['accuracy']:.4f}"))
  shown = prefix if kept else os.path.basename(prefix)
  print(f"\nCheckpoint: {shown} ({written.value})\n")
  for left, right in [("read with", "test accuracy"), ("-" * 35, "-" * 17), *rows]:
    print(f"{left:36}{right:>17}")


if __name__ == "__main__":
  app.run(main)
