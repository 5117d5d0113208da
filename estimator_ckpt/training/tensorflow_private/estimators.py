"""Estimators: which one calls a model_fn, and its model_fn and warm start settings."""

from __future__ import annotations

import copy
import dis
import functools
import inspect
import sys
import types
from typing import Any, Callable, NamedTuple

from tensorflow.python.training import warm_starting_util

from estimator_ckpt.training.tensorflow_private.installed import tf


class Training(NamedTuple):
  """An Estimator that is about to train, and the Scaffold of its EstimatorSpec."""

  estimator: tf.compat.v1.estimator.Estimator
  scaffold: tf.compat.v1.train.Scaffold


def training_that_warm_starts() -> Training | None:
  """Finds the Estimator that is unpacking its WarmStartSettings to train.

  Call this in the `__iter__` of the settings. An Estimator does not pass itself to its
  settings; it unpacks them in `_train_with_estimator_spec`, and is found in that frame.

  Returns:
    The training; None if the caller is no Estimator, or does not train.
  """
  unpacking = sys._getframe(2).f_locals
  estimator, spec = unpacking.get("self"), unpacking.get("estimator_spec")
  # The class of compat.v1 is the base of the other one.
  if not isinstance(estimator, tf.compat.v1.estimator.Estimator):
    return None
  if not isinstance(spec, tf.estimator.EstimatorSpec) or spec.mode != "train":
    return None
  return Training(estimator, spec.scaffold)


def is_warm_started(estimator: tf.estimator.Estimator) -> bool:
  """Whether an Estimator was given `warm_start_from=`, which has no public name."""
  return estimator._warm_start_settings is not None


def saver_hook_settings(config: tf.estimator.RunConfig) -> dict[str, Any]:
  """What an Estimator passes to its CheckpointSaverHook, by argument.

  Args:
    config: the Estimator's. In 1.15.5 it does not say whether to write the graph.
  """
  settings = {
    "save_secs": config.save_checkpoints_secs,
    "save_steps": config.save_checkpoints_steps,
  }
  if hasattr(config, "checkpoint_save_graph_def"):
    settings["save_graph_def"] = config.checkpoint_save_graph_def
  return settings


def estimator_with_model_fn(
  estimator: tf.estimator.Estimator, decorate: Callable[[Any], Any]
) -> tf.estimator.Estimator:
  """Copies an Estimator, with a decorated model_fn.

  The model_fn in an Estimator's private attribute is not that of its constructor: the
  constructor of a canned Estimator takes none, and a TPUEstimator wraps it. Bound methods
  and closures in the Estimator's attributes are made to refer to the copy. Read from
  tensorflow-estimator 2.12 and 2.15.

  Args:
    estimator: is copied, and stays as it is.
    decorate: decorates the model_fn that the Estimator calls.

  Returns:
    The copy, of the same class.
  """
  copied = copy.copy(estimator)
  memo: dict[int, Any] = {id(estimator): copied}
  for name, value in list(vars(copied).items()):
    vars(copied)[name] = _rebound(value, estimator, copied, memo)
  copied._model_fn = decorate(copied._model_fn)
  return copied


def trains_its_model_fn(estimator: tf.estimator.Estimator) -> bool:
  """Whether the `train` of an Estimator calls TensorFlow's, which calls its model_fn.

  Estimator forbids its subclasses a `train` of their own, and a class can get around that.
  `adanet.Estimator` does, and trains other Estimators that it makes. The code of `train` is
  read for what it calls, since to find out while it trains would be too late.

  Args:
    estimator: of any class.

  Returns:
    False if its class has a `train` that calls neither `super()` nor `Base.train`.
  """
  stock = (tf.estimator.Estimator, tf.compat.v1.estimator.Estimator)
  for kind in type(estimator).__mro__:
    if kind in stock or kind is tf.compat.v1.estimator.tpu.TPUEstimator:
      return True
    own = vars(kind).get("train")
    if own is None:
      continue
    code = getattr(inspect.unwrap(own), "__code__", None)
    names = [i.argval for i in dis.get_instructions(code)] if code is not None else []
    bases = {base.__name__ for base in kind.__mro__[1:]}
    # `Estimator.train` calls the method; `Estimator(...)` would make another Estimator.
    if any(a in bases and b == "train" for a, b in zip(names, names[1:])):
      return True
    if not {"super", "__class__"} & set(names):
      return False
  return True


