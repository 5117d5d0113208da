"""A `tf.compat.v1.train.Saver` that writes a CheckpointFormat and restores any."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import logging
import os
import time
from collections.abc import Mapping, Sequence
from typing import Any

from estimator_ckpt import errors
from estimator_ckpt.bundle import files
from estimator_ckpt.bundle.index import Index
from estimator_ckpt.bundle.recurring import RecurringIndex
from estimator_ckpt.bundle.shards import read_scalar_string
from estimator_ckpt.checkpoint import key_plan, leftovers
from estimator_ckpt.checkpoint import layout as layout_lib
from estimator_ckpt.checkpoint import prefix as prefix_lib
from estimator_ckpt.checkpoint import state_file as state_lib
from estimator_ckpt.checkpoint.formats import CheckpointFormat
from estimator_ckpt.training import dual_index, keras_edges, overwrite, restore_plan
from estimator_ckpt.training import restore as restore_lib
from estimator_ckpt.training import saveables as saveables_lib
from estimator_ckpt.training import separate as separate_lib
from estimator_ckpt.training import tensorflow_private as tfp
from estimator_ckpt.training.tensorflow_private import tf

_logger = logging.getLogger(__name__)
_SHOWN = 100


class CheckpointSaver(tfp.SaverBase):
  """Saves in one checkpoint format, restores from every format.

  The saver is built when `build()` is called, which a Scaffold does just before the
  graph is finalized; that is when the set of variables is complete.

  Args:
    checkpoint_format: what `save` writes.
    var_list: what is saved, as for `tf.compat.v1.train.Saver`; by default all global
      variables and SAVEABLE_OBJECTS there are when the saver is built.
    checkpoint: a `tf.train.Checkpoint`, or a dict of trackables, whose object graph is
      stored. What it does not reach is added below `var_list/`. Not for TF1.
    layout: where things that no object of yours reaches stand in the object graph;
      see `estimator_ckpt.checkpoint.layout.object_paths`.
    strict: whether a variable that the checkpoint lacks, or has with another shape or
      dtype, is an error. If not, one warning lists such variables and each is
      initialized.
    max_to_keep: how many checkpoints are kept; 0 keeps all. By default what the
      Estimator's RunConfig says, and 5 where there is none.
    keep_checkpoint_every_n_hours: as for Saver; by default as max_to_keep.
    sharded: whether each device writes a data file of its own.
    separate: whether a dual checkpoint is kept as two, a pure TF1 one and, in the
      directory tf2/ beside it, a TF2 one over the same data; see
      `estimator_ckpt.training.separate`.
    **saver_options: further arguments of `tf.compat.v1.train.Saver`.

  Raises:
    OptionError: an unknown format or layout, or options that contradict each other.
  """

  def __init__(
    self,
    checkpoint_format: CheckpointFormat | str,
    *,
    var_list: Any = None,
    checkpoint: Any = None,
    layout: layout_lib.Layout = "default",
    strict: bool = True,
    max_to_keep: int | None = None,
    keep_checkpoint_every_n_hours: float | None = None,
    sharded: bool = True,
    separate: bool = False,
    **saver_options: Any,
  ):
    self._format = CheckpointFormat.parse(checkpoint_format)
    if separate and self._format is not CheckpointFormat.DUAL:
      raise errors.OptionError(
        "separate=True keeps the two formats of a dual checkpoint apart; the format is "
        f"{self._format.value!r}. Leave it out, or choose 'dual'."
      )
    self._separate = separate
    self._given_var_list = var_list
    self._root = _as_root(checkpoint, self._format)
    self._layout = layout_lib.check_layout(layout)
    self._strict = strict
    self._given_max_to_keep = max_to_keep
    self._given_keep_hours = keep_checkpoint_every_n_hours
    self._plan: key_plan.SavePlan | None = None
    self._restores: list[restore_lib.RestoreOp] = []
    self._python_states: list[tfp.PythonState] = []
    self._dropped: tuple[str, ...] = ()
    self._replaced: list[str] = []
    self._recurring = RecurringIndex()
    self._started = time.time()
    # What this job wrote into the state file last, by the file.
    self._recorded: dict[str, bytes | None] = {}
    self._cleaned: set[str] = set()
    saver_options.setdefault("save_relative_paths", True)
    super().__init__(
      sharded=sharded, defer_build=True, allow_empty=True, **saver_options
    )

  @property
  def checkpoint_format(self) -> CheckpointFormat:
    """The format that `save` writes."""
    return self._format

  @property
  def plan(self) -> key_plan.SavePlan:
    """The keys that are written; known once the saver is built."""
    if self._plan is None:
      raise RuntimeError("The saver has no plan before build() is called.")
    return self._plan

  @property
  def _separates(self) -> bool:
    # What is exported is one bundle.
    return self._separate and self.plan.checkpoint_format is CheckpointFormat.DUAL

  def __bool__(self) -> bool:
    # `Estimator.train` puts a Saver with RunConfig's keep_checkpoint_max into the graph
    # only if the Scaffold's saver is false, and RunConfig reaches a Scaffold no other
    # way; build() takes that Saver's place and settings. `Estimator.export_saved_model`
    # asks the same question inside a session, and has to get this saver. Read from
    # tensorflow-estimator 2.12 and 2.15, _train_with_estimator_spec and
    # _add_meta_graph_for_mode.
    return self.is_built or tf.compat.v1.get_default_session() is not None

  def build(self) -> None:
    """Adds the save and restore ops; called by `Scaffold.finalize`."""
    if not self.is_built:
      self._build_as(self._format)

  def _build_as(self, checkpoint_format: CheckpointFormat) -> None:
    max_to_keep, keep_hours = self._retention()
    gathered = saveables_lib.gather(self._given_var_list, self._root, self._sharded)
    step = tf.compat.v1.train.get_global_step()

    def planned(written: CheckpointFormat) -> key_plan.SavePlan:
      made = key_plan.plan_save(
        [item.saved for item in gathered.named],
        written,
        copy.deepcopy(gathered.graph),
        self._layout,
        has_global_step=step is not None,
      )
      if made.object_graph is None or self._root is None:
        return made
      steps = keras_edges.add_keras_edges(
        made.object_graph,
        saveables_lib.keras_variable_orders(self._root),
        saveables_lib.plain_optimizers(self._root),
      )
      return dataclasses.replace(made, step_keys=tuple(steps))

    plan = planned(checkpoint_format)
    # What is exported is named, and still restored by the keys of a model_dir.
    own = plan if checkpoint_format is self._format else planned(self._format)
    recorded = {
      item.saved.name: [
        saveables_lib.RecordedSaveable(
          saveable,
          item,
          None
          if checkpoint_format is CheckpointFormat.TF1
          else plan.keys[item.saved.name],
          own.object_key(item.saved.name),
          is_written=item.saved.name not in plan.unwritten,
        )
        for saveable in item.saveables
      ]
      for item in gathered.named
    }
    self._plan = plan
    self._python_states = gathered.python_states
    builder = _Builder(_extra_tensors(plan, gathered, step), bulk=self._strict)
    self.build_with(recorded, builder, max_to_keep, keep_hours)
    self._restores = builder.restores
    _say_name_only(plan)
    savers = tf.compat.v1.get_collection_ref(tf.compat.v1.GraphKeys.SAVERS)
    savers[:] = [self]

  def _retention(self) -> tuple[int, float]:
    """What is kept: as told, else as the Saver in the graph's collection was told."""
    max_to_keep, keep_hours = self._given_max_to_keep, self._given_keep_hours
    for saver in tf.compat.v1.get_collection(tf.compat.v1.GraphKeys.SAVERS):
      # Another of these has settings of its own, and a var_list of its own keys.
      if isinstance(saver, tf.compat.v1.train.Saver) and not isinstance(
        saver, CheckpointSaver
      ):
        settings = tfp.saver_settings(saver)
        if max_to_keep is None:
          max_to_keep = settings["max_to_keep"] or 0
        if keep_hours is None:
          keep_hours = settings["keep_checkpoint_every_n_hours"]
        if self._given_var_list is None and saver.saver_def is not None:
          self._given_var_list = settings["var_list"]
    return (
      5 if max_to_keep is None else max_to_keep,
      10000.0 if keep_hours is None else keep_hours,
    )

  def save(  # type: ignore[override]
    self,
    sess: tf.compat.v1.Session,
    save_path: str,
    global_step: Any = None,
    latest_filename: str | None = None,
    meta_graph_suffix: str = "meta",
    write_meta_graph: bool = True,
    write_state: bool = True,
    **options: Any,
  ) -> str | None:
    """Saves a checkpoint; arguments and result are those of Saver.save.

    The state file is written last, so a reader that follows it never sees a dual
    checkpoint without its aliases.
    """
    if not self.is_built:
      self._build_for_export()
    if self._dropped and write_state:
      _logger.warning(
        "The checkpoint that was restored has %d tensors that this graph lacks; they are "
        "not in the checkpoints written from here on: %s",
        len(self._dropped),
        _listed(self._dropped),
      )
      self._dropped = ()
    path = self.prefix(sess, save_path, global_step)
    if write_state:
      self._look_around(path, latest_filename)
    is_listed = overwrite.is_listed(path, latest_filename)
    overwrite.remove(self._replaced)
    self._replaced = []
    feed = {k: v for state in self._python_states for k, v in state.feed().items()}
    is_aside = is_listed or self._separates
    with overwrite.aside(path) if is_aside else contextlib.nullcontext(path) as target:
      written = super().save(
        tfp.FeedingSession(sess, feed) if feed else sess,
        target,
        latest_filename=latest_filename,
        meta_graph_suffix=meta_graph_suffix,
        write_meta_graph=write_meta_graph,
        write_state=False,
        **options,
      )
      if written is None:
        return None
      if is_aside:
        self._replace(path, target, meta_graph_suffix)
      elif dual_index.are_needed(self.plan):
        dual_index.add_aliases(path, self.plan, self._recurring)
    if write_state:
      state_file = _state_path(path, latest_filename)
      # If this fails half way, nobody else need have written what is found next.
      self._recorded[state_file] = None
      self.record(path, latest_filename, meta_graph_suffix)
      if self._separates:
        separate_lib.record(path, latest_filename)
      self._recorded[state_file] = _read_or_none(state_file)
    return path

  def _look_around(self, path: str, latest_filename: str | None) -> None:
    """Removes what an interrupted job left, and says if another one saves here."""
    state_file = _state_path(path, latest_filename)
    # Before there is a state file, nobody can say what is needed.
    if state_file not in self._cleaned and files.exists(state_file):
      self._cleaned.add(state_file)
      directories = [os.path.dirname(path)]
      if self._separates:
        directories.append(os.path.dirname(separate_lib.tf2_prefix(path)))
      for directory in directories:
        left = leftovers.clean(directory, self._started, latest_filename)
        if left:
          _logger.warning("Removed what an interrupted save left: %s", _listed(left))
      stale = (
        None if self._separates else separate_lib.left_behind(path, latest_filename)
      )
      if stale:
        _logger.warning(
          "%s is of a job with separate=True. This one writes no pairs, so readers of %s "
          "stay at it. Give separate=True again, or remove that directory.",
          stale,
          os.path.dirname(stale),
        )
    mine = self._recorded.get(state_file)
    if mine is not None and (found := _read_or_none(state_file)) not in (None, mine):
      _logger.warning(
        "%s is not as this job left it: another program writes it too. It named %s, and "
        "now names %s. Two jobs in one model_dir overwrite and delete each other's "
        "checkpoints; give each a model_dir of its own.",
        state_file,
        _latest(mine),
        _latest(found),
      )

  def _replace(self, path: str, written: str, meta_graph_suffix: str) -> None:
    if self._separates:
      self._replaced = separate_lib.publish(path, written, self.plan)
    else:
      index = Index.read(written)
      dual_index.add_to_index(index, self.plan)
      self._replaced = overwrite.replace(path, written, index)
    if files.exists(f"{written}.{meta_graph_suffix}"):
      files.rename(f"{written}.{meta_graph_suffix}", f"{path}.{meta_graph_suffix}")

  def restore(self, sess: tf.compat.v1.Session, save_path: str) -> None:
    """Restores a checkpoint of any format; arguments are those of Saver.restore.

    Raises:
      CheckpointNotFoundError: there is no checkpoint at `save_path`, which may also be
        a directory with checkpoints, or one of a checkpoint's files.
      VariableMismatchError: `strict`, and the checkpoint lacks a variable of the graph
        or has it with another shape or dtype. Nothing has been restored then.
      CorruptCheckpointError: the checkpoint cannot be read.
    """
    if not self.is_built:
      self._build_for_export()
    if self.is_empty:
      return
    if save_path is None:
      raise errors.OptionError(
        "restore needs the prefix of a checkpoint, and got None."
      )
    prefix = tf.compat.as_text(save_path)
    if self._separate:
      prefix = separate_lib.whole(prefix)
    prefix = prefix_lib.resolve(prefix)
    _logger.info("Restoring parameters from %s", prefix)
    index = Index.read(prefix)
    targets = [target for op in self._restores for target in op.targets]
    plan = restore_plan.plan_restore(targets, index, prefix)
    if plan.problems:
      if self._strict:
        raise errors.VariableMismatchError(plan.message())
      _logger.warning("%s\nThey are initialized instead.", plan.message())
    kept = {state.key for state in self._python_states}
    self._dropped = tuple(name for name in plan.unused if name not in kept)
    restore_lib.run(sess, plan, self._restores, self.saver_def)
    if plan.problems:
      # What begins as a copy of another variable, as an average does, needs that first.
      restore_lib.initialize(sess, plan, self._restores)
    for state in self._python_states:
      if state.key in index:
        state.restore(read_scalar_string(prefix, index, state.key))

  def _build_for_export(self) -> None:
    # export_saved_model never calls build(). What it saves goes into a SavedModel,
    # whose variables are name-based whatever the model_dir holds.
    self._build_as(CheckpointFormat.TF1)


