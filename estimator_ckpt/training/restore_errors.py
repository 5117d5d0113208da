"""Errors of a restore that are this library's and TensorFlow's at once.

Code that is written against `tf.compat.v1.train.Saver` catches TensorFlow's classes.
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
  """The checkpoint has variables of the graph in another shape or dtype."""

  def __init__(self, message: str):
    tf.errors.InvalidArgumentError.__init__(self, None, None, message)


def of_plan(plan: RestorePlan) -> errors.VariableMismatchError:
  """The error of a plan that has problems, with TensorFlow's words at its end.

  Args:
    plan: the plan.

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
