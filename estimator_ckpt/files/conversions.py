"""Converting what a pattern means or a tree holds, each into a place of its own."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence

from estimator_ckpt import errors
from estimator_ckpt.bundle import files, paths
from estimator_ckpt.bundle.index import Index
from estimator_ckpt.checkpoint.state_file import STATE_FILE
from estimator_ckpt.files import rewrite_plan, several
from estimator_ckpt.files.convert import convert
from estimator_ckpt.files.rewrite import RewriteReport
from estimator_ckpt.files.selection import Selected
from estimator_ckpt.files.several import Outcome
from estimator_ckpt.files.write import CheckpointReport, extra_tensors
from estimator_ckpt.value_classes import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
  from typing import Any

_UNFINISHED = "checkpoint.unfinished"


class Conversion(NamedTuple):
  """One of several conversions.

  Attributes:
    source: the model_dir or checkpoint.
    target: where its conversion is.
    report: what was done; None where it had been done before.
  """

  source: str
  target: str
  report: RewriteReport | None = None


def convert_several(
  selected: Sequence[Selected],
  target: str | os.PathLike[str],
  to: str,
  *,
  progress: Callable[[int, int], None] | None = None,
  **options: Any,
) -> list[Outcome]:
  """Converts model_dirs and checkpoints, several at once.

  One that fails does not stop the others. One that was done before is left as it is, if
  its destination has the keys and the object graph that the conversion would write, and
  the source's tensors, by type, shape and checksum.

  Args:
    selected: what to convert. What is in the destination is left out.
    target: a directory. Each gets the place there that it has below the pattern or tree.
    to: the format, as `convert` takes it.
    progress: is called with the bytes that are done, and those known of so far.
    **options: what else `convert` takes.

  Returns:
    For each its outcome; the item and the result are `Conversion`s.

  Raises:
    OptionError: there is nothing to convert outside of the destination.
  """
  items = conversions_into(selected, target)

  def work(item: Conversion, progress: Callable[[int, int], None]) -> Conversion:
    return convert_unless_done(item, to, progress=progress, **options)

  return several.work_on(items, work, progress)


def conversions_into(
  selected: Sequence[Selected], target: str | os.PathLike[str]
) -> list[Conversion]:
  """Gives each model_dir or checkpoint its place in a directory.

  Args:
    selected: what is to be converted. What is in the destination is left out.
    target: the directory. The places in it are those below the pattern or tree.

  Raises:
    OptionError: there is nothing to convert outside of the destination.
  """
  directory = paths.as_directory(os.fspath(target))
  # A tree that has the destination in it has what an earlier run wrote.
  selected = [each for each in selected if not _is_below(each.path, directory)]
  if not selected:
    raise errors.OptionError(
      f"{directory}: all that is to be converted is in the destination; choose another one"
    )
  return [
    Conversion(
      each.path, paths.join(directory, each.relative) if each.relative else directory
    )
    for each in selected
  ]


def conversions_beside(selected: Sequence[Selected], to: str) -> list[Conversion]:
  """Gives each model_dir or checkpoint a place beside it.

  Args:
    selected: what is to be converted. What is another one's place is left out.
    to: the format. The conversion of `runs/a` to `dual` is `runs/a_dual`, and that of
      `runs/a/model.ckpt-3` is `runs/a_dual/model.ckpt-3`.

  Raises:
    CheckpointIOError: the file system refused.
  """
  items = [Conversion(each.path, _place_beside(each.path, to)) for each in selected]
  places = {item.target for item in items}
  return [item for item in items if item.source not in places]


def _place_beside(path: str, to: str) -> str:
  path = paths.as_directory(path)
  if files.is_dir(path):
    return f"{path}_{to}"
  directory = paths.parent(path)
  name = path[len(directory) :].lstrip("/")
  return paths.join(f"{directory}_{to}" if directory else to, name)


def convert_unless_done(
  item: Conversion,
  to: str,
  *,
  progress: Callable[[int, int], None] | None = None,
  **options: Any,
) -> Conversion:
  """Converts a model_dir or a checkpoint, unless that was done before.

  Args:
    item: what, and where to.
    to: the format, as `convert` takes it.
    progress: is called with the bytes that are done, and those there are in all.
    **options: what else `convert` takes.

  Returns:
    The conversion, with its report if this call did it.

  Raises:
    CheckpointExistsError: there is something else at the destination, or another process
      is writing it.
    CheckpointError: whatever `convert` raises.
  """
  try:
    report = convert(item.source, item.target, to, progress=progress, **options)
  except errors.CheckpointExistsError:
    if not _is_done(item, to, options):
      raise
    return item
  return item._replace(report=report)


def _is_done(item: Conversion, to: str, options: dict[str, Any]) -> bool:
  """Whether a destination is what the conversion would make of its source."""
  again = {**options, "dry_run": True, "overwrite": True}
  try:
    report = convert(item.source, item.target, to, **again)
    if report.state_file is not None:
      names = files.list_dir(item.target)
      if STATE_FILE not in names or any(_UNFINISHED in name for name in names):
        return False
    return all(map(_is_written, report.checkpoints))
  except errors.CheckpointError:
    return False


def _is_written(planned: CheckpointReport) -> bool:
  """Whether there is a checkpoint with all keys of a plan and no others."""
  plan = planned.plan
  (prefix,) = planned.sources
  source, written = Index.read(prefix), Index.read(planned.target)
  extras = extra_tensors(plan)
  if {*plan.keys, *plan.tensors, *extras} != set(written.keys()):
    return False
  for key, (dtype, _, crc) in extras.items():
    entry = written.entry(key)
    if (entry.dtype, entry.crc32c) != (dtype, crc):
      return False
  rewrite_plan.apply_plan(plan, source)
  return all(_content(written, key) == _content(source, key) for key in plan.keys)


def _content(index: Index, key: str) -> list[object]:
  """What is equal for tensors of equal bytes."""
  entries = [entry for _, entry in index.slice_entries(key)]
  return [entry.content for entry in (index.entry(key), *entries)]


def _is_below(path: str, directory: str) -> bool:
  if files.is_local(path) and files.is_local(directory):
    path, directory = (
      os.path.realpath(files.local_path(each)) for each in (path, directory)
    )
  return path == directory or path.startswith(directory.rstrip("/") + "/")
