"""A TF1 checkpoint as one that Keras restores, model and optimizer, without TensorFlow.

    tf.train.Checkpoint(model=model, optimizer=optimizer).restore(target)

then goes on where TensorFlow 1 stopped, and `assert_consumed()` passes. Weights and
slots that stay as they are become keys for the bytes that are there; only what has to
be converted is read and written, besides the object graph and a number or two.

Where things stand in the object graph is the model's to say. `like=` names a checkpoint
that the model and its optimizer wrote, untrained; any model can. Without it, the model
must have its layers as attributes that are called as the variables' scopes are.
"""

from __future__ import annotations

import dataclasses
import os
from typing import Any, Callable

from estimator_ckpt import errors
from estimator_ckpt.checkpoint.formats import CheckpointFormat
from estimator_ckpt.files import rewrite
from estimator_ckpt.files import write as write_lib
from estimator_ckpt.files.keras.from_keras import plan_tf1
from estimator_ckpt.files.keras.to_keras import ToKeras
from estimator_ckpt.files.rewrite_plan import RewritePlan
from estimator_ckpt.keras.keras_options import KerasOptions
from estimator_ckpt.keras.report import LoadReport


@dataclasses.dataclass(frozen=True)
class ConversionReport(rewrite.RewriteReport):
  """What was written, and what became of every variable.

  Attributes:
    variables: for each checkpoint, every variable and what became of it.
  """

  variables: tuple[LoadReport, ...] = ()

  def __str__(self) -> str:
    return "\n".join([super().__str__(), *map(str, self.variables)])

  def as_dict(self) -> dict[str, Any]:
    """The report as lists, dicts, texts and numbers."""
    variables = [dataclasses.asdict(report) for report in self.variables]
    return {**super().as_dict(), "variables": variables}


def convert_to_keras(
  source: str | os.PathLike[str],
  target: str | os.PathLike[str],
  options: KerasOptions,
  to: CheckpointFormat | str = CheckpointFormat.TF2,
  *,
  data: str = "auto",
  overwrite: bool = False,
  dry_run: bool = False,
  progress: write_lib.Progress | None = None,
) -> ConversionReport:
  """Converts a TF1 or dual checkpoint into one that Keras restores.

  Args:
    source: a checkpoint; or a directory with checkpoints, for all of them.
    target: the prefix to write, or a directory.
    options: which Keras, and what else has to be known.
    to: `"tf2"`; or `"dual"` to keep the TF1 names too.
    data: how data files get there: `auto`, `link`, `reflink` or `copy`.
    overwrite: whether a checkpoint that is there may be replaced.
    dry_run: whether to say what would be written, with its bytes, and write nothing.
    progress: is called with the bytes that are done and those there are in all.

  Returns:
    What was written, with the table of variables.

  Raises:
    VariableMismatchError: something does not fit.
    UnsupportedCheckpointError: the optimizer's state cannot mean the same.
    OptionError: an argument cannot be meant; the optimizer is ambiguous.
    CheckpointError: the files cannot be read or written.
  """
  to = CheckpointFormat.parse(to)
  if to is CheckpointFormat.TF1:
    raise errors.OptionError("Keras restores object-based checkpoints: tf2 or dual.")

  def convert(read: write_lib.SourceCheckpoint) -> tuple[RewritePlan, LoadReport]:
    conversion = ToKeras(read, options)
    conversion.choose()
    conversion.match()
    return conversion.plan(to), conversion.report

  return _rewrite(
    source,
    target,
    convert,
    data=data,
    overwrite=overwrite,
    dry_run=dry_run,
    progress=progress,
  )


def convert_from_keras(
  source: str | os.PathLike[str],
  target: str | os.PathLike[str],
  options: KerasOptions,
  *,
  data: str = "auto",
  overwrite: bool = False,
  dry_run: bool = False,
  progress: write_lib.Progress | None = None,
) -> ConversionReport:
  """Converts a checkpoint of a Keras model into one that TF1 code restores.

  Args:
    source: a checkpoint that `tf.train.Checkpoint(model=..., optimizer=...)` wrote, of
      Keras 2 or 3; or a directory of such, for all of them.
    target: the prefix to write, or a directory.
    options: the names of the TF1 code, and what else has to be known.
    data: how data files get there: `auto`, `link`, `reflink` or `copy`.
    overwrite: whether a checkpoint that is there may be replaced.
    dry_run: whether to say what would be written, with its bytes, and write nothing.
    progress: is called with the bytes that are done and those there are in all.

  Returns:
    What was written, with the table of variables.

  Raises:
    VariableMismatchError: something does not fit.
    UnsupportedCheckpointError: something cannot mean the same in TF1.
    OptionError: an argument cannot be meant.
    CheckpointError: the files cannot be read or written.
  """
  options.check_for_tf1()

  def convert(read: write_lib.SourceCheckpoint) -> tuple[RewritePlan, LoadReport]:
    return plan_tf1(read.prefix, options)

  return _rewrite(
    source,
    target,
    convert,
    data=data,
    overwrite=overwrite,
    dry_run=dry_run,
    progress=progress,
  )


def _rewrite(
  source: str | os.PathLike[str],
  target: str | os.PathLike[str],
  convert: Callable[[write_lib.SourceCheckpoint], tuple[RewritePlan, LoadReport]],
  **write_options: Any,
) -> ConversionReport:
  reports: list[LoadReport] = []

  def make_plan(read: write_lib.SourceCheckpoint) -> RewritePlan:
    plan, report = convert(read)
    reports.append(report)
    return plan

  done = rewrite.rewrite_path(source, target, make_plan, **write_options)
  return ConversionReport(**vars(done), variables=tuple(reports))
