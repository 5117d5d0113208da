"""Verifies a checkpoint, or every checkpoint of a directory."""

from __future__ import annotations

import contextlib
import os
from typing import Callable

from estimator_ckpt.bundle import files, paths, table
from estimator_ckpt.bundle.file_names import (
  DataName,
  data_path,
  index_path,
  parse_data_paths,
)
from estimator_ckpt.bundle.index import Index
from estimator_ckpt.bundle.shards import Shards
from estimator_ckpt.checkpoint import formats, layout
from estimator_ckpt.checkpoint import prefix as prefix_lib
from estimator_ckpt.checkpoint import state_file as state_lib
from estimator_ckpt.checkpoint.model_dir import KEPT_APART, ModelDir
from estimator_ckpt.checkpoint.verify.data import Progress, check_data
from estimator_ckpt.checkpoint.verify.directory import check_directory
from estimator_ckpt.checkpoint.verify.entries import (
  Extent,
  check_entries,
  check_overlaps,
)
from estimator_ckpt.checkpoint.verify.findings import Finding, Findings, VerifyReport
from estimator_ckpt.checkpoint.verify.references import (
  check_graph,
  check_save_counter,
  check_without_graph,
)
from estimator_ckpt.errors import (
  CheckpointError,
  CheckpointNotFoundError,
  CorruptCheckpointError,
  UnsupportedCheckpointError,
)

_SAVED_MODEL_VARIABLES = "variables/variables"


def verify(
  path: str | os.PathLike[str], *, fast: bool = False, progress: Progress | None = None
) -> VerifyReport:
  r"""Verifies a checkpoint, or every checkpoint of a directory.

  Args:
    path: a prefix, one of a checkpoint's files, a SavedModel; or a directory (or its
      `checkpoint` file), whose state file is verified too.
    fast: whether to leave out the tensors' checksums. What remains costs the index,
      the object graph and a look at the data files' sizes.
    progress: is called with the bytes of tensors that were read, and all there are.

  Returns:
    What was found. A damaged file is a finding, not an exception.

  Raises:
    CheckpointNotFoundError: there is no checkpoint, or it is removed meanwhile.
    CorruptCheckpointError: the path is of something else.
    CheckpointIOError: a directory cannot be listed.

  Example:
    report = verify("model_dir")
    if not report.ok:
      print(*report.findings, sep="\n")
  """
  path = os.fspath(path)
  directory = _directory(path)
  if directory is None:
    prefix = prefix_lib.resolve(path)
    report = _report(path, [], [_Bundle(prefix)], fast, progress)
    if not report.checkpoints:
      raise CheckpointNotFoundError(f"{prefix}: was removed while it was verified")
    return report
  findings: list[Finding] = []
  bundles: list[_Bundle] = []
  for place in (directory, _kept_apart(directory)):
    if place is not None and _has_checkpoints(place):
      collected = Findings(place.path)
      check_directory(place, collected)
      findings += collected.found
      bundles += [_Bundle(prefix, place) for prefix in place.checkpoints]
  return _report(path, findings, bundles, fast, progress)


def _directory(path: str) -> ModelDir | None:
  """The directory whose checkpoints are all meant, or None."""
  if not path.endswith("/") and prefix_lib.is_checkpoint(path):
    return None
  if path and files.is_dir(path):
    directory = ModelDir.read(path)
    return directory if _has_checkpoints(directory) else None
  if path.rpartition("/")[2] == state_lib.STATE_FILE and files.exists(path):
    return ModelDir.read(paths.parent(path) or ".")
  return None


def _kept_apart(directory: ModelDir) -> ModelDir | None:
  """The directory where a job with separate=True keeps half of its pairs, or None."""
  path = paths.join(directory.path, KEPT_APART)
  if KEPT_APART not in directory.names or not files.is_dir(path):
    return None
  return ModelDir.read(path)


def _has_checkpoints(directory: ModelDir) -> bool:
  return state_lib.STATE_FILE in directory.names or bool(directory.checkpoints)


def _report(
  path: str,
  findings: list[Finding],
  bundles: list[_Bundle],
  fast: bool,
  progress: Progress | None,
) -> VerifyReport:
  for bundle in bundles:
    bundle.check_index()
  done = 0
  if not fast:
    total = sum(bundle.size for bundle in bundles)
    for bundle in bundles:
      done += bundle.check_data(_shifted(progress, done, total))
  # Training removes old checkpoints at any time; what was found in one is nothing then.
  kept = [b for b in bundles if not b.findings.found or not b.is_gone()]
  for bundle in kept:
    findings += bundle.findings.found
  return VerifyReport(
    path,
    tuple(bundle.prefix for bundle in kept),
    tuple(findings),
    sum(bundle.tensors for bundle in kept),
    done,
  )


