"""Work on checkpoints as files: inspect, convert, rename, strip, merge, diff. No TensorFlow."""
