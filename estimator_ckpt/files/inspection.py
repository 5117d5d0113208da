"""What a checkpoint is and holds, as values: the function behind `inspect` and `view`."""

from __future__ import annotations

import os
from collections.abc import Callable

from estimator_ckpt import value_classes
from estimator_ckpt.bundle import dtypes
from estimator_ckpt.checkpoint.formats import CheckpointFormat
from estimator_ckpt.checkpoint.roles import Role, RoleKind
from estimator_ckpt.checkpoint.saved_tensor import SavedTensor
from estimator_ckpt.errors import CheckpointError
from estimator_ckpt.files.summary import CheckpointSummary, inspect_checkpoint
from estimator_ckpt.files.tensor_values import ValueSummary, summarize
from estimator_ckpt.files.weights_file import WeightsFormat, open_tensors
from estimator_ckpt.html_table import html_table
from estimator_ckpt.text_table import Column, format_table

TYPE_CHECKING = False
if TYPE_CHECKING:
  from typing import Any, TypeAlias

# Is called with the bytes that were read, and all.
Progress: TypeAlias = "Callable[[int, int], None]"


_OPAQUE = (dtypes.VARIANT, dtypes.RESOURCE)


@value_classes.dataclass(frozen=True)
class InspectedTensor:
  """A tensor of a checkpoint.

  Attributes:
    name: its name in a name-based checkpoint.
    keys: every key that its bytes have, names first.
    object_paths: where it stands in the object graph, the plainest path first.
    dtype: the type, by TensorFlow's name: `float32`.
    shape: the dimensions; of a partitioned tensor, those of the whole.
    size: its bytes in the data files.
    shards: the numbers of the data files that it is in.
    slices: of a partitioned tensor, where each part stands in it.
    kind: what it is for.
    of: the variable, for a slot or a moving average; its name, or its key where only
      the object graph says so.
    slot: the optimizer's own name for it, for a slot or other optimizer state.
    optimizer: the optimizer's name, or its object path.
    values: its values in a few numbers; None where they were not read.
  """

  name: str
  keys: tuple[str, ...]
  object_paths: tuple[str, ...]
  dtype: str
  shape: tuple[int, ...]
  size: int
  shards: tuple[int, ...]
  slices: tuple[str, ...]
  kind: RoleKind
  of: str | None
  slot: str | None
  optimizer: str | None
  values: ValueSummary | None = None

  @classmethod
  def of_saved(
    cls, tensor: SavedTensor, role: Role, values: ValueSummary | None = None
  ) -> InspectedTensor:
    """Describes a tensor.

    Args:
      tensor: what the index and the object graph say.
      role: what it is for.
      values: its values in a few numbers, where they were read.
    """
    return cls(
      tensor.name,
      tensor.keys,
      tensor.object_paths,
      tensor.dtype,
      tensor.shape,
      tensor.size,
      tensor.shards,
      tuple(str(part.tensor_slice) for part in tensor.parts if part.tensor_slice),
      role.kind,
      role.of,
      role.slot,
      role.optimizer,
      values,
    )

  def as_dict(self) -> dict[str, Any]:
    """The tensor as `inspect --json` prints it: lists, dicts, texts and numbers."""
    described: dict[str, Any] = {
      "name": self.name,
      "keys": list(self.keys),
      "object_paths": list(self.object_paths),
      "dtype": self.dtype,
      "shape": list(self.shape),
      "bytes": self.size,
      "shards": list(self.shards),
      "slices": list(self.slices),
      "kind": self.kind.value,
      "of": self.of,
      "slot": self.slot,
      "optimizer": self.optimizer,
    }
    if self.values is not None:
      described["values"] = self.values.as_dict()
    return described


