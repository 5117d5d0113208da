"""Writes the golden checkpoints of testdata/tf1.15 with TensorFlow 1.15.5.

  python testdata/generate_tf1_15.py                     # says what it would do
  python testdata/generate_tf1_15.py --write             # writes what is missing
  python testdata/generate_tf1_15.py --write --overwrite adam_dense

Needs Python 3.7 and TensorFlow 1.15.5.
"""

from __future__ import annotations

import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "writers"))
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")

import golden_writer
import tensorflow as tf
import tf1_cells
import tf1_estimators
import tf1_models
import tf1_optimizers
import tf1_state
import tf1_v1

if __name__ == "__main__":
  tf.logging.set_verbosity(tf.logging.ERROR)
  golden_writer.main(
    {
      **tf1_models.GOLDENS,
      **tf1_estimators.GOLDENS,
      **tf1_state.GOLDENS,
      **tf1_cells.GOLDENS,
      **tf1_optimizers.GOLDENS,
      **tf1_v1.GOLDENS,
    },
    folder="tf1.15",
    generator=os.path.basename(__file__),
    tensorflow_version=tf.__version__,
    wanted_version="1.15.5",
  )
