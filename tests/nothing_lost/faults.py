"""A file layer that fails, or ends the process, at a chosen change to the file system.

    with faults.injected(at=3, strike=faults.refuse(errno.ENOSPC)):
      convert(...)  # its third write, rename, link, fsync or removal fails

The layer patches functions of `os` and the files that `estimator_ckpt.bundle.files`
opens, for the package itself; a C++ module, for TensorFlow's Python; and sessions, for
ops. It does not see single writes inside TensorFlow's SaveV2.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Iterator
from typing import Any, Callable

from estimator_ckpt.bundle import files
from tests.cluster import processes

# Receives the name of the next call, such as `rename`, and its path.
Strike = Callable[[str, str], None]

OS_CALLS = (
  "open",
  "fsync",
  "replace",
  "rename",
  "link",
  "symlink",
  "remove",
  "unlink",
  "mkdir",
  "rmdir",
  "truncate",
)
_TENSORFLOW_CALLS = (
  "RenameFile",
  "DeleteFile",
  "DeleteRecursively",
  "CreateDir",
  "RecursivelyCreateDir",
  "CopyFile",
)


def refuse(code: int) -> Strike:
  """A strike that raises an error of the operating system."""

  def strike(call: str, path: str) -> None:
    raise OSError(code, os.strerror(code), path)

  return strike


def kill(call: str, path: str) -> None:
  """A strike that ends the process, like a power cut."""
  os.kill(os.getpid(), signal.SIGKILL)


class _Layer:
  def __init__(self, at: int, strike: Strike, persistent: bool, only: tuple[str, ...]):
    self._at = at
    self._persistent = persistent
    self._strike = strike
    self._only = only
    self.calls: list[str] = []

  def pass_by(self, call: str, path: Any) -> None:
    """Counts a call, and strikes if it is the chosen call."""
    if self._only and call not in self._only:
      return
    self.calls.append(call)
    count = len(self.calls)
    if count == self._at or (self._persistent and count > self._at > 0):
      self._strike(call, os.fspath(path) if not isinstance(path, int) else f"fd {path}")


class _Written:
  """A file whose writes may be torn: the strike comes after half of the bytes."""

  def __init__(self, layer: _Layer, file: Any, path: Any):
    self._layer = layer
    self._file = file
    self._path = path

  def write(self, data: Any) -> int:
    def torn(call: str, path: str) -> None:
      self._file.write(bytes(data)[: len(data) // 2])
      self._file.flush()
      strike(call, path)

    strike, self._layer._strike = self._layer._strike, torn
    try:
      self._layer.pass_by("write", self._path)
    finally:
      self._layer._strike = strike
    return self._file.write(data)

  def __enter__(self) -> _Written:
    return self

  def __exit__(self, *unused: object) -> None:
    self._file.close()

  def __getattr__(self, name: str) -> Any:
    return getattr(self._file, name)


@contextlib.contextmanager
def injected(
  at: int, strike: Strike, *, persistent: bool = False, only: tuple[str, ...] = ()
) -> Iterator[list[str]]:
  """Strikes at one of the following changes to the file system.

  Args:
    at: number of the change, from 1; 0 for none, to count the changes.
    strike: what to do before the change.
    persistent: whether to strike at all later changes too.
    only: names of the calls that count; all calls if empty.

  Yields:
    The calls made so far.
  """
  layer = _Layer(at, strike, persistent, only)
  with contextlib.ExitStack() as stack:
    for name in OS_CALLS:
      _patch(stack, os, name, _counted(layer, name, getattr(os, name)))
    _patch(stack, files, "open", _opening(layer))
    file_io = sys.modules.get("tensorflow.python.lib.io.file_io")
    if file_io is not None:
      # TensorFlow 1.15.5 has one module for all of its C++.
      (name,) = {"_pywrap_file_io", "pywrap_tensorflow"} & set(vars(file_io))
      module = getattr(file_io, name)
      _patch(stack, file_io, name, _TensorFlowFiles(layer, module))
      _patch_session(stack, layer)
    yield layer.calls


def _patch(stack: contextlib.ExitStack, owner: Any, name: str, value: Any) -> None:
  missing = object()
  before = owner.__dict__.get(name, missing)
  setattr(owner, name, value)
  if before is missing:
    stack.callback(delattr, owner, name)
  else:
    stack.callback(setattr, owner, name, before)


def _counted(layer: _Layer, name: str, real: Any) -> Any:
  def call(path: Any, *args: Any, **options: Any) -> Any:
    if name != "open" or args[0] & os.O_CREAT:
      layer.pass_by(name, path)
    return real(path, *args, **options)

  return call


def _opening(layer: _Layer) -> Any:
  def opened(path: Any, mode: str = "r", *args: Any, **options: Any) -> Any:
    file = open(path, mode, *args, **options)
    return file if "r" in mode else _Written(layer, file, path)

  return opened


class _TensorFlowFiles:
  """TensorFlow's C++ module for files; the layer counts each of its changes."""

  def __init__(self, layer: _Layer, module: Any):
    self._layer = layer
    self._module = module

  def __getattr__(self, name: str) -> Any:
    real = getattr(self._module, name)
    if name in ("WritableFile", "CreateWritableFile"):
      return lambda *args: _TensorFlowWritten(self._layer, real(*args), args[0])
    if name == "AppendToFile":
      return lambda data, file: file.append(data)
    if name not in _TENSORFLOW_CALLS:
      return real

    def call(path: Any, *args: Any, **options: Any) -> Any:
      _as_tensorflow(self._layer, name, path)
      return real(path, *args, **options)

    return call


