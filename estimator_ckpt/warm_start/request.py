"""Warm start: begin a new model with what an older or pretrained checkpoint has.

    @eckpt.dual_checkpointing(
        warm_start=eckpt.WarmStart("/models/old", assignment_map={"old/": "new/"}))
    def model_fn(features, labels, mode):
      ...

A model is started once, when its model_dir has no checkpoint yet.
"""

from __future__ import annotations

import collections
import dataclasses
import os
import re
from collections.abc import Iterable, Mapping
from typing import Any, Sequence, Union

from estimator_ckpt import errors
from estimator_ckpt.checkpoint.partition_strategy import (
  PartitionStrategy,
  PartitionStrategyLike,
)
from estimator_ckpt.warm_start import planner
from estimator_ckpt.warm_start.assignment_map import (
  AssignmentMapLike,
  parse_assignment_map,
  variable_name,
)
from estimator_ckpt.warm_start.matches import Target
from estimator_ckpt.warm_start.options import MATCH, MOVING_AVERAGES, WarmStartOptions
from estimator_ckpt.warm_start.source_tensors import SourceTensors
from estimator_ckpt.warm_start.vocabulary import VocabularyChange
from estimator_ckpt.warm_start.warm_start_plan import WarmStartPlan

VariablesLike = Union[None, str, "re.Pattern[str]", Sequence[Any]]


class WarmStart:
  """What a new model is started from.

  Args:
    checkpoint: a prefix, a model_dir (its latest checkpoint) or a SavedModel, of any
      format.
    variables: which variables of the graph: a regular expression, matched at the
      beginning of names; a variable; or a list of these. By default every variable of the
      model that the checkpoint can supply, moving statistics of batch normalization
      included.
    assignment_map: which tensor starts which variable where their names differ. The
      checkpoint's side stands first. It takes what
      `tf.compat.v1.train.init_from_checkpoint` takes (scopes, names, variables, lists of
      partitions, `"/"`), and also regular expressions with groups, and object paths. See
      `estimator_ckpt.warm_start.assignment_map`.
    only_mapped: whether variables that the map does not mention are left alone. By
      default they are matched by name.
    optimizer_state: whether slots and beta powers are started too. Slots follow their
      variables through the map; beta powers need not be selected where all slots are.
    global_step: whether the step is started too; it need not be selected.
    moving_averages: "match" starts a moving average from that of the same variable, or
      from the variable itself where the checkpoint has none. "use" also starts the
      variables from their moving averages. "skip" leaves moving averages alone.
    vocab_info: `tf.estimator.VocabInfo` by the name of the variable, for a vocabulary
      that changed. Slots and moving averages follow.
    partition_strategy: `{scope: "mod"}` for embeddings in several parts that the
      checkpoint's code looked up with `partition_strategy="mod"`, TensorFlow 1's default.
      Their rows are put into the order of ids, which a variable in one part needs, or
      one that is looked up with "div". Scopes are those of the checkpoint's names. Of a
      graph that also uses "mod", with as many parts, say nothing: rows stay as they are.
    strict: whether requests that cannot be met are an error. It comes before training
      starts, and lists all of them. If not, they are a warning.

  Raises:
    OptionError: an argument has a wrong value.

  Example:
    >>> WarmStart("model_dir", variables="encoder/", assignment_map={"old/": "encoder/"})
    WarmStart('model_dir', variables=['encoder/'], assignment_map={'old/': 'encoder/'})
  """

  def __init__(
    self,
    checkpoint: str | os.PathLike[str],
    variables: VariablesLike = None,
    assignment_map: AssignmentMapLike = None,
    *,
    only_mapped: bool = False,
    optimizer_state: bool = False,
    global_step: bool = False,
    moving_averages: str = MATCH,
    vocab_info: Mapping[str, Any] | None = None,
    partition_strategy: PartitionStrategyLike = None,
    strict: bool = True,
  ):
    if not isinstance(checkpoint, (str, os.PathLike)) or not os.fspath(checkpoint):
      raise errors.OptionError(
        f"A warm start takes the path of a checkpoint, and got {checkpoint!r}."
      )
    if moving_averages not in MOVING_AVERAGES:
      near = errors.nearest(str(moving_averages), MOVING_AVERAGES)
      hint = f" Did you mean {near!r}?" if near else ""
      raise errors.OptionError(
        f"moving_averages={moving_averages!r} is unknown.{hint} Choose one of "
        f"{', '.join(MOVING_AVERAGES)}."
      )
    entries = parse_assignment_map(assignment_map)
    if only_mapped and not entries:
      raise errors.OptionError(
        "only_mapped=True starts what the assignment_map mentions, and there is none."
      )
    self.checkpoint = os.fspath(checkpoint)
    self.options = WarmStartOptions(
      variables=_patterns(variables),
      entries=entries,
      only_mapped=only_mapped,
      optimizer_state=optimizer_state,
      global_step=global_step,
      moving_averages=moving_averages,
      vocabularies={
        name: VocabularyChange.of(info) for name, info in (vocab_info or {}).items()
      },
      partition_strategy=PartitionStrategy.parse(partition_strategy),
      strict=strict,
    )

  def __repr__(self) -> str:
    options = self.options
    parts = [repr(self.checkpoint)]
    if options.variables is not None:
      parts.append(f"variables={[pattern.pattern for pattern in options.variables]}")
    if options.entries:
      parts.append(f"assignment_map={{{', '.join(map(str, options.entries))}}}")
    for field in dataclasses.fields(options):
      value = getattr(options, field.name)
      if isinstance(value, PartitionStrategy):
        value = dict(value.by_scope) or _default(field)
      if field.name not in ("variables", "entries") and value != _default(field):
        parts.append(f"{_SPOKEN.get(field.name, field.name)}={value!r}")
    return f"WarmStart({', '.join(parts)})"

  def plan(self, variables: str | os.PathLike[str] | Iterable[Any]) -> WarmStartPlan:
    """Plans this warm start. Of the checkpoint, only the index is read.

    Args:
      variables: the variables of a graph, as `tf.compat.v1.global_variables()` gives
        them, or `Target`s, or the path of a checkpoint that stands for a graph.

    Returns:
      What would be started. Printing the plan shows everything. `raise_for_problems()`
      raises if the warm start is strict and something does not fit.

    Raises:
      CheckpointNotFoundError: there is no checkpoint to start from.
      CorruptCheckpointError: it is damaged, or something else.
      OptionError: an entry of the map is no name and no regular expression; parts of an
        embedding do not have the sizes of its strategy.
    """
    if isinstance(variables, (str, os.PathLike)):
      targets = targets_of_checkpoint(variables)
    else:
      targets = [_target(variable) for variable in variables]
    count = collections.Counter(target.name for target in targets)
    unique = {
      target.name: dataclasses.replace(
        target, parts=max(target.parts, count[target.name])
      )
      for target in targets
    }
    return planner.make_plan(
      SourceTensors.open(self.checkpoint), list(unique.values()), self.options
    )


