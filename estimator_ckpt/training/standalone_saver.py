"""Savers that need no Scaffold: they go wherever a `tf.compat.v1.train.Saver` does.

Code with a Scaffold has its saver built when the variables are complete. Other code makes
a Saver somewhere, and passes it on: to a Supervisor, `slim.learning.train`, a hook, or
its own loop. A saver of this module waits, and is built

    when the graph is finalized    by a Supervisor or a MonitoredSession
    or when it is first used       by `save`, `restore`, `saver_def`, `export_meta_graph`

whichever comes first. So it may be made before the model, and misses no variable.
"""

from __future__ import annotations

import functools
import logging
from typing import Any, Callable

from estimator_ckpt import errors
from estimator_ckpt.checkpoint.formats import CheckpointFormat
from estimator_ckpt.training import job_state, saver_graph, scaffolds
from estimator_ckpt.training import tensorflow_private as tfp
from estimator_ckpt.training.kept_checkpoints import SaveRequest
from estimator_ckpt.training.saver import CheckpointSaver
from estimator_ckpt.training.tensorflow_private import tf
from estimator_ckpt.training.warm_start.warm_starting_saver import WarmStarter
from estimator_ckpt.warm_start.request import WarmStart

_logger = logging.getLogger(__name__)

# Options of a Saver or of a Scaffold that these savers do not have, and why.
_REFUSED = {
  "save_on_signals": "a saver cannot end training. A MonitoredTrainingSession with "
  "scaffold=eckpt.dual_scaffold(save_on_signals=...) does.",
  "saver_def": "the saver adds ops of its own. For ops that a MetaGraph has, use "
  "tf.compat.v1.train.Saver(saver_def=...).",
  "builder": "the format decides which ops are added. Leave it out.",
  "defer_build": "the ops are always added at the saver's first use, or when the graph "
  "is finalized. Leave it out.",
  "allow_empty": "a saver that has nothing to save is an error. Leave it out.",
  "write_version": "the files are always of version V2. Leave it out.",
}
_OPTIONS = scaffolds.SAVER_OPTIONS - _REFUSED.keys()
_shows_options = functools.partial(scaffolds.shows_options, without=_REFUSED)


@_shows_options
def tf1_saver(var_list: Any = None, **options: Any) -> StandaloneSaver:
  """Makes a saver that writes name-based (TF1) checkpoints and restores any format.

  Args:
    var_list: as for `dual_saver`.
    **options: as for `dual_saver`; `checkpoint` and `layout` have no meaning here.

  Returns:
    A `tf.compat.v1.train.Saver`.

  Raises:
    OptionError: as for `dual_saver`.
  """
  return _make(CheckpointFormat.TF1, var_list, options)


@_shows_options
def tf2_saver(var_list: Any = None, **options: Any) -> StandaloneSaver:
  """Makes a saver that writes object-based (TF2) checkpoints and restores any format.

  Args:
    var_list: as for `dual_saver`.
    **options: as for `dual_saver`.

  Returns:
    A `tf.compat.v1.train.Saver`.

  Raises:
    OptionError: as for `dual_saver`.
  """
  return _make(CheckpointFormat.TF2, var_list, options)


@_shows_options
def dual_saver(var_list: Any = None, **options: Any) -> StandaloneSaver:
  """Makes a saver that writes dual checkpoints and restores any format.

  It takes the place of a `tf.compat.v1.train.Saver` where there is no Scaffold:

      saver = eckpt.dual_saver(max_to_keep=3)
      supervisor = tf.compat.v1.train.Supervisor(logdir="model_dir", saver=saver)
      slim.learning.train(train_op, "model_dir", saver=saver)
      saver.save(session, "model_dir/model.ckpt", global_step)

  It may be made before the model is built. It saves all that exists when the graph is
  finalized, or when the saver is first used if that is earlier. A stock Saver saves what
  exists when it is made; give `var_list` for a saver of a part.

  A warm start needs one more word, since no Scaffold carries it out:

      saver = eckpt.dual_saver(warm_start="/models/old")
      slim.learning.train(train_op, "model_dir", saver=saver, init_fn=saver.warm_start)

  Args:
    var_list: what is saved, as for `tf.compat.v1.train.Saver`; by default all global
      variables and SAVEABLE_OBJECTS.
    **options: the options of `dual_scaffold`, without `save_on_signals` and those of a
      Scaffold. By default 5 checkpoints are kept.

  Returns:
    A `tf.compat.v1.train.Saver`. It also has `warm_start(session)` and, for
    `asynchronous=True`, `wait_until_finished()`.

  Raises:
    OptionError: an unknown option or value, or TensorFlow is eager.
  """
  return _make(CheckpointFormat.DUAL, var_list, options)