class _TensorFlowWritten:
  def __init__(self, layer: _Layer, file: Any, path: Any):
    self._layer = layer
    self._file = file
    self._path = path

  def append(self, data: bytes) -> None:
    _as_tensorflow(self._layer, "write", self._path)
    if hasattr(self._file, "append"):
      self._file.append(data)
    else:  # TensorFlow 1.15.5
      pywrap = sys.modules["tensorflow.python.pywrap_tensorflow"]
      pywrap.AppendToFile(data, self._file)

  def __getattr__(self, name: str) -> Any:
    return getattr(self._file, name)


def _as_tensorflow(layer: _Layer, call: str, path: Any) -> None:
  """Counts a call; turns an error into an error of TensorFlow."""
  import tensorflow as tf

  try:
    layer.pass_by(call, os.fsdecode(path))
  except OSError as error:
    raise tf.errors.ResourceExhaustedError(None, None, str(error)) from error


def _patch_session(stack: contextlib.ExitStack, layer: _Layer) -> None:
  """Counts a call before and after an op writes a checkpoint."""
  from tensorflow.python.client import session

  real = session.BaseSession.run

  def run(self: Any, fetches: Any, *args: Any, **options: Any) -> Any:
    name = getattr(fetches, "name", fetches)
    is_save = isinstance(name, str) and name.startswith(("save", "snapshot/SaveV2"))
    if is_save:
      _as_tensorflow(layer, "SaveV2", name)
    result = real(self, fetches, *args, **options)
    if is_save:
      _as_tensorflow(layer, "after SaveV2", name)
    return result

  _patch(stack, session.BaseSession, "run", run)


def run_killed(at: int, act: Callable[[], Any]) -> bool:
  """Runs a function in a process of its own that is killed at its `at`-th change.

  Args:
    at: as for `injected`.
    act: the function. It must not need threads of this process.

  Returns:
    Whether the process was killed; False if it made fewer changes, and ended.
  """
  child = os.fork()
  if not child:
    code = 1
    try:
      with injected(at, kill):
        act()
      code = 0
    finally:
      os._exit(code)
  _, status = os.waitpid(child, 0)
  if os.WIFSIGNALED(status):
    assert os.WTERMSIG(status) == signal.SIGKILL
    return True
  assert processes.exit_code(status) == 0
  return False
