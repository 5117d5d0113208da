"""Initializers: the ops and functions that give variables their first values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Callable

from estimator_ckpt.training.tensorflow_private.installed import tf


def replace_initializer(variable: Any, op: tf.Operation) -> None:
  """Makes another op initialize a variable, as `init_from_checkpoint` does.

  A model_fn may have grouped initializers before, by `global_variables_initializer()` for
  its own init_op. `init_from_checkpoint` leaves these groups; here they get the op too.
  Neither a variable's initializer nor the inputs of a group can be changed in public.
  """
  for initializer in _initializers(variable):
    # A copy, since dropping inputs changes the list.
    for group in list(initializer._control_outputs):
      _drop_inputs(group, {initializer})
      group._add_control_input(op)
  variable._initializer_op = op


def start_in_init_op(
  variables_started: Sequence[Any], start: tf.Operation
) -> tf.Operation | None:
  """Makes the Scaffold's own init_op run an op instead of variables' initializers.

  To run `start` on its own would optimize the whole graph once more, and variables would be
  initialized in vain. Also, the workers of a cluster would take a variable for ready before
  it has its value. The Scaffold makes the init_op before it builds its saver, and the
  control inputs of an op cannot be changed in public.

  Args:
    variables_started: the variables that `start` gives values to.
    start: gives all of these variables their values.

  Returns:
    The init_op; None if it is not the default one, and then nothing has changed.
  """
  init_ops = tf.compat.v1.get_collection(tf.compat.v1.GraphKeys.INIT_OP)
  if len(init_ops) != 1 or getattr(init_ops[0], "type", None) != "NoOp":
    return None
  [init_op] = init_ops
  _drop_inputs(init_op, {op for v in variables_started for op in _initializers(v)})
  init_op._add_control_input(start)
  return init_op


def _initializers(variable: Any) -> list[tf.Operation]:
  # The initializer of a distributed variable is a new group each time it is asked for.
  copies = getattr(variable, "values", None)
  if copies is None or callable(copies):
    return [variable.initializer]
  return [copy.initializer for copy in copies]


def _drop_inputs(op: tf.Operation, dropped: set[tf.Operation]) -> None:
  """Removes control inputs from a group of ops, and from the groups within."""
  inputs = op.control_inputs
  kept = [i for i in inputs if i not in dropped]
  for group in kept:
    if group.type == "NoOp":
      _drop_inputs(group, dropped)
  if len(kept) != len(inputs):
    op._remove_all_control_inputs()
    op._add_control_inputs(kept)


def user_init_fn(scaffold: tf.compat.v1.train.Scaffold) -> Any:
  """The init_fn(scaffold, session) that a Scaffold was given; its property hides that."""
  return scaffold._user_init_fn


def call_when_initialized(
  scaffold: tf.compat.v1.train.Scaffold, function: Callable[[Any], None]
) -> None:
  """Makes a Scaffold call `function(session)` before its init_fn.

  A session calls both once, on the chief, if there was no checkpoint to restore. The
  init_fn of a Scaffold cannot be changed in public.
  """
  init_fn = scaffold.init_fn

  def both(session: tf.compat.v1.Session) -> None:
    function(session)
    if init_fn is not None:
      init_fn(session)

  scaffold._init_fn = both
