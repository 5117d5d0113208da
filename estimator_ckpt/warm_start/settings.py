"""A WarmStart for whoever takes `tf.estimator.WarmStartSettings`.

An Estimator with a model_fn of its own takes `warm_start=` in its decorator, and a canned
one `with_checkpointing(estimator, warm_start=...)`. This is for where only an Estimator's
own argument `warm_start_from=` can be reached.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from typing import Any

from estimator_ckpt import prefix as prefix_lib
from estimator_ckpt import tensorflow_private as tfp
from estimator_ckpt.tensorflow_private import tf
from estimator_ckpt.warm_start import ops as warm_start_ops
from estimator_ckpt.warm_start import report as warm_start_report
from estimator_ckpt.warm_start.request import WarmStart

_logger = logging.getLogger(__name__)


class _Settings(tf.estimator.WarmStartSettings):
  """Settings that are worked out when an Estimator uses them.

  Which variables there are, and so which keys of the checkpoint they take, is known only
  in the graph. An Estimator unpacks its settings there, with `warm_start(*settings)`, if
  the model_dir has no checkpoint; read from tensorflow-estimator 2.12 and 2.15. It is
  then that the variables get their initializers. Nothing is left for TensorFlow to do.
  """

  def __new__(cls, warm_start: WarmStart) -> _Settings:
    settings = super().__new__(cls, prefix_lib.resolve(warm_start.checkpoint), [])
    settings._warm_start = warm_start
    return settings

  def __iter__(self) -> Iterator[Any]:
    variables = tf.compat.v1.global_variables()
    if variables:
      plan = self._warm_start.plan(variables)
      plan.raise_for_problems()
      ops = warm_start_ops.build(plan)
      for variable, assignment in zip(ops.variables, ops.assignments):
        tfp.replace_initializer(variable, assignment)
      log = _logger.warning if plan.problems else _logger.info
      log("%s", warm_start_report.summary(plan))
    return super().__iter__()


def warm_start_settings(
  warm_start: WarmStart | str | os.PathLike[str],
) -> tf.estimator.WarmStartSettings:
  """Makes what an Estimator's own `warm_start_from=` takes, from any checkpoint.

  What is started is logged, and is not written to the model_dir. TensorFlow's line
  "Warm-started 0 variables" counts what was left for it to do.

  Args:
    warm_start: a WarmStart, or the path of a checkpoint.

  Returns:
    The settings. `train`, `evaluate` and `predict` use them if the model_dir has no
    checkpoint, and raise VariableMismatchError if something does not fit.

  Raises:
    CheckpointNotFoundError: there is no checkpoint to start from.

  Example:
    tf.estimator.DNNClassifier(
        [64], columns, warm_start_from=eckpt.warm_start_settings("/models/old"))
  """
  if not isinstance(warm_start, WarmStart):
    warm_start = WarmStart(warm_start)
  return _Settings(warm_start)
