"""What a page shows, for a path: reads checkpoints, and gives the page's data."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import time
from collections.abc import Mapping, Sequence
from typing import Any, Callable

from estimator_ckpt.bundle import dtypes, files
from estimator_ckpt.checkpoint import prefix as prefix_lib
from estimator_ckpt.checkpoint.reader import open_checkpoint
from estimator_ckpt.checkpoint.saved_tensor import SavedTensor
from estimator_ckpt.errors import CheckpointError, CheckpointNotFoundError
from estimator_ckpt.files.checkpoints import (
  CheckpointList,
  FoundCheckpoint,
  list_checkpoints,
)
from estimator_ckpt.files.page.checkpoint_section import (
  TensorValues,
  checkpoint_section,
)
from estimator_ckpt.files.page.comparison_section import comparison_section
from estimator_ckpt.files.page.directory_section import directory_section
from estimator_ckpt.files.page.distance import Distance, distance
from estimator_ckpt.files.page.pairs import Pair, Status, pairs
from estimator_ckpt.files.page.statistics import distribution, norm
from estimator_ckpt.files.page.warm_start_section import (
  REPORT_FILE,
  read_report,
  warm_start_section,
)
from estimator_ckpt.files.summary import CheckpointSummary, inspect_checkpoint
from estimator_ckpt.files.tensor_values import summarize

# Is called with the bytes that were read, and all.
Progress = Callable[[int, int], None]

_OPAQUE = (dtypes.VARIANT, dtypes.RESOURCE)


@dataclasses.dataclass(frozen=True)
class PageContents:
  """What a page shows.

  Attributes:
    title: its heading.
    sections: the data of each section, by the section's name.
    problems: what could not be read, in words; the page shows it.
  """

  title: str
  sections: Mapping[str, Any]
  problems: tuple[str, ...] = ()

  def as_dict(self) -> dict[str, Any]:
    """The data for `document.render`."""
    return {"title": self.title, "sections": dict(self.sections)}


def contents(
  path: str | os.PathLike[str],
  other: str | os.PathLike[str] | None = None,
  *,
  values: bool = False,
  progress: Progress | None = None,
) -> PageContents:
  """Reads what a page about a path shows.

  Args:
    path: a checkpoint's prefix, or anything else that
      `estimator_ckpt.checkpoint.prefix.resolve` takes. A directory with several
      checkpoints is shown as a time line, with its latest checkpoint. A file
      `warm_start.json` is shown by itself, and with the directory it is in.
    other: a second checkpoint, to be compared with the first.
    values: whether to read the tensors. Without it a page costs the indexes.
    progress: is called with the bytes of tensors that were read, and all.

  Returns:
    The contents.

  Raises:
    CheckpointNotFoundError: there is no checkpoint.
    CorruptCheckpointError: the checkpoint's index is damaged, and there is no other; or
      `warm_start.json` is something else.
    UnsupportedCheckpointError: its version or byte order is not supported.
  """
  if other is not None:
    sides = inspect_checkpoint(path), inspect_checkpoint(other)
    return _of_two(*sides, values, progress)
  text = os.fspath(path)
  if text.rpartition("/")[2] == REPORT_FILE:
    return PageContents(
      REPORT_FILE, {"warm_start": warm_start_section(read_report(text))}
    )
  found = _several(path)
  if found is None:
    made = _of_checkpoint(inspect_checkpoint(path), values, progress)
  else:
    made = _of_directory(found, values, progress)
  return _with_warm_start(made, text) if files.is_dir(text) else made


def _with_warm_start(made: PageContents, directory: str) -> PageContents:
  """Adds what the directory's `warm_start.json` says, where it has one."""
  try:
    report = read_report(f"{directory.rstrip('/')}/{REPORT_FILE}")
  except CheckpointNotFoundError:
    return made
  except CheckpointError as error:
    return dataclasses.replace(made, problems=(*made.problems, str(error)))
  sections = {**made.sections, "warm_start": warm_start_section(report)}
  return dataclasses.replace(made, sections=sections)


def _of_two(
  a: CheckpointSummary,
  b: CheckpointSummary,
  values: bool,
  progress: Progress | None,
) -> PageContents:
  found = pairs(a.tensors, b.tensors)
  distances = None
  problems = [*a.problems, *b.problems]
  if values:
    distances, unreadable = _read_distances(a.prefix, b.prefix, found, progress)
    problems += unreadable
    b = dataclasses.replace(b, problems=(*b.problems, *unreadable))
  names = [side.prefix.rpartition("/")[2] for side in (a, b)]
  if names[0] == names[1]:
    names = [a.prefix, b.prefix]
  return PageContents(
    " and ".join(names),
    {"comparison": comparison_section(a, b, found, distances)},
    tuple(problems),
  )


