"""The example from an Estimator into Keras 3: the losses go on without a jump."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest

_BEFORE, _AFTER = 8, 12


@pytest.fixture(params=["3", "2"])
def run(request, interpreter, tmp_path):
  """By Keras: the losses, the printed text, and the directory."""
  python = interpreter("tf221") if request.param == "3" else "this"
  command = [sys.executable, "-m", "estimator_ckpt.examples.continue_in_keras"]
  flags = {
    "output_dir": tmp_path,
    "estimator_steps": _BEFORE,
    "keras_steps": _AFTER,
    "batch_size": 16,
    "keras_python": python,
  }
  done = subprocess.run(
    [*command, *(f"--{name}={value}" for name, value in flags.items())],
    env={
      **os.environ,
      "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
    },
    stdin=subprocess.DEVNULL,
    capture_output=True,
    text=True,
    check=False,
  )
  assert done.returncode == 0, done.stdout + done.stderr
  with np.load(tmp_path / "losses.npz") as losses:
    return request.param, dict(losses), done.stdout, tmp_path


def test_the_losses_have_no_seam(run):
  keras, losses, printed, directory = run
  assert f"Keras {keras}." in printed
  assert len(losses["estimator"]) == _BEFORE and len(losses["keras"]) == _AFTER
  joined = np.concatenate([losses["estimator"], losses["keras"]])
  np.testing.assert_allclose(joined, losses["reference"], rtol=1e-4)
  # The losses of two steps differ by more than this, so an extra or lost step shows.
  assert np.abs(np.diff(joined) / joined[1:]).min() > 1e-4
  assert (directory / "keras.weights.h5").stat().st_size > 100_000
  picture = (directory / "seam.png").read_bytes()
  assert picture.startswith(b"\x89PNG") and len(picture) > 20_000
