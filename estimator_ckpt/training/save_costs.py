"""What a save cost: a line in the log, and scalars in TensorBoard."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import os
import re

from estimator_ckpt import errors
from estimator_ckpt.bundle import files, stored_entries
from estimator_ckpt.bundle.index import Index
from estimator_ckpt.training import tensorflow_private as tfp
from estimator_ckpt.training.tensorflow_private import tf

_STEP = re.compile(r".*-(\d+)")
_logger = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class SaveCosts:
  """What one save cost.

  Attributes:
    waiting: seconds that training waited for the save before this one.
    snapshot: seconds that training waited for the snapshot.
    write: seconds from then until the state file named the checkpoint.
    size: bytes of the data files; None where this process cannot see them.
    is_asynchronous: whether training went on during the write.
  """

  waiting: float
  snapshot: float
  write: float
  size: int | None
  is_asynchronous: bool

  def __str__(self) -> str:
    size = "of unknown size" if self.size is None else _megabytes(self.size)
    if not self.is_asynchronous:
      return f"{size}, training waited {_seconds(self.write)}"
    return (
      f"{size} in {_seconds(self.write)} while training went on; it waited "
      f"{_seconds(self.snapshot)} for the snapshot and {_seconds(self.waiting)} for the "
      "save before"
    )


def report(
  waiting: float, snapshot: float, write: float, prefix: str, is_asynchronous: bool
) -> None:
  """Logs what a save cost, and adds scalars to the summaries of its directory.

  There are no scalars where nobody writes summaries of that directory, or where the
  checkpoint has no step.

  Args:
    waiting: seconds that training waited for the save before this one.
    snapshot: seconds that training waited for the snapshot.
    write: seconds from then until the state file named the checkpoint.
    prefix: the path of the checkpoint.
    is_asynchronous: whether training went on during the write.
  """
  size = None
  # In a cluster, the chief may not see the files that the servers wrote.
  with contextlib.suppress(errors.CheckpointError):
    size = _data_size(prefix)
  costs = SaveCosts(waiting, snapshot, write, size, is_asynchronous)
  _logger.info("Saved %s: %s.", prefix, costs)
  writer = tfp.cached_summary_writer(os.path.dirname(prefix))
  match = _STEP.fullmatch(prefix)
  if writer is None or match is None:
    return
  summary = tf.compat.v1.Summary()
  for name, value in (
    ("waiting_seconds", costs.waiting),
    ("snapshot_seconds", costs.snapshot),
    ("write_seconds", costs.write),
    ("bytes", costs.size),
  ):
    if value is None:
      continue
    summary.value.add(tag=f"checkpoint/{name}", simple_value=value)
  writer.add_summary(summary, int(match[1]))
  # After the last save nobody else may flush. In a store that would send the whole file
  # with each save; TensorFlow does so every two minutes, and SummarySaverHook at the end.
  if files.is_local(prefix):
    writer.flush()


def _data_size(prefix: str) -> int:
  if files.is_local(prefix):
    return sum(map(files.size, files.glob_prefix(prefix + ".data-")))
  # A store would have to be asked for each data file.
  entries = stored_entries.stored_entries(Index.read(prefix), aliases=False)
  return sum(entry.size for _, _, entry in entries)


def _megabytes(size: int) -> str:
  return f"{size / 1e6:.1f} MB" if size > 1e5 else f"{size / 1e3:.1f} kB"


def _seconds(value: float) -> str:
  return f"{value * 1000:.0f} ms" if value < 10 else f"{value:.0f} s"
