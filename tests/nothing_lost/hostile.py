"""Feeds arbitrary bytes to everything that reads a file of a checkpoint.

Each target takes bytes and may only raise CheckpointError. It must end soon, use memory
in proportion to the bytes, and write only into the destination.
"""

from __future__ import annotations

import contextlib
import os
import pathlib
import signal
import struct
import tempfile
import tracemalloc
from collections.abc import Iterator, Mapping
from typing import Any, Callable

import estimator_ckpt as eckpt
from estimator_ckpt.bundle import strings
from estimator_ckpt.bundle.file_names import data_path
from estimator_ckpt.bundle.index import Index
from estimator_ckpt.bundle.messages import BundleEntry, BundleHeader
from estimator_ckpt.bundle.slices import parse_slice_key
from estimator_ckpt.bundle.table import read_table
from estimator_ckpt.bundle.table_writer import write_table
from estimator_ckpt.checkpoint import formats, leftovers, object_graph, tensor_names
from estimator_ckpt.checkpoint import state_file as state_lib
from estimator_ckpt.files.summary import inspect_checkpoint
from tests import golden

MAX_SECONDS = 60
# Memory that is allowed for any input, and for each byte of the input.
_ALLOWED = 24 << 20
_ALLOWED_FOR_EACH = 400
_NAME = "m-1"

Target = Callable[[bytes], None]


def encode_checkpoint(items: Mapping[bytes, bytes], data: bytes) -> bytes:
  """A checkpoint in an encoding that is easy to mutate: the table's items, then data."""
  parts = [struct.pack("<H", len(items))]
  for key, value in items.items():
    parts += [struct.pack("<HH", len(key), len(value)), key, value]
  return b"".join(parts) + data


def decode_checkpoint(encoded: bytes) -> tuple[dict[bytes, bytes], bytes]:
  """Decodes any bytes into a table's sorted items and the bytes of a data file."""
  items = {}
  position = 2
  (count,) = struct.unpack("<H", encoded[:2].ljust(2, b"\0"))
  for _ in range(count):
    header = encoded[position : position + 4]
    if len(header) < 4:
      break
    key_size, value_size = struct.unpack("<HH", header)
    begin = position + 4
    position = begin + key_size + value_size
    items[encoded[begin : begin + key_size]] = encoded[begin + key_size : position]
  return dict(sorted(items.items())), encoded[position:]


def seeds(target: str) -> Iterator[bytes]:
  """First inputs for a target, from golden checkpoints."""
  for name in golden.names():
    prefix = golden.path(name)
    index = pathlib.Path(f"{prefix}.index").read_bytes()
    items = dict(read_table(index, "index"))
    if target == "table":
      yield index
    elif target in ("checkpoint", "rewriting"):
      paths = Index.read(prefix).data_paths(prefix)
      data = b"".join(pathlib.Path(path).read_bytes() for path in paths)
      if len(data) < 3000:
        yield encode_checkpoint(items, data)
    elif target == "entry":
      yield from list(items.values())[:20]
    elif target == "slice_key":
      yield from [key for key in items if key.startswith(b"\0")]
    elif target == "object_graph":
      graph = formats.read_object_graph(prefix, Index.read(prefix))
      if graph is not None:
        yield graph.serialize()
    elif target == "state":
      path = pathlib.Path(golden.directory(name), "checkpoint")
      if path.exists():  # A SavedModel has no state file.
        yield path.read_bytes()
    elif target == "strings":
      yield strings.encode([name.encode(), b""])[0]


def table(data: bytes) -> None:
  """An index file."""
  index = Index.parse(data, "index")
  for key in index.keys():
    with contextlib.suppress(eckpt.CheckpointError):
      index.entry(key)
      index.slice_entries(key)
  Index.parse(index.serialize(), "index")


def entry(data: bytes) -> None:
  """A value of the index table."""
  for message in (BundleEntry, BundleHeader):
    with contextlib.suppress(eckpt.CheckpointError):
      message.parse(data)


def slice_key(data: bytes) -> None:
  """A key of the index table for a slice."""
  parse_slice_key(data)


def string_tensor(data: bytes) -> None:
  """The bytes of a string tensor."""
  for count in (0, 1, 3, len(data), 2**62):
    with contextlib.suppress(eckpt.CheckpointError):
      strings.decode(data, count, None)


def graph(data: bytes) -> None:
  """An object graph."""
  parsed = object_graph.ObjectGraph.parse(data)
  parsed.keys_by_full_name()
  for node_id, _, child in parsed.edges():
    assert 0 <= child < len(parsed.nodes), node_id
  paths = parsed.paths()
  assert len(paths) == len(parsed.nodes)
  again = object_graph.ObjectGraph.parse(parsed.serialize())
  assert again.serialize() == parsed.serialize()


def state_file(data: bytes) -> None:
  """A `checkpoint` file, and commands in a directory that contains the file."""
  parsed = state_lib.parse_state(data, "checkpoint")
  assert state_lib.parse_state(state_lib.format_state(parsed), "again") == parsed
  with _directory() as directory:
    (directory / "in" / "checkpoint").write_bytes(data)
    _each(
      lambda: eckpt.verify(directory / "in"),
      lambda: eckpt.detect_format(directory / "in"),
      lambda: eckpt.convert(directory / "in", directory / "out", "tf1"),
      lambda: leftovers.clean(
        str(directory / "in"),
        1e12,
        state_lib.read_state(str(directory / "in")),
        os.listdir(directory / "in"),
      ),
    )


