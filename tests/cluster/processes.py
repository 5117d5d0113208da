"""Processes that have imported TensorFlow before they start.

Importing TensorFlow takes seconds, and a cluster is many processes, some of which are
killed and started again. `Launcher` keeps one process that has imported it and done
nothing else; that one is forked for each task. Commands and answers are lines of JSON:

    {"start": "tests.cluster.tasks:train", "arguments": {...}, "environ": {...},
     "log": path, "result": path}        -> {"pid": 17}
    {"status": 17}                       -> {"status": null}, or the exit status
    {"signal": 9, "pid": 17}             -> {}; nothing happens to one that has ended

All of them end when the launcher ends, and the launcher ends with the test.
"""

from __future__ import annotations

import ctypes
import importlib
import itertools
import json
import os
import pathlib
import pickle
import signal
import subprocess
import sys
import threading
import time
import traceback
from typing import Any

_PROGRAM = os.path.abspath(__file__)  # the link in Bazel's tree, not its target
_ROOT = os.path.dirname(os.path.dirname(os.path.dirname(_PROGRAM)))
_PR_SET_PDEATHSIG = 1
_POLL_SECS = 0.02
_LOG_LINES = 40


class Task:
  """One process that a Launcher started.

  Attributes:
    name: for messages.
    pid: its process id.
  """

  def __init__(self, launcher: Launcher, name: str, pid: int, files: pathlib.Path):
    self.name = name
    self.pid = pid
    self._launcher = launcher
    self._files = files

  @property
  def output(self) -> str:
    """The text that the process has printed."""
    return self._files.with_suffix(".log").read_text(errors="replace")

  @property
  def is_running(self) -> bool:
    """Whether the process is still running."""
    return self._launcher.ask(status=self.pid)["status"] is None

  def status(self, seconds: float = 90) -> int:
    """The exit status of the ended process; fails if it does not end in time."""
    deadline = time.monotonic() + seconds
    while True:
      status = self._launcher.ask(status=self.pid)["status"]
      if status is not None:
        return int(status)
      if time.monotonic() > deadline:
        raise AssertionError(f"{self.name} runs after {seconds:g} s.\n{self._tail()}")
      time.sleep(_POLL_SECS)

  def wait(self, seconds: float = 90) -> Any:
    """The function's return value; fails if it raises or does not end in time."""
    status = self.status(seconds)
    if status:
      raise AssertionError(f"{self.name} ended with {status}.\n{self._tail()}")
    return pickle.loads(self._files.with_suffix(".result").read_bytes())

  def wait_until_killed(self, seconds: float = 90) -> None:
    """Waits until the task kills itself by SIGKILL; fails if it ends in another way."""
    status = self.status(seconds)
    assert status == -signal.SIGKILL, f"{self.name}: {status}.\n{self._tail()}"

  def kill(self) -> None:
    """Kills the process at once, and waits until it is gone."""
    self._launcher.ask(signal=signal.SIGKILL, pid=self.pid)
    deadline = time.monotonic() + 20
    while self.is_running:
      assert time.monotonic() < deadline, f"{self.name} cannot be killed"
      time.sleep(_POLL_SECS)

  def wait_for(self, condition: Any, seconds: float = 90) -> Any:
    """Waits until a function returns a true value, and returns the value.

    Fails if the task ends first, or if the time is over.
    """
    deadline = time.monotonic() + seconds
    while True:
      running = self.is_running
      found = condition()
      if found:
        return found
      assert running, f"{self.name} has ended.\n{self._tail()}"
      assert time.monotonic() < deadline, (
        f"{self.name}: {condition} did not happen within {seconds:g} s.\n{self._tail()}"
      )
      time.sleep(_POLL_SECS)

  def _tail(self) -> str:
    lines = self.output.splitlines()[-_LOG_LINES:]
    return "\n".join(f"{self.name} | {line}" for line in lines)