def _read_distances(
  a: str, b: str, found: Sequence[Pair], progress: Progress | None
) -> tuple[dict[int, Distance], list[str]]:
  """How far tensors are whose checksums differ, by place, and what cannot be read."""
  distances: dict[int, Distance] = {}
  problems = []
  numbers = [
    (place, pair.a, pair.b)
    for place, pair in enumerate(found)
    if pair.status is Status.CHANGED and pair.a is not None and pair.b is not None
    if pair.a.entry.dtype not in (*_OPAQUE, dtypes.STRING)
  ]
  counter = _Counter(progress, sum(x.size + y.size for _, x, y in numbers))
  with open_checkpoint(a) as reader_a, open_checkpoint(b) as reader_b:
    for place, x, y in numbers:
      try:
        distances[place] = distance(reader_a[x.key], reader_b[y.key])
      except CheckpointError as error:
        problems.append(str(error))
      counter.advance(x.size + y.size)
  return distances, problems


def _several(path: str | os.PathLike[str]) -> CheckpointList | None:
  """The checkpoints of a directory, if the path is one with several."""
  text = os.fspath(path)
  if not files.is_dir(text) or len(prefix_lib.checkpoints_in(text)) < 2:
    return None
  return list_checkpoints(text)


def _of_checkpoint(
  summary: CheckpointSummary, values: bool, progress: Progress | None
) -> PageContents:
  found = None
  if values:
    total = sum(tensor.size for tensor in summary.tensors)
    found, unreadable = _read_values(summary, _Counter(progress, total))
    summary = dataclasses.replace(summary, problems=(*summary.problems, *unreadable))
  return PageContents(
    summary.prefix.rpartition("/")[2],
    {"checkpoint": checkpoint_section(summary, found)},
    summary.problems,
  )


def _of_directory(
  found: CheckpointList, values: bool, progress: Progress | None
) -> PageContents:
  latest = _latest(found)
  problems = [*found.problems, *(p for c in found.checkpoints for p in c.problems)]
  norms = None
  shown = None
  if values:
    # The files' sizes, since nothing else is known before each is read.
    counter = _Counter(progress, sum(each.size for each in found.checkpoints))
    norms = []
    for checkpoint in found.checkpoints:
      if latest is not None and checkpoint.prefix == latest.prefix:
        shown, unreadable = _read_values(latest, counter)
        problems += unreadable
        norms.append(_norms_of(latest.tensors, shown))
        latest = dataclasses.replace(latest, problems=(*latest.problems, *unreadable))
      else:
        norms.append(_read_norms(checkpoint, counter))
  directory = dataclasses.replace(found, problems=tuple(dict.fromkeys(problems)))
  sections = {"directory": directory_section(directory, time.time(), norms)}
  if latest is not None:
    sections["checkpoint"] = checkpoint_section(latest, shown)
  title = found.directory.rstrip("/").rpartition("/")[2] or found.directory
  return PageContents(title, sections, directory.problems)


def _latest(found: CheckpointList) -> CheckpointSummary | None:
  """The checkpoint that readers follow; else the newest that can be read."""
  newest_first = found.checkpoints[::-1]
  for checkpoint in sorted(newest_first, key=lambda each: not each.is_latest):
    if checkpoint.format is not None:
      with contextlib.suppress(CheckpointError):  # as it is where it was deleted now
        return inspect_checkpoint(checkpoint.prefix)
  return None


class _Counter:
  """Tells how many bytes are done."""

  def __init__(self, progress: Progress | None, total: int):
    self._progress = progress
    self._total = total
    self._done = 0

  def advance(self, size: int) -> None:
    self._done += size
    if self._progress is not None:
      self._progress(self._done, self._total)


def _read_values(
  summary: CheckpointSummary, counter: _Counter
) -> tuple[dict[str, TensorValues], list[str]]:
  """What each tensor's values are like, by key, and what cannot be read."""
  found: dict[str, TensorValues] = {}
  problems = []
  with open_checkpoint(summary.prefix) as reader:
    for tensor in summary.tensors:
      if tensor.entry.dtype not in _OPAQUE:
        try:
          array = reader[tensor.key]
        except CheckpointError as error:
          problems.append(str(error))
        else:
          spread = None if array.dtype.kind == "O" else distribution(array)
          found[tensor.key] = TensorValues(summarize(array), spread)
      counter.advance(tensor.size)
  return found, problems


def _norms_of(
  tensors: Sequence[SavedTensor], values: Mapping[str, TensorValues]
) -> dict[str, float | None]:
  norms = {}
  for tensor in tensors:
    found = values.get(tensor.key)
    if found is not None and found.distribution is not None:
      norms[tensor.name] = found.distribution.norm
  return norms


def _read_norms(
  checkpoint: FoundCheckpoint, counter: _Counter
) -> dict[str, float | None]:
  """The norm of each tensor, by name; none where the checkpoint cannot be read."""
  norms: dict[str, float | None] = {}
  try:
    summary = inspect_checkpoint(checkpoint.prefix)
  except CheckpointError:  # which is one of the checkpoint's problems
    counter.advance(checkpoint.size)
    return norms
  with open_checkpoint(summary.prefix) as reader:
    for tensor in summary.tensors:
      if tensor.entry.dtype not in (*_OPAQUE, dtypes.STRING):
        try:
          norms[tensor.name] = norm(reader[tensor.key])
        except CheckpointError:
          norms[tensor.name] = None  # a gap in the line; `verify` says why
      counter.advance(tensor.size)
  return norms
