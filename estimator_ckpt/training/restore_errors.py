"""Errors of a restore, which are errors of this library and of TensorFlow.

Code that was written for `tf.compat.v1.train.Saver` catches TensorFlow's classes.
"""

from __future__ import annotations

from estimator_ckpt import errors
from estimator_ckpt.training.restore_plan import RestorePlan
from estimator_ckpt.training.tensorflow_private import tf


class MissingVariableError(errors.VariableMismatchError, tf.errors.NotFoundError):
  """The checkpoint lacks variables of the graph."""

  def __init__(self, message: str):
    tf.errors.NotFoundError.__init__(self, None, None, message)


class VariableShapeError(errors.VariableMismatchError, tf.errors.InvalidArgumentError):
  """The checkpoint has variables of the graph with another shape or dtype."""

  def __init__(self, message: str):
    tf.errors.InvalidArgumentError.__init__(self, None, None, message)


def of_plan(plan: RestorePlan) -> errors.VariableMismatchError:
  """Makes the error of a restore that does not fit; it ends in TensorFlow's words.

  Args:
    plan: a restore plan that has problems.

  Returns:
    An error of the class that TensorFlow raises for such a problem.
  """
  if plan.missing:
    name = plan.missing[0].target.name
    return MissingVariableError(
      f"{plan.message()}\nKey {name} not found in checkpoint."
    )
  return VariableShapeError(
    f"{plan.message()}\nAssign requires shapes of both tensors to match."
  )
