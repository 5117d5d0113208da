"""The arguments of a model_fn, whatever kind of callable it is.

An Estimator looks at the names of a model_fn's arguments, and passes those that it knows
by keyword (`function_utils.fn_args` of TensorFlow 2.12 and 2.15). It sees only positional
arguments, and of a `functools.partial` only those that are not fixed. A decorated model_fn
shows the same arguments, and adds `config`, which says where the model_dir is.
"""

from __future__ import annotations

import inspect
from typing import Any, Callable

from estimator_ckpt import errors

ModelFn = Callable[..., Any]
_PARAMETERS = ("features", "labels", "mode", "params", "config")


def model_fn_signature(model_fn: ModelFn) -> inspect.Signature:
  """The signature that a model_fn has once it is decorated.

  Args:
    model_fn: a function, a method, a `functools.partial`, or an object with `__call__`;
      it may be decorated already.

  Returns:
    The signature of the model_fn, with a `config`. What an Estimator passes can be passed
    by position and by keyword, even where the model_fn takes it by keyword only.

  Raises:
    OptionError: `model_fn` is no model_fn.
  """
  if not callable(model_fn) or inspect.isclass(model_fn):
    raise errors.OptionError(
      f"A model_fn is to be decorated, and this is {model_fn!r}. For an Estimator use "
      "with_checkpointing(estimator, format)."
    )
  signature = inspect.signature(model_fn)
  names = list(signature.parameters)
  if "features" not in names:
    near = errors.nearest("features", names)
    hint = f" Did you mean {near!r} to be 'features'?" if near else ""
    raise errors.OptionError(
      f"{getattr(model_fn, '__name__', model_fn)!r} is no model_fn: it has no parameter "
      f"called 'features'; it has {names}.{hint} A model_fn takes some of "
      f"{', '.join(_PARAMETERS)}."
    )
  fixed = _fixed_by_keyword(model_fn)
  kinds = inspect.Parameter
  passed: list[inspect.Parameter] = []
  others: list[inspect.Parameter] = []
  for parameter in signature.parameters.values():
    can_be_passed = parameter.name in _PARAMETERS and parameter.name not in fixed
    if can_be_passed and parameter.kind is kinds.KEYWORD_ONLY:
      parameter = parameter.replace(kind=kinds.POSITIONAL_OR_KEYWORD)
    (passed if parameter.kind <= kinds.POSITIONAL_OR_KEYWORD else others).append(
      parameter
    )
  if "config" not in names:
    passed.append(kinds("config", kinds.POSITIONAL_OR_KEYWORD, default=None))
  return signature.replace(parameters=[*_without_gaps(passed), *others])


def call(model_fn: ModelFn, arguments: inspect.BoundArguments) -> Any:
  """Calls a model_fn with the arguments that its decorated form was called with.

  Args:
    model_fn: the user's function, not decorated.
    arguments: bound to `model_fn_signature(model_fn)`.

  Returns:
    What the model_fn returns.
  """
  parameters = inspect.signature(model_fn).parameters
  keywords: dict[str, Any] = {}
  positional: list[Any] = []
  for name, value in arguments.arguments.items():
    kind = arguments.signature.parameters[name].kind
    if kind is inspect.Parameter.VAR_POSITIONAL:
      # The arguments before these have to be passed by position too.
      positional = [*keywords.values(), *value]
      keywords = {}
    elif kind is inspect.Parameter.VAR_KEYWORD:
      keywords.update(value)
    elif name not in parameters:
      continue  # The config that the model_fn does not take.
    elif parameters[name].kind is inspect.Parameter.POSITIONAL_ONLY:
      positional.append(value)
    else:
      keywords[name] = value
  return model_fn(*positional, **keywords)


def _fixed_by_keyword(model_fn: ModelFn) -> frozenset[str]:
  """The arguments that a partial, and any partial within, fixes by keyword."""
  fixed: set[str] = set()
  while hasattr(model_fn, "func") and hasattr(model_fn, "keywords"):
    fixed.update(model_fn.keywords)
    model_fn = model_fn.func
  return frozenset(fixed)


def _without_gaps(parameters: list[inspect.Parameter]) -> list[inspect.Parameter]:
  """The parameters; each that follows one with a default gets a default too."""
  filled = []
  has_default = False
  for parameter in parameters:
    has_default = has_default or parameter.default is not inspect.Parameter.empty
    if has_default and parameter.default is inspect.Parameter.empty:
      parameter = parameter.replace(default=None)
    filled.append(parameter)
  return filled
