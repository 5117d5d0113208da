"""Writes the report of a warm start: to the log, to the model_dir, and to TensorBoard."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Mapping

from estimator_ckpt.bundle import files
from estimator_ckpt.training.tensorflow_private import tf
from estimator_ckpt.warm_start import warm_start_report as report
from estimator_ckpt.warm_start.warm_start_plan import WarmStartPlan

REPORT_FILE = "warm_start.json"
_TAG = "warm_start"
_logger = logging.getLogger(__name__)


def log(plan: WarmStartPlan) -> None:
  """Logs a summary of what was started; as a warning, if the plan has problems.

  Args:
    plan: the plan that was carried out.
  """
  log_at = _logger.warning if plan.problems else _logger.info
  log_at("%s", report.summary(plan))


def write(
  plan: WarmStartPlan, rows_kept: Mapping[str, int], model_dir: str, step: int
) -> None:
  """Writes the whole report.

  Args:
    plan: the plan that was carried out.
    rows_kept: for each variable with a changed vocabulary, the number of entries of the
      new vocabulary that the old one has.
    model_dir: the directory of `warm_start.json` and of TensorBoard's summary; it is made
      if it does not exist.
    step: the step that training begins with.

  Raises:
    CheckpointIOError: the file system refused.
  """
  # A job that saves neither checkpoints nor summaries makes no directory.
  files.mkdirs(model_dir)
  data = json.dumps(report.as_json(plan, rows_kept), indent=2).encode() + b"\n"
  files.write_atomic(os.path.join(model_dir, REPORT_FILE), data, sync=False)
  writer = tf.compat.v1.summary.FileWriterCache.get(model_dir)
  writer.add_summary(_text_summary(report.markdown(plan)), step)
  writer.flush()


def _text_summary(text: str) -> tf.compat.v1.Summary:
  """A summary that TensorBoard's text dashboard renders."""
  summary = tf.compat.v1.Summary()
  metadata = tf.compat.v1.SummaryMetadata(
    plugin_data=tf.compat.v1.SummaryMetadata.PluginData(plugin_name="text")
  )
  summary.value.add(
    tag=_TAG, metadata=metadata, tensor=tf.make_tensor_proto(text, tf.string)
  )
  return summary
