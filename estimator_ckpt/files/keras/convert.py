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
from collections.abc import Mapping, Sequence
from typing import Any

from estimator_ckpt import errors
from estimator_ckpt.checkpoint import prefix as prefix_lib
from estimator_ckpt.checkpoint.formats import CheckpointFormat
from estimator_ckpt.checkpoint.name_map import NameMapLike
from estimator_ckpt.files import rewrite, rewrite_plan
from estimator_ckpt.files import write as write_lib
from estimator_ckpt.files.keras.from_keras import ToTf1
from estimator_ckpt.files.keras.to_keras import ToKeras
from estimator_ckpt.keras.optimizers.kinds import Flavor
from estimator_ckpt.keras.report import LoadReport
from estimator_ckpt.keras.scopes import ForgetBias


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
  keras: str | Flavor | None = None,
  *,
  optimizer: str | None = None,
  like: str | os.PathLike[str] | None = None,
  settings: Mapping[str, Any] | None = None,
  name_map: NameMapLike = None,
  ignore: Sequence[str] = (),
  keep: Sequence[str] = (),
  iterations: int | str | None = None,
  forget_bias: ForgetBias = None,
  trainable: Sequence[str] | None = None,
  allow_approximate: bool = False,
  to: CheckpointFormat | str = CheckpointFormat.TF2,
  data: str = "auto",
  overwrite: bool = False,
  dry_run: bool = False,
  progress: write_lib.Progress | None = None,
) -> ConversionReport:
  """Converts a TF1 or dual checkpoint into one that Keras restores.

  Args:
    source: a checkpoint; or a directory with checkpoints, for all of them.
    target: the prefix to write, or a directory.
    keras: `"2-legacy"`, `"2"` or `"3"`; by default that of `like`.
    optimizer: the optimizer's name, `"adam"`; `"none"` for the model alone. By default
      it is recognised by the variables' names.
    like: a checkpoint that `tf.train.Checkpoint(model=..., optimizer=...)` wrote for
      the model and optimizer in question.
    settings: the Keras optimizer's settings, where they are needed and `like` does not
      say them: `learning_rate` (for momentum), `momentum`, `epsilon`, `beta_1`, ...
    name_map: see `estimator_ckpt.keras.load`, also for the following.
    ignore: the checkpoint's variables that nothing is to take.
    keep: the model's variables that are to be as in `like`.
    iterations: as for `load`.
    forget_bias: as for `load`.
    trainable: for Keras 2 and 3 without `like`: the trainable variables in the order of
      `model.trainable_variables`; by default as the `.meta` file beside the checkpoint
      lists them.
    allow_approximate: as for `load`.
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
  reports: list[LoadReport] = []

  def make_plan(read: write_lib.SourceCheckpoint) -> rewrite_plan.RewritePlan:
    conversion = ToKeras(read, settings or {}, allow_approximate)
    conversion.choose(keras, optimizer, like, iterations)
    conversion.match(name_map, ignore, keep, forget_bias, trainable)
    reports.append(conversion.report)
    return conversion.plan(to)

  done = rewrite.rewrite_path(
    source,
    target,
    make_plan,
    data=data,
    overwrite=overwrite,
    dry_run=dry_run,
    progress=progress,
  )
  return ConversionReport(**vars(done), variables=tuple(reports))


def convert_from_keras(
  source: str | os.PathLike[str],
  target: str | os.PathLike[str],
  keras: str | Flavor | None = None,
  *,
  optimizer: str | None = None,
  like: str | os.PathLike[str] | None = None,
  settings: Mapping[str, Any] | None = None,
  name_map: NameMapLike = None,
  ignore: Sequence[str] = (),
  forget_bias: ForgetBias = None,
  allow_approximate: bool = False,
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
    keras: `"2-legacy"`, `"2"` or `"3"`, to have it checked; it need not be said.
    optimizer: the optimizer's name, to have it checked; `"none"` to leave its state out.
    like: a checkpoint of the TF1 code, for its names; it also says where weights of
      several arrays are one in TF1, as those of an LSTM.
    settings: of the Keras optimizer, what its checkpoint does not store: `epsilon`, and
      `beta_1` and `beta_2` unless they are TF1's defaults.
    name_map: rules `model name: TF1 name`.
    ignore: the model's variables that are left out.
    forget_bias: what the TF1 code's LSTM cells add to their forget gates.
    allow_approximate: see `estimator_ckpt.keras.load`.
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
  reports: list[LoadReport] = []
  names = prefix_lib.resolve(os.fspath(like)) if like is not None else None

  def make_plan(read: write_lib.SourceCheckpoint) -> rewrite_plan.RewritePlan:
    conversion = ToTf1(read, settings or {}, allow_approximate)
    conversion.choose(keras, optimizer)
    conversion.match(names, name_map, ignore, forget_bias)
    conversion.convert()
    reports.append(conversion.report)
    return conversion.plan()

  done = rewrite.rewrite_path(
    source,
    target,
    make_plan,
    data=data,
    overwrite=overwrite,
    dry_run=dry_run,
    progress=progress,
  )
  return ConversionReport(**vars(done), variables=tuple(reports))
