"""Kills a training save at each system call that writes, TensorFlow's SaveV2 included.

Needs strace, and the right to trace. Each thread's nth call of a kind is one point; n
grows until a save makes no such call.
"""

from __future__ import annotations

import argparse
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time

from tests.cluster import processes
from tests.nothing_lost import killing
from tests.stress import figures

_CALLS = (
  "openat",
  "write",
  "pwrite64",
  "writev",
  "rename",
  "unlink",
  "rmdir",
  "mkdir",
  "link",
  "fsync",
)
_FORMATS = ("tf1", "tf2", "dual", "separate", "asynchronous")
_SAVES = "tests.nothing_lost.saves"
_SIGKILL = -9


def _is_traced(pid: int) -> bool:
  for task in os.listdir(f"/proc/{pid}/task"):
    with open(f"/proc/{pid}/task/{task}/status", encoding="ascii") as file:
      if "TracerPid:\t0\n" in file.read():
        return False
  return True


def _kill_at(
  launcher: processes.Launcher, base: pathlib.Path, target: str, call: str, number: int
) -> bool:
  """Saves in a copy, and kills at a system call; returns whether the call was made."""
  shutil.copytree(base, target)
  ready, go = f"{target}.ready", f"{target}.go"
  task = launcher.start(
    f"{call}-{number}",
    f"{_SAVES}:traced",
    model_dir=target,
    checkpoint_format=base.name,
    ready=ready,
    go=go,
  )
  task.wait_for(lambda: os.path.exists(ready))
  command = ["strace", "-f", "-qq", "-o", os.devnull, "-p", str(task.pid)]
  command += ["-e", f"trace={call}", "-e", f"inject={call}:signal=KILL:when={number}"]
  with subprocess.Popen(command) as tracer:
    deadline = time.monotonic() + 20
    while not _is_traced(task.pid):
      if tracer.poll() is not None or time.monotonic() > deadline:
        sys.exit("this machine does not let strace attach to a process")
      time.sleep(0.01)
    pathlib.Path(go).touch()
    while (status := launcher.ask(status=task.pid)["status"]) is None:
      time.sleep(0.01)
  assert status in (0, _SIGKILL), task.output
  return status == _SIGKILL


def main() -> None:
  """Runs the program."""
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument("--formats", nargs="*", default=_FORMATS)
  arguments = parser.parse_args()
  if shutil.which("strace") is None:
    sys.exit("this needs strace")
  rows = []
  with tempfile.TemporaryDirectory() as scratch:
    directory = pathlib.Path(scratch)
    with processes.Launcher(directory) as launcher:
      for checkpoint_format in arguments.formats:
        base = directory / checkpoint_format
        options = {"checkpoint_format": checkpoint_format}
        launcher.start(
          "prepare", f"{_SAVES}:prepare", model_dir=str(base), **options
        ).wait()
        reached, killed = {2: 0, 3: 0}, []
        for call in _CALLS:
          number = 1
          while _kill_at(launcher, base, f"{base}-{call}-{number}", call, number):
            killed.append(f"{base}-{call}-{number}")
            reached[killing.check_directory(killed[-1])] += 1
            number += 1
        launcher.start("resume", f"{_SAVES}:resume", model_dirs=killed, **options).wait(
          600
        )
        rows.append((checkpoint_format, len(killed), reached[2], reached[3]))
        print(*rows[-1], flush=True)
  figures.show(("format", "points", "latest is the old", "latest is the new"), rows)


if __name__ == "__main__":
  main()
