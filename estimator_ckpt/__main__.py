"""`python -m estimator_ckpt` is the program `estimator-ckpt`."""

from __future__ import annotations

import os
import sys

# Where this is run as a file, as Bazel does, Python looks for modules in this directory
# first, and its `keras` would stand in for Keras. Python follows a link to this file.
_DIRECTORY = os.path.dirname(os.path.abspath(__file__))
_REAL = os.path.dirname(os.path.realpath(__file__))
if sys.path and os.path.realpath(sys.path[0]) in (_REAL, os.path.realpath(_DIRECTORY)):
  sys.path[0] = os.path.dirname(_DIRECTORY)

from estimator_ckpt.cli import main  # noqa: E402

if __name__ == "__main__":
  sys.exit(main.run())
