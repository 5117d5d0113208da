"""What a Saver saves: saveables, and the variables behind them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tensorflow.python.ops import variables
from tensorflow.python.training.saving import saveable_object_util
from tensorflow.python.training.saving.saveable_object import (
  SaveableObject as SaveableObject,
)
from tensorflow.python.training.saving.saveable_object import SaveSpec as SaveSpec

from estimator_ckpt import errors
from estimator_ckpt.training.tensorflow_private.installed import tf
from estimator_ckpt.training.tensorflow_private.moved_modules import trackable_base


def all_saveable_objects() -> list[Any]:
  """What a Saver without a var_list saves: global variables and SAVEABLE_OBJECTS."""
  return variables._all_saveable_objects()


def saveables_by_name(var_list: Any) -> dict[str, list[SaveableObject]]:
  """Makes the saveables that a name-based Saver would make of a var_list.

  Partitioned, reference and distributed variables each need code of their own, which
  TensorFlow has and does not export.

  Args:
    var_list: a list of variables and SaveableObjects, or a dict of names to them.

  Returns:
    Saveables by the Saver's names; several for a partitioned variable.

  Raises:
    OptionError: two things have one name, or a thing cannot be saved.
  """
  try:
    if not isinstance(var_list, Mapping):
      _check_saveable_names(var_list)
      var_list = saveable_object_util.op_list_to_dict(list(var_list))
    named = {
      name: list(saveable_object_util.saveable_objects_for_op(op, name))
      for name, op in sorted(var_list.items())
    }
    for name, op in var_list.items():
      info = getattr(op, "_save_slice_info", None)
      if info is not None:
        # The variable knows its part, and nothing leads from a saveable to its variable.
        named[name][0].part_spec = info.spec
  except (ValueError, TypeError) as e:
    if isinstance(e, errors.CheckpointError):
      raise
    raise errors.OptionError(f"These cannot be saved together: {e}") from e
  return named


def _check_saveable_names(var_list: Sequence[Any]) -> None:
  # Of several SaveableObjects with one name, TensorFlow silently keeps only the last.
  seen: dict[str, Any] = {}
  for op in tf.nest.flatten(list(var_list)):
    if isinstance(op, SaveableObject):
      if seen.setdefault(op.name, op) is not op:
        raise errors.OptionError(
          f"Two saveables are called {op.name!r}, so only one could be restored. Give "
          "each a name of its own, or pass var_list={name: saveable}."
        )


def is_save_only(saveable: SaveableObject) -> bool:
  """Whether a saveable is written and not restored by an op, such as Python state."""
  return isinstance(saveable, trackable_base.NoRestoreSaveable) or hasattr(
    saveable, "feed_dict_additions"
  )


def distributed_variable(saveable: SaveableObject) -> tf.Variable | None:
  """The first component of a strategy's variable; None for other saveables.

  The saveables of a MirroredStrategy have no op that leads to their variable.
  """
  kinds = ("_distributed_variable", "_mirrored_variable", "_sync_on_read_variable")
  for kind in kinds:
    variable = getattr(saveable, kind, None)
    if variable is not None:
      # Called `primary` in 1.15.5.
      return variable._primary if hasattr(variable, "_primary") else variable.primary
  return getattr(saveable.op, "_primary", None)


def slice_key(saveable: SaveableObject) -> str:
  """Identifies the variable behind a saveable.

  A variable has one saveable for its name and another one for its object.

  Returns:
    The name of the variable's op, or another text that is the same for both saveables.
  """
  variable = distributed_variable(saveable)
  op = getattr(saveable, "handle_op", saveable.op) if variable is None else variable
  # A lookup table may have another name than its op.
  op = getattr(op, "resource_handle", op)
  op = getattr(op, "op", op)
  name = getattr(op, "name", None)
  return name if isinstance(name, str) else f"id:{id(op)}"


def part_spec(saveable: SaveableObject) -> str | None:
  """The part of a partitioned variable that a saveable saves under a name of its own.

  Args:
    saveable: made by `saveables_by_name`.

  Returns:
    The slice spec, as SaveV2 takes it; None if the saveable is not of a part.
  """
  return getattr(saveable, "part_spec", None)


def saved_name(variable: Any) -> str:
  """The name that a variable is saved under; for a part, the name of the whole.

  What a part belongs to has no public name.
  """
  info = getattr(variable, "_save_slice_info", None)
  return variable.op.name if info is None else info.full_name


def assign(saveable: SaveableObject, value: tf.Tensor) -> tf.Operation:
  """Adds the op that assigns a value to the variable of a saveable.

  Each kind of variable is restored in its own way, which its saveable knows. For the most
  common kind, that way adds a copy to each of thousands of variables; this one does not.
  """
  if type(saveable) is not saveable_object_util.ResourceVariableSaveable:
    restored = saveable.restore([value], None)
    return getattr(restored, "op", restored)
  if not saveable._var_shape.is_compatible_with(value.shape):
    raise ValueError(
      f"{saveable.name!r} of shape {saveable._var_shape} cannot be {value.shape}"
    )
  with tf.device(saveable._var_device):
    return tf.raw_ops.AssignVariableOp(resource=saveable.handle_op, value=value)
