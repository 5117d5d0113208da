"""Runs the example as a user does."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time

import tensorflow as tf

import estimator_ckpt as eckpt

_READERS = 4


def _command(model_dir, *arguments):
  module = "estimator_ckpt.examples.train_digits"
  return [sys.executable, "-m", module, f"--model_dir={model_dir}", *arguments]


def _environ():
  return {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}


def _process(model_dir, *arguments):
  return subprocess.run(
    _command(model_dir, *arguments), env=_environ(), capture_output=True, text=True
  )


def _run(model_dir, *arguments):
  """The output, and the accuracies in the output's table."""
  done = _process(model_dir, *arguments)
  assert done.returncode == 0, done.stderr
  table = re.findall(r"^(\S.*?) {2,}(0\.\d{4})$", done.stdout, re.MULTILINE)
  return done.stdout, [float(accuracy) for _, accuracy in table]


def test_it_trains_and_resumes_in_every_format(tmp_path):
  output, first = _run(tmp_path, "--train_steps=400", "--keep_checkpoint_max=2")
  assert f"Starting in {tmp_path}" in output
  assert f"Checkpoint: {tmp_path}/model.ckpt-400 (dual)" in output
  assert len(first) == _READERS and len(set(first)) == 1
  assert eckpt.detect_format(tmp_path).value == "dual"
  assert all(len(line) <= 80 for line in output.splitlines()[-_READERS:])

  output, second = _run(tmp_path, "--train_steps=500", "--checkpoint_format=tf2")
  assert f"Resuming from {tmp_path}/model.ckpt-400" in output
  assert f"{tmp_path}/model.ckpt-500 (tf2)" in output
  assert len(second) >= 3 and len(set(second)) == 1

  output, third = _run(tmp_path, "--train_steps=600", "--checkpoint_format=tf1")
  assert f"Resuming from {tmp_path}/model.ckpt-500" in output
  assert f"{tmp_path}/model.ckpt-600 (tf1)" in output and "needs tf2 or dual" in output
  assert len(third) == _READERS - 1 and len(set(third)) == 1
  assert third[0] > 0.95


def test_it_saves_at_a_signal_and_keeps_the_best(tmp_path):
  arguments = (
    *("--asynchronous", "--durable", "--save_on_signals=SIGTERM", "--best"),
    "--save_checkpoints_steps=50",
  )
  process = subprocess.Popen(
    _command(tmp_path, *arguments, "--train_steps=100000"), env=_environ()
  )
  try:
    deadline = time.monotonic() + 90
    while not (tmp_path / "best" / "checkpoint").exists():
      assert process.poll() is None and time.monotonic() < deadline
      time.sleep(0.1)
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 128 + signal.SIGTERM
  finally:
    process.kill()
    process.wait()
  step = int(tf.train.latest_checkpoint(tmp_path).rpartition("-")[2])
  assert tf.train.load_variable(str(tmp_path), "global_step") == step

  output, accuracies = _run(tmp_path, *arguments, f"--train_steps={step + 60}")
  assert f"Resuming from {tmp_path}/model.ckpt-{step}" in output
  assert f"Checkpoint: {tmp_path}/model.ckpt-{step + 60} (dual)" in output
  assert "the best, best/model.ckpt-" in output
  *last, best = accuracies
  assert len(last) == _READERS and best >= max(last)


def test_a_flag_that_does_not_fit_is_answered_in_a_sentence(tmp_path):
  done = _process(tmp_path / "new", f"--warm_start_from={tmp_path}/nowhere")
  assert done.returncode == 1
  assert "Traceback" not in done.stderr
  *_, last = done.stderr.splitlines()
  assert last.startswith(f"train_digits: {tmp_path}/nowhere: no checkpoint there")
