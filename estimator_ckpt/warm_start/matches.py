"""Which variable of a graph gets which tensor of a checkpoint, and what is left out.

Plain values: the planner makes them, a report shows them, and TensorFlow's side of a
warm start carries them out.
"""

from __future__ import annotations

import dataclasses
from typing import Tuple

from estimator_ckpt.bundle.dtypes import describe
from estimator_ckpt.warm_start.source_tensors import SourceTensor
from estimator_ckpt.warm_start.vocabulary import VocabularyChange

Shape = Tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class Target:
  """A variable of the graph.

  Attributes:
    name: its name; of a partitioned variable, the name of the whole.
    dtype: TensorFlow's DataType number.
    shape: the shape of the whole; None where it is not known before it runs.
    trainable: whether an optimizer trains it; None where that is not known.
    parts: the number of parts that it has.
  """

  name: str
  dtype: int
  shape: Shape | None
  trainable: bool | None = None
  parts: int = 1


@dataclasses.dataclass(frozen=True)
class Started:
  """A variable that is started.

  Attributes:
    target: which variable of the graph.
    source: the tensor that it gets.
    how: how the two were matched, in words.
    vocabulary: how the rows move where a vocabulary changed, or None.
    mod_parts: where the rows are put into the order of ids, the rows of each of the
      tensor's parts; or ().
  """

  target: Target
  source: SourceTensor
  how: str
  vocabulary: VocabularyChange | None = None
  mod_parts: tuple[int, ...] = ()


@dataclasses.dataclass(frozen=True)
class LeftOut:
  """A variable that is not started, or a tensor that is not used.

  Attributes:
    name: that of the variable or the tensor.
    reason: why it is left out, in words.
    dtype: TensorFlow's DataType number.
    shape: the dimensions; None for a variable whose shape is not known before it runs.
    is_open: for a variable, whether an assignment map could start it.
  """

  name: str
  reason: str
  dtype: int
  shape: Shape | None
  is_open: bool = False


@dataclasses.dataclass(frozen=True)
class Problem:
  """A request that cannot be met.

  Attributes:
    name: the variable or the entry of the map that it is about.
    text: what is wrong, and what to do.
  """

  name: str
  text: str

  def __str__(self) -> str:
    return self.text


@dataclasses.dataclass(frozen=True)
class Matches:
  """What is started, and what is left out on both sides.

  Attributes:
    prefix: the checkpoint's path.
    started: the variables that are started, in the order of their names.
    left_in_graph: the variables that are not started.
    left_in_checkpoint: the tensors that start nothing.
    problems: requests that cannot be met.
    notes: what a user should know of the values.
  """

  prefix: str
  started: tuple[Started, ...]
  left_in_graph: tuple[LeftOut, ...]
  left_in_checkpoint: tuple[LeftOut, ...]
  problems: tuple[Problem, ...]
  notes: tuple[str, ...]


def mismatch(target: Target, source: SourceTensor) -> str | None:
  """Why a tensor cannot be the value of a variable.

  Args:
    target: a variable of the graph.
    source: a tensor of the checkpoint.

  Returns:
    The reason, to stand behind the variable's name; None where the two agree.
  """
  if source.dtype == target.dtype and target.shape in (None, source.shape):
    return None
  return (
    f"is {describe(target.dtype, target.shape)} in the graph, "
    f"{describe(source.dtype, source.shape)} in the checkpoint (as {source.name!r})"
  )
