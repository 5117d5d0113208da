"""What optimizer state means in TensorFlow 1 and in Keras, and how it is converted."""
