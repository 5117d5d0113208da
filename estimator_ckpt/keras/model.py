"""Live models and optimizers of Keras 2 and Keras 3, behind one interface.

This module does not import Keras. The differences between versions are all here:

                     Keras 2                         Keras 3
a variable's name    name, `dense/kernel:0`          path, `dense/kernel`
own variables        _trainable_weights, ...         _trainable_variables, ...
an optimizer's slot  legacy: get_slot(v, "m")        as Keras 2
                     else: _momentums[i]
its variables' order legacy: none                    _trainable_variables
                     else: _index_dict
"""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import functools
import numbers
import sys
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Callable

from estimator_ckpt import errors
from estimator_ckpt.keras.scopes import Layer, Weight
from estimator_ckpt.keras.slot_formulas import Flavor, Optimizer

_OWN = (
  "_trainable_weights",
  "_non_trainable_weights",
  "_trainable_variables",
  "_non_trainable_variables",
)
# Set on an optimizer that `sum_sparse_gradients` has changed.
_SUMS = "_sums_sparse_gradients"
_LAYER_SETTINGS = ("reset_after", "use_bias", "equation")
_OPTIMIZER_SETTINGS = (
  "learning_rate",
  "momentum",
  "nesterov",
  "rho",
  "epsilon",
  "centered",
  "beta_1",
  "beta_2",
  "amsgrad",
  "weight_decay",
  "use_ema",
  "gradient_accumulation_steps",
)


@dataclasses.dataclass(frozen=True)
class ModelLayer:
  """A layer of a model, with its Keras objects.

  Attributes:
    layer: the Keras layer.
    info: the layer's description as a value.
    variables: the layer's own variables by path; empty until it is built.
  """

  layer: Any
  info: Layer
  variables: Mapping[str, Any]


