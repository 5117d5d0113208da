"""Trains and restores the classifiers of text_nets.py in TensorFlow 1.15; see answering.py.

Python 3.7 runs this file, so it may use only the syntax of 3.7.
"""

from __future__ import annotations

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")

import answering
import tensorflow as tf
import text_nets


def train(net, model_dir, steps):
  """Trains, and gives the variables' values."""
  return text_nets.train(net, model_dir, steps), {"version": tf.__version__}


def restore(net, directory):
  """Restores the latest checkpoint by name; gives `logits`, and values by `v/<name>`."""
  logits, variables, latest = text_nets.restore(net, directory)
  values = {"v/" + name: value for name, value in variables.items()}
  return dict(values, logits=logits), {"latest": os.path.basename(latest)}


if __name__ == "__main__":
  tf.compat.v1.logging.set_verbosity(tf.compat.v1.logging.ERROR)
  answering.main({"restore": restore, "train": train})
