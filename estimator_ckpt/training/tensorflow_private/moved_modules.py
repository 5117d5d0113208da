"""Modules of TensorFlow that older versions have under another path.

`tensorflow.python.trackable` and `.checkpoint` were seen in 2.11.0, 2.12.1 and 2.15.1,
`tensorflow.python.training.tracking` in 1.15.5, 2.1.4, 2.4.4 and 2.8.4.
"""

from __future__ import annotations

# Before the modules of TensorFlow: it says which TensorFlow is missing.
import estimator_ckpt.training.tensorflow_private.installed  # noqa: F401

# isort: split
try:
  from tensorflow.python.checkpoint import graph_view, save_util_v1
  from tensorflow.python.trackable import base as trackable_base
except ImportError:
  from tensorflow.python.training.tracking import base as trackable_base
  from tensorflow.python.training.tracking import graph_view

  # There, an ObjectGraphView serializes itself.
  save_util_v1 = None

__all__ = ["graph_view", "save_util_v1", "trackable_base"]
