"""Initializers: values for variables before the first step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Callable

from estimator_ckpt.training.tensorflow_private.installed import tf


def replace_initializer(variable: Any, op: tf.Operation) -> None:
  """Makes another op initialize a variable, as `init_from_checkpoint` does.

  That leaves what was grouped before, as a model_fn does with
  `global_variables_initializer()` for its own init_op. There the op takes the place too.
  """
  for initializer in _initializers(variable):
    # A copy: what is changed is what is listed.
    for group in list(initializer._control_outputs):
      _drop_inputs(group, {initializer})
      group._add_control_input(op)
  variable._initializer_op = op


def start_in_init_op(
  variables_started: Sequence[Any], start: tf.Operation
) -> tf.Operation | None:
  """Makes the Scaffold's own init_op run an op instead of variables' initializers.

  A run of its own would optimize the whole graph once more, and initializing what is
  started anyway takes time; also, a variable of a cluster would count as ready for the
  workers before it has its value. The Scaffold makes the op before it builds its saver,
  and the control inputs of an operation have no public way to change.

  Args:
    variables_started: the variables that `start` gives their values.
    start: the op.

  Returns:
    The init_op, or None where it is not one of the default kind; then nothing changed.
  """
  init_ops = tf.compat.v1.get_collection(tf.compat.v1.GraphKeys.INIT_OP)
  if len(init_ops) != 1 or getattr(init_ops[0], "type", None) != "NoOp":
    return None
  [init_op] = init_ops
  _drop_inputs(init_op, {op for v in variables_started for op in _initializers(v)})
  init_op._add_control_input(start)
  return init_op


def _initializers(variable: Any) -> list[tf.Operation]:
  # A distributed variable makes a new group of its copies' initializers every time.
  copies = getattr(variable, "values", None)
  if copies is None or callable(copies):
    return [variable.initializer]
  return [copy.initializer for copy in copies]


def _drop_inputs(op: tf.Operation, dropped: set[tf.Operation]) -> None:
  """Takes control inputs off a group, and off the groups in it."""
  inputs = op.control_inputs
  kept = [i for i in inputs if i not in dropped]
  for group in kept:
    if group.type == "NoOp":
      _drop_inputs(group, dropped)
  if len(kept) != len(inputs):
    op._remove_all_control_inputs()
    op._add_control_inputs(kept)


def user_init_fn(scaffold: tf.compat.v1.train.Scaffold) -> Any:
  """The init_fn(scaffold, session) a Scaffold was given; its property hides the first."""
  return scaffold._user_init_fn


def call_when_initialized(
  scaffold: tf.compat.v1.train.Scaffold, function: Callable[[Any], None]
) -> None:
  """Has `function(session)` called before a Scaffold's init_fn, which cannot be set later.

  A session calls it once, on the chief, if there was no checkpoint to restore.
  """
  init_fn = scaffold.init_fn

  def both(session: tf.compat.v1.Session) -> None:
    function(session)
    if init_fn is not None:
      init_fn(session)

  scaffold._init_fn = both
