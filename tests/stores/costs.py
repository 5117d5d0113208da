"""What commands ask of an object store: requests and bytes, counted by the server.

As a program it prints the table of docs/object_stores.md:

    $(python3 third_party/python/environment.py stores) -m tests.stores.costs
"""

from __future__ import annotations

import collections
import contextlib
import io
import pathlib
import tempfile
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from estimator_ckpt.bundle import checksum, dtypes
from estimator_ckpt.bundle.commit import BundleWriter
from estimator_ckpt.bundle.index import Index
from estimator_ckpt.bundle.messages import BundleEntry
from estimator_ckpt.checkpoint.state_file import CheckpointState, write_state
from estimator_ckpt.cli import main
from tests.stores import s3_server

_STORE = f"s3://{s3_server.BUCKET}"
_LARGE, _SMALL = 12, 60
_SMALL_SIZE = 4000
_SIZE = 40_000_000


class Cost(NamedTuple):
  """What one command asked for.

  Attributes:
    requests: how many there were, by method.
    read: bytes of objects that were sent to this machine.
    written: bytes that this machine sent.
  """

  requests: collections.Counter[str]
  read: int
  written: int


def write_model_dir(directory: str, steps: list[int], size: int) -> int:
  """Writes checkpoints of many small tensors and a few large ones.

  Args:
    directory: a path, local or with a scheme.
    steps: of the checkpoints.
    size: bytes of the large tensors of one checkpoint, together.

  Returns:
    The bytes of one checkpoint's data file.
  """
  shapes = {f"net/layer_{i:02}/kernel": size // _LARGE // 4 for i in range(_LARGE)}
  shapes |= {f"net/layer_{i:02}/bias": _SMALL_SIZE // 4 for i in range(_SMALL)}
  prefixes = []
  for step in steps:
    random = np.random.default_rng(step)
    prefix = f"{directory}/model.ckpt-{step}"
    index, offset = Index(), 0
    with BundleWriter(prefix, 1) as bundle:
      with bundle.add_stream() as file:
        for name, count in sorted(shapes.items()):
          data = random.random(count, np.float32).tobytes()
          crc = checksum.mask(checksum.crc32c(data))
          float32 = dtypes.number("float32")
          index.put(name, BundleEntry(float32, (count,), 0, offset, len(data), crc))
          file.write(data)
          offset += len(data)
      bundle.commit(index)
    prefixes.append(prefix)
  write_state(directory, CheckpointState(prefixes[-1], tuple(prefixes)))
  return offset


def measure(server: s3_server.S3Server, run: Callable[[], object]) -> Cost:
  """Counts what a command asks for.

  Args:
    server: the store.
    run: the command.
  """
  import fsspec

  # A process starts with no listing of the store in its memory.
  fsspec.filesystem("s3").invalidate_cache()
  server.requests.clear()
  run()
  asked = list(server.requests)
  return Cost(
    collections.Counter(request.method for request in asked),
    sum(request.read for request in asked),
    sum(request.written for request in asked),
  )


def command(*arguments: str) -> Callable[[], None]:
  """A run of `estimator-ckpt`, which must succeed."""

  def run() -> None:
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
      status = main.run(list(arguments))
    assert status == 0, printed.getvalue()

  return run


def commands(local: str) -> dict[str, Callable[[], None]]:
  """The commands of the table, by how it calls them.

  Args:
    local: a new local directory.
  """
  one = f"{_STORE}/model_dir/model.ckpt-30"
  return {
    "`inspect` a checkpoint": command("inspect", one),
    "`verify --fast` a checkpoint": command("verify", "--fast", one),
    "`verify` a checkpoint": command("verify", one),
    "`verify` a `model_dir` of three": command("verify", f"{_STORE}/model_dir"),
    "`convert` a checkpoint within the store": command(
      "convert", one, f"{_STORE}/converted/model.ckpt-30", "--to=dual"
    ),
    "`convert` a checkpoint to a local disk": command(
      "convert", one, f"{local}/model.ckpt-30", "--to=dual"
    ),
    "`convert` a `model_dir` of three within the store": command(
      "convert", f"{_STORE}/model_dir", f"{_STORE}/model_dir_dual", "--to=dual"
    ),
  }


def table(server: s3_server.S3Server, local: str) -> list[str]:
  """The rows of the table of docs/object_stores.md, measured.

  Args:
    server: an empty store.
    local: a new local directory.
  """
  write_model_dir(f"{_STORE}/model_dir", [10, 20, 30], _SIZE)
  rows = []
  for name, run in commands(local).items():
    cost = measure(server, run)
    kinds = ", ".join(f"{n} {kind}" for kind, n in sorted(cost.requests.items()))
    read, written = (f"{size / 1e6:.2f}" for size in (cost.read, cost.written))
    rows.append(f"| {name} | {cost.requests.total()}: {kinds} | {read} | {written} |")
  return rows


def _print_table() -> None:
  with s3_server.started() as server, tempfile.TemporaryDirectory() as directory:
    for row in table(server, str(pathlib.Path(directory) / "local")):
      print(row, flush=True)


if __name__ == "__main__":
  _print_table()
