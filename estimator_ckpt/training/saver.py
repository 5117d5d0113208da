"""A `tf.compat.v1.train.Saver` that writes a CheckpointFormat and restores any."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import functools
import logging
import os
import threading
import time
from collections.abc import Mapping
from typing import Any, Callable, TypeVar

from estimator_ckpt import errors
from estimator_ckpt.bundle.index import Index
from estimator_ckpt.bundle.shards import read_scalar_string
from estimator_ckpt.checkpoint import formats, key_plan
from estimator_ckpt.checkpoint import layout as layout_lib
from estimator_ckpt.checkpoint import prefix as prefix_lib
from estimator_ckpt.checkpoint import state_file as state_lib
from estimator_ckpt.checkpoint.formats import CheckpointFormat
from estimator_ckpt.training import (
  job_state,
  keras_edges,
  model_dir_checks,
  overwrite,
  restore_errors,
  restore_plan,
  retention,
  save_costs,
  saver_ops,
)
from estimator_ckpt.training import restore as restore_lib
from estimator_ckpt.training import saveables as saveables_lib
from estimator_ckpt.training import separate as separate_lib
from estimator_ckpt.training import tensorflow_private as tfp
from estimator_ckpt.training.asynchronous import AsynchronousSaves
from estimator_ckpt.training.publish import Publisher
from estimator_ckpt.training.snapshot import Snapshot
from estimator_ckpt.training.tensorflow_private import tf

_logger = logging.getLogger(__name__)


_Method = TypeVar("_Method", bound=Callable[..., Any])


def _one_at_a_time(save: _Method) -> _Method:
  """Has one thread after the other save.

  A sharded save writes beside its prefix, in a directory that its end removes. Two of
  one step, as tf.compat.v1.train.Supervisor's thread and its user may begin, remove
  each other's files; so do those of a stock Saver with sharded=True.
  """

  @functools.wraps(save)
  def saved(self: CheckpointSaver, *args: Any, **options: Any) -> Any:
    with self._saving:
      return save(self, *args, **options)

  return saved  # type: ignore[return-value]


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
    asynchronous: whether `save` returns when a snapshot is taken, and training goes on
      while it is written; see `estimator_ckpt.training.asynchronous`. For jobs on one
      machine.
    durable: whether a checkpoint is on the disk, and survives a power cut, before the
      state file names it.
    **saver_options: further arguments of `tf.compat.v1.train.Saver`.

  Raises:
    OptionError: an unknown format or layout, or options that contradict each other.
  """

  # What a decorator or factory made it with; see `estimator_ckpt.training.scaffolds`.
  made_with: Any = None

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
    asynchronous: bool = False,
    durable: bool = False,
    **saver_options: Any,
  ):
    self._format = CheckpointFormat.parse(checkpoint_format)
    if separate and self._format is not CheckpointFormat.DUAL:
      raise errors.OptionError(
        "separate=True keeps the two formats of a dual checkpoint apart; the format is "
        f"{self._format.value!r}. Leave it out, or choose 'dual'."
      )
    self._separate = separate
    self._asynchronous = asynchronous
    self._durable = durable
    self._root = _as_root(checkpoint, self._format)
    self._layout = layout_lib.check_layout(layout)
    self._strict = strict
    self._given = _Given(var_list, max_to_keep, keep_checkpoint_every_n_hours)
    self._built: _Built | None = None
    # What the restored checkpoint has and this graph lacks, until a save says so.
    self._dropped: tuple[str, ...] = ()
    self._started = time.time()
    self._has_said_names = False
    self._saving = threading.RLock()
    self._states: dict[tuple[str, str | None], job_state.JobState] = {}
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
    if self._built is None:
      raise RuntimeError("The saver has no plan before build() is called.")
    return self._built.plan

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
      self._build_as(self._format, self._asynchronous)

  def _build_as(self, checkpoint_format: CheckpointFormat, asynchronous: bool) -> None:
    given = self._given.completed()
    gathered = saveables_lib.gather(given.var_list, self._root, self._sharded)
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
          plan.keys[item.saved.name] if checkpoint_format.has_objects else None,
          own.object_key(item.saved.name),
          is_written=item.saved.name not in plan.unwritten,
        )
        for saveable in item.saveables
      ]
      for item in gathered.named
    }
    builder = saver_ops.SaverBuilder(
      saver_ops.extra_tensors(plan, gathered, step), bulk=self._strict
    )
    self.build_with(
      recorded,
      builder,
      5 if given.max_to_keep is None else given.max_to_keep,
      10000.0 if given.keep_hours is None else given.keep_hours,
    )
    # What is exported is one bundle.
    in_pairs = self._separate and plan.checkpoint_format is CheckpointFormat.DUAL
    self._built = _Built(
      plan,
      builder.restores,
      gathered.python_states,
      in_pairs,
      Publisher(plan, in_pairs, self._durable),
      AsynchronousSaves(Snapshot(builder.written))
      if asynchronous and not self.is_empty
      else None,
    )
    _say_name_only(plan)
    savers = tf.compat.v1.get_collection_ref(tf.compat.v1.GraphKeys.SAVERS)
    savers[:] = [self]

  @_one_at_a_time
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
    checkpoint without its aliases. Of two threads that save, one waits for the other.
    """
    built = self._build_once()
    prefix = self.prefix(sess, save_path, global_step)
    if write_state:
      model_dir_checks.check_name(os.path.dirname(prefix))
    if self.is_empty or not write_state or built.asynchronous is None:
      self.wait_until_finished()
    save = functools.partial(
      super().save,
      latest_filename=latest_filename,
      meta_graph_suffix=meta_graph_suffix,
      write_meta_graph=write_meta_graph,
      write_state=False,
      **options,
    )
    if self.is_empty:
      return save(sess, prefix)
    publish = functools.partial(
      self._publish, prefix, latest_filename, meta_graph_suffix, write_state
    )
    if built.asynchronous is not None and write_state:

      def write(write_snapshot: Callable[[str], None], target: str) -> None:
        write_snapshot(target)
        if write_meta_graph:
          self.export_meta_graph(f"{target}.{meta_graph_suffix}", **options)

      built.asynchronous.save(
        sess,
        built.feed(),
        prefix,
        lambda write_snapshot: publish(functools.partial(write, write_snapshot)),
      )
      return prefix
    feed = built.feed()
    session = tfp.FeedingSession(sess, feed) if feed else sess
    start = time.monotonic()
    publish(lambda target: save(session, target))
    if write_state:
      save_costs.report(0.0, 0.0, time.monotonic() - start, prefix, False)
    return prefix

  def wait_until_finished(self) -> None:
    """Waits until the last save is whole on disk and named by the state file.

    Only a save with `asynchronous=True` returns earlier.

    Raises:
      Exception: what writing raised.
    """
    if self._built is not None and self._built.asynchronous is not None:
      self._built.asynchronous.wait_until_finished()

  def wait_for_turn(self) -> None:
    """Waits as `wait_until_finished`, on behalf of a save that is about to come."""
    if self._built is not None and self._built.asynchronous is not None:
      self._built.asynchronous.wait_for_turn()

  @property
  def is_writing(self) -> bool:
    """Whether a save that has returned is still being written."""
    saves = self._built.asynchronous if self._built is not None else None
    return saves is not None and saves.is_writing

  def _publish(
    self,
    prefix: str,
    latest_filename: str | None,
    meta_graph_suffix: str,
    write_state: bool,
    write: Callable[[str], Any],
  ) -> None:
    """Has a checkpoint written, makes it one that readers find, and deletes old ones."""
    state = self._job_state(prefix, latest_filename)
    found = state.read()
    if write_state:
      self._say_dropped()
      self._say_names(prefix, found)
      self._look_around(state, prefix, latest_filename)
    replaces = overwrite.is_listed(prefix, found)
    publisher = self._build_once().publisher
    with publisher.target(prefix, replaces, meta_graph_suffix) as target:
      write(target)
    if write_state:
      self.record(prefix, latest_filename, meta_graph_suffix)

  def record(
    self, prefix: str, latest_filename: str | None, meta_graph_suffix: str
  ) -> None:
    """Enters a finished checkpoint into the state file, and deletes the oldest.

    Args:
      prefix: the checkpoint.
      latest_filename: the state file's name; None for `checkpoint`.
      meta_graph_suffix: the suffix of the MetaGraphs that are deleted with them.

    Raises:
      CheckpointIOError: the file system refused.
    """
    state = self._job_state(prefix, latest_filename)
    state.is_this_jobs = True
    directories = {
      _directory(where) for (where, _), s in self._states.items() if s.is_this_jobs
    }
    plan = retention.plan_retention(
      # The state file of a copied directory may name checkpoints of the original one,
      # which are not this job's to count or to delete.
      [each for each in self.listed if _directory(each.directory) in directories],
      retention.ListedCheckpoint(prefix, time.time()),
      self.saver_def.max_to_keep,
      self.preserve_after,
      self.saver_def.keep_checkpoint_every_n_hours,
    )
    write = functools.partial(
      state.write, relative=self.saves_relative_paths, durable=self._durable
    )
    if plan.deleted:
      write(prefix, plan.prefixes_before_deletion)
    for old in plan.deleted:
      tfp.delete_checkpoint(old, meta_graph_suffix)
    write(prefix, plan.prefixes)
    self.set_last_checkpoints_with_time(list(plan.kept))
    self.preserve_after = plan.preserve_after
    if self._build_once().in_pairs:
      separate_lib.record(prefix, latest_filename)

  def _build_once(self) -> _Built:
    if self._built is None:
      # export_saved_model never calls build(). What it saves goes into a SavedModel,
      # whose variables are name-based whatever the model_dir holds.
      # And somebody reads it as soon as it is saved.
      self._build_as(CheckpointFormat.TF1, asynchronous=False)
    assert self._built is not None
    return self._built

  def _job_state(self, prefix: str, name: str | None) -> job_state.JobState:
    place = os.path.dirname(prefix), name
    if place not in self._states:
      self._states[place] = job_state.JobState(*place)
    return self._states[place]

  def _say_dropped(self) -> None:
    if self._dropped:
      _logger.warning(
        "The checkpoint that was restored has %d tensors that this graph lacks; they are "
        "not in the checkpoints written from here on: %s",
        len(self._dropped),
        job_state.listed(self._dropped),
      )
    self._dropped = ()

  def _say_names(self, prefix: str, found: state_lib.CheckpointState | None) -> None:
    """Says what names can no longer do, when a directory gets its first TF2 checkpoint."""
    if self._has_said_names or self._format.has_names:
      return
    self._has_said_names = True
    directory = os.path.dirname(prefix)
    if found is not None:
      latest = os.path.join(directory, found.model_checkpoint_path)
      with contextlib.suppress(errors.CheckpointError):
        if not formats.detect_format(latest).has_names:
          return
    _logger.warning(
      "%s: TF2 checkpoints have object keys and no names. A plain Estimator does not resume "
      "from them, and estimator.get_variable_value(name), init_from_checkpoint, "
      "tf.train.load_variable(directory, name) and other readers by name do not find "
      "variables. The format 'dual' keeps names.",
      directory,
    )

  def _look_around(
    self, state: job_state.JobState, prefix: str, latest_filename: str | None
  ) -> None:
    """Removes what an interrupted job left, and says if another one saves here."""
    in_pairs = self._build_once().in_pairs
    prefixes = [prefix, separate_lib.tf2_prefix(prefix)] if in_pairs else [prefix]
    is_first = state.clean([os.path.dirname(p) for p in prefixes], self._started)
    if is_first and not in_pairs:
      stale = separate_lib.left_behind(prefix, latest_filename)
      if stale:
        _logger.warning(
          "%s is of a job with separate=True. This one writes no pairs, so readers of %s "
          "stay at it. Give separate=True again, or remove that directory.",
          stale,
          os.path.dirname(stale),
        )
    state.say_if_another_writes()

  def restore(self, sess: tf.compat.v1.Session, save_path: str) -> None:
    """Restores a checkpoint of any format; arguments are those of Saver.restore.

    Raises:
      CheckpointNotFoundError: there is no checkpoint at `save_path`, which may also be
        a directory with checkpoints, or one of a checkpoint's files.
      VariableMismatchError: `strict`, and the checkpoint lacks a variable of the graph
        or has it with another shape or dtype. Nothing has been restored then.
      CorruptCheckpointError: the checkpoint cannot be read.
    """
    built = self._build_once()
    if self.is_empty:
      return
    self.wait_until_finished()
    if save_path is None:
      raise errors.OptionError(
        "Can't load save_path when it is None. Pass the prefix of a checkpoint."
      )
    prefix = tf.compat.as_text(save_path)
    if self._separate:
      prefix = separate_lib.whole(prefix)
    try:
      prefix = prefix_lib.resolve(prefix)
    except errors.CheckpointNotFoundError as error:
      raise errors.CheckpointNotFoundError(
        f"The passed save_path is not a valid checkpoint: {error}"
      ) from None
    _logger.info("Restoring parameters from %s", prefix)
    index = Index.read(prefix)
    targets = [target for op in built.restores for target in op.targets]
    plan = restore_plan.plan_restore(targets, index, prefix)
    if plan.problems:
      if self._strict:
        raise restore_errors.of_plan(plan)
      _logger.warning("%s\nThey are initialized instead.", plan.message())
    kept = {state.key for state in built.python_states}
    self._dropped = tuple(name for name in plan.unused if name not in kept)
    restore_lib.run(sess, plan, built.restores, self.saver_def)
    if plan.problems:
      # What begins as a copy of another variable, as an average does, needs that first.
      restore_lib.initialize(sess, plan, built.restores)
    for state in built.python_states:
      if state.key in index:
        state.restore(read_scalar_string(prefix, index, state.key))


@dataclasses.dataclass(frozen=True)
class _Given:
  """Settings that a Saver in the graph's collection may complete; None if not given."""

  var_list: Any
  max_to_keep: int | None
  keep_hours: float | None

  def completed(self) -> _Given:
    """The settings with those of the Savers that RunConfig's are in."""
    given = self
    for saver in tf.compat.v1.get_collection(tf.compat.v1.GraphKeys.SAVERS):
      # Another of these has settings of its own, and a var_list of its own keys.
      if not isinstance(saver, tf.compat.v1.train.Saver) or isinstance(
        saver, CheckpointSaver
      ):
        continue
      found = tfp.saver_settings(saver)
      if given.var_list is None and saver.saver_def is not None:
        given = dataclasses.replace(given, var_list=found["var_list"])
      if given.max_to_keep is None:
        given = dataclasses.replace(given, max_to_keep=found["max_to_keep"] or 0)
      if given.keep_hours is None:
        given = dataclasses.replace(
          given, keep_hours=found["keep_checkpoint_every_n_hours"]
        )
    return given