class KerasModel:
  """A Keras model.

  Args:
    model: a `keras.Model` or a `keras.layers.Layer`.

  Attributes:
    model: the Keras object.
    is_keras_3: whether it is one of Keras 3.

  Raises:
    OptionError: `model` is neither, or one of a Keras before that of TensorFlow 2.4.
  """

  def __init__(self, model: Any):
    if not callable(getattr(model, "_flatten_layers", None)):
      raise errors.OptionError(
        f"{model!r} is no keras.Model of TensorFlow 2.4 or newer; see docs/versions.md."
      )
    self.model = model
    self.is_keras_3 = hasattr(model, "_trainable_variables")
    self._attribute_paths = _attribute_paths(model)
    self._nested_names = _nested_names(model)

  @property
  def flavor(self) -> str:
    """The name of its Keras for a report."""
    return "Keras 3" if self.is_keras_3 else "Keras 2"

  def layers(self) -> list[ModelLayer]:
    """Lists the layers that have variables of their own, or are not built yet.

    Returns:
      The layers in the model's order, an outer layer before its inner ones.
    """
    layers = list(self.model._flatten_layers())
    known = {id(v) for v in self._weights()}
    found = []
    claimed: set[int] = set()
    for layer in layers:
      own = [
        v for v in _own_variables(layer) if id(v) in known and id(v) not in claimed
      ]
      claimed.update(map(id, own))
      inner = any(other is not layer for other in layer._flatten_layers())
      if own or not (inner or _is_settled(layer)):
        found.append(self._model_layer(layer, own, bool(own)))
    rest = [v for v in self._weights() if id(v) not in claimed]
    if rest:
      found.append(self._model_layer(self.model, rest, True))
    return self._told_apart(found)

  def _told_apart(self, found: list[ModelLayer]) -> list[ModelLayer]:
    """Makes paths unique where models within the model have variables of one name."""
    paths = collections.Counter(path for layer in found for path in layer.variables)
    firsts = collections.Counter(layer.info.names[:1] for layer in found)
    seen: set[str] = set()
    result = []
    for layer in found:
      info, variables = layer.info, layer.variables
      clash = any(paths[path] > 1 for path in variables)
      if clash or firsts[info.names[:1]] > 1:
        own = self._nested_names.get(id(layer.layer))
        if own:
          names = tuple(dict.fromkeys([own, *info.names]))
          info = dataclasses.replace(info, names=names)
      if clash:
        variables, weights = {}, []
        for weight, v in zip(info.weights or (), layer.variables.values()):
          path = f"{info.names[0]}/{weight.leaf}" if info.names else weight.path
          if path in seen or (paths[path] and path not in layer.variables):
            path = f"{path}#{len(seen)}"
          variables[path] = v
          weights.append(dataclasses.replace(weight, path=path))
        info = dataclasses.replace(info, weights=tuple(weights))
      seen.update(variables)
      result.append(ModelLayer(layer.layer, info, variables))
    return result

  def unbuilt(self) -> list[Any]:
    """The layers that are not built yet; the model itself may be one of them."""
    return [layer for layer in self.model._flatten_layers() if not _is_settled(layer)]

  def trainable_variables(self) -> list[Any] | None:
    """Its trainable variables, or None until all layers are built."""
    if self.unbuilt():
      return None
    try:
      return list(self.model.trainable_variables)
    except ValueError:
      # A subclassed model of Keras 2 has none before it is called.
      return None

  def _weights(self) -> list[Any]:
    try:
      return list(self.model.weights)
    except ValueError:
      # A Sequential or subclassed model of Keras 2 has none until it is built.
      return [
        v for layer in self.model._flatten_layers() for v in _own_variables(layer)
      ]

  def _model_layer(self, layer: Any, own: list[Any], built: bool) -> ModelLayer:
    paths = {variable_path(v): v for v in own}
    if len(paths) < len(own):
      paths = {f"{variable_path(v)}#{i}": v for i, v in enumerate(own)}
    scopes = dict.fromkeys(path.rpartition("/")[0] for path in paths)
    leaves = [path.rpartition("/")[2].partition("#")[0] for path in paths]
    # If a layer has variables in several scopes, their leaves begin where these differ.
    if len(scopes) > 1 or len(set(leaves)) < len(leaves):
      common = _common_scope(list(scopes))
      leaves = [path[len(common) :].lstrip("/") for path in paths]
      scopes = {common: None}
    names = [*scopes, *self._names(layer)]
    weights = tuple(
      Weight(path, leaf, tuple(v.shape), dtype_name(v))
      for leaf, (path, v) in zip(leaves, paths.items())
    )
    settings = {
      name: getattr(layer, name) for name in _LAYER_SETTINGS if hasattr(layer, name)
    }
    names = [name for name in dict.fromkeys(names) if name]
    info = Layer(
      type(layer).__name__, tuple(names), weights if built or own else None, settings
    )
    return ModelLayer(layer, info, paths)

  def _names(self, layer: Any) -> Iterator[str]:
    root = getattr(self.model, "name", "") + "/"
    for path in [
      getattr(layer, "path", None),
      *self._attribute_paths.get(id(layer), []),
      self._nested_names.get(id(layer)),
    ]:
      if isinstance(path, str):
        yield path
        if path.startswith(root):
          yield path[len(root) :]
    for variable in _own_variables(layer)[:1]:
      scope = variable_path(variable).rpartition("/")[0]
      if scope.startswith(root):
        yield scope[len(root) :]
    yield getattr(layer, "name", "")


def _is_settled(layer: Any) -> bool:
  """Whether a layer is built, or has no `build` method of its own."""
  return bool(getattr(layer, "built", True) or hasattr(layer.build, "_is_default"))


def _own_variables(layer: Any) -> list[Any]:
  found = [v for name in _OWN for v in getattr(layer, name, None) or ()]
  return list({id(v): v for v in found}.values())


def variable_path(variable: Any) -> str:
  """Returns a variable's whole name.

  Args:
    variable: a variable of Keras 2 or Keras 3.

  Returns:
    Its path in Keras 3, its name without TensorFlow's `:0` in Keras 2.
  """
  path = getattr(variable, "path", None)
  return path if isinstance(path, str) else str(variable.name).partition(":")[0]


def dtype_name(variable: Any) -> str:
  """Returns the name of a variable's data type.

  Args:
    variable: a variable of Keras 2 or Keras 3.

  Returns:
    The name, such as `"float32"`.
  """
  dtype = variable.dtype
  return dtype if isinstance(dtype, str) else dtype.name


def _common_scope(scopes: list[str]) -> str:
  parts = [scope.split("/") for scope in scopes]
  common = []
  for column in zip(*parts):
    if len(set(column)) > 1:
      break
    common.append(column[0])
  return "/".join(common)


