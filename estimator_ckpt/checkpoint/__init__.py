"""What a checkpoint means: its names, objects, formats, and state file. No TensorFlow."""
