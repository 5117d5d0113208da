"""The TensorFlow that is installed, or an error that says which one is needed."""

from __future__ import annotations

from estimator_ckpt import errors

try:
  import tensorflow as tf
except ImportError as e:
  raise errors.MissingDependencyError(
    "This part of estimator_ckpt needs TensorFlow, and it is not installed. "
    + errors.tensorflow_advice()
  ) from e

_VERSION = tuple(map(int, tf.__version__.split(".")[:2]))
if not ((1, 15) <= _VERSION < (2, 16) and _VERSION != (2, 0)):
  raise errors.MissingDependencyError(
    "This part of estimator_ckpt needs TensorFlow 1.15 or 2.1 to 2.15, which have "
    f"Estimator; this is {tf.__version__}. Reading and converting checkpoints, and "
    "estimator_ckpt.keras, do not need it."
  )
try:
  tf.estimator.Estimator  # noqa: B018
except (AttributeError, ImportError) as e:
  raise errors.MissingDependencyError(
    f"TensorFlow {tf.__version__} is here without its tensorflow-estimator. "
    + errors.tensorflow_advice()
  ) from e
