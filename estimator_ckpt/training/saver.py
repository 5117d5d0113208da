"""A `tf.compat.v1.train.Saver` that writes a CheckpointFormat and restores any."""

from __future__ import annotations

import functools
import logging
import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any, Callable, TypeVar

from estimator_ckpt import errors
from estimator_ckpt.bundle.index import Index
from estimator_ckpt.bundle.shards import read_scalar_string
from estimator_ckpt.checkpoint import key_plan
from estimator_ckpt.checkpoint import layout as layout_lib
from estimator_ckpt.checkpoint import prefix as prefix_lib
from estimator_ckpt.checkpoint.formats import CheckpointFormat
from estimator_ckpt.training import (
  job_state,
  model_dir_checks,
  preemption,
  restore_errors,
  restore_plan,
  save_costs,
  saver_graph,
  saver_ops,
  signal_handlers,
)
from estimator_ckpt.training import restore as restore_lib
from estimator_ckpt.training import separate as separate_lib
from estimator_ckpt.training import tensorflow_private as tfp
from estimator_ckpt.training.asynchronous import AsynchronousSaves
from estimator_ckpt.training.kept_checkpoints import KeptCheckpoints, SaveRequest
from estimator_ckpt.training.publish import Publisher
from estimator_ckpt.training.saver_settings import SaverSettings
from estimator_ckpt.training.snapshot import Snapshot
from estimator_ckpt.training.tensorflow_private import tf

_logger = logging.getLogger(__name__)


_Method = TypeVar("_Method", bound=Callable[..., Any])


