"""Follows a model_dir with TensorFlow 1.15: restores the latest, again and again.

usage: tf1_15_follower.py MODEL_DIR STOP_FILE SECONDS

Python 3.7 runs this file. Prints the number of restored checkpoints, and of those that
were deleted during a read; fails if a restored value does not follow from the step.
"""

from __future__ import annotations

import os
import sys
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")

import numpy as np
import tensorflow as tf

# The same as values.EACH_STEP, which Python 3.7 cannot import.
EACH_STEP = {
  "net/w": np.array([1, 2, 3, 5], np.float32),
  "net/w/Momentum": np.array([7, -1, 4, 2], np.float32),
  "net/rows": np.arange(10, dtype=np.float32).reshape(5, 2) + 1,
  "net/count": np.array(3, np.int64),
}


def main():
  """Runs the program."""
  model_dir, stop, seconds = sys.argv[1], sys.argv[2], float(sys.argv[3])
  tf.compat.v1.logging.set_verbosity(tf.compat.v1.logging.ERROR)
  with tf.Graph().as_default():
    follow(model_dir, stop, seconds)


def follow(model_dir, stop, seconds):
  """Restores the latest checkpoints, and compares their values."""
  step = tf.train.get_or_create_global_step()
  made = {
    name: tf.get_variable(name, initializer=np.zeros_like(each))
    for name, each in EACH_STEP.items()
  }
  saver = tf.train.Saver()
  restored = deleted = 0
  deadline = time.time() + seconds
  with tf.Session() as session:
    while time.time() < deadline and not os.path.exists(stop):
      prefix = tf.train.latest_checkpoint(model_dir)
      if prefix is None:
        time.sleep(0.01)
        continue
      try:
        saver.restore(session, prefix)
      except (tf.errors.OpError, ValueError):
        if os.path.exists(prefix + ".index"):
          raise
        deleted += 1
        continue
      found, at = session.run([made, step])
      for name, each in EACH_STEP.items():
        np.testing.assert_array_equal(found[name], each * (at + 1))
      restored += 1
  print(restored, deleted)


if __name__ == "__main__":
  main()
