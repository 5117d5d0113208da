"""An exporter for `EvalSpec(exporters=...)` that keeps the best checkpoints of a job.

These steps put a checkpoint into `model_dir/best`:

    1. best.json          names the checkpoint as unfinished
    2. model.ckpt-300.*   the files are linked; the index last
    3. best.json          lists the checkpoint, and names displaced ones as unfinished
    4. checkpoint         the state file names the best one as the latest
    5. model.ckpt-200.*   the files of displaced ones are removed
    6. best.json          names nothing as unfinished

After a crash in between, the next evaluation removes everything that is unfinished.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import os
from collections.abc import Sequence
from typing import Any

from estimator_ckpt import errors
from estimator_ckpt.bundle import files, locks, shards
from estimator_ckpt.bundle.commit import BundleWriter, clean_directory
from estimator_ckpt.bundle.file_names import index_path, parse_data_path
from estimator_ckpt.bundle.index import Index
from estimator_ckpt.bundle.stored_entries import stored_entries
from estimator_ckpt.checkpoint import best_file, state_file
from estimator_ckpt.checkpoint import prefix as prefix_lib
from estimator_ckpt.checkpoint.best_file import BestCheckpoint, BestCheckpoints
from estimator_ckpt.checkpoint.model_dir import KEPT_APART
from estimator_ckpt.training import separate
from estimator_ckpt.training.tensorflow_private import tf

_logger = logging.getLogger(__name__)
_META_SUFFIX = ".meta"
# Directories of a model_dir that Estimator or this package uses.
_TAKEN = ("eval", "export", KEPT_APART)


class BestCheckpointExporter(tf.estimator.Exporter):
  """Keeps the best checkpoints in a directory that is a model_dir of its own.

  Give it to `tf.estimator.EvalSpec(exporters=...)`. After each evaluation, if the
  metric is among the best `keep`, the evaluated checkpoint is linked to
  `model_dir/<name>/`. No byte is copied, and the link stays when the job deletes the
  checkpoint in its model_dir. An Estimator with that directory as its model_dir resumes
  from the best one; a warm start and `tf.train.latest_checkpoint` find it. `best.json`
  lists the checkpoints with all their metrics. A restarted job compares with them.

  Where the file system has no links, files are copied. An object store copies them
  itself, with the extra `remote`. Every format works, and the job needs nothing else of
  this package.

  Args:
    metric: a key of the dict that `Estimator.evaluate` returns.
    mode: `"min"` if lower values are better, `"max"` if higher ones are. NaN and the
      infinities are never the best. Of equal values, the earlier one is better.
    keep: how many checkpoints are kept, at least 1.
    name: the name of the directory in the model_dir, and of the exporter.

  Raises:
    OptionError: an unknown mode, a number less than 1, or a name that no directory can
      have, or that TensorFlow or this package uses.

  Example:
    eval_spec = tf.estimator.EvalSpec(
      eval_input_fn,
      exporters=[eckpt.BestCheckpointExporter(metric="accuracy", mode="max")],
    )
  """

  def __init__(
    self, metric: str = "loss", mode: str = "min", keep: int = 1, name: str = "best"
  ):
    if mode not in best_file.MODES:
      near = errors.nearest(str(mode), best_file.MODES)
      raise errors.OptionError(
        f"mode={mode!r} is unknown; choose 'min', if lower values of the metric are"
        " better, or 'max'." + (f" Did you mean {near!r}?" if near else "")
      )
    if isinstance(keep, bool) or not isinstance(keep, int) or keep < 1:
      raise errors.OptionError(
        f"keep={keep!r} is no number of checkpoints; it is at least 1."
      )
    if not isinstance(name, str) or not name or "/" in name or name in (".", ".."):
      raise errors.OptionError(
        f"name={name!r} is not the name of a directory in the model_dir."
      )
    if name in _TAKEN:
      raise errors.OptionError(
        f"name={name!r} is a directory that Estimator or this package uses; choose"
        " another name, such as 'best'."
      )
    self._metric = metric
    self._mode = mode
    self._keep = keep
    self._name = name
    self._said: set[str] = set()

  @property
  def name(self) -> str:
    """The name of the directory."""
    return self._name

  def export(
    self,
    estimator: Any,
    export_path: str,
    checkpoint_path: str,
    eval_result: dict[str, Any],
    is_the_final_export: bool,
  ) -> str | None:
    """Links a checkpoint if it is among the best; called after each evaluation.

    Args:
      estimator: the evaluated Estimator; the best checkpoints stand in its model_dir.
      export_path: not used, since nothing is exported as a SavedModel.
      checkpoint_path: the checkpoint that was evaluated.
      eval_result: what `Estimator.evaluate` returned.
      is_the_final_export: not used.

    Returns:
      The prefix of the linked checkpoint; None if the checkpoint is not among the best,
      or is gone.

    Raises:
      OptionError: the evaluation has no such metric, or the metric is no number.
      CorruptCheckpointError: `best.json` is not a file of this exporter.
      CheckpointIOError: the file system refused.
    """
    new = self._evaluated(checkpoint_path, eval_result)
    directory = f"{str(estimator.model_dir).rstrip('/')}/{self._name}"
    before = self._before(directory)
    if before is None:
      return None
    if before.value(new) is None:
      _logger.warning(
        "%s of %s is not finite, so it is never the best.", self._metric, new.name
      )
      return None
    after = before.with_checkpoint(new)
    if new not in after.checkpoints:
      return None
    files.mkdirs(directory)
    dropped = [name for name in before.names if name not in after.names]
    target = f"{directory}/{new.name}"
    # A checkpoint of the same name stays whole until the new one replaces it.
    adding = (new.name,) if new.name not in before.names else ()
    best_file.write_best(directory, dataclasses.replace(before, unfinished=adding))
    try:
      self._link(checkpoint_path, target)
    except (errors.CheckpointNotFoundError, errors.CorruptCheckpointError) as error:
      _logger.warning(
        "%s is among the best (%s %s), and cannot be kept, as it is gone or not whole."
        " If the job deletes its checkpoints before they are evaluated, raise"
        " keep_checkpoint_max. (%s)",
        checkpoint_path,
        self._metric,
        before.value(new),
        error,
      )
      if adding:
        _remove(target)
      best_file.write_best(directory, before)
      return None
    after = dataclasses.replace(after, unfinished=tuple(dropped))
    best_file.write_best(directory, after)
    _finish(directory, after)
    _logger.info(
      "%s is number %d of the best %d: %s %s.",
      target,
      after.names.index(new.name) + 1,
      self._keep,
      self._metric,
      after.value(new),
    )
    return target

  def _evaluated(
    self, checkpoint_path: str, eval_result: dict[str, Any]
  ) -> BestCheckpoint:
    metrics = best_file.metrics_of(eval_result)
    if self._metric not in metrics:
      near = errors.nearest(self._metric, metrics)
      raise errors.OptionError(
        f"BestCheckpointExporter(metric={self._metric!r}): the evaluation has no such"
        f" number; it has {', '.join(sorted(metrics))}."
        + (f" Did you mean {near!r}?" if near else "")
      )
    name = checkpoint_path.rpartition("/")[2]
    step = eval_result[tf.compat.v1.GraphKeys.GLOBAL_STEP]
    return BestCheckpoint(name, int(step), metrics)

  def _before(self, directory: str) -> BestCheckpoints | None:
    """Reads what is kept so far; None if another job saves in the directory."""
    found = best_file.read_best(directory)
    if found is not None:
      _clean(directory)
    else:
      found = BestCheckpoints(self._metric, self._mode, self._keep)
    state = state_file.read_state(directory)
    latest = state.model_checkpoint_path.rpartition("/")[2] if state else None
    if (
      latest is not None
      and latest not in (*found.names, *found.unfinished)
      and prefix_lib.is_checkpoint(f"{directory}/{latest}")
    ):
      self._say_once(
        f"{directory}: BestCheckpointExporter did not put the latest checkpoint,"
        f" {latest}, there: another job saves in this directory. No best checkpoints are"
        " kept until it is gone. Give the exporter another name="
      )
      return None
    there = [
      each
      for each in found.checkpoints
      if prefix_lib.is_checkpoint(f"{directory}/{each.name}")
    ]
    found = dataclasses.replace(found, checkpoints=tuple(there))
    if found.unfinished:
      # A job was killed while it added or removed these.
      _finish(directory, found)
    return dataclasses.replace(
      found, metric=self._metric, mode=self._mode, keep=self._keep, unfinished=()
    )

  def _link(self, source: str, target: str) -> None:
    """Links a checkpoint, and the TF2 bundle of a pair."""
    self._link_one(source, target)
    other = separate.tf2_prefix(source)
    if files.exists(index_path(other)):
      to = separate.tf2_prefix(target)
      self._link_one(other, to)

  def _link_one(self, source: str, target: str) -> None:
    index = Index.read(source)
    if index.v1 is not None:
      self._link_files(index.v1.paths, target)
    elif not _has_same(index, target):
      # The index goes last, after a check of the data: the job may be deleting them.
      with BundleWriter(target, index.header.num_shards, overwrite=True) as bundle:
        for path in index.data_paths(source):
          bundle.add_file(path)
        linked = shards.Shards(target, bundle.num_shards)
        for key, _, entry in stored_entries(index, aliases=False):
          linked.check_bounds(entry, key)
        bundle.commit(index)
      self._say_copied(bundle.placed, target)
    with contextlib.suppress(errors.CheckpointNotFoundError):
      _place(source + _META_SUFFIX, target + _META_SUFFIX)

  def _link_files(self, paths: Sequence[str], target: str) -> None:
    """Links the files of a checkpoint of the format V1."""
    directory = os.path.dirname(target)
    placed = [_place(path, f"{directory}/{os.path.basename(path)}") for path in paths]
    self._say_copied(placed, target)

  def _say_copied(self, placed: Sequence[str], target: str) -> None:
    if "copy" not in placed:
      return
    if files.is_local(target):
      self._say_once(
        f"{os.path.dirname(target)}: the file system has no links, so the best"
        " checkpoints are copies"
      )
    else:
      self._say_once(
        f"{os.path.dirname(target)}: the best checkpoints are copied through this"
        " machine. With fsspec and its package for this store, the store copies them"
        " (pip install 'estimator-ckpt[remote]')"
      )

  def _say_once(self, message: str) -> None:
    if message not in self._said:
      self._said.add(message)
      _logger.warning("%s.", message)


def _place(path: str, to: str) -> str:
  """Links or copies a file, over any that is there; returns "link" or "copy"."""
  temporary = files.temporary_path(to)
  how = shards.place(path, temporary)
  files.rename(temporary, to)
  # A rename does nothing if both names are of one file already.
  with contextlib.suppress(errors.CheckpointNotFoundError):
    files.remove(temporary)
  return how


def _clean(directory: str) -> None:
  """Removes the temporary files of a job that was killed."""
  clean_directory(directory)
  for path in files.glob_prefix(f"{directory}/"):
    if files.is_temporary(path) and not locks.is_in_use(path):
      with contextlib.suppress(errors.CheckpointNotFoundError):
        files.remove(path)


def _finish(directory: str, best: BestCheckpoints) -> None:
  """Writes the state file, and removes what is unfinished."""
  _write_state(directory, best)
  if best.unfinished:
    for name in best.unfinished:
      if name not in best.names:
        _remove(f"{directory}/{name}")
    best_file.write_best(directory, dataclasses.replace(best, unfinished=()))


def _has_same(index: Index, target: str) -> bool:
  """Whether the same checkpoint is there already, by the checksums of its tensors."""
  try:
    return Index.read(target).locations() == index.locations()
  except errors.CheckpointNotFoundError:
    return False


def _write_state(directory: str, best: BestCheckpoints) -> None:
  """Writes the state files, with the best checkpoint as the latest."""
  for place in (directory, f"{directory}/{KEPT_APART}"):
    prefixes = [f"{place}/{name}" for name in reversed(best.names)]
    prefixes = [prefix for prefix in prefixes if prefix_lib.is_checkpoint(prefix)]
    if prefixes:
      state = state_file.CheckpointState(prefixes[-1], tuple(prefixes))
      state_file.write_state(place, state)


def _remove(prefix: str) -> None:
  """Removes a checkpoint, and the TF2 bundle of a pair; each index first."""
  for one in (prefix, separate.tf2_prefix(prefix)):
    data = [p for p in files.glob_prefix(one + ".data-") if parse_data_path(p)]
    v1 = prefix_lib.v1_paths(one)
    for path in (index_path(one), *data, one + _META_SUFFIX, *v1):
      with contextlib.suppress(errors.CheckpointNotFoundError):
        files.remove(path)
