"""A callback for Keras' `fit` that saves with a checkpoint manager.

Keras 2 and 3, and the package tf_keras, have a class Callback each, and may stand side by
side. So this is none of theirs: it has the methods that their `fit`, `evaluate` and
`predict` call.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from estimator_ckpt import errors


class SaveCheckpoints:
  """Saves with a checkpoint manager while `fit` trains.

  What was trained since the last save is saved at the end of `fit`. Asynchronous saves
  have then been written.

  Args:
    manager: a `estimator_ckpt.keras.CheckpointManager`, or any
      `tf.train.CheckpointManager`.
    save_freq: `"epoch"`, or after how many batches to save.
    options: a `tf.train.CheckpointOptions` for each save, for example with
      `enable_async`.

  Raises:
    OptionError: `save_freq` is neither.
  """

  # Keras need not turn the metrics of each batch into numbers for this callback.
  _supports_tf_logs = True
  async_safe = False

  def __init__(self, manager: Any, save_freq: int | str = "epoch", options: Any = None):
    is_count = isinstance(save_freq, int) and not isinstance(save_freq, bool)
    if save_freq != "epoch" and not (is_count and int(save_freq) > 0):
      raise errors.OptionError(
        f"save_freq={save_freq!r} is neither 'epoch' nor a number of batches."
      )
    self.manager = manager
    self.model: Any = None
    self.params: Mapping[str, Any] = {}
    self._every = int(save_freq) if is_count else None
    self._options = options
    # Of the batch that ended last, in this epoch; several end at once with
    # steps_per_execution.
    self._last_batch = -1
    self._unsaved = 0

  def set_model(self, model: Any) -> None:
    """Is told the model that is trained."""
    self.model = model

  def set_params(self, params: Mapping[str, Any]) -> None:
    """Is told how `fit` was called."""
    self.params = params

  def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
    """Begins to count batches."""
    self._last_batch = -1

  def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
    """Saves, if enough batches have ended.

    Args:
      batch: the number of the batch in its epoch, from 0.
      logs: the metrics; they are not used.
    """
    self._unsaved += batch - self._last_batch
    self._last_batch = batch
    if self._every is not None and self._unsaved >= self._every:
      self._save()

  def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
    """Saves, with `save_freq="epoch"`.

    Args:
      epoch: the number of the epoch, from 0.
      logs: the metrics; they are not used.
    """
    if self._every is None:
      self._save()

  def on_train_end(self, logs: Any = None) -> None:
    """Saves what is not saved yet, and waits until all is written."""
    if self._unsaved:
      self._save()
    if hasattr(self.manager, "sync"):
      self.manager.sync()

  def _save(self) -> None:
    if self.manager.save(options=self._options) is not None:
      self._unsaved = 0

  def _nothing(self, *unused: Any, **logs: Any) -> None:
    """The events that do not matter here."""

  # Keras 3 may call its default methods later, on another thread.
  _nothing._is_default = True  # type: ignore[attr-defined]
  on_train_begin = on_train_batch_begin = on_batch_begin = on_batch_end = _nothing
  on_test_begin = on_test_end = on_test_batch_begin = on_test_batch_end = _nothing
  on_predict_begin = on_predict_end = _nothing
  on_predict_batch_begin = on_predict_batch_end = _nothing

  def _implements_train_batch_hooks(self) -> bool:
    return self._every is not None

  def _implements_test_batch_hooks(self) -> bool:
    return False

  def _implements_predict_batch_hooks(self) -> bool:
    return False