def _attribute_paths(model: Any) -> dict[int, list[str]]:
  """The attribute paths of layers, by `id`: `encoder/0` for `model.encoder[0]`."""
  layers = {id(layer) for layer in model._flatten_layers()}
  paths: dict[int, list[str]] = {}

  def visit(layer: Any, path: str, seen: frozenset[int]) -> None:
    for name, value in list(vars(layer).items()):
      if not name.startswith("_"):
        add(value, f"{path}/{name}" if path else name, seen)

  def add(value: Any, path: str, seen: frozenset[int]) -> None:
    if isinstance(value, Mapping):
      for key, member in list(value.items()):
        add(member, f"{path}/{key}", seen)
    elif isinstance(value, (list, tuple)):
      for i, member in enumerate(value):
        add(member, f"{path}/{i}", seen)
    elif id(value) in layers and id(value) not in seen:
      if path not in paths.setdefault(id(value), []):
        paths[id(value)].append(path)
        visit(value, path, seen | {id(value)})

  visit(model, "", frozenset([id(model)]))
  return paths


def _nested_names(model: Any) -> dict[int, str]:
  """The names of layers with those of the models around them, by `id`: `encoder/dense`."""
  names: dict[int, str] = {}

  def visit(layer: Any, scope: str) -> None:
    for inner in layer._flatten_layers(recursive=False, include_self=False):
      if id(inner) not in names:
        names[id(inner)] = f"{scope}{inner.name}"
        visit(inner, f"{names[id(inner)]}/")

  visit(model, "")
  return names


class KerasOptimizer:
  """An optimizer of Keras 2, legacy or not, or of Keras 3.

  Args:
    optimizer: a Keras optimizer, or a loss-scaling wrapper around one.

  Attributes:
    optimizer: the Keras optimizer, without a wrapper.
    flavor: the version of Keras whose optimizer it is.

  Raises:
    OptionError: `optimizer` is not an optimizer of Keras 2 or 3.
  """

  def __init__(self, optimizer: Any):
    inner = getattr(optimizer, "inner_optimizer", None)
    self.optimizer = optimizer if inner is None else inner
    self.flavor = _optimizer_flavor(self.optimizer)

  def describe(self) -> Optimizer:
    """Describes the optimizer as a value.

    Returns:
      Its kind, flavor and settings.

    Raises:
      UnsupportedCheckpointError: TensorFlow 1 has no such optimizer.
    """
    config = self.optimizer.get_config()
    settings = {name: config[name] for name in _OPTIMIZER_SETTINGS if name in config}
    # Some optimizers use another epsilon than the one in their configuration.
    if getattr(self.optimizer, "epsilon", None) is not None and "epsilon" in settings:
      settings["epsilon"] = float(self.optimizer.epsilon)
    rate = settings.pop("learning_rate", None)
    # A schedule is a dict or an object in the configuration.
    varies = not isinstance(rate, numbers.Real)
    if not varies:
      settings["learning_rate"] = float(rate)
    settings["learning_rate_varies"] = varies or bool(config.get("decay"))
    if self.flavor is Flavor.KERAS_3:
      settings["sums_sparse_gradients"] = (
        hasattr(self.optimizer, _SUMS) or _keras_backend() != "tensorflow"
      )
    return Optimizer.of_keras(type(self.optimizer).__name__, self.flavor, settings)

  def rate_after(self, steps: int) -> float | None:
    """Evaluates the learning rate schedule.

    Args:
      steps: the number of steps that the optimizer has made.

    Returns:
      The learning rate of the next step; None if the learning rate is constant.
    """
    schedule = getattr(self.optimizer, "_learning_rate", None)
    if self.flavor is Flavor.KERAS_2_LEGACY:
      schedule = self.optimizer._get_hyper("learning_rate")
    return float(schedule(steps)) if callable(schedule) else None

  @property
  def build_method(self) -> str:
    """The name of the method that makes its variables from a list of the model's."""
    legacy = self.flavor is Flavor.KERAS_2_LEGACY
    return "_create_all_weights" if legacy else "build"

  @property
  def iterations(self) -> Any:
    """The variable that counts its steps."""
    if self.flavor is Flavor.KERAS_2_LEGACY:
      return self.optimizer.iterations
    return self.optimizer._iterations

  def slots(self) -> list[str]:
    """The names of the slots it has, also those that it makes and does not use."""
    if self.flavor is Flavor.KERAS_2_LEGACY:
      return list(self.optimizer.get_slot_names())
    return [
      name
      for name, value in vars(self.optimizer).items()
      if name not in ("_variables", "_trainable_variables")
      and isinstance(value, (list, tuple))
      and value
      and all(v is None or hasattr(v, "assign") for v in value)
    ]

  def slot(self, variable: Any, name: str) -> Any:
    """Looks up a slot variable.

    Args:
      variable: a variable of the model.
      name: the name of the slot; in Keras 2 and 3, an attribute of the optimizer.

    Returns:
      The slot variable, or None if `variable` has no such slot.
    """
    if self.flavor is Flavor.KERAS_2_LEGACY:
      return self.optimizer.get_slot(variable, name)
    position = self._position(variable)
    members = getattr(self.optimizer, name)
    return members[position] if position is not None else None

  def _position(self, variable: Any) -> int | None:
    if self.flavor is Flavor.KERAS_2:
      return self.optimizer._index_dict.get(self.optimizer._var_key(variable))
    try:
      return self.optimizer._get_variable_index(variable)
    except KeyError:
      return None


