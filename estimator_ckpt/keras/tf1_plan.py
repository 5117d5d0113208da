"""What TF1 names a checkpoint of a Keras model supplies: a value that can be printed."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

from estimator_ckpt.bundle.index import Index
from estimator_ckpt.bundle.new_tensors import NewTensor
from estimator_ckpt.bundle.shards import read_scalar_string
from estimator_ckpt.checkpoint import layout as layout_lib
from estimator_ckpt.checkpoint.reader import CheckpointReader
from estimator_ckpt.keras.report import LoadReport
from estimator_ckpt.keras.scopes import Layer
from estimator_ckpt.keras.source import Contents


@dataclasses.dataclass(frozen=True)
class ModelNames:
  """The layers of a checkpoint's models.

  Attributes:
    layers: the layers, in the models' order.
    paths: the path of each weight by its key in the checkpoint.
  """

  layers: Sequence[Layer]
  paths: Mapping[str, str]

  def rename(self, contents: Contents) -> Contents:
    """Calls variables by the paths of the model's weights.

    Args:
      contents: the variables and states of the checkpoint.

    Returns:
      The same, with other names for those variables that are weights of a model.
    """
    names = {n: self.paths.get(v.key, n) for n, v in contents.variables.items()}
    variables = {
      names[n]: dataclasses.replace(v, name=names[n])
      for n, v in contents.variables.items()
    }
    states = [
      dataclasses.replace(
        state,
        slots={
          slot: {names.get(n, n): key for n, key in members.items()}
          for slot, members in state.slots.items()
        },
      )
      for state in contents.states
    ]
    return dataclasses.replace(contents, variables=variables, states=states)


@dataclasses.dataclass(frozen=True)
class Tf1Plan:
  """What each TF1 name is made of.

  Attributes:
    keys: the names of tensors that stay as they are, each with its key in the checkpoint.
    tensors: the tensors that are made of others, by name.
    made_of: what each of these is made of, in words.
    left_out: keys of the checkpoint that no name stands for, each with the reason.
    report: every variable of the Keras model, and what became of it.
    shapes: other dimensions for the same bytes, by name.
  """

  keys: Mapping[str, str]
  tensors: Mapping[str, NewTensor]
  made_of: Mapping[str, str]
  left_out: Mapping[str, str]
  report: LoadReport
  shapes: Mapping[str, tuple[int, ...]] = dataclasses.field(default_factory=dict)

  def __str__(self) -> str:
    made = {**self.keys, **self.made_of}
    lines = [f"{name} <- {source}" for name, source in sorted(made.items())]
    lines += [f"left out: {key} ({why})" for key, why in sorted(self.left_out.items())]
    return "\n".join(lines)

  def entries(self, index: Index) -> dict[str, tuple[int, tuple[int, ...]]]:
    """The form of each tensor that has a name.

    Args:
      index: that of the checkpoint.

    Returns:
      The DataType number and the shape, by name.
    """
    found = {}
    for name, key in self.keys.items():
      entry = index.entry(key)
      found[name] = (entry.dtype, self.shapes.get(name, entry.shape))
    for name, tensor in self.tensors.items():
      found[name] = (tensor.dtype, tensor.shape)
    return found


def structure_of(reader: CheckpointReader) -> tuple[object, ...]:
  """A value that is equal for checkpoints which differ in tensors' values alone.

  Args:
    reader: a checkpoint with an object graph.

  Returns:
    The object graph, and the form of each tensor.
  """
  index = reader.index
  graph = read_scalar_string(reader.prefix, index, layout_lib.OBJECT_GRAPH_KEY)
  entries = ((key, index.entry(key)) for key in index.keys())
  return (graph, *((key, entry.dtype, entry.shape) for key, entry in entries))