_SPOKEN = {"vocabularies": "vocab_info"}


def _default(field: dataclasses.Field[Any]) -> Any:
  if field.default_factory is not dataclasses.MISSING:
    return field.default_factory()
  return field.default


def _patterns(variables: VariablesLike) -> tuple[re.Pattern[str], ...] | None:
  if variables is None:
    return None
  # A variable can be iterated over too, and still counts as one.
  if isinstance(variables, (str, re.Pattern)) or hasattr(variables, "name"):
    variables = [variables]
  patterns = []
  for item in variables:
    if isinstance(item, str):
      try:
        item = re.compile(item)
      except re.error as e:
        raise errors.OptionError(
          f"variables={item!r} is no regular expression: {e}"
        ) from e
    elif not isinstance(item, re.Pattern):
      item = re.compile(re.escape(variable_name(item)) + "$")
    patterns.append(item)
  if not patterns:
    raise errors.OptionError(
      "variables=[] starts nothing. Leave it out for every variable of the model."
    )
  return tuple(patterns)


def targets_of_checkpoint(path: str | os.PathLike[str]) -> list[Target]:
  """The variables of a graph that has written a checkpoint.

  Args:
    path: a prefix, a model_dir, a SavedModel, or a file of a checkpoint.

  Returns:
    A target for each variable of the checkpoint.

  Raises:
    CheckpointNotFoundError: there is no checkpoint.
    CorruptCheckpointError: it is damaged, or something else.
  """
  tensors = SourceTensors.open(path).tensors
  parts = {key for t in tensors if len(t.part_shapes) > 1 for key in t.keys}
  return [
    Target(
      tensor.name,
      tensor.dtype,
      tensor.shape,
      parts=max(1, len(tensor.slices), len(tensor.part_shapes)),
    )
    for tensor in tensors
    if tensor.is_variable
    # A single part is neither a variable nor another name for one.
    and len(tensor.part_shapes) != 1
    and (tensor.part_shapes or not parts.intersection(tensor.keys))
  ]


def _target(variable: Any) -> Target:
  if isinstance(variable, Target):
    return variable
  info = getattr(variable, "_save_slice_info", None)
  shape = variable.shape
  dims: tuple[int, ...] | None = None
  if info is not None:
    dims = tuple(int(n) for n in info.full_shape)
  elif hasattr(shape, "is_fully_defined"):
    if shape.is_fully_defined():
      dims = tuple(int(n) for n in shape.as_list())
  else:
    dims = tuple(int(n) for n in shape)
  return Target(
    variable_name([variable]) if info is None else str(info.full_name),
    int(variable.dtype.base_dtype.as_datatype_enum),
    dims,
    getattr(variable, "trainable", None),
  )