def _shifted(
  progress: Progress | None, before: int, total: int
) -> Callable[[int, int], None] | None:
  """Progress over several bundles."""
  if progress is None:
    return None
  report = progress
  return lambda done, _: report(before + done, total)


class _Bundle:
  """Verifies one bundle.

  Args:
    prefix: its path.
    directory: where it is, if that has been read.
  """

  def __init__(self, prefix: str, directory: ModelDir | None = None):
    self.prefix = prefix
    self._directory = directory
    self.findings = Findings(prefix)
    self.tensors = 0
    self._extents: list[Extent] = []
    # Of an object graph that was read with the index.
    self._graph_size = 0
    self._shards = Shards(prefix, 0)

  @property
  def size(self) -> int:
    """How many bytes of tensors there are to read."""
    places = {(e.entry.shard_id, e.entry.offset, e.entry.size) for e in self._extents}
    return self._graph_size + sum(size for _, _, size in places)

  def is_gone(self) -> bool:
    """Whether the checkpoint has been removed."""
    return not prefix_lib.is_checkpoint(self.prefix)

  def check_index(self) -> None:
    """Checks everything except the tensors' bytes."""
    path = index_path(self.prefix)
    has_plain_footer = True
    try:
      try:
        data = files.read(path)
      except CheckpointNotFoundError:
        path = self.prefix
        index = Index.read(path)
      else:
        index = Index.parse(data, path)
        has_plain_footer = table.has_plain_footer(data)
    except UnsupportedCheckpointError as error:
      self.findings.error("unsupported", str(error), file=path)
      return
    except CheckpointError as error:
      self.findings.error("index-damaged", str(error), file=path)
      return
    if not has_plain_footer:
      self.findings.warning(
        "index-footer",
        "its last 48 bytes are not as they were written. What changed there means"
        " nothing to readers",
        file=path,
      )
    self.tensors = len(set(index.places(index.keys())))
    self._shards = Shards.of(self.prefix, index)
    names = self._data_names(index)
    self._extents = check_entries(index, self._shards, self.findings, names)
    check_overlaps(self._extents, self.findings, self._shards)
    self._check_graph(index)
    self._check_other_files(names, index.header.num_shards)

  def _check_graph(self, index: Index) -> None:
    if layout.OBJECT_GRAPH_KEY not in index:
      check_without_graph(index, self.findings)
      return
    try:
      graph = formats.read_object_graph(self.prefix, index, self._shards)
    except CheckpointNotFoundError:
      return  # That the data file is missing has been found.
    except CheckpointError as error:
      self.findings.error("graph-damaged", str(error), layout.OBJECT_GRAPH_KEY)
      return
    assert graph is not None
    # It has its checksum, and need not be read again.
    self._graph_size = index.entry(layout.OBJECT_GRAPH_KEY).size
    self._extents = [e for e in self._extents if e.label != layout.OBJECT_GRAPH_KEY]
    # That an entry is damaged has been found.
    with contextlib.suppress(CorruptCheckpointError):
      check_graph(index, graph, self.findings)
    if not self.prefix.endswith(_SAVED_MODEL_VARIABLES):
      check_save_counter(index, graph, self.findings)

  def _data_names(self, index: Index) -> list[DataName]:
    """The names of the bundle's data files, those of no use among them."""
    if index.v1 is not None:
      return []
    count = index.header.num_shards
    if self._directory is not None:
      names = parse_data_paths(self._directory.data_files(self.prefix))
      if len(names) == count and all(n.num_shards == count for n in names):
        return names
    # Not read, or the bundle may have been replaced since it was.
    return parse_data_paths(files.glob_prefix(f"{self.prefix}.data-"))

  def _check_other_files(self, names: list[DataName], count: int) -> None:
    others = [name for name in names if name.num_shards != count or name.shard >= count]
    if others:
      self.findings.warning(
        "leftover",
        f"{len(others)} data files are not among the {count} that the index has: left"
        " by a save or a conversion that was interrupted or replaced",
        file=data_path(self.prefix, others[0].shard, others[0].num_shards),
      )

  def check_data(self, progress: Progress | None) -> int:
    """Checks the tensors' bytes; returns how many were read."""
    if self._shards.v1 is not None:
      # Values have no checksum of their own there. Those of the file's blocks, which
      # hold index and values alike, were checked when the index was made.
      return self.size
    known = self._graph_size
    shifted = _shifted(progress, known, self.size)
    return known + check_data(self._extents, self._shards, self.findings, shifted)
