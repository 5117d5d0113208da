"""Saving and restoring in graphs and sessions, with TensorFlow."""
