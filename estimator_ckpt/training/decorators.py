"""Decorators that make an Estimator's model_fn write a checkpoint format.

    @tf2_checkpointing
    def model_fn(features, labels, mode):
      ...

The decorated model_fn returns the same EstimatorSpec with another saver in its Scaffold.
Everything else in the Scaffold is kept.
"""

from __future__ import annotations

import functools
import inspect
import re
from typing import Any, Callable

from estimator_ckpt import errors
from estimator_ckpt.checkpoint import layout as layout_lib
from estimator_ckpt.checkpoint.formats import CheckpointFormat
from estimator_ckpt.training import (
  estimator_names,
  model_dir_checks,
  model_fns,
  preemption,
  saver_hook,
  scaffolds,
  signal_handlers,
)
from estimator_ckpt.training import tensorflow_private as tfp
from estimator_ckpt.training.model_fns import ModelFn
from estimator_ckpt.training.saver import CheckpointSaver
from estimator_ckpt.training.tensorflow_private import tf

# The whole message of an EstimatorSpec's constructor.
_MISSING = re.compile(r"Missing (loss|train_op|predictions)\.")


@scaffolds.shows_options
def tf2_checkpointing(model_fn: ModelFn | None = None, **options: Any) -> Any:
  """Makes a model_fn write object-based (TF2) checkpoints; it resumes from any format.

  Args:
    model_fn: what is decorated, where the decorator is used without options.
    **options: as for `dual_checkpointing`.

  Returns:
    The decorated model_fn, or a decorator when called with options only.

  Raises:
    OptionError: an unknown option, or something that is no model_fn.
  """
  return _bare_or_with_options(CheckpointFormat.TF2, model_fn, options)


@scaffolds.shows_options
def dual_checkpointing(model_fn: ModelFn | None = None, **options: Any) -> Any:
  """Makes a model_fn write dual checkpoints, of both formats; it resumes from any.

      @eckpt.dual_checkpointing
      def model_fn(features, labels, mode): ...

      @eckpt.dual_checkpointing(max_to_keep=3, warm_start="pretrained_dir")
      def model_fn(features, labels, mode): ...

  Args:
    model_fn: what is decorated, where the decorator is used without options.
    var_list: what is saved, as for `tf.compat.v1.train.Saver`; by default all global
      variables and SAVEABLE_OBJECTS.
    checkpoint: the objects to store: a `tf.train.Checkpoint`, a dict of objects, or a
      function that returns one of these. The function is called after the model_fn, when
      the objects exist. Variables that no object owns are added below `var_list/`.
    layout: the object path of a variable that no object owns. "flat" is
      `var_list/<name>`, "nested" follows the scopes, and "default" is both. A function
      from a name to its paths is another choice.
    strict: False initializes variables that a restored checkpoint lacks, and warns once.
    max_to_keep: how many checkpoints are kept; by default what RunConfig says.
    keep_checkpoint_every_n_hours: hours of training for which one more checkpoint is
      kept; by default what RunConfig says.
    sharded: whether each device writes a data file of its own.
    separate: True writes two bundles over the same data: one with TF1 names only, and
      one for TF2 in the directory `tf2/` beside it.
    asynchronous: True lets training go on while a checkpoint is written; `save` waits
      for a snapshot only.
    durable: True syncs a checkpoint to the disk before the file `checkpoint` names it, so
      that it survives a power cut.
    save_on_signals: signals, such as ("SIGTERM",), at which training ends its step,
      saves and stops, so that `train()` returns; see `stopped_by_signal`. For training
      on the main thread.
    warm_start: a WarmStart, the path of a checkpoint, or a function that returns one of
      these. The variables start from it where there is no checkpoint to resume.
    **options: the other arguments of `tf.compat.v1.train.Saver`: `pad_step_number`,
      `save_relative_paths`, `restore_sequentially`, `reshape`, `filename`, `name`.

  Returns:
    The decorated model_fn, or a decorator when called with options only.

  Raises:
    OptionError: an unknown option, or something that is no model_fn.
  """
  return _bare_or_with_options(CheckpointFormat.DUAL, model_fn, options)


@scaffolds.shows_options
def checkpointing(
  checkpoint_format: CheckpointFormat | str, **options: Any
) -> Callable[[ModelFn], ModelFn]:
  """Makes a model_fn write checkpoints of a format; it resumes from any.

      @eckpt.checkpointing("tf1")
      def model_fn(features, labels, mode): ...

  Args:
    checkpoint_format: "tf1", "tf2", "dual", or a CheckpointFormat.
    **options: as for `dual_checkpointing`.

  Returns:
    A decorator of any model_fn that an Estimator takes. The model_fn may return an
    EstimatorSpec or a TPUEstimatorSpec.

  Raises:
    OptionError: an unknown format or option; when applied, something that is no
      model_fn.
  """
  checkpoint_format = CheckpointFormat.parse(checkpoint_format)
  scaffolds.check_options(options)
  layout_lib.check_layout(options.get("layout", "default"))
  signal_handlers.signal_numbers(options.get("save_on_signals", ()))

  def decorate(model_fn: ModelFn) -> ModelFn:
    return _decorate(model_fn, checkpoint_format, options)

  return decorate


