"""Writes the golden checkpoints of testdata/tf2.21 with TensorFlow 2.21.0 and Keras 3.

python testdata/generate_tf2_21.py                     # says what it would do
python testdata/generate_tf2_21.py --write             # writes what is missing
python testdata/generate_tf2_21.py --write --overwrite module_tree
"""

from __future__ import annotations

import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "writers"))
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")

import golden_writer
import tensorflow as tf
import tf2_keras
import tf2_models


def keras3_adam(directory):
  """A Keras 3 model and its Adam."""
  return tf2_keras.trained(directory, tf.keras.optimizers.Adam(0.01))


if __name__ == "__main__":
  tf.get_logger().setLevel("ERROR")
  golden_writer.main(
    {
      "keras3_adam": keras3_adam,
      "keras3_recurrent": tf2_keras.recurrent,
      **tf2_models.GOLDENS,
    },
    folder="tf2.21",
    generator=os.path.basename(__file__),
    tensorflow_version=tf.__version__,
    wanted_version="2.21.0",
  )
