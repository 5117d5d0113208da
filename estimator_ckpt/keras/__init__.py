"""Loads checkpoints of TensorFlow 1 and 2 into Keras models and optimizers.

    import estimator_ckpt.keras

    model = keras.Sequential([...])
    optimizer = keras.optimizers.Adam(1e-3, epsilon=1e-8)
    print(estimator_ckpt.keras.load(model, "model_dir", optimizer))

One code for Keras 2 and Keras 3, beside any TensorFlow since 2.12; it needs neither
Estimator nor a particular Keras, and imports none.
"""

from __future__ import annotations

from estimator_ckpt.keras.loading import load as load
from estimator_ckpt.keras.loading import save_weights as save_weights
from estimator_ckpt.keras.loading import sum_sparse_gradients as sum_sparse_gradients

__all__ = ["load", "save_weights", "sum_sparse_gradients"]
