"""Trains and restores the networks of text_nets.py in TensorFlow 1.15; see answering.py.

Python 3.7 runs this file, so it may use only the syntax of 3.7.
"""

from __future__ import annotations

import os
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.dirname(__file__))))

import answering
import tensorflow as tf
import text_nets


def train(net, model_dir, steps):
  """Trains, and gives the variables' values."""
  return text_nets.train(net, model_dir, steps), {"version": tf.__version__}


def restore(net, directory, steps=0):
  """Restores the latest checkpoint by name, and trains on.

  Returns:
    `logits`, `losses`, and the variables' values by `v/<name>`.
  """
  logits, losses, variables, latest = text_nets.restore(net, directory, steps)
  values = {"v/" + name: value for name, value in variables.items()}
  facts = {"latest": os.path.basename(latest)}
  return dict(values, logits=logits, losses=losses), facts


if __name__ == "__main__":
  tf.compat.v1.logging.set_verbosity(tf.compat.v1.logging.ERROR)
  answering.main({"restore": restore, "train": train})
