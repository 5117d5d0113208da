"""TensorFlow 1's optimizers: how their state is named, and what it means elsewhere."""
