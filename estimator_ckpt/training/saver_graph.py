"""Everything that a saver adds to its graph, and the plan of its keys."""

from __future__ import annotations

import copy
import dataclasses
import logging
from typing import Any

from estimator_ckpt.checkpoint import key_plan
from estimator_ckpt.checkpoint import layout as layout_lib
from estimator_ckpt.checkpoint.formats import CheckpointFormat
from estimator_ckpt.older_pythons import cached_property
from estimator_ckpt.training import job_state, keras_edges
from estimator_ckpt.training import restore as restore_lib
from estimator_ckpt.training import saveables as saveables_lib
from estimator_ckpt.training import tensorflow_private as tfp
from estimator_ckpt.training.asynchronous import AsynchronousSaves
from estimator_ckpt.training.publish import Publisher
from estimator_ckpt.training.restore_targets import RestoreTargets
from estimator_ckpt.training.tensorflow_private import tf

_logger = logging.getLogger(__name__)
_said: set[tuple[str, ...]] = set()


@dataclasses.dataclass(frozen=True)
class SavedObjects:
  """Everything that a saver saves, before the keys are planned.

  Attributes:
    gathered: variables and objects with their saveables.
    root: the trackable whose objects keep their own paths, or None.
    layout: the object paths of variables that no object owns.
    step: the global step variable, or None.
  """

  gathered: saveables_lib.Gathered
  root: Any
  layout: layout_lib.Layout
  step: Any

  def plan(self, written: CheckpointFormat) -> key_plan.SavePlan:
    """Plans the keys of a checkpoint of a format."""
    made = key_plan.plan_save(
      [item.saved for item in self.gathered.named],
      written,
      copy.deepcopy(self.gathered.graph),
      self.layout,
      has_global_step=self.step is not None,
    )
    if made.object_graph is None or self.root is None:
      return made
    steps = keras_edges.add_keras_edges(
      made.object_graph,
      saveables_lib.keras_variable_orders(self.root),
      saveables_lib.plain_optimizers(self.root),
    )
    return dataclasses.replace(made, step_keys=tuple(steps))

  def recorded(
    self, plan: key_plan.SavePlan, own: key_plan.SavePlan
  ) -> dict[str, list[saveables_lib.RecordedSaveable]]:
    """Makes the saveables that save and restore by planned keys.

    Args:
      plan: has the keys that are written.
      own: has the keys of the checkpoints in the model_dir, which are restored.

    Returns:
      Saveables by name; several for a partitioned variable.
    """
    return {
      item.saved.name: [
        saveables_lib.RecordedSaveable(
          saveable,
          item,
          plan.keys[item.saved.name] if plan.checkpoint_format.has_objects else None,
          own.object_key(item.saved.name),
          is_written=item.saved.name not in plan.unwritten,
        )
        for saveable in item.saveables
      ]
      for item in self.gathered.named
    }


@dataclasses.dataclass(frozen=True)
class SaverGraph:
  """A saver whose ops are in the graph.

  Attributes:
    plan: the keys that are written.
    restores: the RestoreV2 ops in the graph.
    python_states: objects whose state is fed at each save.
    publisher: makes files that were written a checkpoint that readers find.
    asynchronous: saves while training goes on; None if training waits for each save.
  """

  plan: key_plan.SavePlan
  restores: list[restore_lib.RestoreOp]
  python_states: list[tfp.PythonState]
  publisher: Publisher
  asynchronous: AsynchronousSaves | None

  @cached_property
  def targets(self) -> RestoreTargets:
    """What `restores` restore, one op after the other."""
    return RestoreTargets(
      [target for op in self.restores for target in op.targets],
      [read for op in self.restores for read in op.reads],
    )

  def feed(self) -> dict[Any, Any]:
    """The present Python state, as values of the tensors that are saved."""
    return {k: v for state in self.python_states for k, v in state.feed().items()}


def gather(
  var_list: Any, root: Any, layout: layout_lib.Layout, sharded: bool
) -> SavedObjects:
  """Finds everything that a saver saves.

  Args:
    var_list: as for `tf.compat.v1.train.Saver`; None for everything in the graph.
    root: a trackable whose object graph is stored, or None.
    layout: the object paths of variables that no object owns.
    sharded: whether each device writes a data file of its own.

  Returns:
    Variables and objects of the default graph, and its global step.

  Raises:
    OptionError: some of them cannot be saved together.
  """
  return SavedObjects(
    saveables_lib.gather(var_list, root, sharded),
    root,
    layout,
    tf.compat.v1.train.get_global_step(),
  )


def say_name_only(plan: key_plan.SavePlan) -> None:
  """Warns of saveables that TF2 code cannot restore; once, not at each evaluation."""
  if plan.name_only and plan.name_only not in _said:
    _said.add(plan.name_only)
    _logger.warning(
      "%d saveables have no TF2 form and are stored under their name alone: %s",
      len(plan.name_only),
      job_state.listed(plan.name_only),
    )
