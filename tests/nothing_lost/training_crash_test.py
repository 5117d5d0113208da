"""Training saves, stopped at every change that they make to the file system.

Crashes inside TensorFlow's SaveV2 are in tests/stress/kill_stress.py and
system_call_stress.py.
"""

from __future__ import annotations

import errno
import shutil

import pytest

from tests.nothing_lost import killing

_FORMATS = ("tf1", "tf2", "dual", "separate", "asynchronous")
_SAVES = "tests.nothing_lost.saves"


@pytest.fixture(params=_FORMATS)
def prepared(request, launcher, scratch):
  """A format, a function that copies a model_dir of this format, and a save's changes."""
  checkpoint_format = request.param
  base = scratch / "base"
  launcher.start(
    "prepare",
    f"{_SAVES}:prepare",
    model_dir=str(base),
    checkpoint_format=checkpoint_format,
  ).wait()

  def copy(name):
    return str(shutil.copytree(base, scratch / str(name)))

  calls = launcher.start(
    "count",
    f"{_SAVES}:count",
    model_dir=copy("undisturbed"),
    checkpoint_format=checkpoint_format,
  ).wait()
  assert {"SaveV2", "after SaveV2", "remove", "RenameFile"} <= set(calls)
  assert killing.check_directory(scratch / "undisturbed") == 3
  return checkpoint_format, copy, calls


def test_killed_at_every_point(prepared, launcher):
  checkpoint_format, copy, calls = prepared
  directories = [copy(at) for at in range(1, len(calls) + 1)]
  tasks = []
  for at, directory in enumerate(directories, 1):
    tasks.append(
      launcher.start(
        f"killed-{at}",
        f"{_SAVES}:killed",
        model_dir=directory,
        checkpoint_format=checkpoint_format,
        at=at,
      )
    )
    if len(tasks) > 1:
      tasks[-2].wait_until_killed()
  tasks[-1].wait_until_killed()
  for at, directory in enumerate(directories, 1):
    # This holds before any later run cleans up.
    assert killing.check_directory(directory) in (2, 3), (at, calls[at - 1])
  starts = launcher.start(
    "resume",
    f"{_SAVES}:resume",
    model_dirs=directories,
    checkpoint_format=checkpoint_format,
  ).wait()
  assert set(starts) == {2, 3}


def test_refused_at_every_point(prepared, launcher):
  checkpoint_format, copy, calls = prepared
  directories = [copy(at) for at in range(1, len(calls) + 1)]
  outcomes = launcher.start(
    "refused",
    f"{_SAVES}:refused",
    model_dirs=directories,
    checkpoint_format=checkpoint_format,
    code=errno.EIO,
  ).wait()
  for call, outcome, directory in zip(calls, outcomes, directories):
    if "Input/output error" not in outcome:
      # The failed change was not needed: as in stock TensorFlow, retention goes on
      # after a failed delete, and a directory that cannot be made may exist.
      assert outcome == "" and killing.check_directory(directory) >= 3, call
  launcher.start(
    "resume",
    f"{_SAVES}:resume",
    model_dirs=directories,
    checkpoint_format=checkpoint_format,
  ).wait()
