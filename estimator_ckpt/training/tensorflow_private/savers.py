"""Savers: the single steps of a save, and the ops and settings of a Saver."""

from __future__ import annotations

import numbers
from collections.abc import Mapping, Sequence
from typing import Any

from tensorflow.python.ops import io_ops

# The public tf.compat.v1.train.Saver takes a builder, and no class of builders is exported.
from tensorflow.python.training import saver as saver_lib
from tensorflow.python.training.saving import saveable_object_util
from tensorflow.python.training.saving.saveable_object import SaveableObject

from estimator_ckpt.training import retention
from estimator_ckpt.training.tensorflow_private.installed import tf


class BulkSaverBuilder(saver_lib.BulkSaverBuilder):
  """A builder that adds no op that a sharded save does not need.

  Some devices have nothing to write, which SaveV2 does not take: only parts that are
  written as a whole elsewhere. The file of a single device is written where it belongs;
  to write it aside and to merge it with nothing takes a sixth of the time of 5,000 small
  variables. The methods that add ops for devices are private. Seen in 1.15.5, 2.4.4, 2.8.4,
  2.11.0, 2.12.1, 2.15.1 and 2.21.0.
  """

  def is_written(self, saveable: Any) -> bool:
    """Whether a saveable itself is written."""
    return True

  def _AddShardedSaveOps(self, filename_tensor: Any, per_device: Any) -> Any:
    written = [
      (device, saveables)
      for device, saveables in per_device
      if any(map(self.is_written, saveables))
    ]
    written = written or per_device[:1]
    if len(written) > 1:
      return super()._AddShardedSaveOps(filename_tensor, written)
    [(device, saveables)] = written
    with tf.device(cpu_of(device)):
      return self._AddSaveOps(filename_tensor, saveables)


class SaverBase(tf.compat.v1.train.Saver):
  """A Saver whose steps can be called one at a time.

  `Saver.save` enters a checkpoint into the state file right after writing it. Its
  settings, and its list of checkpoints, have no public names.
  """

  @property
  def is_built(self) -> bool:
    """Whether the save and restore ops are in the graph."""
    return self._is_built

  @property
  def is_empty(self) -> bool:
    """Whether there was nothing to save."""
    return bool(self._is_empty)

  def build_with(
    self,
    var_list: Mapping[str, Sequence[SaveableObject]],
    builder: BulkSaverBuilder,
    max_to_keep: int | None,
    keep_checkpoint_every_n_hours: float | None,
  ) -> None:
    """Adds the ops for these saveables to the graph, by this builder.

    Args:
      var_list: saveables by name.
      builder: makes the ops.
      max_to_keep: as for Saver; None leaves the saver's own.
      keep_checkpoint_every_n_hours: as for Saver; None leaves the saver's own.
    """
    # `Saver` takes a var_list or defers its build, not both.
    # One saveable a name, since TensorFlow 1.15 takes no list of saveables; the files
    # have the saveables' own names.
    self._var_list = {
      f"{name}:{number:05d}": saveable
      for name, saveables in var_list.items()
      for number, saveable in enumerate(saveables)
    }
    self._builder = builder
    if max_to_keep is not None:
      self._max_to_keep = max_to_keep
    if keep_checkpoint_every_n_hours is not None:
      self._keep_checkpoint_every_n_hours = keep_checkpoint_every_n_hours
    super().build()

  def prefix(self, session: tf.compat.v1.Session, path: str, step: Any) -> str:
    """The prefix that `save` writes; whether it pads the step has no public name."""
    path = tf.compat.as_text(path)
    if step is None:
      return path
    if not isinstance(step, numbers.Integral):
      step = tf.compat.v1.train.global_step(session, step)
    return f"{path}-{step:08d}" if self._pad_step_number else f"{path}-{step}"

  @property
  def listed(self) -> list[retention.ListedCheckpoint]:
    """The checkpoints that count for retention; their times have no public name."""
    return [retention.ListedCheckpoint(*each) for each in self._last_checkpoints]

  @property
  def preserve_after(self) -> float:
    """The time, in seconds since 1970, after which the next preserved checkpoint is saved.

    `keep_checkpoint_every_n_hours` preserves it. The base class counts from its build.
    """
    return self._next_checkpoint_time

  @preserve_after.setter
  def preserve_after(self, seconds: float) -> None:
    self._next_checkpoint_time = seconds

  @property
  def saves_relative_paths(self) -> bool:
    """Whether the state file has paths relative to its directory."""
    return self._save_relative_paths


def saver_settings(saver: tf.compat.v1.train.Saver) -> dict[str, Any]:
  """The arguments that a Saver was made with; its attributes have no public names.

  Args:
    saver: a stock Saver, built or deferred.

  Returns:
    Values by argument: `var_list` (None for "everything"), `max_to_keep`,
    `keep_checkpoint_every_n_hours`, `sharded`, `pad_step_number`,
    `save_relative_paths`, `restore_sequentially`, `reshape`, `filename`, `name`.
  """
  return {
    "var_list": saver._var_list,
    "max_to_keep": saver._max_to_keep,
    "keep_checkpoint_every_n_hours": saver._keep_checkpoint_every_n_hours,
    "sharded": saver._sharded,
    "pad_step_number": saver._pad_step_number,
    "save_relative_paths": saver._save_relative_paths,
    "restore_sequentially": saver._restore_sequentially,
    "reshape": saver._reshape,
    "filename": saver._filename,
    "name": saver._name,
  }


def save_v2(
  filename: Any, names: list[str], slices: list[str], tensors: list[Any]
) -> Any:
  """Adds a SaveV2 op; that of `tf.raw_ops` does not take plain lists in every version."""
  return io_ops.save_v2(filename, names, slices, tensors)


def restore_v2(
  filename: Any, names: list[str], slices: list[str], dtypes: list[Any]
) -> Any:
  """Adds a RestoreV2 op; that of `tf.raw_ops` does not take plain lists in every version."""
  return io_ops.restore_v2(filename, names, slices, dtypes)


def cpu_of(device: str) -> str:
  """The CPU of the task that a device belongs to; Savers have no public way to find it."""
  return saveable_object_util.set_cpu0(device)