class _Builder(tfp.BulkSaverBuilder):
  """Writes extra tensors beside the saveables, and remembers the RestoreV2 ops."""

  def __init__(self, extras: Sequence[tuple[str, Any]], bulk: bool):
    super().__init__()
    self._extras = list(extras)
    self._bulk = bulk
    self.restores: list[restore_lib.RestoreOp] = []

  def save_op(
    self, filename_tensor: Any, saveables: Sequence[saveables_lib.RecordedSaveable]
  ) -> Any:
    specs = [spec for s in saveables if s.is_written for spec in s.specs]
    names = [spec.name for spec in specs]
    slices = [spec.slice_spec for spec in specs]
    tensors = [spec.tensor for spec in specs]
    # A sharded saver calls this once for each device; the first takes the extras.
    for name, make_tensor in self._extras:
      names.append(name)
      slices.append("")
      tensors.append(make_tensor())
    self._extras = []
    return tfp.save_v2(filename_tensor, names, slices, tensors)

  def bulk_restore(
    self,
    filename_tensor: Any,
    saveables: Sequence[saveables_lib.RecordedSaveable],
    preferred_shard: int,
    restore_sequentially: bool,
  ) -> list[Any]:
    # One op reads everything; a lenient saver has one for each saveable, since an op
    # whose key is missing fails as a whole.
    groups = [list(saveables)] if self._bulk else [[s] for s in saveables]
    tensors: list[Any] = []
    for group in groups:
      specs = [spec for saveable in group for spec in saveable.specs]
      reads = [(spec.name, spec.slice_spec) for spec in specs]
      with tf.device("CPU:0"):
        restored = tfp.restore_v2(
          filename_tensor,
          [key for key, _ in reads],
          [slice_spec for _, slice_spec in reads],
          [spec.dtype for spec in specs],
        )
      op = restored[0].op
      targets = [target for saveable in group for target in saveable.targets]
      self.restores.append(restore_lib.RestoreOp(op, group, targets, reads))
      tensors += restored
    return tensors