@value_classes.dataclass(frozen=True)
class Inspection:
  """A checkpoint.

  It shows itself as a table in a notebook, and as text where it is printed.

  Attributes:
    path: its prefix.
    format: `TF1`, `TF2` or `DUAL`; or the kind of a file of weights.
    step: the training step; None when no tensor is known to be it.
    tensors: what it holds, by name.
    problems: what could not be read, in words. `verify` looks closer.
    summary: what else is known: files, totals by kind, the object graph.
  """

  path: str
  format: CheckpointFormat | WeightsFormat
  step: int | None
  tensors: tuple[InspectedTensor, ...]
  problems: tuple[str, ...]
  summary: CheckpointSummary = value_classes.field(repr=False)

  @property
  def size(self) -> int:
    """The bytes of all tensors."""
    return sum(tensor.size for tensor in self.tensors)

  def as_dict(self) -> dict[str, Any]:
    """The checkpoint as `inspect --json` prints it: lists, dicts, texts and numbers.

    What the command says of the directory around it, `best`, is not part of it.
    """
    described = {**self.summary.as_dict(), "problems": list(self.problems)}
    described["tensors"] = [tensor.as_dict() for tensor in self.tensors]
    return described

  def __str__(self) -> str:
    lines = [self._heading(), "", *format_table(_columns(self), _rows(self))]
    return "\n".join([*lines, *(f"problem: {problem}" for problem in self.problems)])

  def _repr_html_(self) -> str:
    # The largest say most where not all are shown.
    largest = sorted(self.tensors, key=lambda tensor: -tensor.size)
    shown = value_classes.replace(self, tensors=tuple(largest))
    text = html_table(self._heading(), _columns(shown), _rows(shown))
    if self.problems:
      text += html_table("Problems", [Column("")], [[each] for each in self.problems])
    return text

  def _heading(self) -> str:
    step = "" if self.step is None else f", step {self.step:,}"
    count = f"{len(self.tensors):,} tensor{'' if len(self.tensors) == 1 else 's'}"
    return f"{self.path}: {self.format.value}{step}, {count}, {self.size:,} bytes"


def inspect(
  path: str | os.PathLike[str],
  *,
  values: bool = False,
  progress: Progress | None = None,
) -> Inspection:
  """Finds out what a checkpoint is and what it holds.

  Args:
    path: a prefix, or anything else that `estimator_ckpt.checkpoint.prefix.resolve` takes: a
      directory, one of a checkpoint's files, a SavedModel. Or a file of weights that
      Keras wrote, `.weights.h5` or `.keras`, which needs the package h5py.
    values: whether to read the tensors. Without it, the index, the object graph and the
      step are read, so data files may be missing.
    progress: is called with the bytes of tensors that were read, and all.

  Returns:
    The checkpoint's description. Tensors that cannot be read have no values, and a
    problem says why.

  Raises:
    CheckpointNotFoundError: there is no checkpoint.
    CorruptCheckpointError: its index is damaged.
    UnsupportedCheckpointError: its version or byte order is not supported.
    MissingDependencyError: for a file of weights, h5py is not installed.

  Example:
    inspection = inspect("model_dir")
    slots = sum(t.size for t in inspection.tensors if t.kind.value == "slot")
  """
  summary = inspect_checkpoint(path)
  read: dict[str, ValueSummary] = {}
  problems = list(summary.problems)
  if values:
    total = sum(tensor.size for tensor in summary.tensors)
    done = 0
    with open_tensors(summary.prefix) as reader:
      for tensor in summary.tensors:
        if tensor.entry.dtype not in _OPAQUE:
          try:
            read[tensor.key] = summarize(reader[tensor.key])
          except CheckpointError as error:
            problems.append(str(error))
        done += tensor.size
        if progress is not None:
          progress(done, total)
  tensors = tuple(
    InspectedTensor.of_saved(tensor, role, read.get(tensor.key))
    for tensor, role in zip(summary.tensors, summary.roles)
  )
  return Inspection(
    summary.prefix, summary.format, summary.step, tensors, tuple(problems), summary
  )


def _columns(inspection: Inspection) -> list[Column]:
  columns = [Column("name"), Column("dtype"), Column("shape"), Column("bytes", True)]
  columns.append(Column("kind"))
  if _has_values(inspection):
    columns += [Column(title, True) for title in ("min", "max", "mean", "NaN")]
  return columns


def _rows(inspection: Inspection) -> list[list[str]]:
  rows = []
  has_values = _has_values(inspection)
  for tensor in inspection.tensors:
    row = [tensor.name, tensor.dtype, str(list(tensor.shape)), f"{tensor.size:,}"]
    row.append(tensor.kind.value.replace("_", " "))
    found = tensor.values
    if found is not None:
      row += [_number(x) for x in (found.minimum, found.maximum, found.mean)]
      row.append(f"{found.nans:,}")
    elif has_values:
      row += [""] * 4
    rows.append(row)
  return rows


def _has_values(inspection: Inspection) -> bool:
  return any(tensor.values is not None for tensor in inspection.tensors)


def _number(value: Any) -> str:
  if isinstance(value, (int, float)):
    return f"{value:.4g}" if isinstance(value, float) else str(value)
  return ""
