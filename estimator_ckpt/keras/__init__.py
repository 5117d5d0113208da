"""Loads checkpoints of TensorFlow 1 and 2 into Keras, and saves Keras for TensorFlow 1.

    import estimator_ckpt.keras

    model = keras.Sequential([...])
    optimizer = keras.optimizers.Adam(1e-3, epsilon=1e-8)
    print(estimator_ckpt.keras.load(model, "model_dir", optimizer))

    checkpoint = tf.train.Checkpoint(model=model, optimizer=optimizer)
    manager = estimator_ckpt.keras.CheckpointManager(checkpoint, "new_dir", like="model_dir")
    model.fit(..., callbacks=[estimator_ckpt.keras.SaveCheckpoints(manager)])

The same code serves Keras 2 and Keras 3, with any TensorFlow from 2.4 on. It does not
need Estimator, and does not import Keras. `CheckpointManager` imports TensorFlow.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from estimator_ckpt.keras.loading import load as load
from estimator_ckpt.keras.loading import save_weights as save_weights
from estimator_ckpt.keras.loading import sum_sparse_gradients as sum_sparse_gradients
from estimator_ckpt.keras.save_checkpoints import SaveCheckpoints as SaveCheckpoints

if TYPE_CHECKING:
  from estimator_ckpt.keras.checkpoint_manager import (
    CheckpointManager as CheckpointManager,
  )

__all__ = [
  "CheckpointManager",
  "SaveCheckpoints",
  "load",
  "save_weights",
  "sum_sparse_gradients",
]


def __getattr__(name: str) -> Any:
  # The files half imports modules of this package, and needs no TensorFlow.
  if name == "CheckpointManager":
    from estimator_ckpt.keras import checkpoint_manager

    return checkpoint_manager.CheckpointManager
  raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