def _as_root(checkpoint: Any, checkpoint_format: CheckpointFormat) -> Any:
  if checkpoint is None:
    return None
  if checkpoint_format is CheckpointFormat.TF1:
    raise errors.OptionError(
      "checkpoint= gives the objects of a TF2 or dual checkpoint; the format is 'tf1', "
      "which stores no objects. Leave it out, or choose 'tf2' or 'dual'."
    )
  if isinstance(checkpoint, Mapping):
    return tf.train.Checkpoint(**checkpoint)
  return checkpoint


def _extra_tensors(
  plan: key_plan.SavePlan, gathered: saveables_lib.Gathered, step: Any
) -> list[tuple[str, Any]]:
  """What is written beside the saveables: keys, and functions that make the tensors."""
  extras: list[tuple[str, Any]] = []
  if plan.object_graph is not None:
    extras += gathered.save_only
  for item in gathered.named:
    key = plan.wholes.get(item.saved.name)
    if key is not None and key not in plan.joined:
      extras.append((key, item.whole))
  if plan.object_graph is not None:
    data = plan.object_graph.serialize()
    extras.append((layout_lib.OBJECT_GRAPH_KEY, lambda: tf.constant(data)))
  extras += [(key, lambda: tf.cast(step, tf.int64)) for key in plan.step_keys]
  if plan.needs_step_key:
    extras.append((key_plan.GLOBAL_STEP, lambda: tf.identity(step)))
  if plan.needs_save_counter:
    # The step, so that eager code that goes on saving counts on from it and does not
    # write over older numbers.
    def save_counter() -> Any:
      return tf.constant(1, tf.int64) if step is None else tf.cast(step, tf.int64)

    extras.append((plan.save_counter_key, save_counter))
  return extras


_said: set[tuple[str, ...]] = set()


def _say_name_only(plan: key_plan.SavePlan) -> None:
  """Says once what TF2 code cannot restore, not at each of a job's evaluations."""
  if plan.name_only and plan.name_only not in _said:
    _said.add(plan.name_only)
    _logger.warning(
      "%d saveables have no TF2 form and are stored under their name alone: %s",
      len(plan.name_only),
      _listed(plan.name_only),
    )


def _state_path(prefix: str, latest_filename: str | None) -> str:
  return os.path.join(os.path.dirname(prefix), latest_filename or state_lib.STATE_FILE)


def _read_or_none(path: str) -> bytes | None:
  try:
    return files.read(path)
  except errors.CheckpointNotFoundError:
    return None


def _latest(data: bytes | None) -> str:
  try:
    return state_lib.parse_state(data or b"", "it").model_checkpoint_path
  except errors.CorruptCheckpointError:
    return "nothing"


def _listed(names: Sequence[str]) -> str:
  more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
  return ", ".join(names[:_SHOWN]) + more
