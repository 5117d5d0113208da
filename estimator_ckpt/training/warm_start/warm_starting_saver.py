"""A CheckpointSaver that carries a warm start out, and reports it."""

from __future__ import annotations

import os
import re
from typing import Any, Callable

from estimator_ckpt import errors
from estimator_ckpt.training import tensorflow_private as tfp
from estimator_ckpt.training.kept_checkpoints import SaveRequest
from estimator_ckpt.training.saver import CheckpointSaver
from estimator_ckpt.training.tensorflow_private import tf
from estimator_ckpt.training.warm_start import ops as warm_start_ops
from estimator_ckpt.training.warm_start import report_files
from estimator_ckpt.warm_start.request import WarmStart
from estimator_ckpt.warm_start.warm_start_plan import WarmStartPlan

_STEP = re.compile(r".*-(\d+)")

InitFn = Callable[[Any, tf.compat.v1.Session], None]


class WarmStarter:
  """One warm start, from the plan to the report.

  Args:
    warm_start: says what to start from, and which variables.

  Attributes:
    runs_apart: whether the variables are initialized, and then started by a run of
      their own. If not, they are started in place of their initializers.
  """

  def __init__(self, warm_start: WarmStart):
    self.runs_apart = False
    self._warm_start = warm_start
    self._plan: WarmStartPlan | None = None
    self._error: errors.CheckpointError | None = None
    self._run_op: tf.Operation | None = None
    self._init_op: tf.Operation | None = None
    self._rows_kept: dict[str, tf.Tensor] = {}
    self._kept: dict[str, int] | None = None

  def build(self) -> None:
    """Plans the warm start, and adds its ops to the graph, which is about to be finalized.

    An error is kept for `run`. A job that resumes needs no warm start, and its source may
    be gone.
    """
    try:
      plan = self._warm_start.plan(tf.compat.v1.global_variables())
      plan.raise_for_problems()
      ops = warm_start_ops.build(plan)
    except errors.CheckpointError as e:
      self._error = e
      return
    self._plan = plan
    self._rows_kept = ops.rows_kept
    self._run_op = tf.group(*ops.assignments, name="warm_start/all")
    if not self.runs_apart:
      self._init_op = tfp.start_in_init_op(ops.variables, self._run_op)

  def run(self, session: tf.compat.v1.Session, init_op: Any) -> None:
    """Starts the variables, if the session's init_op has not done so.

    Args:
      session: runs the graph that `build` was called in.
      init_op: the op that has initialized the variables.

    Raises:
      CheckpointError: `build` has failed, or the checkpoint cannot be read.
    """
    if self._error is not None:
      raise self._error
    if self._plan is None or self._run_op is None:
      raise errors.OptionError(
        "The saver of the warm start is not the saver of this session's Scaffold, so the "
        "ops of the warm start were not built. Do not put another saver into the Scaffold."
      )
    if self._init_op is None or getattr(init_op, "op", init_op) is not self._init_op:
      session.run(self._run_op)
    self._kept = warm_start_ops.run_rows_kept(session, self._rows_kept)
    report_files.log(self._plan)

  def report(self, prefix: str) -> None:
    """Writes the report, once, beside the first checkpoint that is saved after the start.

    Args:
      prefix: the path of a checkpoint that was saved.
    """
    if self._kept is None or self._plan is None:
      return
    match = _STEP.fullmatch(prefix)
    step = int(match[1]) if match else 0
    report_files.write(self._plan, self._kept, os.path.dirname(prefix) or ".", step)
    self._kept = None


class WarmStartingSaver(CheckpointSaver):
  """A CheckpointSaver whose Scaffold starts from another checkpoint.

  Args:
    *args: the positional arguments of CheckpointSaver.
    warm_start: says what to start from, and which variables.
    **options: the other arguments of CheckpointSaver.

  Raises:
    OptionError: an unknown format or layout, or options that contradict each other.
  """

  def __init__(self, *args: Any, warm_start: WarmStart, **options: Any):
    super().__init__(*args, **options)
    self._starter = WarmStarter(warm_start)

  def init_fn(self, user_init_fn: InitFn | None, apart: bool = False) -> InitFn:
    """Makes the init_fn for the Scaffold of this saver.

    A session calls it once, on the chief, if there was no checkpoint to restore.

    Args:
      user_init_fn: is called after the start, or None.
      apart: whether variables start only when the init_fn is called, and not in the
        init_op. So code that replaces the init_fn starts nothing.

    Returns:
      The function.
    """
    self._starter.runs_apart = apart

    def init_fn(scaffold: Any, session: tf.compat.v1.Session) -> None:
      self._starter.run(session, scaffold.init_op)
      if user_init_fn is not None:
        user_init_fn(scaffold, session)

    return init_fn

  def build(self) -> None:
    """Adds the ops that save, restore and start; called by `Scaffold.finalize`."""
    if not self.is_built:
      super().build()
      self._starter.build()

  def _publish(self, request: SaveRequest, write: Callable[[str], Any]) -> None:
    super()._publish(request, write)
    # Only after the first save; `report` does nothing later.
    self._starter.report(request.prefix)