@scaffolds.shows_options
def with_checkpointing(
  estimator: tf.estimator.Estimator,
  format: CheckpointFormat | str = "tf2",
  **options: Any,
) -> tf.estimator.Estimator:
  """Makes an Estimator write checkpoints of a format; it resumes from any.

  For canned Estimators, and for Estimators of other libraries.

      estimator = eckpt.with_checkpointing(tf.estimator.DNNClassifier(...), "dual")

  Args:
    estimator: any `tf.estimator.Estimator`.
    format: "tf1", "tf2", "dual", or a CheckpointFormat.
    **options: as for `dual_checkpointing`.

  Returns:
    An Estimator of the same class, with the same methods, `params`, config and warm
    start, whose model_fn is decorated. It lists and finds variables by name in
    checkpoints of any format. The given Estimator stays as it is.

  Raises:
    OptionError: something that is no Estimator, an unknown format or option, two warm
      starts, or an Estimator that is decorated already with other options.
  """
  if not isinstance(
    estimator, (tf.estimator.Estimator, tf.compat.v1.estimator.Estimator)
  ):
    raise errors.OptionError(
      f"with_checkpointing takes an Estimator, and got {estimator!r}. To decorate a "
      "model_fn, use checkpointing(format)."
    )
  if options.get("warm_start") is not None and tfp.is_warm_started(estimator):
    raise errors.OptionError(
      "The Estimator has a warm start already, by its warm_start_from=. Give "
      "warm_start_from= or warm_start=, not both."
    )
  decorate = checkpointing(format, **options)
  if not tfp.trains_its_model_fn(estimator):
    kind = type(estimator)
    raise errors.OptionError(
      f"{kind.__module__}.{kind.__name__} has a train() of its own, which trains other "
      "Estimators. with_checkpointing cannot reach these, and they would write TF1 "
      "checkpoints. If the class takes a model_fn, decorate that one; if not, convert its "
      "checkpoints: estimator-ckpt convert."
    )
  return estimator_names.with_names(tfp.estimator_with_model_fn(estimator, decorate))


def _bare_or_with_options(
  checkpoint_format: CheckpointFormat, model_fn: ModelFn | None, options: dict[str, Any]
) -> Any:
  decorate = checkpointing(checkpoint_format, **options)
  return decorate if model_fn is None else decorate(model_fn)


def _decorate(
  model_fn: ModelFn, checkpoint_format: CheckpointFormat, options: dict[str, Any]
) -> ModelFn:
  signature = model_fns.model_fn_signature(model_fn)
  signals = signal_handlers.signal_numbers(options.get("save_on_signals", ()))

  @functools.wraps(model_fn, updated=())
  def decorated(*args: Any, **kwargs: Any) -> Any:
    bound = signature.bind(*args, **kwargs)
    trains = bound.arguments.get("mode") == tf.estimator.ModeKeys.TRAIN
    with preemption.building(signals if trains else ()):
      return _spec(model_fn, bound, checkpoint_format, options)

  # An Estimator passes the arguments whose names it finds in the signature.
  decorated.__signature__ = signature  # type: ignore[attr-defined]
  return decorated


def _spec(
  model_fn: ModelFn,
  bound: inspect.BoundArguments,
  checkpoint_format: CheckpointFormat,
  options: dict[str, Any],
) -> Any:
  """Calls a model_fn, and gives its EstimatorSpec a saver."""
  mode, config = bound.arguments.get("mode"), bound.arguments.get("config")
  model_dir = getattr(config, "model_dir", None)
  if model_dir and mode == tf.estimator.ModeKeys.TRAIN:
    model_dir_checks.check_name(model_dir)
    model_dir_checks.check_state(model_dir)
    estimator_names.start_by_names(tfp.calling_estimator())
  try:
    spec = model_fns.call(model_fn, bound)
  except ValueError as error:
    missing = _MISSING.fullmatch(str(error))
    if missing is None:
      raise
    name = getattr(model_fn, "__name__", repr(model_fn))
    raise errors.OptionError(
      f"{error} {name!r} made an EstimatorSpec without it in mode {mode!r}: give it as "
      f"EstimatorSpec(mode, {missing[1]}=...)."
    ) from error
  if "warm_start" in options and _has_checkpoint(config):
    options = {k: v for k, v in options.items() if k != "warm_start"}
  return _with_saver(spec, mode, checkpoint_format, options, model_dir, config)


