"""Disks that are full, read-only, of another owner, or unable to link or rename."""

from __future__ import annotations

import errno
import os
import re
import shutil
import stat
import subprocess

import pytest

import estimator_ckpt as eckpt
from tests import golden, stored
from tests.bundle_builder import dual_builder
from tests.nothing_lost import faults, killing

_REFUSALS = {
  errno.ENOSPC: "No space left on device",
  errno.EDQUOT: "Disk quota exceeded",
  errno.EROFS: "Read-only file system",
  errno.EACCES: "Permission denied",
}
_SAVES = "tests.nothing_lost.saves"


@pytest.fixture
def source(scratch):
  return dual_builder().write(scratch / "source" / "model.ckpt-7")


def _run(command, source, target):
  if command == "convert":
    return eckpt.convert(source, target, "tf1", data="copy", overwrite=True)
  return eckpt.strip(source, target, optimizer_state=True, compact=True, overwrite=True)


@pytest.mark.parametrize("code", _REFUSALS)
@pytest.mark.parametrize("command", ["convert", "strip"])
def test_an_offline_command_says_what_and_where(command, code, source, scratch):
  """Refuses each change and all that follow; the old checkpoint stays."""
  target = str(scratch / "out" / "model.ckpt-7")
  golden.copy("tf1.15/adam_dense", scratch / "out")
  values = stored.stored(target)
  before = stored.snapshot(scratch / "source")
  with faults.injected(0, faults.kill) as calls:
    _run(command, source, str(scratch / "elsewhere" / "model.ckpt-7"))
  told = 0
  for at in range(1, len(calls) + 1):
    with faults.injected(at, faults.refuse(code), persistent=True):
      try:
        _run(command, source, target)
        continue
      except eckpt.CheckpointError as error:
        message = str(error)
    told += 1
    assert _REFUSALS[code] in message
    assert str(scratch) in message
    # The index's rename is the commit; the old checkpoint stays until then.
    if "replace" not in calls[: at - 1]:
      assert stored.stored(target) == values
    assert eckpt.verify(target).ok
  assert told > 3
  assert stored.snapshot(scratch / "source") == before
  _run(command, source, target)
  assert stored.stored(target) != values
  assert eckpt.verify(target).findings == ()


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS])
def test_a_training_job_stops_with_the_reason_and_saves_later(code, launcher, scratch):
  """The job ends with the error, as in stock; the state file names what is whole."""
  base = scratch / "base"
  launcher.start(
    "prepare", f"{_SAVES}:prepare", model_dir=str(base), checkpoint_format="dual"
  ).wait()
  directories = [str(shutil.copytree(base, scratch / str(n))) for n in range(8)]
  outcomes = launcher.start(
    "refused",
    f"{_SAVES}:refused",
    model_dirs=directories,
    checkpoint_format="dual",
    code=code,
    persistent=True,
  ).wait()
  for outcome in outcomes:
    assert _REFUSALS[code] in outcome


def test_without_hard_links_data_is_copied(source, scratch):
  for code in (errno.EPERM, errno.EMLINK, errno.EOPNOTSUPP, errno.EXDEV):
    target = str(scratch / f"out{code}" / "m")
    with faults.injected(1, faults.refuse(code), persistent=True, only=("link",)):
      report = eckpt.convert(source, target, "tf1")
    assert set(report.checkpoints[0].placed) & {"reflink", "copy"}
    assert eckpt.verify(target).ok
    assert not os.path.samefile(
      f"{source}.data-00000-of-00001", f"{target}.data-00000-of-00001"
    )


def test_asking_for_links_that_cannot_be_made_is_an_error(source, scratch):
  with faults.injected(1, faults.refuse(errno.EXDEV), persistent=True, only=("link",)):
    with pytest.raises(eckpt.CheckpointError, match="cannot link.*Ask for copy"):
      eckpt.convert(source, str(scratch / "out" / "m"), "tf1", data="link")
  assert not (scratch / "out").exists()


def test_renaming_across_devices_is_one_error(source, scratch):
  with faults.injected(1, faults.refuse(errno.EXDEV), only=("replace",)):
    with pytest.raises(eckpt.CheckpointError, match="cross-device") as caught:
      eckpt.convert(source, str(scratch / "out" / "m"), "tf1")
  assert str(scratch / "out") in str(caught.value)
  assert not (scratch / "out").exists()


@pytest.fixture
def small_disk(tmp_path):
  """A real file system of a few hundred kilobytes."""
  mount = tmp_path / "disk"
  mount.mkdir()
  command = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", os.fspath(mount)]
  try:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
  except FileNotFoundError:
    pytest.skip("this machine has no mount")
  if done.returncode:
    pytest.skip(f"this machine does not let us mount a tmpfs: {done.stderr.strip()}")
  yield mount
  subprocess.run(["umount", os.fspath(mount)], check=True)


def test_a_real_disk_that_is_full(small_disk, tmp_path):
  builder = dual_builder()
  builder.numbers("net/large", range(70000))
  source = builder.write(tmp_path / "source" / "m")
  small = dual_builder().write(small_disk / "old" / "m")
  target = str(small_disk / "old" / "m")
  old = stored.stored(small)
  with pytest.raises(eckpt.CheckpointError, match="No space left on device") as caught:
    eckpt.convert(source, target, "tf1", overwrite=True)
  assert "it needs 280," in str(caught.value) and "are free" in str(caught.value)
  assert stored.stored(target) == old
  assert not [n for n in os.listdir(small_disk / "old") if "tmp" in n]
  eckpt.strip(source, target, variables="net/large", compact=True, overwrite=True)
  assert eckpt.verify(target).ok


def test_a_real_disk_that_becomes_full_while_training(small_disk, launcher):
  model_dir = small_disk / "model"
  launcher.start(
    "prepare", f"{_SAVES}:prepare", model_dir=str(model_dir), checkpoint_format="dual"
  ).wait()
  filler = small_disk / "filler"
  with open(filler, "wb", buffering=0) as file:
    with pytest.raises(OSError):
      while True:
        file.write(b"x" * 4096)
  task = launcher.start(
    "full", f"{_SAVES}:count", model_dir=str(model_dir), checkpoint_format="dual"
  )
  assert task.status() == 1
  assert re.search("No space left|ResourceExhausted", task.output)
  assert killing.check_directory(model_dir) == 2
  filler.unlink()
  launcher.start(
    "later", f"{_SAVES}:resume", model_dirs=[str(model_dir)], checkpoint_format="dual"
  ).wait()
  assert killing.check_directory(model_dir) == 5


def test_a_directory_that_is_read_only(source, scratch):
  target = scratch / "out"
  target.mkdir()
  target.chmod(stat.S_IRUSR | stat.S_IXUSR)
  if os.access(target, os.W_OK):
    pytest.skip("root may write anywhere; the same is injected above")
  with pytest.raises(eckpt.CheckpointError, match=f"{target}.*Permission denied"):
    eckpt.convert(source, str(target / "m"), "tf1")
