"""Readers while a job saves after every step and keeps two checkpoints."""

from __future__ import annotations

import logging
import os
import subprocess

import pytest

import estimator_ckpt as eckpt
from tests.bundle_builder import dual_builder
from tests.nothing_lost import killing, values

_READING = "tests.nothing_lost.reading"
_SAVES = 300


@pytest.mark.parametrize("checkpoint_format", ["dual", "separate", "asynchronous"])
def test_no_torn_read(checkpoint_format, launcher, scratch):
  model_dir, stop = str(scratch / "model"), str(scratch / "stop")
  names = ["open_checkpoints", "inspect", "convert", "iterate"]
  if checkpoint_format != "separate":
    names.append("load_checkpoints")
  readers = [
    launcher.start(
      name,
      f"{_READING}:{name}",
      model_dir=model_dir,
      seconds=120,
      stop=stop,
    )
    for name in names
  ]
  job = launcher.start(
    "job",
    f"{_READING}:save_many",
    model_dir=model_dir,
    checkpoint_format=checkpoint_format,
    saves=_SAVES,
    stop=stop,
  )
  assert job.wait(240) == _SAVES
  for name, reader in zip(names, readers):
    seen = reader.wait()
    assert seen.read > 3, (name, seen)
  assert killing.check_directory(model_dir) == _SAVES


def _slow_job(launcher, scratch, saves, pause):
  return launcher.start(
    "job",
    f"{_READING}:save_many",
    model_dir=str(scratch / "model"),
    checkpoint_format="dual",
    saves=saves,
    stop=str(scratch / "stop"),
    pause=pause,
  )


def test_an_evaluator_follows(launcher, scratch):
  """Saves slowly: the graph takes longer than a checkpoint lives in the test above."""
  job = _slow_job(launcher, scratch, 30, 0.4)
  evaluator = launcher.start(
    "evaluate",
    f"{_READING}:evaluate",
    model_dir=str(scratch / "model"),
    checkpoint_format="dual",
    seconds=120,
    stop=str(scratch / "stop"),
  )
  job.wait(240)
  seen = evaluator.wait()
  assert seen.read > 0 and seen.read + seen.deleted > 3, seen


def test_tensorflow_1_15_follows(interpreter, launcher, scratch):
  python = interpreter("tf115")
  program = os.path.join(os.path.dirname(__file__), "tf1_15_follower.py")
  command = [python, program, str(scratch / "model"), str(scratch / "stop"), "120"]
  with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as reader:
    _slow_job(launcher, scratch, _SAVES, 0.02).wait(240)
    assert reader.stdout is not None
    output = reader.stdout.read()
  assert reader.returncode == 0
  restored, _ = map(int, output.split())
  assert restored > 3


def test_a_checkpoint_that_was_deleted_is_one_clear_error(scratch):
  prefix = str(scratch / "model.ckpt-3")
  dual_builder().write(prefix)
  with eckpt.open_checkpoint(prefix) as reader:
    for path in scratch.iterdir():
      path.unlink()
    with pytest.raises(FileNotFoundError, match=r"model\.ckpt-3\.data-00000.*missing"):
      reader["net/w"]
  with pytest.raises(eckpt.CheckpointError, match=r"model\.ckpt-3"):
    eckpt.open_checkpoint(prefix)


@pytest.mark.parametrize(
  "checkpoint_format", ["tf1", "dual", "separate", "asynchronous"]
)
def test_two_jobs_in_one_model_dir_are_told(checkpoint_format, launcher, scratch):
  task = launcher.start(
    "two",
    "tests.nothing_lost.readers_test:two_jobs",
    model_dir=str(scratch / "model"),
    checkpoint_format=checkpoint_format,
  )
  alone, together = task.wait()
  assert alone == []
  [message] = together
  assert "is not as this job left it" in message
  assert "model.ckpt-3" in message and "model_dir of its own" in message


def two_jobs(model_dir, checkpoint_format):
  """Two jobs in one process: the messages while each is alone, and while both save."""
  from tests.nothing_lost import saves

  told: list[str] = []

  class Handler(logging.Handler):
    def emit(self, record):
      told.append(record.getMessage())

  logging.getLogger("estimator_ckpt").addHandler(Handler())
  saves.prepare(model_dir, checkpoint_format)
  with saves.started(model_dir, checkpoint_format) as one:
    one.restore()
    one.save()
    alone = list(told)
    with saves.started(model_dir, checkpoint_format) as other:
      other.restore()
      other.train()
      other.save()
    one.train()
    one.train()
    one.save()
    # Each save warns once, and the saved checkpoint is still whole.
    one.save()
  assert values.check_checkpoint(f"{model_dir}/model.ckpt-4") == 4
  return alone, told[len(alone) :]