def sum_sparse_gradients(optimizer: Any) -> None:
  """Makes an optimizer sum the gradients of a row before it uses them.

  Args:
    optimizer: an optimizer. One of Keras 3 is changed; others sum already.
  """
  wrapped = KerasOptimizer(optimizer)
  if wrapped.flavor is not Flavor.KERAS_3 or hasattr(wrapped.optimizer, _SUMS):
    return
  update_step = wrapped.optimizer.update_step

  @functools.wraps(update_step)
  def update_with_sum(gradient: Any, variable: Any, learning_rate: Any) -> Any:
    if hasattr(gradient, "indices"):
      gradient = sys.modules["tensorflow"].convert_to_tensor(gradient)
    return update_step(gradient, variable, learning_rate)

  wrapped.optimizer.update_step = update_with_sum
  setattr(wrapped.optimizer, _SUMS, True)


def _keras_backend() -> str:
  keras = sys.modules.get("keras")
  return keras.backend.backend() if keras is not None else "tensorflow"


def after_build(built: Any, method: str, then: Callable[[], None]) -> None:
  """Calls a function once, as soon as a layer or an optimizer has made its variables.

  Args:
    built: a Keras layer or optimizer; one of its methods is wrapped.
    method: the name of the method that makes the variables.
    then: the function to call.
  """
  build = getattr(built, method)

  @functools.wraps(build)
  def build_then(*args: Any, **kwargs: Any) -> Any:
    result = build(*args, **kwargs)
    nonlocal then
    then, do = (lambda: None), then
    do()
    return result

  setattr(built, method, build_then)


def _optimizer_flavor(optimizer: Any) -> Flavor:
  if callable(getattr(optimizer, "_create_all_weights", None)):
    return Flavor.KERAS_2_LEGACY
  if callable(getattr(optimizer, "_get_variable_index", None)):
    return Flavor.KERAS_3
  if callable(getattr(optimizer, "_build_index_dict", None)):
    return Flavor.KERAS_2
  hint = ""
  if callable(getattr(optimizer, "compute_gradients", None)):
    hint = " It is an optimizer of TensorFlow 1; restore it with tf.train.Checkpoint."
  raise errors.OptionError(
    f"{optimizer!r} is no optimizer of Keras 2 or 3.{hint} Pass for example "
    "keras.optimizers.Adam(...)."
  )


def assign(variable: Any, value: Any) -> None:
  """Assigns a variable, even if Keras 3 has not made its value yet.

  Args:
    variable: a variable of a model or an optimizer.
    value: an array of the variable's shape and data type.
  """
  has_value = getattr(variable, "_value", variable) is not None
  if not has_value and hasattr(variable, "_initializer"):
    # While Keras 3 builds a model symbolically, the variable has no value. Its
    # initializer sets the value afterwards.
    variable._initializer = _constant(value)
    return
  with _outside_graphs():
    variable.assign(value)


def _constant(value: Any) -> Callable[..., Any]:
  def initialize(shape: Iterable[int], dtype: Any = None) -> Any:
    return value.astype(dtype) if isinstance(dtype, str) else value

  return initialize


def _outside_graphs() -> Any:
  """A context in which an assignment happens at once, even while tracing a function."""
  tensorflow = sys.modules.get("tensorflow")
  return tensorflow.init_scope() if tensorflow else contextlib.nullcontext()