@dataclasses.dataclass(frozen=True)
class _Built:
  """What there is once the ops are in the graph.

  Attributes:
    plan: the keys that are written.
    restores: the RestoreV2 ops.
    python_states: objects whose state is fed when it is saved.
    in_pairs: whether each checkpoint is kept as two bundles.
    publisher: what publishes checkpoints.
    asynchronous: what saves while training goes on, if something does.
  """

  plan: key_plan.SavePlan
  restores: list[restore_lib.RestoreOp]
  python_states: list[tfp.PythonState]
  in_pairs: bool
  publisher: Publisher
  asynchronous: AsynchronousSaves | None

  def feed(self) -> dict[Any, Any]:
    """The Python state as it is now, for the tensors that it is saved as."""
    return {k: v for state in self.python_states for k, v in state.feed().items()}


def _as_root(checkpoint: Any, checkpoint_format: CheckpointFormat) -> Any:
  if checkpoint is None:
    return None
  if not checkpoint_format.has_objects:
    raise errors.OptionError(
      "checkpoint= gives the objects of a TF2 or dual checkpoint; the format is 'tf1', "
      "which stores no objects. Leave it out, or choose 'tf2' or 'dual'."
    )
  if isinstance(checkpoint, Mapping):
    return tf.train.Checkpoint(**checkpoint)
  return checkpoint


_said: set[tuple[str, ...]] = set()


def _say_name_only(plan: key_plan.SavePlan) -> None:
  """Says once what TF2 code cannot restore, not at each of a job's evaluations."""
  if plan.name_only and plan.name_only not in _said:
    _said.add(plan.name_only)
    _logger.warning(
      "%d saveables have no TF2 form and are stored under their name alone: %s",
      len(plan.name_only),
      job_state.listed(plan.name_only),
    )


def _directory(path: str) -> str:
  return path if "://" in path else os.path.realpath(path or ".")
