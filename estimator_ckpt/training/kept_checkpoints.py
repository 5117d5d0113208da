"""The checkpoints that a saver keeps: the state file names them, and old ones go."""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import time
from typing import NamedTuple

from estimator_ckpt import errors
from estimator_ckpt.bundle import file_names, files
from estimator_ckpt.checkpoint import formats
from estimator_ckpt.checkpoint import state_file as state_lib
from estimator_ckpt.checkpoint.formats import CheckpointFormat
from estimator_ckpt.training import overwrite, retention
from estimator_ckpt.training import separate as separate_lib
from estimator_ckpt.training import tensorflow_private as tfp
from estimator_ckpt.training.job_state import JobState

_logger = logging.getLogger(__name__)


class SaveRequest(NamedTuple):
  """The arguments of one `Saver.save`.

  Attributes:
    prefix: the path of the checkpoint, with its step.
    latest_filename: the state file's name; None for `checkpoint`.
    meta_graph_suffix: what follows the dot in the name of a MetaGraph's file.
    write_state: whether the state file will name the checkpoint.
  """

  prefix: str
  latest_filename: str | None
  meta_graph_suffix: str
  write_state: bool

  @property
  def directory(self) -> str:
    """The directory of the checkpoint and of the state file."""
    return os.path.dirname(self.prefix)


class KeptCheckpoints:
  """Writes the state files of one saver, and deletes checkpoints that are not kept.

  Args:
    saver: lists the checkpoints, and has the settings that say how many are kept.
    checkpoint_format: the format that the saver writes.
    durable: whether a state file is synced to the disk before anything is deleted.
  """

  def __init__(
    self, saver: tfp.SaverBase, checkpoint_format: CheckpointFormat, durable: bool
  ):
    self._saver = saver
    self._format = checkpoint_format
    self._durable = durable
    self._started = time.time()
    self._states: dict[tuple[str, str | None], JobState] = {}
    self._has_said_names = False

  def begin(self, request: SaveRequest, in_pairs: bool) -> bool:
    """Reads the state file before a save, and removes what interrupted jobs left.

    Args:
      request: the save that begins.
      in_pairs: whether the checkpoint is written as two bundles.

    Returns:
      Whether the save replaces a checkpoint that the state file names.

    Raises:
      CorruptCheckpointError: the state file is damaged, and there are checkpoints.
      CheckpointIOError: the file system refused.
    """
    state = self._state(request)
    found = state.read()
    names = None
    if request.write_state:
      self._say_names(request.directory, found)
      names = self._clean(state, request, in_pairs)
      state.say_if_another_writes()
    return overwrite.is_listed(request.prefix, found, names)

  def record(self, request: SaveRequest, in_pairs: bool) -> None:
    """Enters a finished checkpoint into the state file, and deletes the oldest.

    Args:
      request: the save that has written the checkpoint.
      in_pairs: whether the checkpoint was written as two bundles.

    Raises:
      CheckpointIOError: the file system refused.
    """
    saver, prefix = self._saver, request.prefix
    state = self._state(request)
    state.is_this_jobs = True
    directories = {
      _real_path(where) for (where, _), s in self._states.items() if s.is_this_jobs
    }
    plan = retention.plan_retention(
      # The state file of a copied directory may name checkpoints of the original one.
      # This job neither counts nor deletes these.
      [each for each in saver.listed if _real_path(each.directory) in directories],
      retention.ListedCheckpoint(prefix, time.time()),
      saver.saver_def.max_to_keep,
      saver.preserve_after,
      saver.saver_def.keep_checkpoint_every_n_hours,
    )
    write = functools.partial(
      state.write, relative=saver.saves_relative_paths, durable=self._durable
    )
    if plan.deleted:
      write(prefix, plan.prefixes_before_deletion)
    for old in plan.deleted:
      _delete(old, request.meta_graph_suffix)
    write(prefix, plan.prefixes)
    saver.set_last_checkpoints_with_time(list(plan.kept))
    saver.preserve_after = plan.preserve_after
    if in_pairs:
      separate_lib.record(prefix, request.latest_filename)

  def _state(self, request: SaveRequest) -> JobState:
    place = request.directory, request.latest_filename
    if place not in self._states:
      self._states[place] = JobState(*place)
    return self._states[place]

  def _say_names(self, directory: str, found: state_lib.CheckpointState | None) -> None:
    """Warns of readers by name, before the first TF2 checkpoint of a directory."""
    if self._has_said_names or self._format.has_names:
      return
    self._has_said_names = True
    if found is not None:
      latest = os.path.join(directory, found.model_checkpoint_path)
      with contextlib.suppress(errors.CheckpointError):
        if not formats.detect_format(latest).has_names:
          return
    _logger.warning(
      "%s: TF2 checkpoints have object keys and no names. A plain Estimator does not resume "
      "from them, and estimator.get_variable_value(name), init_from_checkpoint, "
      "tf.train.load_variable(directory, name) and other readers by name do not find "
      "variables. The format 'dual' keeps names.",
      directory,
    )

  def _clean(
    self, state: JobState, request: SaveRequest, in_pairs: bool
  ) -> frozenset[str] | None:
    """Removes what an interrupted job left, before the first save; warns of old pairs.

    Returns:
      What the directory has, where this call listed it.
    """
    tf2 = os.path.dirname(separate_lib.tf2_prefix(request.prefix))
    names = state.clean([tf2] if in_pairs else [], self._started)
    if names is None or in_pairs or os.path.basename(tf2) not in names:
      return names
    stale = separate_lib.left_behind(request.prefix, request.latest_filename)
    if stale:
      _logger.warning(
        "%s is of a job with separate=True. This one writes no pairs, so readers of %s "
        "stay at it. Give separate=True again, or remove that directory.",
        stale,
        os.path.dirname(stale),
      )
    return names


def _delete(prefix: str, meta_graph_suffix: str) -> None:
  """Deletes the files of a checkpoint; logs and leaves what cannot be deleted.

  A store is asked once what there is. The index goes before the data files, so what is
  left of an interrupted deletion is no checkpoint.
  """
  try:
    found = files.glob_prefix(f"{prefix}.")
    first = [f"{prefix}.{meta_graph_suffix}", file_names.index_path(prefix)]
    data = [path for path in found if _is_data_of(prefix, path)]
    for path in [*(path for path in first if path in found), *data]:
      with contextlib.suppress(errors.CheckpointNotFoundError):
        files.remove(path)
  except errors.CheckpointError as error:
    _logger.warning("%s was not deleted: %s", prefix, error)


def _is_data_of(prefix: str, path: str) -> bool:
  name = file_names.parse_data_path(path)
  return name is not None and name.prefix == prefix


def _real_path(directory: str) -> str:
  return directory if "://" in directory else os.path.realpath(directory or ".")