def checkpoint(encoded: bytes) -> None:
  """Reads a checkpoint with right checksums of blocks and arbitrary content."""
  with _written(encoded) as (prefix, _):
    _each(
      lambda: _read_everything(prefix),
      lambda: [str(finding) for finding in eckpt.verify(prefix).findings],
      lambda: inspect_checkpoint(prefix),
      lambda: eckpt.diff(prefix, prefix),
      lambda: _names(prefix),
    )


def rewriting(encoded: bytes) -> None:
  """Rewrites such a checkpoint: converts, renames, strips, merges."""
  with _written(encoded) as (prefix, out):
    _each(
      lambda: eckpt.convert(prefix, out / "tf1", "tf1"),
      lambda: eckpt.convert(prefix, out / "tf2", "tf2"),
      lambda: eckpt.convert(prefix, out / "dual", "dual"),
      lambda: eckpt.rename(prefix, out / "renamed", {"^": "x/"}),
      lambda: eckpt.strip(prefix, out / "small", optimizer_state=True, compact=True),
      lambda: eckpt.merge([prefix, golden.path("tf1.15/saved_model")], out / "both"),
    )


@contextlib.contextmanager
def _written(encoded: bytes) -> Iterator[tuple[str, pathlib.Path]]:
  """Writes the checkpoint with one and with two data files; yields prefix and target."""
  items, data = decode_checkpoint(encoded)
  with _directory() as directory:
    prefix = str(directory / "in" / _NAME)
    pathlib.Path(f"{prefix}.index").write_bytes(
      write_table(list(items), list(items.values()))
    )
    for shard, count in ((0, 1), (0, 2), (1, 2)):
      pathlib.Path(data_path(prefix, shard, count)).write_bytes(data)
    before = _listed(directory / "in")
    yield prefix, directory / "out"
    assert _listed(directory / "in") == before


def _each(*acts: Callable[[], Any]) -> None:
  for act in acts:
    with contextlib.suppress(eckpt.CheckpointError):
      act()


def _names(prefix: str) -> None:
  index = Index.read(prefix)
  tensor_names.named_tensors(index, formats.read_object_graph(prefix, index))


def _read_everything(prefix: str) -> None:
  with eckpt.open_checkpoint(prefix) as reader:
    for key in reader:
      with contextlib.suppress(eckpt.CheckpointError):
        reader[key]
    for name in ("shapes", "dtypes", "format", "names", "object_paths", "slots"):
      with contextlib.suppress(eckpt.CheckpointError):
        getattr(reader, name)


TARGETS: dict[str, Target] = {
  "table": table,
  "checkpoint": checkpoint,
  "rewriting": rewriting,
  "entry": entry,
  "slice_key": slice_key,
  "object_graph": graph,
  "state": state_file,
  "strings": string_tensor,
}


@contextlib.contextmanager
def _directory() -> Iterator[pathlib.Path]:
  """A directory for `in` and `out`; fails if anything is written beside these."""
  base = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
  with tempfile.TemporaryDirectory(dir=base, prefix="hostile") as scratch:
    directory = pathlib.Path(scratch, "a", "b")
    (directory / "in").mkdir(parents=True)
    (directory / "out").mkdir()
    yield directory
    # A name with .. in it would lead here.
    found = {os.path.relpath(p, scratch) for p in pathlib.Path(scratch).glob("*")}
    assert found == {"a"}, found
    assert {p.name for p in pathlib.Path(scratch, "a").iterdir()} == {"b"}
    assert {p.name for p in directory.iterdir()} == {"in", "out"}
    for parent, below, _ in os.walk(directory / "out"):
      assert not below, parent


def _listed(directory: pathlib.Path) -> list[tuple[str, int]]:
  return sorted((path.name, path.stat().st_size) for path in directory.iterdir())


def feed(name: str, data: bytes) -> None:
  """Gives bytes to a target.

  Raises:
    Exception: any exception that is no CheckpointError.
  """
  with contextlib.suppress(eckpt.CheckpointError):
    TARGETS[name](data)


def feed_bounded(name: str, data: bytes) -> None:
  """Calls `feed`, and fails if it takes too much time or memory."""

  def too_long(*unused: Any) -> None:
    raise TimeoutError(f"{name}: {len(data)} bytes took more than {MAX_SECONDS} s")

  feed(name, b"")  # What is imported on first use is not memory of the input.
  before = signal.signal(signal.SIGALRM, too_long)
  signal.alarm(MAX_SECONDS)
  tracemalloc.start()
  try:
    feed(name, data)
    _, peak = tracemalloc.get_traced_memory()
  finally:
    tracemalloc.stop()
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)
  allowed = _ALLOWED + _ALLOWED_FOR_EACH * len(data)
  assert peak < allowed, f"{name}: {len(data)} bytes took {peak} bytes of memory"
