"""Plans a TF1 checkpoint of one of a Keras model: a file, of the plan of names."""

from __future__ import annotations

from estimator_ckpt.checkpoint.formats import CheckpointFormat
from estimator_ckpt.checkpoint.reader import CheckpointReader
from estimator_ckpt.files.rewrite_plan import RewritePlan
from estimator_ckpt.keras.keras_options import KerasOptions
from estimator_ckpt.keras.report import LoadReport
from estimator_ckpt.keras.to_tf1 import ToTf1


def plan_tf1(prefix: str, options: KerasOptions) -> tuple[RewritePlan, LoadReport]:
  """Plans the conversion of one checkpoint.

  Args:
    prefix: a checkpoint that `tf.train.Checkpoint` wrote for a Keras model.
    options: what the user says.

  Returns:
    What is written, and what becomes of every variable.

  Raises:
    VariableMismatchError: something does not fit.
    UnsupportedCheckpointError: something cannot mean the same in TF1.
    OptionError: an argument cannot be meant.
  """
  conversion = ToTf1(CheckpointReader(prefix), options)
  conversion.choose()
  conversion.match()
  conversion.check_matched()
  conversion.convert()
  plan = conversion.plan()
  names = {row.variable: " + ".join(row.sources) for row in plan.report.rows}
  rewrite = RewritePlan(
    CheckpointFormat.TF1,
    plan.keys,
    names={old: new for old, new in names.items() if old != new},
    left_out=plan.left_out,
    tensors=plan.tensors,
    shapes=plan.shapes,
  )
  return rewrite, plan.report
