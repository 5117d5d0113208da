"""A WarmStart in the form of `tf.estimator.WarmStartSettings`.

An Estimator with a model_fn of your own takes `warm_start=` in its decorator, and a canned
one takes `with_checkpointing(estimator, warm_start=...)`. The settings are for code that
reaches only an Estimator's argument `warm_start_from=`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

from estimator_ckpt import errors
from estimator_ckpt.checkpoint import prefix as prefix_lib
from estimator_ckpt.training import tensorflow_private as tfp
from estimator_ckpt.training.tensorflow_private import tf
from estimator_ckpt.training.warm_start import ops as warm_start_ops
from estimator_ckpt.training.warm_start import report_files
from estimator_ckpt.warm_start.request import WarmStart
from estimator_ckpt.warm_start.warm_start_plan import WarmStartPlan


class _Settings(tf.estimator.WarmStartSettings):
  """Settings that start variables when an Estimator unpacks them.

  The variables are known only in the graph. There an Estimator unpacks its settings, with
  `warm_start(*settings)`, if the model_dir has no checkpoint (read from
  tensorflow-estimator 2.12 and 2.15; that of 1.15 also does where it resumes). The
  variables then get their initializers, and nothing is left for TensorFlow to do.
  """

  def __new__(cls, warm_start: WarmStart) -> _Settings:
    try:
      prefix = prefix_lib.resolve(warm_start.checkpoint)
    except errors.CheckpointError:
      # A job that resumes needs no source; `plan` raises in a job that needs one.
      prefix = warm_start.checkpoint
    settings = super().__new__(cls, prefix, [])
    settings._warm_start = warm_start
    return settings

  def __reduce__(self) -> tuple[Any, ...]:
    # A tuple is copied from its items, and the warm start is not among them.
    return (_Settings, (self._warm_start,))

  def __iter__(self) -> Iterator[Any]:
    values = list(super().__iter__())
    variables = tf.compat.v1.global_variables()
    training = tfp.training_that_warm_starts()
    resumed = training and tf.train.latest_checkpoint(training.estimator.model_dir)
    if resumed:
      # TensorFlow reads the checkpoint that it is given. The source may be gone.
      values[0] = resumed
    elif variables:
      plan = self._warm_start.plan(variables)
      # When the settings were made, there may have been no checkpoint, or another one.
      values[0] = plan.prefix
      plan.raise_for_problems()
      ops = warm_start_ops.build(plan)
      for variable, assignment in zip(ops.variables, ops.assignments):
        tfp.replace_initializer(variable, assignment)
      if training is None:
        report_files.log(plan)
      else:
        _report_when_started(training, plan, ops)
    return iter(values)


def _report_when_started(
  training: tfp.Training, plan: WarmStartPlan, ops: warm_start_ops.WarmStartOps
) -> None:
  """Reports once the session has initialized the variables; only the chief's does."""

  def report(session: tf.compat.v1.Session) -> None:
    rows_kept = warm_start_ops.run_rows_kept(session, ops.rows_kept)
    step = tf.compat.v1.train.global_step(session, tf.compat.v1.train.get_global_step())
    report_files.log(plan)
    report_files.write(plan, rows_kept, training.estimator.model_dir, step)

  if training.estimator.config.is_chief:
    tfp.call_when_initialized(training.scaffold, report)


def warm_start_settings(
  warm_start: WarmStart | str | os.PathLike[str],
) -> tf.estimator.WarmStartSettings:
  """Makes settings for an Estimator's own `warm_start_from=`, from any checkpoint.

  When training begins, the variables that were started are logged, and written to the
  model_dir. TensorFlow's log line "Warm-started 0 variables" does not count them.

  Args:
    warm_start: a WarmStart, or the path of a checkpoint.

  Returns:
    The settings. `train`, `evaluate` and `predict` use them if the model_dir has no
    checkpoint. They raise CheckpointNotFoundError if there is no checkpoint to start from,
    and VariableMismatchError if something does not fit.

  Example:
    tf.estimator.DNNClassifier(
        [64], columns, warm_start_from=eckpt.warm_start_settings("/models/old"))
  """
  if not isinstance(warm_start, WarmStart):
    warm_start = WarmStart(warm_start)
  return _Settings(warm_start)
