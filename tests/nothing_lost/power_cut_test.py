"""Power cuts at every moment of durable saves; what the state file names is whole."""

from __future__ import annotations

import os
import shutil

import pytest

from tests.nothing_lost import killing, power_cuts

_SAVE = """
import sys
from tests.nothing_lost import saves
model_dir, checkpoint_format = sys.argv[1:]
with saves.started(model_dir, checkpoint_format) as job:
  job.restore()
  saves._act(job)
"""
_PREPARE = """
import sys
from tests.nothing_lost import saves
saves.prepare(*sys.argv[1:])
"""


@pytest.mark.skipif(shutil.which("strace") is None, reason="needs strace")
@pytest.mark.parametrize(
  "checkpoint_format", ["durable", "asynchronous", "durable_separate"]
)
def test_a_power_cut_loses_no_checkpoint(checkpoint_format, tmp_path):
  root = str(tmp_path / "model_dir")
  power_cuts.record(tmp_path / "first.log", _PREPARE, root, checkpoint_format)
  disk = power_cuts.Disk(root)
  disk.load()
  power_cuts.record(tmp_path / "log", _SAVE, root, checkpoint_format)
  after = tmp_path / "after"
  changes = 0
  saved = [2, 2]
  for call in power_cuts.calls(tmp_path / "log"):
    if not disk.apply(*call):
      continue
    changes += 1
    for keeps_names in (False, True):
      disk.after_a_cut(after, keeps_names)
      step = killing.check_directory(after)
      # A checkpoint that was safe once stays from then on.
      assert step >= saved[keeps_names], (call[0], call[1][:200])
      saved[keeps_names] = step
  assert saved == [3, 3]
  assert changes > 10
  assert killing.check_directory(root) == 3


@pytest.mark.skipif(shutil.which("strace") is None, reason="needs strace")
def test_the_state_file_comes_after_all_that_it_names(tmp_path):
  root = str(tmp_path / "model_dir")
  power_cuts.record(tmp_path / "log", _PREPARE, root, "durable")
  synced = set()
  renamed = 0
  for call, arguments, result in power_cuts.calls(tmp_path / "log"):
    if result.startswith("-1"):
      continue
    if call == "fsync":
      synced.add(power_cuts.path_of(arguments))
    elif call == "rename":
      old, new = power_cuts.paths_in(arguments)
      if os.path.basename(new) == "checkpoint":
        step = renamed + 1
        prefix = f"{root}/model.ckpt-{step}"
        assert {f"{prefix}.data-00000-of-00001", f"{prefix}.index", root, old} <= synced
        synced.clear()
        renamed += 1
  assert renamed == 2