def _rebound(value: Any, old: Any, new: Any, memo: dict[int, Any]) -> Any:
  """A function, method or partial, with references to one object changed to another."""
  if id(value) in memo:
    return memo[id(value)]
  result = value
  if isinstance(value, types.MethodType) and value.__self__ is old:
    result = types.MethodType(value.__func__, new)
  elif isinstance(value, functools.partial):
    parts = [value.func, *value.args, *value.keywords.values()]
    made = [_rebound(part, old, new, memo) for part in parts]
    if any(a is not b for a, b in zip(parts, made)):
      arguments = made[1 : 1 + len(value.args)]
      keywords = dict(zip(value.keywords, made[1 + len(value.args) :]))
      result = functools.partial(made[0], *arguments, **keywords)
  elif isinstance(value, types.FunctionType) and value.__closure__:
    memo[id(value)] = value  # A function may be in a closure of its own.
    result = _with_closure(value, old, new, memo)
  memo[id(value)] = result
  return result


def _cell(contents: Any) -> Any:
  """A cell of a closure. `types.CellType` is not in Python 3.7."""
  (cell,) = (lambda: contents).__closure__ or ()
  return cell


def _with_closure(
  function: types.FunctionType, old: Any, new: Any, memo: dict[int, Any]
) -> types.FunctionType:
  cells = []
  for cell in function.__closure__ or ():
    try:
      inner = cell.cell_contents
    except ValueError:  # The cell is empty.
      cells.append(cell)
      continue
    made = _rebound(inner, old, new, memo)
    cells.append(cell if made is inner else _cell(made))
  if all(a is b for a, b in zip(cells, function.__closure__ or ())):
    return function
  copied = types.FunctionType(
    function.__code__,
    function.__globals__,
    function.__name__,
    function.__defaults__,
    tuple(cells),
  )
  copied.__kwdefaults__ = function.__kwdefaults__
  functools.update_wrapper(copied, function)
  return copied


def calling_estimator() -> tf.estimator.Estimator | None:
  """Finds the Estimator that is calling a model_fn, to which it does not pass itself.

  It is the nearest caller whose `self` is an Estimator.

  Returns:
    The Estimator; None if no Estimator calls.
  """
  frame = sys._getframe(1)
  while frame is not None:
    found = frame.f_locals.get("self")
    # The class of compat.v1 is the base of the other one.
    if isinstance(found, tf.compat.v1.estimator.Estimator):
      return found
    frame = frame.f_back  # type: ignore[assignment]
  return None


def warm_start_settings_of(estimator: tf.estimator.Estimator) -> Any:
  """The `warm_start_from=` of an Estimator, or None; it has no public name."""
  return estimator._warm_start_settings


def set_warm_start_settings(estimator: tf.estimator.Estimator, settings: Any) -> None:
  """Sets the `warm_start_from=` of an Estimator; there is no public way."""
  estimator._warm_start_settings = settings


def variables_to_warm_start(selected: Any) -> list[str]:
  """Names the variables that `WarmStartSettings.vars_to_warm_start` selects.

  TensorFlow's own code for this is private. A string or None selects among the trainable
  variables, a list of strings among all variables.

  Args:
    selected: the value of `vars_to_warm_start`.

  Returns:
    The names; for a partitioned variable, the name of the whole.
  """
  return list(warm_starting_util._get_grouped_variables(selected))
