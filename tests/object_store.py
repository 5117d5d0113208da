"""An object store in memory, by fsspec, that counts what it is asked.

Importing this registers `counted://`. Paths are `counted://BUCKET/OBJECT`.
"""

from __future__ import annotations

import io
import pathlib
from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple

import fsspec

from estimator_ckpt.bundle import files
from estimator_ckpt.checkpoint.state_file import CheckpointState, write_state
from tests import golden

SCHEME = "counted"
MODEL_DIR = f"{SCHEME}://bucket/model_dir"
GOLDEN = "tf1.15/multi_shard"  # has two data files


class Request(NamedTuple):
  """A request.

  Attributes:
    kind: `HEAD`, `LIST`, `GET`, `PUT`, `COPY` or `DELETE`.
    path: the bucket and the object.
    begin: of a GET, the first byte.
    end: of a GET, the byte behind the last one that was sent.
  """

  kind: str
  path: str
  begin: int = 0
  end: int = 0


class ObjectStore(fsspec.AbstractFileSystem):
  """The store; there is one in a process. It keeps no listings, as a new client.

  Attributes:
    buckets: their names.
    objects: bytes by path.
    requests: what was asked, oldest first.
    fault: is called with each request before it is answered, and may raise.
    lost: is called with each request that changed something, and may raise: the answer
      does not arrive.
    cut: is called with each request; where it is true, half of the bytes are sent.
  """

  protocol = SCHEME
  buckets: set[str] = set()
  objects: dict[str, bytes] = {}
  requests: list[Request] = []
  fault: ClassVar[Callable[[Request], object]] = staticmethod(lambda request: None)
  lost: ClassVar[Callable[[Request], object]] = staticmethod(lambda request: None)
  cut: ClassVar[Callable[[Request], bool]] = staticmethod(lambda request: False)

  @classmethod
  def empty(cls, *buckets: str) -> None:
    """Removes everything, and makes buckets."""
    cls.buckets.clear()
    cls.buckets.update(buckets)
    cls.objects.clear()
    cls.requests.clear()

  def _ask(self, kind: str, path: str, *place: int) -> None:
    request = Request(kind, path, *place)
    self.requests.append(request)
    self.fault(request)
    if path.partition("/")[0] not in self.buckets:
      raise FileNotFoundError(path)

  def info(self, path: str, **unused: Any) -> dict[str, Any]:
    """A HEAD; where there is no object, a LIST that looks for a directory."""
    path = self._strip_protocol(path)
    self._ask("HEAD", path)
    if path in self.objects:
      return {"name": path, "type": "file", "size": len(self.objects[path])}
    self._ask("LIST", path)
    if not any(name.startswith(f"{path}/") for name in self.objects):
      raise FileNotFoundError(path)
    return {"name": path, "type": "directory", "size": 0}

  def ls(self, path: str, detail: bool = True, **unused: Any) -> list[Any]:
    """A LIST."""
    path = self._strip_protocol(path)
    self._ask("LIST", path)
    below = [name for name in self.objects if name.startswith(f"{path}/")]
    names = {f"{path}/{name[len(path) + 1 :].partition('/')[0]}" for name in below}
    names |= {path} & self.objects.keys()
    if not names and path not in self.buckets:
      raise FileNotFoundError(path)
    if detail:
      raise NotImplementedError
    return sorted(names)

  def cat_file(
    self, path: str, start: Any = None, end: Any = None, **unused: Any
  ) -> bytes:
    """A GET of a range, which must not begin behind the last byte."""
    path = self._strip_protocol(path)
    data = self.objects.get(path)
    begin = start or 0
    stop = len(data or b"") if end is None else min(end, len(data or b""))
    self._ask("GET", path, begin, stop)
    if data is None:
      raise FileNotFoundError(path)
    if start is not None and start >= len(data):
      raise RuntimeError("416 Range Not Satisfiable")
    sent = data[begin:stop]
    return sent[: len(sent) // 2] if self.cut(self.requests[-1]) else sent

  def pipe_file(self, path: str, value: bytes, **unused: Any) -> None:
    """A PUT."""
    path = self._strip_protocol(path)
    self._ask("PUT", path)
    self.objects[path] = bytes(value)
    self.lost(self.requests[-1])

  def cp_file(self, path1: str, path2: str, **unused: Any) -> None:
    """A COPY."""
    self._ask("COPY", self._strip_protocol(path2))
    self.objects[self._strip_protocol(path2)] = self.objects[path1]
    self.lost(self.requests[-1])

  def rm_file(self, path: str) -> None:
    """A DELETE."""
    path = self._strip_protocol(path)
    self._ask("DELETE", path)
    if self.objects.pop(path, None) is None:
      raise FileNotFoundError(path)
    self.lost(self.requests[-1])

  def mkdir(self, path: str, create_parents: bool = True, **unused: Any) -> None:
    """Makes the bucket, as stores do that are asked for a directory."""
    self.buckets.add(self._strip_protocol(path).partition("/")[0])

  def makedirs(self, path: str, exist_ok: bool = False) -> None:
    """As `mkdir`."""
    self.mkdir(path)

  def _open(self, path: str, mode: str = "rb", **unused: Any) -> Any:
    assert mode == "wb", "a file that is opened for reading reads ahead"
    return _Upload(self, path)


class _Upload(io.BytesIO):
  """An object that is sent when it is closed."""

  def __init__(self, store: ObjectStore, path: str):
    super().__init__()
    self._place = store, path

  def close(self) -> None:
    if not self.closed:
      store, path = self._place
      value = self.getvalue()
      super().close()
      store.pipe_file(path, value)


def make_model_dir(*steps: int) -> None:
  """Makes the store anew, with a model_dir in it.

  Args:
    *steps: of the checkpoints, which are `GOLDEN` under other names.
  """
  ObjectStore.empty("bucket")
  source = pathlib.Path(golden.path(GOLDEN))
  for step in steps:
    for path in source.parent.glob(f"{source.name}.*"):
      name = path.name.replace(source.name, f"model.ckpt-{step}")
      files.write_atomic(f"{MODEL_DIR}/{name}", path.read_bytes())
  prefixes = tuple(f"{MODEL_DIR}/model.ckpt-{step}" for step in steps)
  write_state(MODEL_DIR, CheckpointState(prefixes[-1], prefixes))
  ObjectStore.requests.clear()


fsspec.register_implementation(SCHEME, ObjectStore, clobber=True)
