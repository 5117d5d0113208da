"""Conversion between TensorFlow 1 checkpoints and those of Keras, without TensorFlow."""
