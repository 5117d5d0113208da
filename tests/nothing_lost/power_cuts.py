"""Computes a disk's content after a power cut, from the system calls of a process.

strace records the calls. The content of a file is safe after an fsync of the file, and
its name after an fsync of the directory. A cut loses everything else; or, as on some
file systems, it keeps names and loses only content.
"""

from __future__ import annotations

import dataclasses
import os
import pathlib
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator

_CALLS = "openat,write,pwrite64,rename,link,unlink,fsync,fdatasync,ftruncate,close"
_LINE = re.compile(
  r"(?P<pid>\d+) +(?P<call>\w+)\((?P<arguments>.*)\) += (?P<result>.*)"
)
_FD = re.compile(r"(\d+)<((?:\\x..)*)>")
_TEXT = re.compile(r'"((?:\\x..)*)"')


def _bytes(text: str) -> bytes:
  return bytes.fromhex(text.replace("\\x", ""))


def path_of(arguments: str) -> str:
  """The path of the file descriptor in a call's arguments."""
  found = _FD.search(arguments)
  return _bytes(found[2]).decode() if found else ""


def paths_in(arguments: str) -> list[str]:
  """The paths in a call's arguments."""
  return [_bytes(text).decode("utf-8", "replace") for text in _TEXT.findall(arguments)]


@dataclasses.dataclass
class _File:
  """A file: its content, and the safe part of the content."""

  held: bytearray = dataclasses.field(default_factory=bytearray)
  safe: bytes = b""


class Disk:
  """The files of one directory and those below it.

  Args:
    root: the directory, by the path that the process used.
  """

  def __init__(self, root: str):
    self._root = root
    self._names: dict[str, _File] = {}
    self._safe_names: dict[str, _File] = {}
    self._offsets: dict[str, int] = {}
    self._open: dict[str, _File] = {}

  def load(self) -> None:
    """Loads the existing files, as safe."""
    for path in pathlib.Path(self._root).rglob("*"):
      if path.is_file():
        data = path.read_bytes()
        self._names[str(path)] = _File(bytearray(data), data)
    self._safe_names = dict(self._names)

  def apply(self, call: str, arguments: str, result: str) -> bool:
    """Applies a call; returns whether the call changed anything in the directory."""
    if result.startswith("-1"):
      return False
    texts = paths_in(arguments) if call in ("rename", "link", "unlink") else []
    fd = _FD.search(result if call == "openat" else arguments)
    number, path = (fd[1], _bytes(fd[2]).decode()) if fd else ("", "")
    if call == "openat":
      return self._opened(number, path, arguments)
    if call == "close":
      self._open.pop(number, None)
      return False
    if call in ("rename", "link"):
      old, new = texts
      if not new.startswith(self._root):
        return False
      self._names[new] = self._names[old]
      if call == "rename":
        del self._names[old]
      return True
    if call == "unlink":
      return self._names.pop(texts[0], None) is not None
    if not path.startswith(self._root):
      return False
    if call in ("fsync", "fdatasync"):
      return self._synced(number, path)
    file = self._open[number]
    if call == "ftruncate":
      del file.held[int(arguments.rpartition(", ")[2]) :]
      return True
    data = _bytes(_TEXT.search(arguments)[1])  # type: ignore[index]
    assert len(data) == int(result), "strace cut a write short"
    if call == "pwrite64":
      offset = int(arguments.rpartition(", ")[2])
    else:
      offset = self._offsets[number]
      self._offsets[number] += len(data)
    file.held[offset : offset + len(data)] = data
    return True

  def _opened(self, number: str, path: str, arguments: str) -> bool:
    self._open.pop(number, None)
    if not path.startswith(self._root) or "O_DIRECTORY" in arguments:
      return False
    if "O_CREAT" in arguments:
      self._names.setdefault(path, _File())
    if path not in self._names:
      return False  # A directory.
    file = self._open[number] = self._names[path]
    if "O_TRUNC" in arguments:
      file.held.clear()
    self._offsets[number] = len(file.held) if "O_APPEND" in arguments else 0
    return "O_CREAT" in arguments or "O_TRUNC" in arguments

  def _synced(self, number: str, path: str) -> bool:
    file = self._open.get(number)
    if file is not None:
      file.safe = bytes(file.held)
      return True
    for name in {*self._names, *self._safe_names}:
      if os.path.dirname(name) == path:
        self._safe_names.pop(name, None)
        if name in self._names:
          self._safe_names[name] = self._names[name]
    return True

  def after_a_cut(self, directory: pathlib.Path, keeps_names: bool) -> None:
    """Makes a directory with the files that are left after a power cut.

    Args:
      directory: the directory to make.
      keeps_names: whether names survive that were not synced.
    """
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir()
    for name, file in (self._names if keeps_names else self._safe_names).items():
      path = directory / os.path.relpath(name, self._root)
      path.parent.mkdir(parents=True, exist_ok=True)
      path.write_bytes(file.safe)


def record(log: pathlib.Path, code: str, *arguments: str) -> None:
  """Runs Python code, and records its system calls."""
  subprocess.run(
    ["strace", "-f", "-y", "-xx", "-s", "1000000000", "-qq", "-o", log]
    + ["-e", f"trace={_CALLS}", "-e", "signal=none", sys.executable, "-c", code]
    + [*arguments],
    check=True,
    cwd=pathlib.Path(__file__).parent.parent.parent,
    stdin=subprocess.DEVNULL,
    timeout=240,
  )


def calls(log: pathlib.Path) -> Iterator[tuple[str, str, str]]:
  """The calls of a log in the order of their ends: name, arguments, result."""
  begun: dict[str, str] = {}
  with open(log, encoding="ascii", errors="replace") as file:
    for line in file:
      line = line.rstrip("\n")
      pid = line.partition(" ")[0]
      if line.endswith("<unfinished ...>"):
        begun[pid] = line[: -len(" <unfinished ...>")]
        continue
      resumed = re.match(r"\d+ +<\.\.\. \w+ resumed>(.*)", line)
      if resumed:
        line = begun.pop(pid) + resumed[1]
      match = _LINE.fullmatch(line)
      if match:
        yield match["call"], match["arguments"], match["result"]
