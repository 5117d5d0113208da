"""The formats a checkpoint can have, and telling which one it has."""

from __future__ import annotations

import enum
import os
from collections.abc import Iterator

from estimator_ckpt.bundle.index import Index
from estimator_ckpt.bundle.shards import Shards, read_scalar_string
from estimator_ckpt.checkpoint import layout
from estimator_ckpt.checkpoint import prefix as prefix_lib
from estimator_ckpt.checkpoint.object_graph import ObjectGraph
from estimator_ckpt.checkpoint.paired_keys import PairedKeys
from estimator_ckpt.checkpoint.roles import GLOBAL_STEP
from estimator_ckpt.checkpoint.tensor_names import SAVE_COUNTER_KEY
from estimator_ckpt.errors import OptionError, nearest

# What has a form in a name-based checkpoint, and what its key has behind the name.
_FIRST_KEY = {layout.VARIABLE_VALUE: "", "table": "-keys"}


class CheckpointFormat(enum.Enum):
  """How the tensors of a checkpoint are keyed.

  Attributes:
    TF1: by variable names, as `tf.compat.v1.train.Saver` writes them.
    TF2: by object paths, with an object graph, as `tf.train.Checkpoint` writes them.
    DUAL: both, over the same bytes.
  """

  TF1 = "tf1"
  TF2 = "tf2"
  DUAL = "dual"

  @property
  def has_names(self) -> bool:
    """Whether each variable's name is a key."""
    return self is not CheckpointFormat.TF2

  @property
  def has_objects(self) -> bool:
    """Whether there are object keys and an object graph."""
    return self is not CheckpointFormat.TF1

  @classmethod
  def parse(cls, value: str | CheckpointFormat) -> CheckpointFormat:
    """The format a user means.

    Args:
      value: a format, or its value as text, in any case.

    Returns:
      The format.

    Raises:
      OptionError: there is no such format.

    >>> CheckpointFormat.parse("dual")
    <CheckpointFormat.DUAL: 'dual'>
    """
    if isinstance(value, cls):
      return value
    choices = [str(choice.value) for choice in cls]
    if isinstance(value, str):
      text = value.strip().lower()
      if text in choices:
        return cls(text)
      near = nearest(text, choices)
    else:
      near = None
    hint = f" Did you mean {near!r}?" if near else ""
    raise OptionError(
      f"{value!r} is not a checkpoint format.{hint} Choose one of {', '.join(choices)}."
    )


def detect_format(path: str | os.PathLike[str]) -> CheckpointFormat:
  """Tells which format a checkpoint has.

  Args:
    path: a prefix, or anything else that `estimator_ckpt.checkpoint.prefix.resolve` takes: a
      directory with checkpoints, one of a checkpoint's files, a SavedModel.

  Returns:
    TF1 without an object graph; DUAL where each variable name that the object graph
    knows is also a key, or the bytes of each object have a name; else TF2.

  Raises:
    CheckpointNotFoundError: there is no checkpoint.
    CorruptCheckpointError: its index or its object graph is damaged.
    UnsupportedCheckpointError: its version or byte order is not supported.
  """
  prefix = prefix_lib.resolve(path)
  index = Index.read(prefix)
  return format_of(index, read_object_graph(prefix, index))


def format_of(index: Index, graph: ObjectGraph | None) -> CheckpointFormat:
  """Tells which format a checkpoint has, from what was read of it.

  Args:
    index: lists the tensors of the checkpoint.
    graph: its object graph, if it has one.

  Returns:
    The format; see `detect_format`.
  """
  return format_with(index, graph, None if graph is None else PairedKeys.of(index))


def format_with(
  index: Index, graph: ObjectGraph | None, pairs: PairedKeys | None
) -> CheckpointFormat:
  """As `format_of`, where the keys of the checkpoint have been looked for in pairs.

  Args:
    index: lists the tensors of the checkpoint.
    graph: its object graph, if it has one.
    pairs: its keys in pairs, if there are some.

  Returns:
    The format.
  """
  if graph is None:
    return CheckpointFormat.TF1
  is_dual = pairs is not None or _names_are_keys(index, graph)
  return CheckpointFormat.DUAL if is_dual else CheckpointFormat.TF2


def _names_are_keys(index: Index, graph: ObjectGraph) -> bool:
  """Whether each variable name that an object graph knows is a key, and there are some."""
  columns = graph.columns

  def named() -> Iterator[tuple[int, str]]:
    stored = zip(columns.full_names, columns.attributes)
    for row, (name, attribute) in enumerate(stored):
      if name and attribute in _FIRST_KEY:
        yield row, name + _FIRST_KEY[attribute]

  # A tf.train.Checkpoint's own counter is no variable of the model. In a TF2 checkpoint,
  # the first variable is missing already; but the step is a key of what this package
  # writes as TF2 too.
  variables = (
    key
    for row, key in named()
    if key != GLOBAL_STEP and columns.key_at(row) != SAVE_COUNTER_KEY
  )
  if next(variables, None) not in index:
    return False
  keys = columns.keys
  wanted = [key for row, key in named() if keys[row] != SAVE_COUNTER_KEY]
  return None not in index.values(wanted)


def read_object_graph(
  prefix: str, index: Index, shards: Shards | None = None
) -> ObjectGraph | None:
  """Reads the object graph of a checkpoint.

  Args:
    prefix: the checkpoint's path.
    index: lists the tensors of the checkpoint.
    shards: its data files, where they have been opened.

  Returns:
    The object graph, or None where the checkpoint has none.

  Raises:
    CheckpointNotFoundError: the data file it is in is missing.
    CorruptCheckpointError: it is damaged.
  """
  if layout.OBJECT_GRAPH_KEY not in index:
    return None
  data = read_scalar_string(prefix, index, layout.OBJECT_GRAPH_KEY, shards)
  return ObjectGraph.parse(data, f"the object graph of {prefix}")