class Launcher:
  """Starts tasks; a context manager that ends all of them.

  Args:
    directory: where their logs and results go.
  """

  def __init__(self, directory: pathlib.Path):
    self._directory = directory
    self._numbers = itertools.count()
    self._lock = threading.Lock()
    self._process = subprocess.Popen(
      [sys.executable, _PROGRAM],
      env={**os.environ, "PYTHONPATH": _ROOT, "OPENBLAS_NUM_THREADS": "1"},
      stdin=subprocess.PIPE,
      stdout=subprocess.PIPE,
      text=True,
    )

  def __enter__(self) -> Launcher:
    return self

  def __exit__(self, *exception: object) -> None:
    assert self._process.stdin is not None
    self._process.stdin.close()
    try:
      self._process.wait(20)
    except subprocess.TimeoutExpired:
      self._process.kill()
      self._process.wait()

  def start(
    self,
    name: str,
    function: str,
    environ: dict[str, str] | None = None,
    **arguments: Any,
  ) -> Task:
    """Starts a task.

    Args:
      name: for messages.
      function: `module:function`, which the process calls.
      environ: what is added to its environment.
      **arguments: of the function; what JSON can hold.

    Returns:
      The task.
    """
    files = self._directory / f"{next(self._numbers)}-{name.replace('/', '-')}"
    files.with_suffix(".log").touch()
    answer = self.ask(
      start=function,
      arguments=arguments,
      environ=environ or {},
      log=os.fspath(files.with_suffix(".log")),
      result=os.fspath(files.with_suffix(".result")),
    )
    return Task(self, name, answer["pid"], files)

  def ask(self, **command: Any) -> dict[str, Any]:
    """Sends a command and returns the answer."""
    assert self._process.stdin is not None and self._process.stdout is not None
    with self._lock:
      self._process.stdin.write(json.dumps(command) + "\n")
      self._process.stdin.flush()
      answer = self._process.stdout.readline()
    assert answer, "the launcher has ended"
    return json.loads(answer)


def _serve() -> None:
  """The main loop of the launcher's process."""
  import tensorflow as tf
  import tensorflow.compat.v1

  import estimator_ckpt as eckpt
  from tests import graph_text

  graph_text.leave_out()
  # Modules that load on first use would otherwise be loaded again in every task.
  assert tf.estimator.Estimator and eckpt.dual_checkpointing
  # A fork does not copy other threads, so a task that waits for one would wait forever.
  assert len(os.listdir("/proc/self/task")) == 1
  statuses: dict[int, int | None] = {}
  for line in sys.stdin:
    command = json.loads(line)
    answer: dict[str, Any] = {}
    _reap(statuses)
    if "start" in command:
      answer["pid"] = _fork(command)
      statuses[answer["pid"]] = None
    elif "status" in command:
      answer["status"] = statuses[command["status"]]
    elif statuses[command["pid"]] is None:
      os.kill(command["pid"], command["signal"])
    print(json.dumps(answer), flush=True)
  _reap(statuses)
  for pid, status in statuses.items():
    if status is None:
      os.kill(pid, signal.SIGKILL)
      os.waitpid(pid, 0)


def _reap(statuses: dict[int, int | None]) -> None:
  for pid, status in statuses.items():
    if status is None:
      ended, raw = os.waitpid(pid, os.WNOHANG)
      if ended:
        statuses[pid] = exit_code(raw)


def exit_code(status: int) -> int:
  """The exit code that `os.waitpid` tells; negative for a signal.

  Python 3.9 has it as os.waitstatus_to_exitcode.
  """
  if os.WIFSIGNALED(status):
    return -os.WTERMSIG(status)
  return os.WEXITSTATUS(status)


def _fork(command: dict[str, Any]) -> int:
  parent = os.getpid()
  pid = os.fork()
  if pid:
    return pid
  code = 1
  try:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() == parent:  # else the parent ended before prctl() was called
      _run(command)
      code = 0
  except BaseException:
    traceback.print_exc()
  finally:
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _run(command: dict[str, Any]) -> None:
  log = os.open(command["log"], os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o666)
  nothing = os.open(os.devnull, os.O_RDONLY)
  for source, target in ((nothing, 0), (log, 1), (log, 2)):
    os.dup2(source, target)
  os.environ.update(command["environ"])
  module, _, name = command["start"].partition(":")
  result = getattr(importlib.import_module(module), name)(**command["arguments"])
  path = pathlib.Path(command["result"])
  path.write_bytes(pickle.dumps(result))


if __name__ == "__main__":
  _serve()
