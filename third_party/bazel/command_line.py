"""The `estimator-ckpt` program, for Bazel: the same as `python -m estimator_ckpt`.

It is here since Python puts the directory of the program's file first on its path:
from the package's own directory, `estimator_ckpt/inspect.py` would hide Python's
`inspect`.
"""

import runpy

if __name__ == "__main__":
  runpy.run_module("estimator_ckpt", run_name="__main__", alter_sys=True)