def _one_at_a_time(save: _Method) -> _Method:
  """Makes threads save one after the other.

  A sharded save writes into a directory beside its prefix, and removes it at the end. Two
  saves of one step would remove each other's files, as those of a stock Saver with
  sharded=True do. The thread of tf.compat.v1.train.Supervisor and its user may begin two.
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
    checkpoint_format: the format that `save` writes.
    var_list: what is saved, as for `tf.compat.v1.train.Saver`; by default all global
      variables and SAVEABLE_OBJECTS that exist when the saver is built.
    checkpoint: a `tf.train.Checkpoint`, or a dict of trackables, whose object graph is
      stored. Variables that no object owns are added below `var_list/`. Not for TF1.
    layout: the object paths of variables that no object owns; see
      `estimator_ckpt.checkpoint.layout.object_paths`.
    strict: whether a variable that the checkpoint lacks, or has with another shape or
      dtype, is an error. If not, one warning lists such variables, and they are
      initialized.
    max_to_keep: how many checkpoints are kept; 0 keeps all. By default what the
      Estimator's RunConfig says, and 5 without an Estimator.
    keep_checkpoint_every_n_hours: hours of training for which one more checkpoint is
      kept. By default what the Estimator's RunConfig says, and 10,000 without one.
    sharded: whether each device writes a data file of its own.
    separate: whether a dual checkpoint is written as two over the same data: one with TF1
      names only, and one for TF2 in the directory tf2/ beside it; see
      `estimator_ckpt.training.separate`.
    asynchronous: whether `save` returns when a snapshot is taken, and training goes on
      while it is written; see `estimator_ckpt.training.asynchronous`.
    durable: whether a checkpoint is synced to the disk before the state file names it, so
      that it survives a power cut.
    save_on_signals: signals, by name or number, at which training ends its step, saves
      and stops; see `estimator_ckpt.training.preemption`.
    **saver_options: further arguments of `tf.compat.v1.train.Saver`.

  Raises:
    OptionError: an unknown format or layout, or options that contradict each other.
  """

  # The MadeWith of a decorator or factory; see `estimator_ckpt.training.scaffolds`.
  made_with: Any = None
  # Whether it replaces the Saver of RunConfig's settings in the graph's collection.
  _replaces_collected = True

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
    save_on_signals: Sequence[Any] = (),
    **saver_options: Any,
  ):
    self._format = CheckpointFormat.parse(checkpoint_format)
    if separate and self._format is not CheckpointFormat.DUAL:
      raise errors.OptionError(
        "separate=True keeps the two formats of a dual checkpoint apart; the format is "
        f"{self._format.value!r}. Leave separate out, or choose 'dual'."
      )
    self._separate = separate
    self._asynchronous = asynchronous
    self._durable = durable
    self._signals = signal_handlers.signal_numbers(save_on_signals)
    self._root = _as_root(checkpoint, self._format)
    self._layout = layout_lib.check_layout(layout)
    self._strict = strict
    self._settings = SaverSettings(var_list, max_to_keep, keep_checkpoint_every_n_hours)
    self._kept = KeptCheckpoints(self, self._format, durable)
    self._saving = threading.RLock()
    # Set by build(), and never changed after that.
    self._built: saver_graph.SaverGraph | None = None
    # Tensors that the restored checkpoint has and this graph lacks. Set by each restore;
    # the next save warns of them and empties it.
    self._dropped: tuple[str, ...] = ()
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
    """The keys that are written, from build() on."""
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
    if self._signals:
      preemption.attach(self, self._signals)

  def _build_as(self, checkpoint_format: CheckpointFormat, asynchronous: bool) -> None:
    settings = self._settings
    if self._replaces_collected:
      settings = settings.completed()
    objects = saver_graph.gather(
      settings.var_list, self._root, self._layout, self._sharded
    )
    plan = objects.plan(checkpoint_format)
    # An export is written with names, and restored from a model_dir's own keys.
    own = plan if checkpoint_format is self._format else objects.plan(self._format)
    builder = saver_ops.SaverBuilder(
      saver_ops.extra_tensors(plan, objects.gathered, objects.step), bulk=self._strict
    )
    self.build_with(
      objects.recorded(plan, own), builder, settings.max_to_keep, settings.keep_hours
    )
    # An export is one bundle.
    in_pairs = self._separate and plan.checkpoint_format is CheckpointFormat.DUAL
    saves_behind = asynchronous and not self.is_empty
    self._built = saver_graph.SaverGraph(
      plan,
      builder.restores,
      objects.gathered.python_states,
      Publisher(plan, in_pairs, self._durable),
      AsynchronousSaves(Snapshot(builder.shards)) if saves_behind else None,
    )
    saver_graph.say_name_only(plan)
    if self._replaces_collected:
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
    request = SaveRequest(
      self.prefix(sess, save_path, global_step),
      latest_filename,
      meta_graph_suffix,
      write_state,
    )
    if write_state:
      model_dir_checks.check_name(request.directory)
    meta_graph = f".{meta_graph_suffix}" if write_meta_graph else None
    if built.asynchronous is not None and write_state:
      self._save_behind(built.asynchronous, sess, request, meta_graph, options)
      return request.prefix
    self.wait_until_finished()
    feed = built.feed()
    write = functools.partial(
      super().save,
      tfp.FeedingSession(sess, feed) if feed else sess,
      latest_filename=latest_filename,
      meta_graph_suffix=meta_graph_suffix,
      write_meta_graph=write_meta_graph,
      write_state=False,
      **options,
    )
    if self.is_empty:
      return write(request.prefix)
    start = time.monotonic()
    self._publish(request, write)
    if write_state:
      save_costs.report(0.0, 0.0, time.monotonic() - start, request.prefix, False)
    return request.prefix

  def _save_behind(
    self,
    saves: AsynchronousSaves,
    session: tf.compat.v1.Session,
    request: SaveRequest,
    meta_graph: str | None,
    options: Mapping[str, Any],
  ) -> None:
    """Takes a snapshot, and has it written and published while training goes on."""

    def publish(write_snapshot: Callable[[str], None]) -> None:
      def write(target: str) -> None:
        write_snapshot(target)
        if meta_graph is not None:
          self.export_meta_graph(target + meta_graph, **options)

      self._publish(request, write)

    saves.save(session, self._build_once().feed(), request.prefix, publish)

  def wait_until_finished(self) -> None:
    """Waits until the last checkpoint is whole, and the state file names it.

    Only a save with `asynchronous=True` returns earlier.

    Raises:
      Exception: the last write failed, and its error has not been raised yet.
    """
    if self._built is not None and self._built.asynchronous is not None:
      self._built.asynchronous.wait_until_finished()

  def wait_for_turn(self) -> None:
    """Waits like `wait_until_finished`, before another save; counts the wait."""
    if self._built is not None and self._built.asynchronous is not None:
      self._built.asynchronous.wait_for_turn()

  @property
  def is_writing(self) -> bool:
    """Whether a save that has returned is still being written."""
    saves = self._built.asynchronous if self._built is not None else None
    return saves is not None and saves.is_writing

  def _publish(self, request: SaveRequest, write: Callable[[str], Any]) -> None:
    """Has a checkpoint written, makes it one that readers find, and deletes old ones."""
    publisher = self._build_once().publisher
    replaces = self._kept.begin(request, publisher.in_pairs)
    if request.write_state:
      self._say_dropped()
    with publisher.target(
      request.prefix, replaces, request.meta_graph_suffix
    ) as target:
      write(target)
    if request.write_state:
      self._kept.record(request, publisher.in_pairs)

  def _build_once(self) -> saver_graph.SaverGraph:
    if self._built is None:
      # export_saved_model never calls build(). The variables of a SavedModel are
      # name-based, whatever the format of the model_dir, and are read at once.
      self._build_as(CheckpointFormat.TF1, asynchronous=False)
    assert self._built is not None
    return self._built

  def _say_dropped(self) -> None:
    if self._dropped:
      _logger.warning(
        "The checkpoint that was restored has %d tensors that this graph lacks; they are "
        "not in the checkpoints written from here on: %s",
        len(self._dropped),
        job_state.listed(self._dropped),
      )
    self._dropped = ()

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
    plan = restore_plan.plan_restore(built.targets, index, prefix)
    if plan.problems:
      if self._strict:
        raise restore_errors.of_plan(plan)
      _logger.warning("%s\nThey are initialized instead.", plan.message())
    kept = {state.key for state in built.python_states}
    self._dropped = tuple(name for name in plan.unused if name not in kept)
    restore_lib.run(sess, plan, built.restores, self.saver_def)
    if plan.problems:
      # A variable that begins as a copy of another, such as an average, comes after it.
      restore_lib.initialize(sess, plan, built.restores)
    for state in built.python_states:
      if state.key in index:
        state.restore(read_scalar_string(prefix, index, state.key))


def _as_root(checkpoint: Any, checkpoint_format: CheckpointFormat) -> Any:
  if checkpoint is None:
    return None
  if not checkpoint_format.has_objects:
    raise errors.OptionError(
      "checkpoint= gives the objects of a TF2 or dual checkpoint; the format is 'tf1', "
      "which stores no objects. Leave it out, or choose 'tf2' or 'dual'."
    )
  if isinstance(checkpoint, Mapping):
    return tfp.checkpoint_of(checkpoint)
  return checkpoint
