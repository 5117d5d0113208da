"""Writes the golden checkpoints of testdata/tf2.15 with TensorFlow 2.15.1.

  python testdata/generate_tf2_15.py                     # says what it would do
  python testdata/generate_tf2_15.py --write             # writes what is missing
  python testdata/generate_tf2_15.py --write --overwrite module_tree

Needs TensorFlow 2.15.1 with its Keras 2 and tensorflow-estimator 2.15.0.
"""

from __future__ import annotations

import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "writers"))
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")

import golden_writer
import tensorflow as tf
import tf2_estimators
import tf2_keras
import tf2_models


def keras2_legacy_adam(directory):
  """A Keras 2 model and its legacy Adam: moments are slot variables."""
  return tf2_keras.trained(directory, tf.keras.optimizers.legacy.Adam(0.01))


def keras2_adam(directory):
  """A Keras 2 model and its new Adam: moments are in the optimizer's own list."""
  return tf2_keras.trained(directory, tf.keras.optimizers.Adam(0.01))


if __name__ == "__main__":
  tf.get_logger().setLevel("ERROR")
  golden_writer.main(
    {
      "keras2_legacy_adam": keras2_legacy_adam,
      "keras2_adam": keras2_adam,
      "keras2_recurrent": tf2_keras.recurrent,
      **tf2_models.GOLDENS,
      **tf2_estimators.GOLDENS,
    },
    folder="tf2.15",
    generator=os.path.basename(__file__),
    tensorflow_version=tf.__version__,
    wanted_version="2.15.1",
  )
