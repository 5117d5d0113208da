"""The layers of a Keras model, as its checkpoint shows them.

`tf.train.Checkpoint(model=model, optimizer=optimizer).write(path)`, of a model that
need not be trained, writes down what a model consists of: its variables, where they
stand in the object graph, and the optimizer's slots. That is enough to match them with
another checkpoint's, without Keras.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from typing import Any

from estimator_ckpt import errors
from estimator_ckpt.bundle import dtypes
from estimator_ckpt.bundle.new_tensors import NewTensor
from estimator_ckpt.checkpoint.name_pattern import NamePattern, matches_any
from estimator_ckpt.checkpoint.object_graph import ObjectGraph
from estimator_ckpt.checkpoint.object_paths import ObjectPaths
from estimator_ckpt.checkpoint.reader import CheckpointReader
from estimator_ckpt.keras import matching as keras_matching
from estimator_ckpt.keras import source as keras_source
from estimator_ckpt.keras.layer_shapes import ATTENTION_EQUATIONS
from estimator_ckpt.keras.report import LoadReport
from estimator_ckpt.keras.scopes import Layer, Scopes, Weight
from estimator_ckpt.keras.slot_formulas import Flavor
from estimator_ckpt.keras.source import Contents

# Gates of a recurrent cell, by how many times its units its kernels are wide.
_CELLS = {4: "LSTMCell", 3: "GRUCell", 1: "SimpleRNNCell"}


class Template:
  """A checkpoint that the model in question wrote.

  Args:
    prefix: its path.

  Attributes:
    reader: the checkpoint.
    graph: its object graph.
    contents: what it offers.
    state: its optimizer's state, or None.

  Raises:
    OptionError: it is name-based, or has several optimizers.
  """

  def __init__(self, prefix: str):
    self.reader = CheckpointReader(prefix)
    graph = self.reader.object_graph
    if graph is None:
      raise errors.OptionError(
        f"{prefix}: like= is a checkpoint that tf.train.Checkpoint wrote for the Keras "
        "model and optimizer, and this one is name-based."
      )
    self.graph = graph
    self.contents = keras_source.read_contents(prefix, self.reader.index, graph)
    states = [s for s in self.contents.states if s.optimizer.flavor is not Flavor.TF1]
    if len(states) > 1:
      raise errors.OptionError(
        f"{prefix}: like= has several optimizers; write one each."
      )
    self.state = states[0] if states else None

  def settings(self) -> dict[str, Any]:
    """The settings of its optimizer that it stores."""
    found = self.state.settings.items() if self.state is not None else ()
    return {name: keras_source.scalar(self.reader, key) for name, key in found}

  def match(
    self,
    scopes: Scopes,
    taken: Sequence[str],
    keep: Sequence[str],
    report: LoadReport,
  ) -> keras_matching.Matching:
    """Matches its model's variables with a checkpoint's.

    Args:
      scopes: the checkpoint's variables.
      taken: the names of those that may be taken.
      keep: patterns of its own variables that are to keep their values.
      report: is told of these.

    Returns:
      The matching.

    Raises:
      OptionError: a pattern matches nothing.
    """
    patterns = [NamePattern(text, "keep") for text in keep]
    layers = []
    for layer in template_layers(self.contents, self.graph):
      weights = []
      for weight in layer.weights or ():
        if matches_any(weight.path, patterns):
          report.kept.append(weight.path)
        else:
          weights.append(weight)
      layers.append(dataclasses.replace(layer, weights=tuple(weights)))
    for pattern in patterns:
      pattern.check_used(self.contents.variables)
    return keras_matching.match(layers, scopes, taken)

  def tensor(self, key: str) -> NewTensor:
    """A tensor of it, to be written as it is.

    Args:
      key: as in the index of `like`.

    Returns:
      The tensor.

    Raises:
      UnsupportedCheckpointError: it is text.
    """
    entry = self.reader.index.entry(key)
    if entry.dtype == dtypes.STRING:
      raise errors.UnsupportedCheckpointError(
        f"{self.reader.prefix}: {key!r} is text, which like= cannot hand on."
      )
    return NewTensor.of_array(entry.dtype, entry.shape, lambda: self.reader[key])


def template_layers(contents: Contents, graph: ObjectGraph | None) -> list[Layer]:
  """The layers that a checkpoint's variables are of.

  Args:
    contents: what the checkpoint offers.
    graph: its object graph, if it has one.

  Returns:
    The layers, by name. What their weights' paths say are the variables' names.
  """
  members: dict[str, list[Weight]] = {}
  for name, variable in contents.variables.items():
    scope, _, leaf = name.rpartition("/")
    weight = Weight(name, leaf.lstrip("_"), variable.shape, variable.dtype)
    members.setdefault(scope, []).append(weight)
  further = _object_scopes(contents, graph) if graph is not None else {}
  layers = []
  for scope, weights in members.items():
    names = dict.fromkeys(
      [scope, *(s for w in weights for s in further.get(w.path, []))]
    )
    # Variables at the root stand in the scope "".
    own = tuple(name for name in names if name) or ("",)
    kind, settings = _kind(names, {weight.leaf: weight for weight in weights})
    layers.append(Layer(kind, own, tuple(weights), settings))
  return layers


def _object_scopes(contents: Contents, graph: ObjectGraph) -> dict[str, list[str]]:
  """The object paths of variables' layers, with and without the root object."""
  paths = ObjectPaths(graph)
  found: dict[str, list[str]] = {}
  for name, variable in contents.variables.items():
    for path in paths.of(variable.key):
      scope = path.rpartition("/")[0]
      found.setdefault(name, []).extend([scope, scope.partition("/")[2]])
  return found


def _kind(
  names: Iterable[str], weights: dict[str, Weight]
) -> tuple[str, dict[str, Any]]:
  """The class of a layer, where a conversion needs it, and its settings."""
  kind, settings = _cell(weights)
  if kind != "Layer":
    return kind, settings
  if weights.keys() == {"alpha"}:
    return "PReLU", {}
  for name in names:
    equation = ATTENTION_EQUATIONS.get(name.rpartition("/")[2])
    kernel = weights.get("kernel")
    if equation and kernel is not None and len(kernel.shape) == 3:
      return "EinsumDense", {"equation": equation}
  return "Layer", {}


def _cell(weights: dict[str, Weight]) -> tuple[str, dict[str, Any]]:
  """The class of a recurrent cell, and its settings; "Layer" for other layers."""
  kernel, recurrent = weights.get("kernel"), weights.get("recurrent_kernel")
  if kernel is None or recurrent is None or len(recurrent.shape) != 2:
    return "Layer", {}
  units, width = recurrent.shape
  kind = _CELLS.get(width // units if units and width % units == 0 else 0)
  if kind is None:
    return "Layer", {}
  bias = weights.get("bias")
  # Two rows of biases are those of a GRU with reset_after=True.
  return kind, {"reset_after": bias is not None and len(bias.shape) == 2}
