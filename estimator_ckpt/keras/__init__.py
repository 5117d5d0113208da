"""Loads checkpoints of TensorFlow 1 and 2 into Keras models and optimizers.

    import estimator_ckpt.keras

    model = keras.Sequential([...])
    optimizer = keras.optimizers.Adam(1e-3, epsilon=1e-8)
    print(estimator_ckpt.keras.load(model, "model_dir", optimizer))

The same code serves Keras 2 and Keras 3, with any TensorFlow from 2.12 on. It does not
need Estimator, and does not import Keras.
"""

from __future__ import annotations

from estimator_ckpt.keras.loading import load as load
from estimator_ckpt.keras.loading import save_weights as save_weights
from estimator_ckpt.keras.loading import sum_sparse_gradients as sum_sparse_gradients

__all__ = ["load", "save_weights", "sum_sparse_gradients"]