def _make(
  checkpoint_format: CheckpointFormat, var_list: Any, options: dict[str, Any]
) -> StandaloneSaver:
  function = f"{checkpoint_format.value}_saver"
  for name in options:
    if name in _REFUSED:
      raise errors.OptionError(f"{function} has no option {name!r}: {_REFUSED[name]}")
  scaffolds.check_options(options, _OPTIONS)
  if tf.executing_eagerly():
    raise errors.OptionError(
      f"{function} makes a saver of a graph, and TensorFlow is eager here. Call it in "
      "`with tf.Graph().as_default()`, or after tf.compat.v1.disable_eager_execution(). "
      "Eager code saves with tf.train.Checkpoint."
    )
  called = scaffolds.call_functions(options)
  return StandaloneSaver(checkpoint_format, var_list=var_list, **called)


class StandaloneSaver(CheckpointSaver):
  """A CheckpointSaver that nobody has to build.

  Args:
    checkpoint_format: the format that `save` writes.
    warm_start: a WarmStart, or the path of a checkpoint to start from.
    **options: the other arguments of CheckpointSaver.

  Raises:
    OptionError: an unknown format or layout, or options that contradict each other.
  """

  _replaces_collected = False
  # The base class asks for its `saver_def` while it is being made.
  _is_made = False

  def __init__(
    self,
    checkpoint_format: CheckpointFormat | str,
    *,
    warm_start: Any = None,
    **options: Any,
  ):
    self._saver_def: Any = None
    super().__init__(checkpoint_format, **options)
    self._starter: WarmStarter | None = None
    if warm_start is not None:
      if not isinstance(warm_start, WarmStart):
        warm_start = WarmStart(warm_start)
      self._starter = WarmStarter(warm_start)
      self._starter.runs_apart = True
    # Whether variables were started from a checkpoint, in whatever way.
    self._has_begun = False
    # The graph that the saver was made in, the one that has its ops, and the saveables
    # that this had then.
    self._made_in = tf.compat.v1.get_default_graph()
    self._built_in: tf.Graph | None = None
    self._seen: frozenset[int] = frozenset()
    _build_before_finalizing(self._made_in, self)
    self._is_made = True

  def __bool__(self) -> bool:
    return True

  @property
  def saver_def(self) -> Any:
    """The SaverDef of the ops; a Supervisor asks for it before it finalizes the graph."""
    if self._is_made and not self.is_built:
      self.build()
    return self._saver_def

  @saver_def.setter
  def saver_def(self, value: Any) -> None:
    self._saver_def = value

  def has_saveables(self, graph: tf.Graph) -> bool:
    """Whether there is something to save in a graph."""
    if self._settings.var_list is not None:
      return bool(self._settings.var_list)
    return bool(_saveables(graph) or self._root is not None)

  def build(self) -> None:
    """Adds the save and restore ops to the graph, unless that is done.

    They go into the graph that the saver was made in. If that has no variables, they go
    into the default graph.

    Raises:
      OptionError: the graph has nothing to save, or is finalized.
    """
    # A Supervisor with graph=... asks for the saver_def where another graph is default.
    in_place = self.has_saveables(self._made_in)
    self.build_in(self._made_in if in_place else tf.compat.v1.get_default_graph())

  def build_in(self, graph: tf.Graph) -> None:
    """Adds the save and restore ops to a graph, unless they are in one already.

    Args:
      graph: has all that is saved.

    Raises:
      OptionError: the graph has nothing to save, or is finalized.
    """
    if self.is_built:
      return
    if not self.has_saveables(graph):
      raise errors.OptionError(
        "There is nothing to save: the graph has no variables. The saver may be made "
        "before the model is built, and used after that."
      )
    if graph.finalized:
      raise errors.OptionError(
        "The graph was finalized before this saver could add its ops. Make the saver "
        "where the graph is built, in `with graph.as_default()`, or call its build() "
        "there."
      )
    with graph.as_default():
      super().build()
      if self._starter is not None:
        self._starter.build()
    self._built_in = graph
    self._seen = frozenset(map(id, _saveables(graph)))

  def _build_once(self) -> saver_graph.SaverGraph:
    if self._built is None:
      self.build()
    if self._built is None:
      raise errors.OptionError("This saver could not be built; see the first error.")
    return self._built

  def _build_for(self, session: tf.compat.v1.Session) -> None:
    """Builds the saver in a session's graph, if it is not built yet."""
    with self._saving:
      self.build_in(session.graph)
    if session.graph is not self._built_in:
      raise errors.OptionError(
        "The ops of this saver are in another graph than that of the session. Make a "
        "saver for each graph."
      )

  def save(  # type: ignore[override]
    self, sess: tf.compat.v1.Session, save_path: str, *args: Any, **options: Any
  ) -> str | None:
    """Saves a checkpoint; arguments and result are those of Saver.save.

    Raises:
      OptionError: `warm_start=` was given, and no variable has started from it. Nothing
        is written then.
    """
    self._build_for(sess)
    if self._starter is not None and not self._has_begun:
      raise errors.OptionError(
        "The saver has warm_start=, and no variable was started from it: call its "
        "warm_start(session) after the init_op, or give a Supervisor or "
        "slim.learning.train init_fn=saver.warm_start."
      )
    # A Supervisor saves on a thread of its own, where TensorFlow 2 would be eager.
    with sess.graph.as_default():
      self._say_late_variables(sess.graph)
      return super().save(sess, save_path, *args, **options)

  def restore(self, sess: tf.compat.v1.Session, save_path: str) -> None:
    """Restores a checkpoint of any format; see `CheckpointSaver.restore`."""
    self._build_for(sess)
    super().restore(sess, save_path)
    self._has_begun = True

  def warm_start(self, session: tf.compat.v1.Session) -> None:
    """Starts variables as `warm_start=` says; for a job that has no checkpoint to restore.

    It is an `init_fn` for a Supervisor and for `slim.learning.train`, which call it if
    there is no checkpoint. Other code calls it when the variables are initialized.

    Args:
      session: has run the init_op.

    Raises:
      OptionError: the saver was made without `warm_start=`.
      CheckpointError: there is no checkpoint to start from, or something does not fit.
    """
    if self._starter is None:
      raise errors.OptionError(
        "There is nothing to start from: make the saver with warm_start=."
      )
    self._build_for(session)
    self._starter.run(session, None)
    self._has_begun = True

  def export_meta_graph(self, *args: Any, **options: Any) -> Any:
    """Writes the MetaGraph, with the ops of this saver; see Saver.export_meta_graph."""
    self.build()
    return super().export_meta_graph(*args, **options)

  def _publish(self, request: SaveRequest, write: Callable[[str], Any]) -> None:
    try:
      super()._publish(request, write)
    except Exception as error:
      if self.is_writing:
        # `Session.close` raises it at the latest, and a Supervisor drops that error.
        _logger.error("%s was not written: %s", request.prefix, error)
      raise
    if self._starter is not None:
      self._starter.report(request.prefix)

  def _say_late_variables(self, graph: tf.Graph) -> None:
    """Warns, once, of variables that were made after the ops of this saver."""
    if self._settings.var_list is not None:
      return
    late = [each for each in _saveables(graph) if id(each) not in self._seen]
    if late:
      self._seen |= frozenset(map(id, late))
      _logger.warning(
        "%d variables were made after this saver was first used. They are not in the "
        "checkpoints that it writes: %s. Make another saver after them.",
        len(late),
        job_state.listed(sorted(each.name for each in late)),
      )


def _saveables(graph: tf.Graph) -> list[Any]:
  """What a saver of everything saves in a graph."""
  with graph.as_default():
    return list(tfp.all_saveable_objects())


def _build_before_finalizing(graph: tf.Graph, saver: StandaloneSaver) -> None:
  """Has a saver built just before its graph is finalized, if it is not built yet.

  A CheckpointSaverHook with a saver of its own uses it only after that. TensorFlow tells
  nobody that a graph is about to be finalized.
  """
  finalize = graph.finalize

  def build_and_finalize() -> None:
    if not graph.finalized and saver.has_saveables(graph):
      saver.build_in(graph)
    finalize()

  graph.finalize = build_and_finalize
