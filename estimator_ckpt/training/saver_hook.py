"""The hook that saves for an Estimator while training goes on.

The stock hook tells its listeners of a checkpoint when `save` returns. This hook tells
them when the checkpoint is written, at the end of the step that is running then.
"""

from __future__ import annotations

import logging
from typing import Any

from estimator_ckpt.training import tensorflow_private as tfp
from estimator_ckpt.training.saver import CheckpointSaver
from estimator_ckpt.training.tensorflow_private import tf

_logger = logging.getLogger(__name__)


class AsynchronousSaverHook(tf.compat.v1.train.CheckpointSaverHook):
  """A CheckpointSaverHook whose listeners hear of whole checkpoints, in order.

  An Estimator that finds a CheckpointSaverHook adds none of its own. If the user gives
  another one, in `train(hooks=...)`, the user's hook saves, and this one does nothing.

  Args:
    model_dir: the directory of the checkpoints.
    saver: saves, with `asynchronous=True`.
    config: says after how many steps or seconds to save.
  """

  _listeners: Any

  def __init__(
    self, model_dir: str, saver: CheckpointSaver, config: tf.estimator.RunConfig
  ):
    super().__init__(model_dir, saver=saver, **tfp.saver_hook_settings(config))
    self._checkpoint_saver = saver
    # The step of the save that the listeners have not heard of yet.
    self._untold: int | None = None
    self._is_needed = True

  def after_create_session(self, session: Any, coord: Any) -> None:
    """Saves, unless another hook does."""
    # A session that was lost did not write its last checkpoint.
    self._untold = None
    self._is_needed = not any(
      isinstance(hook, tf.compat.v1.train.CheckpointSaverHook)
      and tfp.saves_with(hook) in (None, self._checkpoint_saver)
      for hook in tfp.hooks_of_session()
      if hook is not self
    )
    if self._is_needed:
      super().after_create_session(session, coord)

  def after_run(self, run_context: Any, run_values: Any) -> None:
    """Raises the error of the last write, or tells listeners of it; saves when due."""
    if not self._is_needed:
      return
    if not self._checkpoint_saver.is_writing and self._tell(run_context.session):
      run_context.request_stop()
    super().after_run(run_context, run_values)

  def end(self, session: Any) -> None:
    """Saves the last step, and waits until it is written."""
    if not self._is_needed:
      return
    step = session.run(self._global_step_tensor)
    if step != self._timer.last_triggered_step():
      self._save(session, step)
    self._tell(session)
    for listener in self._listeners:
      listener.end(session, step)

  def _save(self, session: Any, step: int) -> bool:
    listeners, self._listeners = self._listeners, []
    try:
      self._checkpoint_saver.wait_for_turn()
      should_stop = self._tell(session, listeners)
      for listener in listeners:
        listener.before_save(session, step)
      super()._save(session, step)
      self._untold = step
    finally:
      self._listeners = listeners
    return should_stop

  def _tell(self, session: Any, listeners: Any = None) -> bool:
    """Waits for the last write, tells listeners; returns whether one wants to stop."""
    self._checkpoint_saver.wait_until_finished()
    step, self._untold = self._untold, None
    if step is None:
      return False
    wishes = [
      (listener, listener.after_save(session, step))
      for listener in (self._listeners if listeners is None else listeners)
    ]
    for listener, wants_to_stop in wishes:
      if wants_to_stop:
        _logger.info("%r asks for training to stop.", listener)
    return any(wants_to_stop for _, wants_to_stop in wishes)


def hook_for(
  spec: Any, saver: CheckpointSaver, model_dir: str | None, config: Any
) -> AsynchronousSaverHook | None:
  """Makes the hook that an EstimatorSpec needs for asynchronous saves.

  Args:
    spec: an EstimatorSpec that trains.
    saver: saves, with `asynchronous=True`.
    model_dir: the directory of the checkpoints; None where the model_fn has no config.
    config: the Estimator's RunConfig.

  Returns:
    The hook; None if the spec has a hook that saves, or if the job saves nothing.
  """
  own = (*spec.training_hooks, *spec.training_chief_hooks)
  saves = any(isinstance(h, tf.compat.v1.train.CheckpointSaverHook) for h in own)
  every = (
    getattr(config, "save_checkpoints_secs", None),
    getattr(config, "save_checkpoints_steps", None),
  )
  if saves or not model_dir or not any(every):
    return None
  return AsynchronousSaverHook(model_dir, saver, config)