def _with_saver(
  spec: Any,
  mode: str | None,
  checkpoint_format: CheckpointFormat,
  options: dict[str, Any],
  model_dir: str | None,
  config: Any,
) -> Any:
  if hasattr(spec, "scaffold_fn"):  # A TPUEstimatorSpec; its class warns when named.
    return spec._replace(scaffold_fn=_scaffold_fn(spec, checkpoint_format, options))
  if not isinstance(spec, tf.estimator.EstimatorSpec):
    raise errors.OptionError(
      "model_fn should return an EstimatorSpec or a TPUEstimatorSpec; this one returned "
      f"{type(spec).__name__}: {spec!r}."
    )
  if mode is not None and spec.mode != mode:
    raise errors.OptionError(
      f"The model_fn was called in mode {mode!r} and returned an EstimatorSpec of mode "
      f"{spec.mode!r}. Pass the mode on: EstimatorSpec(mode, ...)."
    )
  if spec.mode != tf.estimator.ModeKeys.TRAIN:
    # A graph that only reads needs no snapshots.
    options = {**options, "asynchronous": False}
  found = scaffolds.saver_of(spec.scaffold)
  saver = scaffolds.make_saver(checkpoint_format, found, **options)
  if saver is found:
    return spec  # The model_fn is decorated already, with the same options.
  user_init_fn = scaffolds.user_init_fn(spec.scaffold)
  if spec.mode == tf.estimator.ModeKeys.EVAL and (
    found is None or isinstance(spec.scaffold, _EvaluationScaffold)
  ):
    scaffold: Any = _EvaluationScaffold(saver, spec.scaffold, user_init_fn, model_dir)
    return spec._replace(scaffold=scaffold)
  init_fn = scaffolds.make_init_fn(saver, user_init_fn)
  scaffold = tf.compat.v1.train.Scaffold(
    saver=saver,
    init_fn=_checking(init_fn, model_dir),
    copy_from_scaffold=spec.scaffold,
  )
  for hook in (*spec.training_hooks, *spec.training_chief_hooks):
    tfp.save_with(hook, spec.scaffold, scaffold)
  if options.get("asynchronous"):
    hook = saver_hook.hook_for(spec, saver, model_dir, config)
    if hook is not None:
      spec = spec._replace(training_chief_hooks=(*spec.training_chief_hooks, hook))
  return spec._replace(scaffold=scaffold)


def _checking(init_fn: Any, model_dir: str | None) -> Any:
  """Makes an init_fn check first that the model_dir has no checkpoint.

  A session calls it when it restored none. To restore an earlier one by its path works.
  """
  if not model_dir:
    return init_fn

  def checking(scaffold: Any, session: Any) -> None:
    model_dir_checks.check_latest(model_dir)
    if init_fn is not None:
      init_fn(scaffold, session)

  return checking


def _scaffold_fn(
  spec: Any, checkpoint_format: CheckpointFormat, options: dict[str, Any]
) -> Callable[..., tf.compat.v1.train.Scaffold]:
  """The scaffold_fn of a TPUEstimatorSpec, which is called when the graph is complete."""
  user_fn = spec.scaffold_fn

  def scaffold_fn(*tensors: Any, **named: Any) -> tf.compat.v1.train.Scaffold:
    scaffold = user_fn(*tensors, **named) if user_fn is not None else None
    return scaffolds.make_scaffold(checkpoint_format, scaffold=scaffold, **options)

  return scaffold_fn


def _has_checkpoint(config: Any) -> bool:
  """Whether the Estimator will resume, and so needs no ops of a warm start.

  Without a config this is not known. The ops are in the graph then, and do not run.
  """
  model_dir = getattr(config, "model_dir", None)
  return bool(model_dir) and tf.train.latest_checkpoint(model_dir) is not None


class _EvaluationScaffold(tf.compat.v1.train.Scaffold):
  """A Scaffold that hides its saver, except from an export.

  `tf.estimator.experimental.InMemoryEvaluatorHook` refuses a Scaffold with a saver, and
  `Estimator.evaluate` may copy the Scaffold. Both find the saver in the graph's SAVERS
  collection. `Estimator.experimental_export_all_saved_models` does not look there.
  """

  def __init__(
    self,
    saver: CheckpointSaver,
    scaffold: tf.compat.v1.train.Scaffold,
    user_init_fn: Any,
    model_dir: str | None,
  ) -> None:
    # That hook feeds the trained values. Training must not end if the source of the warm
    # start is gone by now.
    init_fn = scaffolds.make_init_fn(saver, user_init_fn, apart=True)
    super().__init__(init_fn=_checking(init_fn, model_dir), copy_from_scaffold=scaffold)
    self.checkpoint_saver = saver
    self._given_init_fn = user_init_fn
    savers = tf.compat.v1.get_collection_ref(tf.compat.v1.GraphKeys.SAVERS)
    if not savers:
      savers.append(saver)

  @property
  def init_fn(self) -> Any:
    """The init_fn; that hook sees only the user's own."""
    return self._init_fn if self._saver is not None else self._given_init_fn

  @property
  def saver(self) -> Any:
    """The saver, once the Scaffold is finalized or inside a session."""
    if self._saver is not None:
      return self._saver
    return self.checkpoint_saver if self.checkpoint_saver else None
